"""Checks run side by side, none hides another, none takes longer than it may."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
import trio.testing

from coworld_actors.doctor.checkup import examine, worst
from coworld_actors.doctor.finding import Check, Finding, Status, Surroundings
from coworld_protocol.errors import PreconditionMissing


def says(name: str, seconds: float = 0, status: Status = Status.OK) -> Check:
    async def check(_: Surroundings) -> Sequence[Finding]:
        await trio.sleep(seconds)
        return [Finding(name=name, status=status, text=f"after {seconds}")]

    return check


async def test_findings_come_in_order_and_as_soon_as_they_can(autojump_clock: trio.testing.MockClock) -> None:
    """The slowest check decides how long it takes, and what stands before it is told before."""
    told: list[tuple[str, float]] = []
    began = trio.current_time()
    found = await examine(
        {"a": says("a", 1), "b": says("b", 5), "c": says("c", 2)},
        Surroundings(),
        tell=lambda finding: told.append((finding.name, trio.current_time() - began)),
    )
    assert [finding.name for finding in found] == ["a", "b", "c"]
    assert told == [("a", 1), ("b", 5), ("c", 5)]


async def test_a_check_that_hangs_is_a_finding(autojump_clock: trio.testing.MockClock) -> None:
    """After its time it is a warning with a next step, and the others are told."""
    found = await examine({"a": says("a", 1e6), "b": says("b")}, Surroundings(), limit=3)
    assert [(each.name, each.status) for each in found] == [("a", Status.WARN), ("b", Status.OK)]
    assert "within 3 s" in found[0].text
    assert found[0].todo


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PreconditionMissing("it broke", evidence="code 7", todo="mend it"), "it broke: code 7"),
        (OSError(5, "Input/output error"), "could not be found out: OSError: [Errno 5] Input/output error"),
        (KeyError("x"), "could not be found out: KeyError: 'x'"),
        (ExceptionGroup("", [PreconditionMissing("inside", todo="mend it")]), "inside"),
    ],
)
async def test_a_check_that_raises_is_a_finding(error: Exception, words: str) -> None:
    """Whatever is raised, the others have their say."""

    async def broken(_: Surroundings) -> Sequence[Finding]:
        raise error

    found = await examine({"x": broken, "y": says("y")}, Surroundings())
    assert [(each.name, each.status) for each in found] == [("x", Status.WARN), ("y", Status.OK)]
    assert found[0].text == words
    assert found[0].todo


def test_the_worst_counts() -> None:
    """One failure among warnings is a failure; nothing found is nothing wrong."""
    lines = [Finding(name="a", status=status, text="") for status in (Status.WARN, Status.FAIL, Status.OK)]
    assert (worst(lines), worst(lines[:1]), worst([])) == (Status.FAIL, Status.WARN, Status.OK)
