"""Values of a check-up."""

from __future__ import annotations

import pytest

from coworld_actors.doctor.finding import Status, Surroundings, quantity


def test_only_what_has_to_work_may_fail() -> None:
    """Without a driver that was not asked for everything else can be played."""
    here = Surroundings(drivers=frozenset({"docker"}))
    assert (here.missing("docker"), here.missing("process")) == (Status.FAIL, Status.WARN)


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (1, "1 B"), (1536, "1.5 KiB"), (23.5 * 2**30, "23.5 GiB"), (2**60, "1.05e+06 TiB")]
)
def test_bytes_are_told_in_units(size: float, words: str) -> None:
    """Three digits and a binary unit; what is larger than the largest unit is a number of those."""
    assert quantity(size) == words
