"""All checks at once: the slowest decides how long it takes, and none for longer than it may."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import trio

from coworld_actors.doctor.finding import Check, Finding, Status, Surroundings
from coworld_protocol.errors import CoworldError, alone

__all__ = ["CHECK_SECONDS", "examine", "worst"]

CHECK_SECONDS = 30.0
"""For one check; each call within is bounded by the surroundings' patience, so this is for what nobody has thought of."""


async def examine(
    checks: Mapping[str, Check],
    surroundings: Surroundings,
    *,
    tell: Callable[[Finding], object] = lambda _: None,
    limit: float = CHECK_SECONDS,
) -> list[Finding]:
    """Run checks side by side.

    A check that raises or takes too long is itself a finding: one of them never hides what the others have found.

    Args:
        checks: by name.
        surroundings: what they look at.
        tell: called with each finding in the order of the checks, as soon as all before it are there.
        limit: seconds for each check.

    Returns:
        All findings, in the order of the checks.
    """
    found: dict[str, Sequence[Finding]] = {}
    told: list[Finding] = []
    waiting = list(checks)

    async def run(name: str, check: Check) -> None:
        found[name] = await _bounded(name, check, surroundings, limit)
        while waiting and waiting[0] in found:
            for finding in found[waiting.pop(0)]:
                told.append(finding)
                tell(finding)

    async with trio.open_nursery() as nursery:
        for name, check in checks.items():
            nursery.start_soon(run, name, check)
    return told


async def _bounded(name: str, check: Check, surroundings: Surroundings, limit: float) -> Sequence[Finding]:
    try:
        with trio.fail_after(limit):
            return await check(surroundings)
    except trio.TooSlowError:
        text, todo = f"could not be found out within {limit:g} s", "look whether a disk or an engine hangs"
    except Exception as error:  # noqa: BLE001 - one check never hides what the others have found
        match alone(error):
            case CoworldError() as known:
                text = known.what + (f": {known.evidence}" if known.evidence else "")
                todo = known.todo
            case other:
                text = f"could not be found out: {type(other).__name__}: {other}"
                todo = "look at what it names; where it names nothing of this machine, report it"
    return [Finding(name=name, status=Status.WARN, text=text, todo=todo)]


def worst(findings: Sequence[Finding]) -> Status:
    """The worst status among them; ok for none."""
    order = list(Status)
    return max((finding.status for finding in findings), key=order.index, default=Status.OK)
