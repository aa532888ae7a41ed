"""P09 for whole episodes: what goes wrong in some of them is not to be seen in the others' events, records and results."""

from __future__ import annotations

import signal
from collections import defaultdict
from pathlib import Path

import msgspec
import trio

from coworld_actors.actors import events, open_system
from coworld_actors.episode.conductor import run_episode
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.testing import (
    EventLog,
    FakeDriver,
    FakeRole,
    exits,
    hangs,
    killed_by,
    lost,
    out_of_memory,
    refuses_to_start,
)
from tests.counting import counting_game, counting_player, counting_spec

EPISODES = 10
BAD: dict[int, dict[str, FakeRole]] = {
    1: {"game": killed_by(signal.SIGSEGV, after=0.3)},
    3: {"player-0": exits(9, after=0.05), "player-1": out_of_memory(after=0.05)},
    4: {"game": lost(after=0.1)},
    6: {"game": refuses_to_start()},
    8: {"player-1": hangs()},
}


async def play_all(directory: Path, bad: dict[int, dict[str, FakeRole]]) -> tuple[EventLog, dict[int, EpisodeRecord]]:
    """All episodes at once in one system, each on a driver of its own."""
    records: dict[int, EpisodeRecord] = {}
    async with open_system() as system:
        log = EventLog(system.events)

        async def play(number: int) -> None:
            roles = {"game": counting_game(directory / f"pages-{number}"), "player": counting_player(number)}
            driver = FakeDriver({**roles, **bad.get(number, {})})
            spec = counting_spec(directory, episode=f"e-{number}", player_connect_timeout_seconds=1)
            records[number] = await run_episode(system, driver, spec)

        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                for number in range(EPISODES):
                    nursery.start_soon(play, number)
    return log, records


def trace(log: EventLog, scope: str, directory: Path) -> dict[str, list[bytes]]:
    """Each actor's events, in its order, without what no two runs of real sockets share.

    That is: times, the place on the disk, how often a game was asked for its health before it was up, and whether the last
    message to the referee, which says that all is over, still finds it there.
    """
    told: dict[str, list[bytes]] = defaultdict(list)
    for record in log.records:
        event = record.event
        if record.scope != scope or (isinstance(event, events.DeadLetter) and event.message == "Aborted"):
            continue
        if isinstance(event, events.ActorStopped):
            event = msgspec.structs.replace(event, handled=0)
        text = msgspec.json.encode(event).replace(str(directory).encode(), b"DIR")
        told[record.actor].append(b"%d %b" % (record.incarnation, text))
    return told


async def test_bad_episodes_change_nothing_in_good_ones(tmp_path):
    """Ten at once, five of them with a dying, lost or refused game or with bad players: the other five are byte-equal."""
    sound_place, faulty_place = tmp_path / "sound", tmp_path / "faulty"
    for place in (sound_place, faulty_place):
        place.mkdir()
    sound, records = await play_all(sound_place, {})
    faulty, spoilt = await play_all(faulty_place, BAD)
    assert all(record.verdict.good for record in records.values())
    for number in range(EPISODES):
        scope = f"e-{number}"
        traces = trace(sound, scope, sound_place), trace(faulty, scope, faulty_place)
        if number in BAD:
            assert traces[0] != traces[1]
            continue
        assert traces[0] == traces[1]
        assert spoilt[number].verdict == records[number].verdict
        assert spoilt[number].seats == records[number].seats
    assert not any(spoilt[number].verdict.good for number in (1, 4, 6))
