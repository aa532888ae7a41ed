"""The usher with real connections: it tells once of every seat that has come, and looks as long as one is missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

import trio

from coworld_actors.actors import ActorRef, ActorSystem, ChildSpec, Record, Restart, SupervisorRef
from coworld_actors.episode.events import SeatJoined
from coworld_actors.episode.findings import Facts
from coworld_actors.episode.probes import player_url
from coworld_actors.episode.referee import Findings, Referee, RefereeMessage
from coworld_actors.episode.usher import Usher
from coworld_actors.episode.workspace import Workspace
from coworld_drivers.driver import Address, Launch, Mount
from coworld_drivers.process import ProcessSite
from coworld_protocol import contract
from tests.coworlds import IMAGE
from tests.strangers import accepts


async def start_player(
    site: ProcessSite, workspace: Workspace, address: Address, slot: int, behaviour: str, *before: str
) -> None:
    await site.start(
        Launch(
            name=f"player-{slot}",
            role="player",
            image=IMAGE,
            run=(*before, "python", "scripted_player.py"),
            env={contract.ENV_PLAYER_WS_URL: player_url(address, slot, "t"), "BEHAVIOUR": behaviour},
            mounts=(Mount(path=workspace.player_directory(slot), at="/own", writable=True),),
            stdout=workspace.player_log(slot),
        )
    )


@contextmanager
def stranger(address: Address) -> Generator[Callable[[], object]]:
    """A process of no role that is connected to the game; yields what makes it leave."""
    hello = "GET / HTTP/1.1\\r\\nSec-WebSocket-Key: x\\r\\n\\r\\n"
    code = f"""import socket
connection = socket.create_connection(("{address.host}", {address.port}))
connection.sendall(b"{hello}")
print(flush=True)
input()"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield lambda: process.communicate(b"\n")
        finally:
            process.kill()


async def usher(
    house: SupervisorRef, site: ProcessSite, address: Address
) -> tuple[ActorRef[None], ActorRef[RefereeMessage]]:
    referee = await house.start_actor(ChildSpec(name="referee", start=lambda: Referee(2, 0), restart=Restart.TEMPORARY))
    seats = {"player-0": 0, "player-1": 1}
    return (
        await house.start_actor(
            ChildSpec(name="usher", start=lambda: Usher(site, address, seats, referee), restart=Restart.TEMPORARY)
        ),
        referee,
    )


async def facts_with(referee: ActorRef[RefereeMessage], seats: set[int], looked_after: float = 0.0) -> Facts:
    with trio.fail_after(60):
        while True:
            facts = await referee.ask(Findings(), deadline=30)
            if facts.connected >= seats and (facts.looked_at or 0) > looked_after:
                return facts
            await trio.sleep(0.02)


async def test_who_comes_is_seen_once_and_who_stays_away_is_looked_for(
    system: ActorSystem, house: SupervisorRef, site: ProcessSite, workspace: Workspace, server
) -> None:
    """The connected player is told of once; looking goes on for the other."""
    events: list[Record] = []
    system.events.subscribe(events.append)
    address = await server(accepts())
    _, referee = await usher(house, site, address)
    await start_player(site, workspace, address, 0, "plays")
    await start_player(site, workspace, address, 1, "never_connects")
    await facts_with(referee, {0})
    facts = await facts_with(referee, {0}, looked_after=trio.current_time())
    assert facts.connected == {0}
    assert [r.event.slot for r in events if isinstance(r.event, SeatJoined)] == [0]


async def test_when_all_have_come_nobody_looks_any_more(
    house: SupervisorRef, site: ProcessSite, workspace: Workspace, server
) -> None:
    """The usher stays, the looking ends: it costs something."""
    address = await server(accepts())
    ref, referee = await usher(house, site, address)
    for slot in (0, 1):
        await start_player(site, workspace, address, slot, "plays")
    last = (await facts_with(referee, {0, 1})).looked_at
    await trio.sleep(0.5)
    after = (await referee.ask(Findings(), deadline=30)).looked_at
    assert ref.alive
    # The look that saw the last one may have been noted after it was seen.
    assert last is not None
    assert after is not None
    await trio.sleep(0.5)
    assert (await referee.ask(Findings(), deadline=30)).looked_at == after


async def test_a_stranger_on_the_games_port_takes_no_seat(
    house: SupervisorRef, site: ProcessSite, workspace: Workspace, server
) -> None:
    """A connection that belongs to no role of the episode is nobody's."""
    address = await server(accepts())
    async with await trio.open_tcp_stream(address.host, address.port):
        _, referee = await usher(house, site, address)
        facts = await facts_with(referee, set(), looked_after=trio.current_time())
    assert facts.connected == set()


async def test_a_player_in_a_session_of_its_own_is_seen(
    house: SupervisorRef, site: ProcessSite, workspace: Workspace, server
) -> None:
    """Whatever a player starts to connect with is the player."""
    address = await server(accepts())
    _, referee = await usher(house, site, address)
    await start_player(site, workspace, address, 0, "plays", "setsid", "--wait")
    assert (await facts_with(referee, {0})).connected == {0}


async def test_nobody_is_told_absent_while_a_connection_has_no_owner(
    house: SupervisorRef, site: ProcessSite, workspace: Workspace, server
) -> None:
    """It may be any player's: who is seen is told, who is not is looked for only once it is gone."""
    address = await server(accepts())
    with stranger(address) as leave:
        _, referee = await usher(house, site, address)
        await start_player(site, workspace, address, 0, "plays")
        await start_player(site, workspace, address, 1, "never_connects")
        with trio.fail_after(60):
            while (facts := await referee.ask(Findings(), deadline=30)).connected != {0}:
                await trio.sleep(0.02)
        assert facts.looked_at is None
        assert not (await site.connected(address)).complete
        leave()
    facts = await facts_with(referee, {0}, looked_after=trio.current_time())
    assert facts.connected == {0}
