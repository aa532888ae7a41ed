"""The complete table: where it goes wrong x how x strategy x restart type; then what lives, in which life, and what was told."""

from __future__ import annotations

import itertools

import msgspec
import pytest
import trio

from coworld_actors.actors import (
    Actor,
    ChildSpec,
    DownReason,
    Restart,
    Strategy,
    SupervisorSpec,
    events,
    open_system,
)

POINTS = ("start", "handle", "stop")
FAULTS = ("raise", "cancel", "hang", "end")
GRACE = 2.0


class Go(msgspec.Struct, frozen=True):
    """Leads the subject to the point."""


class Subject(Actor[Go]):
    """Goes wrong once, at one point, in one way."""

    def __init__(self, point, fault, begun) -> None:
        self.point = point
        self.fault = fault
        self.begun = begun

    async def _go_wrong(self) -> None:
        if self.begun:
            return
        self.begun.append(True)
        match self.fault:
            case "raise":
                raise ValueError("the fault")
            case "cancel":
                # A background task that crashes cancels whatever the actor is doing.
                self.context.spawn(self._crash)
                await trio.sleep_forever()
            case "hang":
                await trio.sleep_forever()
            case "end":
                self.context.stop()

    async def _crash(self) -> None:
        raise ValueError("the fault")

    async def on_start(self) -> None:
        # The first life starts well, so that there is a life to lose; the point is the second life's start.
        if self.point == "start" and self.context.incarnation == 1:
            await self._go_wrong()

    async def handle(self, message: Go) -> None:
        if self.point == "start":
            raise ValueError("on to the next life")
        if self.point == "handle":
            await self._go_wrong()
        else:
            self.context.stop()

    async def on_stop(self, reason) -> None:
        if self.point == "stop":
            await self._go_wrong()


class Bystander(Actor[Go]):
    pass


def lives_of_the_subject(point: str, fault: str, restart: Restart) -> tuple[int, DownReason | None]:
    """How many restarts it has had when all is quiet, and its Down if there is one. A hang is not over by itself."""
    ends = {
        "start": [DownReason.CRASHED],
        "handle": [],
        "stop": [],
    }[point]
    if point == "start" and not restart.brings_back(DownReason.CRASHED):
        return 0, DownReason.CRASHED
    match point, fault:
        case ("start", "hang") | ("handle", "hang"):
            pass
        case "stop", "hang":
            ends = [*ends, DownReason.KILLED]
        case _, "end":
            ends = [*ends, DownReason.NORMAL]
        case "start", _:
            ends = [*ends, DownReason.START_FAILED]
        case _:
            ends = [*ends, DownReason.CRASHED]
    restarts = 0
    for reason in ends:
        if not restart.brings_back(reason):
            return restarts, reason
        restarts += 1
    return restarts, None


@pytest.mark.parametrize(
    ("point", "fault", "strategy", "restart"),
    list(itertools.product(POINTS, FAULTS, Strategy, Restart)),
    ids=str,
)
async def test_every_crash_point(point, fault, strategy, restart, autojump_clock):
    """The subject is the middle one of three; its siblings live on in the life that the strategy gives them."""
    async with open_system() as system:
        records = []
        system.events.subscribe(records.append)
        begun: list[bool] = []
        children = (
            ChildSpec(name="a", start=Bystander),
            ChildSpec(name="b", start=lambda: Subject(point, fault, begun), restart=restart, shutdown=GRACE),
            ChildSpec(name="c", start=Bystander),
        )
        house = await system.start_supervisor("house", SupervisorSpec(strategy=strategy, children=children))
        subject = house.child("b")
        subject.tell_nowait(Go())
        await trio.sleep(10)

        restarts, down = lives_of_the_subject(point, fault, restart)
        monitor = subject.monitor()
        assert (monitor.down and monitor.down.reason) == down
        infos = {info.name: info for info in house.children()}
        assert sorted(infos) == (["a", "b", "c"] if down is None else ["a", "c"])
        if down is None:
            assert infos["b"].restarts == restarts
        # Siblings go through every restart of the subject; those after it are not reached by one whose start goes wrong.
        assert infos["a"].restarts == (restarts if strategy is Strategy.ONE_FOR_ALL else 0)
        missed = point == "start" and fault != "end" and restarts > 0
        assert infos["c"].restarts == (0 if strategy is Strategy.ONE_FOR_ONE else restarts - missed)

        crashes = [record for record in records if isinstance(record.event, events.ActorCrashed)]
        raising = fault in {"raise", "cancel"}
        assert len(crashes) == (point == "start") + (raising and bool(begun))
        assert {record.actor for record in crashes} <= {"house/b"}
        assert house.alive

        # Whatever state that left, the end is orderly, within the graces.
        began = trio.current_time()
        await house.stop()
        assert trio.current_time() - began <= 3 * 5.0
        box = subject.statistics()
        assert box.sent == box.handled + box.dead == 1
        assert len(system.registry) == 1


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_first_start(fault, autojump_clock):
    """It is the starter's to know: a failure raises there and leaves nothing; an end in it is a start all the same."""

    class Starting(Subject):
        async def on_start(self) -> None:
            await self._go_wrong()

    outcome = None
    async with open_system() as system:
        spec = ChildSpec(name="b", start=lambda: Starting("start", fault, []), restart=Restart.TRANSIENT)
        with trio.move_on_after(3) as scope:
            try:
                ref = await system.start_actor(spec)
                outcome = (await ref.wait()).reason.value
            except Exception as error:
                outcome = f"{type(error).__name__} from {type(error.__cause__).__name__}"
        await trio.testing.wait_all_tasks_blocked()
        assert system.tree() == []
        assert scope.cancelled_caught is (fault == "hang")
    expected = {"hang": None, "end": "normal"}
    assert outcome == expected.get(fault, "StartFailed from ValueError")
