"""One scenario, cancelled, stopped or killed at every step of the scheduler: nothing leaks, and no message is lost uncounted.

A step is what a task does from one checkpoint to the next. The order of the steps is seeded, so that step k of a run that is cut
short is step k of the run that counted them: every checkpoint of every task is a place where it happens, the runtime's included.
"""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
import trio
from trio.testing import MockClock

from coworld_actors.actors import (
    Actor,
    ActorError,
    Backoff,
    ChildSpec,
    MailboxPolicy,
    Request,
    RestartPolicy,
    State,
    StopReason,
    Strategy,
    SupervisorSpec,
    open_system,
)
from coworld_actors.actors.children import Intent
from coworld_actors.testing import deterministic


class Note(msgspec.Struct, frozen=True):
    takes: float = 0.0
    crash: bool = False


class Ask(Request[int], frozen=True):
    pass


class Later(Request[int], frozen=True):
    pass


class Gone(msgspec.Struct, frozen=True):
    down: object


class Member(Actor[Note | Ask | Later | Gone]):
    def __init__(self, scenario) -> None:
        self.scenario = scenario

    async def on_start(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.context.name == "b" and self.context.incarnation == 1:
            raise ValueError("cannot start again at once")
        self.scenario.open += 1
        self.context.spawn(self._beside)
        if (other := self.scenario.refs.get("a")) is not None:
            self.context.watch(other, Gone)

    async def _beside(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.scenario.open -= 1

    async def handle(self, message):
        match message:
            case Note():
                await trio.sleep(message.takes)
                if message.crash:
                    raise ValueError("told to")
            case Ask():
                return 1
            case Later():
                self.context.spawn(self._answer, self.context.defer())
            case Gone():
                self.scenario.notices.append((self.context.name, self.context.incarnation))
        return None

    async def _answer(self, deferred) -> None:
        await trio.sleep(0.5)
        deferred.reply(2)

    async def on_stop(self, reason: StopReason) -> None:
        await trio.sleep(0.25)


class Scenario:
    """Three actors in a group, crashes, waiting senders, asks, a late start and a hand-made stop."""

    def __init__(self) -> None:
        self.refs = {}
        self.open = 0
        self.asks = 0
        self.ended_asks = 0
        self.notices: list[tuple[str, int]] = []
        self.house = None
        self.asking: list[trio.CancelScope] = []

    async def run(self) -> None:
        async with open_system() as system:
            policy = RestartPolicy(max_restarts=5, backoff=Backoff(first=0.5, jitter=0))
            spec = SupervisorSpec(strategy=Strategy.REST_FOR_ONE, restarts=policy)
            self.house = await system.start_supervisor("house", spec)
            for name in "abc":
                mailbox = MailboxPolicy(capacity=2)
                self.refs[name] = await self.house.start_actor(
                    ChildSpec(name=name, start=lambda: Member(self), mailbox=mailbox, shutdown=1.0)
                )
            async with trio.open_nursery() as nursery:
                for name in "abc":
                    nursery.start_soon(self.talk, name)
                    nursery.start_soon(self.ask, name, Ask())
                    nursery.start_soon(self.ask, name, Later())
                await self.refs["b"].tell(Note(crash=True))
                late = await self.house.start_actor(ChildSpec(name="d", start=lambda: Member(self)))
                self.refs["d"] = late
                await late.stop()
            await trio.sleep(20)
            # Whatever happened meanwhile, nobody who is to come back has been forgotten.
            assert {info.state for info in self.house.children()} <= {State.RUNNING}
            await self.refs["a"].drain()
            await trio.testing.wait_all_tasks_blocked()
            # Every life that watches `a` and goes on hears of its end; twice only if it inherits a queued notice from an earlier one.
            infos = [info for info in self.house.children() if info.name in "bc" and info.state is State.RUNNING]
            assert {(info.name, info.incarnation) for info in infos} <= set(self.notices)
            for heard, times in Counter(self.notices).items():
                assert times <= heard[1] + 1

    async def talk(self, name: str) -> None:
        for number in range(4):
            try:
                await self.refs[name].tell(Note(takes=0.1 * number))
            except ActorError:
                return

    async def ask(self, name: str, request: Request[int]) -> None:
        self.asks += 1
        try:
            with trio.CancelScope() as scope:
                self.asking.append(scope)
                await self.refs[name].ask(request, deadline=2.0)
        except ActorError:
            pass
        finally:
            self.ended_asks += 1

    def check(self) -> None:
        assert self.open == 0, "every background task has ended"
        assert self.asks == self.ended_asks
        for ref in self.refs.values():
            box = ref.statistics()
            assert (box.queued, box.in_hand, box.waiting) == (0, 0, 0)
            assert box.sent == box.handled + box.dead + box.refused
            assert not ref.alive


class AtStep(trio.abc.Instrument):
    """Calls `act` after the scheduler's n-th step; counts the steps."""

    def __init__(self, step: int, act) -> None:
        self.steps = 0
        self._step = step
        self._act = act

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        if self.steps == self._step:
            self._act()


def run_once(step: int, how: str) -> int:
    """Run the scenario and do `how` at `step`; returns the number of steps it took."""
    scenario = Scenario()
    scope = trio.CancelScope()

    def act() -> None:
        what, _, name = how.partition(" ")
        ref = scenario.refs.get(name)
        if what == "cancel":
            scope.cancel(reason="sweep")
        elif what == "forget":
            for asking in scenario.asking:
                asking.cancel(reason="sweep")
        elif what == "supervisor" and scenario.house is not None:
            scenario.house._child.request(Intent[name])
        elif ref is not None:
            ref._child.request(Intent[what])

    instrument = AtStep(step, act)

    async def main() -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        try:
            with scope:
                await scenario.run()
        except* ActorError:
            # What the scenario's own calls get to hear when their actors are taken from under them.
            pass
        assert trio.lowlevel.current_statistics().tasks_living == before
        scenario.check()

    with deterministic(1):
        trio.run(main, clock=MockClock(autojump_threshold=0), instruments=[instrument])
    return instrument.steps


HOWS = (
    "cancel",
    "forget",
    "supervisor STOP",
    "supervisor KILL",
    *(f"{i} {n}" for i in ("STOP", "DRAIN", "KILL") for n in "abc"),
)


def test_the_steps_of_two_runs_are_the_same():
    """Otherwise a sweep over them would leave some out."""
    assert len({run_once(0, "nothing") for _ in range(3)}) == 1


@pytest.mark.parametrize("how", HOWS)
def test_nothing_leaks_whenever_it_is_cut_short(how):
    """Every step of the scenario is a place where it can happen: restarts, back-off, drains, waits, asks, notices, starts, stops."""
    steps = run_once(0, how)
    assert steps > 150
    for step in range(1, steps + 1):
        run_once(step, how)
