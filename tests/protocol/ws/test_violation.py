from __future__ import annotations

import pickle

from coworld_protocol.ws.violation import Violation


def test_it_carries_the_close_code_and_says_both() -> None:
    """Code and reason are there for the close frame, and the text names both."""
    violation = Violation(1002, "reserved bits set")
    assert (violation.code, violation.reason) == (1002, "reserved bits set")
    assert str(violation) == "1002: reserved bits set"


def test_it_survives_pickling() -> None:
    """A violation found in another process arrives whole."""
    copy = pickle.loads(pickle.dumps(Violation(1009, "message too big")))
    assert (copy.code, copy.reason) == (1009, "message too big")
