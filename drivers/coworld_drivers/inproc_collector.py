"""The garbage collector, where a thousand episodes are alive at once."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

__all__ = ["patient_collector"]

_PATIENT: Final = (50_000, 20, 1000)
"""With the interpreter's own (700, 10, 10) a third of the time of 600 episodes went into looking at what is still in use, in
pauses of up to a second; an episode leaves next to nothing in cycles."""

_users = 0
_before: tuple[int, int, int] = (0, 0, 0)


@contextmanager
def patient_collector() -> Generator[None]:
    """Have the collector look less often, while in here; may be entered any number of times.

    A collector that was switched off, or made more patient, stays as it is; so do thresholds that somebody changes meanwhile.
    """
    global _users, _before  # noqa: PLW0603 - there is one collector
    if not _users:
        _before = gc.get_threshold()
        if 0 < _before[0] < _PATIENT[0]:
            gc.set_threshold(*_PATIENT)
    _users += 1
    try:
        yield
    finally:
        _users -= 1
        if not _users and gc.get_threshold() == _PATIENT:
            gc.set_threshold(*_before)
