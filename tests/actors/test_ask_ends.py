"""P04: in whatever phase the receiver dies, every ask is over at most one turn of the scheduler later."""

from __future__ import annotations

import itertools

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from coworld_actors.actors import (
    Actor,
    ActorError,
    ActorRef,
    Backoff,
    ChildSpec,
    MailboxPolicy,
    Request,
    Restart,
    RestartPolicy,
    State,
    SupervisorSpec,
    events,
    open_system,
)

PHASES = ("start", "waiting for room", "queued", "in hand", "deferred", "stopping", "waiting to restart", "gone")
DEATHS = ("stop", "kill", "drain cut short", "crash", "supervisor stops", "supervisor is killed", "system is left")
NEVER = 1e6


class Turns(trio.abc.Instrument):
    """Counts the scheduler's turns: what could run at one moment is run in one."""

    def __init__(self) -> None:
        self.number = 0

    def after_io_wait(self, timeout: float) -> None:
        self.number += 1


class Ask(Request[int], frozen=True):
    later: bool = False


class Crash(msgspec.Struct, frozen=True):
    pass


class Receiver(Actor[Ask | Crash]):
    """Answers nothing ever; hangs where the phase wants it."""

    def __init__(self, phase, fall) -> None:
        self.phase = phase
        self.fall = fall

    async def on_start(self) -> None:
        self.context.spawn(self._crash_when_told)
        if self.phase == "start":
            await trio.sleep_forever()

    async def _crash_when_told(self) -> None:
        await self.fall.wait()
        raise ValueError("told to")

    async def handle(self, message):
        if isinstance(message, Crash):
            raise ValueError("told to")  # noqa: TRY004 - not about its type
        if message.later:
            self.context.defer()
            return
        await trio.sleep_forever()

    async def on_stop(self, reason) -> None:
        if self.phase == "stopping":
            await trio.sleep_forever()


async def scenario(phase: str, death: str, askers: int, turns: Turns) -> None:
    ended: list[tuple[str, int, float]] = []
    died: list[tuple[int, float]] = []
    fall = trio.Event()

    async def ask(ref: ActorRef, *, later: bool) -> None:
        try:
            await ref.ask(Ask(later), deadline=NEVER)
            ended.append(("reply", turns.number, trio.current_time()))
        except ActorError as error:
            ended.append((type(error).__name__, turns.number, trio.current_time()))

    def look(record) -> None:
        if record.actor == "house/receiver" and isinstance(record.event, events.ActorStopped):
            died.append((turns.number, trio.current_time()))

    async with trio.open_nursery() as nursery:
        async with open_system(shutdown_deadline=3) as system:
            system.events.subscribe(look)
            policy = RestartPolicy(backoff=Backoff(first=1000, maximum=1000, jitter=0))
            house = await system.start_supervisor("house", SupervisorSpec(restarts=policy))
            restart = Restart.PERMANENT if phase == "waiting to restart" else Restart.TEMPORARY
            nursery.start_soon(
                _quietly,
                house.start_actor,
                ChildSpec(
                    name="receiver",
                    start=lambda: Receiver(phase, fall),
                    restart=restart,
                    shutdown=2,
                    mailbox=MailboxPolicy(capacity=1 if phase == "waiting for room" else 100),
                ),
            )
            await wait_all_tasks_blocked()
            ref = house.child("receiver")
            if phase == "waiting to restart":
                ref.tell_nowait(Crash())
                await wait_all_tasks_blocked()
                assert house.children()[0].state is State.WAITING
            if phase in {"queued", "waiting for room"}:
                ref.tell_nowait(Ask())
                await wait_all_tasks_blocked()
            for _ in range(askers):
                if phase not in {"stopping", "gone"}:
                    nursery.start_soon(lambda: ask(ref, later=phase == "deferred"))
            await wait_all_tasks_blocked()
            if phase == "stopping":
                # Deferred before the stop, still open during it; and one that comes too late.
                for _ in range(askers):
                    nursery.start_soon(lambda: ask(ref, later=True))
                await wait_all_tasks_blocked()
                nursery.start_soon(ref.stop)
                await wait_all_tasks_blocked()
                before = len(ended)
                await ask(ref, later=False)
                assert ended[before:] == [("ActorStopped", turns.number, trio.current_time())]
                ended.clear()
            if phase == "gone":
                await ref.kill()
                before = turns.number
                for _ in range(askers):
                    await ask(ref, later=False)
                assert {turn for _, turn, _ in ended} == {before}
                died[:] = [(before, trio.current_time())]
            assert len(ended) == (askers if phase == "gone" else 0)
            match death:
                case "stop":
                    await ref.stop()
                case "kill":
                    await ref.kill()
                case "drain cut short":
                    with trio.move_on_after(1):
                        await ref.drain()
                    await ref.kill()
                case "crash":
                    fall.set()
                    with trio.move_on_after(1):
                        await ref.wait()
                    # Where there is no life to crash, somebody has to end the wait for the next one.
                    await ref.kill()
                case "supervisor stops":
                    await house.stop()
                case "supervisor is killed":
                    await house.kill()
        await wait_all_tasks_blocked()
        assert len(ended) == askers
        (turn, time) = died[0]
        for kind, at_turn, at in ended:
            assert kind in {"ActorStopped", "ActorCrashed"}
            assert at_turn <= turn + 1, f"{at_turn - turn} turns later"
            assert at <= time


async def _quietly(function, *args) -> None:
    try:
        await function(*args)
    except ActorError:
        return


@pytest.mark.parametrize(("phase", "death"), list(itertools.product(PHASES, DEATHS)), ids=str)
def test_an_ask_ends_at_most_one_turn_after_its_receiver(phase, death):
    """Eight phases, seven deaths, one asker and several: nobody waits for the deadline, virtual time does not pass."""
    for askers in (1, 5):
        turns = Turns()
        trio.run(scenario, phase, death, askers, turns, clock=MockClock(autojump_threshold=0), instruments=[turns])
