"""An ask always ends: reply, error, deadline, or the receiver's death."""

from __future__ import annotations

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from coworld_actors.actors import (
    Actor,
    ActorCrashed,
    ActorError,
    ActorRef,
    ActorStopped,
    AskTimeout,
    ChildSpec,
    Deferred,
    MailboxFull,
    MailboxPolicy,
    NoReply,
    Overflow,
    Request,
    Restart,
    UnknownMessage,
    WouldDeadlock,
    open_system,
)


class Echo(Request[int], frozen=True):
    value: int
    takes: float = 0.0


class Forget(Request[int], frozen=True):
    pass


class Later(Request[str], frozen=True):
    pass


class Fail(Request[int], frozen=True):
    pass


class Crash(msgspec.Struct, frozen=True):
    pass


class Unknown(Request[int], frozen=True):
    pass


class Settle(msgspec.Struct, frozen=True):
    answer: str | None


class AskYourself(Request[int], frozen=True):
    background: bool = False


class Server(Actor[Echo | Forget | Later | Fail | Crash | Settle | AskYourself]):
    def __init__(self) -> None:
        self.deferred: list[Deferred[str]] = []

    async def handle(self, message):
        match message:
            case Echo():
                if message.takes:
                    await trio.sleep(message.takes)
                return message.value
            case Forget():
                return None
            case Later():
                self.deferred.append(self.context.defer())
            case Settle(answer=None):
                for deferred in self.deferred:
                    deferred.fail(KeyError("no answer"))
            case Settle():
                return [deferred.reply(message.answer) for deferred in self.deferred]
            case Fail() | Crash():
                raise ValueError("told to")
            case AskYourself():
                own = self.context.ref
                if not message.background:
                    return await own.ask(Echo(1), deadline=1)
                deferred = self.context.defer()

                async def ask() -> None:
                    deferred.reply(await own.ask(Echo(5), deadline=1))

                self.context.spawn(ask)
        return None


async def start(system, **kwargs):
    return await system.start_actor(ChildSpec(name="server", start=Server, **kwargs))


async def test_a_reply_is_what_handle_returns():
    """Also if it took a while."""
    async with open_system() as system:
        ref = await start(system)
        assert await ref.ask(Echo(3), deadline=1) == 3
        assert await ref.ask(Echo(0, takes=0.001), deadline=5) == 0


async def test_returning_none_fails_the_ask():
    """A forgotten reply is told at once, not by the deadline; the receiver lives on."""
    async with open_system() as system:
        ref = await start(system)
        with pytest.raises(NoReply, match="handled Forget and returned None"):
            await ref.ask(Forget(), deadline=1000)
        assert ref.alive


async def test_a_deadline_covers_queue_and_handling(autojump_clock):
    """It is seconds from the call."""
    async with open_system() as system:
        ref = await start(system)
        with pytest.raises(AskTimeout, match=r"did not reply to Echo within 2\.5 s"):
            await ref.ask(Echo(1, takes=9), deadline=2.5)
        assert trio.current_time() == 2.5


async def test_a_deadline_covers_the_wait_for_room(autojump_clock):
    """The request leaves the line."""
    async with open_system() as system:
        ref = await start(system, mailbox=MailboxPolicy(capacity=1))
        ref.tell_nowait(Echo(1, takes=9))
        await trio.testing.wait_all_tasks_blocked()
        ref.tell_nowait(Echo(2))
        with pytest.raises(AskTimeout):
            await ref.ask(Echo(3), deadline=1)
        assert ref.statistics().waiting == 0


async def test_a_crash_over_the_request_is_chained():
    """`ActorCrashed.__cause__` is what the handler raised."""
    async with open_system() as system:
        ref = await start(system)
        with pytest.raises(ActorCrashed, match="crashed before it replied: ValueError") as caught:
            await ref.ask(Fail(), deadline=1)
        assert isinstance(caught.value.__cause__, ValueError)


async def test_a_deferred_reply_comes_later():
    """In between the actor handles other messages; the second reply finds nobody."""
    async with open_system() as system:
        ref = await start(system)
        answers = []

        async def ask() -> None:
            answers.append(await ref.ask(Later(), deadline=1000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert await ref.ask(Echo(1), deadline=1) == 1
            ref.tell_nowait(Settle("now"))
        ref.tell_nowait(Settle("again"))
        assert answers == ["now"]


async def test_a_deferred_failure_is_raised_where_it_was_asked():
    """As it is."""
    async with open_system() as system:
        ref = await start(system)

        async def ask() -> None:
            with pytest.raises(KeyError, match="no answer"):
                await ref.ask(Later(), deadline=1000)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            ref.tell_nowait(Settle(None))


@pytest.mark.parametrize(("end", "error"), [("crash", ActorCrashed), ("stop", ActorStopped), ("kill", ActorStopped)])
async def test_a_deferred_request_dies_with_its_incarnation(end, error, autojump_clock):
    """At once, not at its deadline."""
    async with open_system() as system:
        ref = await start(system)

        async def ask() -> None:
            with pytest.raises(error):
                await ref.ask(Later(), deadline=1000)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            if end == "crash":
                ref.tell_nowait(Crash())
            else:
                await getattr(ref, end)()
        assert trio.current_time() == 0


async def test_a_told_request_can_be_deferred_too():
    """Its reply goes nowhere, and says so."""
    async with open_system() as system:
        ref = await start(system)
        ref.tell_nowait(Later())
        await trio.testing.wait_all_tasks_blocked()
        ref.tell_nowait(Settle("x"))
        await trio.testing.wait_all_tasks_blocked()
        assert ref.statistics().handled == 2


async def test_asking_oneself_is_refused():
    """From the actor's own task; a background task of it may."""
    async with open_system() as system:
        ref = await start(system)
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(AskYourself(), deadline=1)
        assert isinstance(caught.value.__cause__, WouldDeadlock)
        assert await ref.ask(AskYourself(background=True), deadline=1) == 5


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.REFUSE])
async def test_a_dropped_or_refused_request_fails_at_once(overflow, autojump_clock):
    """With `MailboxFull`, which carries the request."""
    async with open_system() as system:
        ref = await start(system, mailbox=MailboxPolicy(capacity=1, overflow=overflow))
        ref.tell_nowait(Echo(0, takes=5))
        await trio.testing.wait_all_tasks_blocked()
        errors = []

        async def ask(number: int) -> None:
            try:
                await ref.ask(Echo(number), deadline=1000)
            except MailboxFull as error:
                errors.append((error.message.value, trio.current_time()))

        async with trio.open_nursery() as nursery:
            for number in (1, 2):
                nursery.start_soon(ask, number)
                await trio.testing.wait_all_tasks_blocked()
        assert errors == [(1 if overflow is Overflow.DROP_OLDEST else 2, 0.0)]


async def test_asking_the_dead_fails_at_once():
    """With the reason of the death."""
    async with open_system() as system:
        ref = await start(system)
        await ref.stop()
        with pytest.raises(ActorStopped, match="has ended: shutdown"):
            await ref.ask(Echo(1), deadline=1000)


async def test_every_refusal_and_failure_says_what_to_do_next(autojump_clock):
    """Unknown types, replies never sent, asks to the dead, full mailboxes, restarts without end."""
    found: dict[str, str] = {}

    async def expect(error: type[ActorError], ref, request) -> None:
        with pytest.raises(error) as caught:
            await ref.ask(request, deadline=1.0)
        found[error.__name__] = caught.value.todo

    async with open_system() as system:
        ref = await start(system)
        await expect(UnknownMessage, ref, Unknown())
        await expect(NoReply, ref, Forget())
        await expect(AskTimeout, ref, Echo(1, takes=5))
        await trio.sleep(10)
        await expect(ActorCrashed, ref, Fail())
        await ref.stop()
        await expect(ActorStopped, ref, Echo(1))

        full = await system.start_actor(ChildSpec(name="full", start=Server, mailbox=MailboxPolicy(capacity=1)))
        full.tell_nowait(Echo(1, takes=5))
        await trio.testing.wait_all_tasks_blocked()
        full.tell_nowait(Echo(2))
        with pytest.raises(MailboxFull) as caught:
            full.tell_nowait(Echo(3))
        found["MailboxFull"] = caught.value.todo

        falls = await system.start_actor(ChildSpec(name="falls", start=Server))
        for _ in range(4):
            falls.tell_nowait(Crash())
        await falls.wait()
        with pytest.raises(ActorStopped, match="falls has ended: restart_limit"):
            await falls.ask(Echo(1), deadline=1)
    assert set(found) == {"UnknownMessage", "NoReply", "AskTimeout", "ActorCrashed", "ActorStopped", "MailboxFull"}
    assert all(found.values()), found


phases = st.sampled_from(["queued", "in hand", "deferred", "waiting for room"])
deaths = st.sampled_from(["stop", "kill", "crash", "supervisor", "leave"])


@settings(max_examples=100, deadline=None)
@given(phases, deaths, st.integers(0, 3))
def test_every_ask_ends_with_its_receiver(phase, death, others):
    """P04: in whatever phase the receiver dies, every asker knows within a turn; virtual time does not move."""
    ended: list[tuple[str, float]] = []

    async def ask(ref: ActorRef, request: Request) -> None:
        try:
            await ref.ask(request, deadline=1e6)
            ended.append(("reply", trio.current_time()))
        except ActorError as error:
            ended.append((type(error).__name__, trio.current_time()))

    class Stuck(Actor[Echo | Later | Crash]):
        async def handle(self, message):
            if isinstance(message, Later):
                self.context.defer()
                return
            gate = trio.Event()
            if death == "crash":
                self.context.spawn(self.fall)
            await gate.wait()

        async def fall(self) -> None:
            await trio.testing.wait_all_tasks_blocked()
            raise ValueError("told to")

    asks = 1 + others

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            async with open_system() as system:
                house = await system.start_supervisor("house")
                ref = await house.start_actor(
                    ChildSpec(
                        name="stuck",
                        start=Stuck,
                        restart=Restart.TEMPORARY,
                        shutdown=0,
                        mailbox=MailboxPolicy(capacity=1 if phase == "waiting for room" else 10),
                    )
                )
                first = Later() if phase == "deferred" else Echo(1)
                if phase in {"queued", "waiting for room"}:
                    ref.tell_nowait(Echo(0))
                for _ in range(asks):
                    nursery.start_soon(ask, ref, first)
                if death != "crash":
                    await trio.testing.wait_all_tasks_blocked()
                elif phase == "deferred":
                    await trio.testing.wait_all_tasks_blocked()
                    ref.tell_nowait(Echo(0))
                match death:
                    case "stop":
                        await ref.stop()
                    case "kill":
                        await ref.kill()
                    case "supervisor":
                        await house.stop()
                    case "crash":
                        await ref.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert len(ended) == asks

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert {at for _, at in ended} == {0.0}
    assert {kind for kind, _ in ended} <= {"ActorStopped", "ActorCrashed"}
