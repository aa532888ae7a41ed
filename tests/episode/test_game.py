"""A game's start when others are at its port: never a wrong verdict, and no stranger is taken for our game."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import pytest
import trio

from coworld_actors.actors import Record
from coworld_actors.episode import game as game_module
from coworld_actors.episode.events import GameRestarted
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import Limits
from coworld_actors.episode.verdict import Blame, EndReason
from coworld_drivers import ports
from coworld_drivers.driver import Launch
from coworld_drivers.handle import ProcessHandle
from coworld_drivers.lifeline import start_failed
from coworld_drivers.process import ProcessSite
from tests import strangers
from tests.strangers import Handler

Intrude = Callable[[Handler, int], None]


@pytest.fixture
def intrude(monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery) -> Intrude:
    """Has a stranger take the next ports between their choice and the start of the role that they were chosen for."""

    def prepare(handler: Handler, times: int) -> None:
        choose = ports.claim
        left = times

        def claim() -> int:
            nonlocal left
            port = choose()
            if left:
                left -= 1
                taken = socket.create_server((ports.HOST, port), backlog=64)
                taken.setblocking(False)
                listener = trio.SocketListener(trio.socket.from_stdlib_socket(taken))
                nursery.start_soon(serve, listener)
            return port

        async def serve(listener: trio.SocketListener) -> None:
            async def handle(stream: trio.SocketStream) -> None:
                async with stream:
                    try:
                        await handler(stream)
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        return

            await trio.serve_listeners(handle, [listener])

        monkeypatch.setattr(ports, "claim", claim)

    return prepare


def restarts(events: list[Record]) -> list[int]:
    return [record.event.attempt for record in events if isinstance(record.event, GameRestarted)]


@pytest.mark.parametrize("behaviour", ["plays", "waits_for_its_port"])
@pytest.mark.parametrize(
    "stranger",
    [strangers.status(200), strangers.status(404), strangers.silent, strangers.closes],
    ids=["healthy", "404", "silent", "closes"],
)
async def test_a_game_whose_port_was_taken_is_started_again_on_another(
    play, intrude: Intrude, stranger: Handler, behaviour: str
) -> None:
    """Whatever the stranger answers, and whether our game exits over it or waits: the episode is good, on another port."""
    intrude(stranger, 2)
    events: list[Record] = []
    record: EpisodeRecord = await play(behaviour, events=events)
    assert record.verdict.good, record.verdict
    assert restarts(events) == [1, 2]
    assert len({r.event.port for r in events if isinstance(r.event, GameRestarted)}) == 2


async def test_a_port_that_is_taken_every_time_is_the_machines_fault(play, intrude: Intrude) -> None:
    """After some attempts the verdict names the infrastructure, and nobody's game."""
    intrude(strangers.status(200), 100)
    events: list[Record] = []
    record: EpisodeRecord = await play(events=events)
    assert (record.verdict.reason, record.verdict.blame) == (EndReason.INFRASTRUCTURE, Blame.INFRASTRUCTURE)
    assert "port was taken" in record.verdict.message
    assert len(restarts(events)) == game_module.PORT_ATTEMPTS


async def test_a_game_that_fails_on_a_free_port_is_not_started_again(play) -> None:
    """Only a taken port is a reason to try another one."""
    events: list[Record] = []
    record: EpisodeRecord = await play("exits_at_once", events=events)
    assert record.verdict.reason is EndReason.GAME_START_FAILED
    assert restarts(events) == []


async def test_a_game_that_never_listens_is_said_not_to(play) -> None:
    """The evidence tells it from one that answers and is not healthy."""
    record: EpisodeRecord = await play("hangs_at_start", limits=Limits(timeout=30, startup=1))
    assert record.verdict.reason is EndReason.GAME_NEVER_HEALTHY
    assert record.verdict.evidence == "not healthy after 1 s; last answer: nobody listens on its port"


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int, bool], None]:
    """Makes the kernel refuse a role's process, or its log, with an error number."""

    def prepare(name: str, number: int, log: bool) -> None:
        spawn, start = ProcessSite._spawn, ProcessSite.start

        async def refusing(self: ProcessSite, launch: Launch, *rest: object) -> trio.Process:
            if launch.name == name and not log:
                error = OSError(number, "refused")
                raise start_failed(name, error) from error
            return await spawn(self, launch, *rest)  # type: ignore[arg-type]

        async def starting(self: ProcessSite, launch: Launch) -> ProcessHandle:
            if launch.name == name and log:
                launch.stdout.mkdir()
            return await start(self, launch)

        monkeypatch.setattr(ProcessSite, "_spawn", refusing)
        monkeypatch.setattr(ProcessSite, "start", starting)

    return prepare


@pytest.mark.parametrize(
    ("name", "number", "log"),
    [
        ("game", errno.EAGAIN, False),
        ("game", 0, True),
        ("player-1", errno.ENOMEM, False),
        ("player-1", 0, True),
    ],
)
async def test_what_the_machine_lacks_blames_no_role(play, refuse, name: str, number: int, log: bool) -> None:
    """No process to be had, or a log that cannot be opened: infrastructure, named with the role."""
    refuse(name, number, log)
    record: EpisodeRecord = await play(limits=Limits(timeout=30, startup=10, player_grace=2))
    assert record.verdict.reason is EndReason.INFRASTRUCTURE, record.verdict
    assert name in record.verdict.message
    assert record.verdict.failed_seats == ()


async def test_a_program_that_cannot_be_executed_is_its_owners_fault(play, refuse) -> None:
    """For a game the start has failed; for a player its seat, and the others play on."""
    refuse("player-1", errno.EACCES, False)
    record: EpisodeRecord = await play(config={"player_connect_timeout_seconds": 1})
    assert record.verdict.good, record.verdict
    assert record.verdict.failed_seats == (1,)
    assert record.seats[1].end == "start_failed"
