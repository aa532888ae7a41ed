"""People find the game, sit down and play; what is not there is said, and their tokens are written nowhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from websockets.sync.client import connect

from coworld_actors.actors import Record, open_system
from coworld_actors.episode.conductor import run_episode
from coworld_actors.episode.pages import Pages, pages_at
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import EpisodeSpec, Limits
from coworld_actors.episode.verdict import EndReason, SeatEnd
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from coworld_drivers.driver import Address
from coworld_drivers.images import load_images
from coworld_drivers.inproc import InprocDriver
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import PreconditionMissing

LIMITS = Limits(timeout=60, startup=30, first_frame=1, player_grace=10)
ORCHARD = Path(__file__).parents[2] / "examples/orchard"


def with_people(spec: EpisodeSpec, tmp_path: Path, *people: int, **changes: Any) -> EpisodeSpec:
    plan = build_plan(load_manifest(tmp_path / "coworld"), people=people)
    return msgspec.structs.replace(spec, plan=plan, limits=LIMITS, **changes)


async def host(
    spec: EpisodeSpec, tmp_path: Path, person: Callable[[Pages], object] = lambda _: None
) -> tuple[EpisodeRecord, list[Pages | None], list[Record]]:
    """Play it; `person` is called in a thread with the pages."""
    told: list[Pages | None] = []
    events: list[Record] = []
    with trio.fail_after(120):
        async with (
            ProcessDriver(load_images(tmp_path / "coworld", {})) as driver,
            open_system("test") as system,
            trio.open_nursery() as nursery,
        ):
            system.events.subscribe(events.append)

            def tell(pages: Pages | None) -> None:
                told.append(pages)
                if pages is not None:
                    nursery.start_soon(trio.to_thread.run_sync, person, pages)

            record = await run_episode(system, driver, spec, on_pages=tell)
    return record, told, events


def play_by_hand(pages: Pages) -> None:
    """Say a number whenever the game asks, to its end."""
    with connect(pages.sockets[0], proxy=None) as socket:
        for message in socket:
            if "final" in message:
                return
            socket.send("2")


@pytest.mark.parametrize("probe", [True, False])
async def test_a_person_plays_a_seat_that_nobody_is_started_for(spec_of, tmp_path: Path, probe: bool) -> None:
    """The game waits for the person with its first frame, longer than it may for players; the score counts, nobody is blamed."""

    def late(pages: Pages) -> None:
        import time

        # Longer than the first frame may take.
        time.sleep(1.5)
        play_by_hand(pages)

    spec = with_people(
        spec_of("waits_for_players", config={"player_connect_timeout_seconds": 60}), tmp_path, 0, probe=probe
    )
    record, told, events = await host(spec, tmp_path, late)
    assert record.verdict.good, record.verdict
    mine, other = record.seats
    assert (mine.player, mine.name, mine.end, mine.fault, mine.log) == ("person", "person", SeatEnd.PERSON, False, "")
    assert mine.score
    assert other.end is SeatEnd.FINISHED
    assert {actor.name for actor in record.actors} == {"game", "player-1"}
    (pages,) = told
    assert pages is not None
    assert list(pages.players) == [0]
    token = pages.players[0].rpartition("token=")[2]
    assert len(token) == 22
    written = b"".join(
        path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file() and path.name != "config.json"
    )
    assert token.encode() not in written
    assert token.encode() not in b"".join(map(msgspec.json.encode, events))
    assert token not in repr(pages)


async def test_a_person_who_never_comes_is_no_fault_of_anybody(spec_of, tmp_path: Path) -> None:
    """The game begins without, as it may, and the episode counts."""
    spec = with_people(spec_of(config={"player_connect_timeout_seconds": 1}), tmp_path, 0, 1)
    record, _, _ = await host(spec, tmp_path)
    assert record.verdict.good, record.verdict
    assert [seat.end for seat in record.seats] == [SeatEnd.PERSON] * 2
    assert record.verdict.failed_seats == ()


@pytest.mark.parametrize(
    ("behaviour", "missing"),
    [
        ("no_player_page", ("the game does not serve /client/player: HTTP status 404",)),
        ("accepts_bad_token", ()),
        ("greets_bad_token", ()),
        ("no_global", ()),
        ("silent_global", ()),
        ("global_page_redirects", ()),
    ],
)
async def test_a_game_that_is_not_probed_is_played_as_it_is(
    spec_of, tmp_path: Path, behaviour: str, missing: tuple[str, ...]
) -> None:
    """What would end an episode for the record is said where it concerns a person, and does not keep anybody from playing."""
    spec = with_people(spec_of(behaviour), tmp_path, 0, probe=False)
    record, told, _ = await host(spec, tmp_path, play_by_hand)
    assert record.verdict.good, record.verdict
    assert [pages.missing for pages in told if pages is not None] == [missing]


async def test_where_nobody_plays_the_viewers_page_is_told_all_the_same(spec_of, tmp_path: Path) -> None:
    """Without any seat, and without a question that the checks have not asked already."""
    _, told, _ = await host(spec_of(), tmp_path)
    assert len(told) == 1
    assert told[0] is not None
    assert told[0].players == told[0].sockets == {}
    assert told[0].viewer.endswith("/client/global")
    assert told[0].admin is None


async def test_an_episode_that_is_never_served_has_no_pages(spec_of, tmp_path: Path) -> None:
    """Nobody is told of a game that did not get so far."""
    record, told, _ = await host(with_people(spec_of("exits_at_once"), tmp_path, 0), tmp_path)
    assert record.verdict.reason is EndReason.GAME_START_FAILED
    assert told == []
    assert [seat.end for seat in record.seats] == [SeatEnd.PERSON, SeatEnd.NOT_STARTED]


async def test_nobody_can_sit_down_at_a_game_without_a_port(tmp_path: Path) -> None:
    """Said before anything is written; where only players play there are simply no pages."""
    loaded = load_manifest(ORCHARD)
    told: list[Pages | None] = []
    async with InprocDriver(load_images(ORCHARD, {})) as driver, open_system("test") as system:
        spec = EpisodeSpec(plan=build_plan(loaded, people={0}), directory=tmp_path / "run")
        with pytest.raises(PreconditionMissing, match="no port for a browser"):
            await run_episode(system, driver, spec)
        assert not (tmp_path / "run").exists()
        short = build_plan(loaded, players=["greedy"], overrides=["max_ticks=2"])
        await run_episode(
            system, driver, EpisodeSpec(plan=short, directory=tmp_path / "run", reports=False), on_pages=told.append
        )
    assert told == [None]


def test_the_addresses_are_the_contracts() -> None:
    """Slot and token behind the page, percent-encoded; the socket's is the page's without /client."""
    pages = pages_at(Address(host="127.0.0.1", port=8080), ["a", "b&c"], {1})
    assert pages.players == {1: "http://127.0.0.1:8080/client/player?slot=1&token=b%26c"}
    assert pages.sockets == {1: "ws://127.0.0.1:8080/player?slot=1&token=b%26c"}
    assert pages.viewer == "http://127.0.0.1:8080/client/global"
