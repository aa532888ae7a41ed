"""A policy that a mailbox could not keep is refused where it is written."""

from __future__ import annotations

import re

import pytest

from coworld_actors.actors import MailboxPolicy, SpecRefused


def test_a_capacity_is_at_least_one():
    """Zero would take nothing."""
    with pytest.raises(SpecRefused, match="capacity is at least 1"):
        MailboxPolicy(capacity=0)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"overflow": "refuse"}, "a mailbox has overflow='refuse', of type str; use Overflow.REFUSE"),
        ({"overflow": "wait"}, "use Overflow.BACKPRESSURE or Overflow.REFUSE or"),
        ({"capacity": 1.5}, "capacity=1.5, of type float; use a value of type int"),
        ({"capacity": True}, "capacity=True"),
        ({"capacity": float("nan")}, "capacity=nan"),
    ],
)
def test_a_mailbox_of_wrong_types_is_refused_where_it_is_written(fields, words):
    """A plain text would have matched no branch of a full mailbox, and its sender would have waited for ever."""
    with pytest.raises(SpecRefused, match=re.escape(words)):
        MailboxPolicy(**fields)
