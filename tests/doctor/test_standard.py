"""The list of checks."""

from __future__ import annotations

from coworld_actors.doctor.standard import CHECKS


def test_every_check_is_there_once() -> None:
    """No check stands under two names, and what is asked most often comes first."""
    assert len(set(CHECKS.values())) == len(CHECKS)
    assert [*CHECKS][:3] == ["python", "processes", "room"]
