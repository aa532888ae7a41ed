"""The tap in whole episodes: games and players that know nothing of it, and what only it can prove."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from coworld_actors.actors import ActorSystem, ChildSpec, Record, Restart, SupervisorRef, open_system
from coworld_actors.episode.chaos import parse_chaos
from coworld_actors.episode.conductor import run_episode
from coworld_actors.episode.events import ChaosInjected, SeatJoined
from coworld_actors.episode.findings import Facts
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.referee import Findings, Referee
from coworld_actors.episode.spec import EpisodeSpec, TapSpec
from coworld_actors.episode.tap import Doors, Tap
from coworld_actors.episode.tap_log import TapLog
from coworld_actors.episode.verdict import EndReason, SeatEnd
from coworld_actors.testing import FakeDriver, hangs
from coworld_actors.traffic.budget import parse_budget
from coworld_actors.traffic.report import Judgement
from coworld_drivers.driver import Address, Doorway
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import PreconditionMissing, Refused
from tests.strangers import accepts, silent

LOOPBACK = Doorway(bind="127.0.0.1", host="127.0.0.1")


@pytest.fixture
def play_tapped(tmp_path: Path, spec_of):
    """Plays one episode of the scripted Coworld with a tap."""

    async def run(
        behaviour: str = "plays",
        players: tuple[str, ...] = ("plays", "plays"),
        *,
        tap: TapSpec = TapSpec(),
        events: list[Record] | None = None,
        interrupt: Interrupt | None = None,
        **more: Any,
    ) -> EpisodeRecord:
        spec = msgspec.structs.replace(spec_of(behaviour, players, **more), tap=tap)
        with trio.fail_after(120):
            async with ProcessDriver(load_images(tmp_path / "coworld", {})) as driver, open_system("test") as system:
                if events is not None:
                    system.events.subscribe(events.append)
                return await run_episode(system, driver, spec, interrupt=interrupt)

    return run


async def test_an_episode_through_the_tap_is_the_same_episode(play_tapped, tmp_path: Path) -> None:
    """Verdict, scores and logs are those of a direct one; the players' URL is of the tap; the report has every message."""
    events: list[Record] = []
    record = await play_tapped(events=events, config={"ticks": 40})
    assert record.verdict.reason is EndReason.COMPLETED
    assert [(seat.end, seat.connected) for seat in record.seats] == [(SeatEnd.FINISHED, True)] * 2
    assert sorted(r.event.slot for r in events if isinstance(r.event, SeatJoined)) == [0, 1]
    assert record.tap is not None
    for seat in record.tap.seats:
        assert seat.connects == 1
        assert seat.to_game.messages == 40
        assert seat.to_player.messages >= 40
        assert seat.answers.count > 0
    assert record.tap.own is not None
    assert record.tap.own.cost.count > 80
    assert record.tap.own.lag.count > 0
    document = json.loads((tmp_path / "run/tap.json").read_text())
    assert document["report"] == json.loads((tmp_path / "run/episode.json").read_text())["tap"]
    assert (document["refused"], document["faults"]) == ([0, 0], [])
    names = {r.actor.rpartition("/")[2] for r in events}
    assert "tap" in names
    assert "usher" not in names


async def test_without_a_tap_there_is_none(play, tmp_path: Path) -> None:
    """No actor, no report, no file."""
    events: list[Record] = []
    record = await play(events=events)
    assert record.tap is None
    assert not (tmp_path / "run/tap.json").exists()
    assert "tap" not in {r.actor.rpartition("/")[2] for r in events}


async def test_a_player_that_never_connected_is_found_out(play_tapped) -> None:
    """It left with 0, which looks like leaving early; the tap has seen every connection, and there was none."""
    record = await play_tapped(players=("plays", "stays_away"), config={"player_connect_timeout_seconds": 1})
    ends = {seat.slot: (seat.end, seat.fault, seat.connected) for seat in record.seats}
    assert ends[1] == (SeatEnd.NEVER_CONNECTED, True, False)
    assert ends[0][2] is True


async def test_a_player_that_left_early_is_not_accused(play_tapped) -> None:
    """It had connected."""
    record = await play_tapped(players=("plays", "leaves_early"))
    assert (record.seats[1].end, record.seats[1].connected) == (SeatEnd.LEFT_EARLY, True)


async def test_drops_on_purpose_are_told_and_recorded(play_tapped, tmp_path: Path) -> None:
    """As events and in the document, with the seed that repeats them; the same seed does the same to the same seat."""
    chaos = parse_chaos("drop=0.2 seed=3 seats=1")
    told: list[list[tuple[object, ...]]] = []
    for _ in range(2):
        events: list[Record] = []
        await play_tapped(tap=TapSpec(chaos=chaos), events=events, config={"ticks": 200})
        injected = [r.event for r in events if isinstance(r.event, ChaosInjected)]
        assert {event.slot for event in injected} == {1}
        document = json.loads((tmp_path / "run/tap.json").read_text())
        assert document["report"]["chaos"] == "drop=0.2 seed=3 seats=1"
        assert document["fault_count"] == len(document["faults"]) == len(injected)
        told.append([(e.connection, e.direction, e.fault, e.frame) for e in injected])
        (tmp_path / "run").rename(tmp_path / f"run-{len(told)}")
    assert told[0] == told[1]


async def test_delay_on_purpose_slows_an_episode_and_breaks_nothing(play_tapped) -> None:
    """Every tick has to cross the line twice."""
    record = await play_tapped(tap=TapSpec(chaos=parse_chaos("delay=5ms")), config={"ticks": 20})
    assert record.verdict.good
    assert record.seconds > 20 * 0.01


async def test_a_budget_is_judged_with_the_report(play_tapped) -> None:
    """Nobody answers within a microsecond; whether that counts depends on how late we were ourselves, so it never passes."""
    record = await play_tapped(tap=TapSpec(budget=parse_budget("1us:0")))
    assert record.verdict.good
    assert record.tap is not None
    assert record.tap.budget is not None
    assert record.tap.budget.judgement in {Judgement.FAILED, Judgement.REFUSED}


async def test_a_recording_is_made_and_never_over_another_file(play_tapped, tmp_path: Path) -> None:
    """What is there is kept, and nothing is started."""
    record = await play_tapped(tap=TapSpec(recording=tmp_path / "traffic"))
    assert record.tap is not None
    assert record.tap.recording == str(tmp_path / "traffic")
    before = (tmp_path / "traffic").read_bytes()
    assert len(before) > 100
    (tmp_path / "run").rename(tmp_path / "first")
    events: list[Record] = []
    with pytest.raises(PreconditionMissing):
        await play_tapped(tap=TapSpec(recording=tmp_path / "traffic"), events=events)
    assert (tmp_path / "traffic").read_bytes() == before
    assert not any("game" in r.actor for r in events)


async def test_a_game_that_dies_takes_its_tap_along(play_tapped) -> None:
    """The verdict is the game's crash; players notice through the tap and leave."""
    record = await play_tapped("crashes_mid")
    assert record.verdict.reason is EndReason.GAME_CRASHED
    assert record.tap is not None
    assert {close.by for seat in record.tap.seats for close in seat.closes} <= {"game", "player"}


async def test_called_off_in_the_middle_everything_is_closed(play_tapped, tmp_path: Path) -> None:
    """The report is written all the same."""
    interrupt = Interrupt()
    log = tmp_path / "run/logs/policy_agent_0.log"

    async def call_off() -> None:
        while not (log.exists() and "connected" in log.read_text()):
            await trio.sleep(0.02)
        interrupt.throw("enough")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call_off)
        record = await play_tapped("endless", interrupt=interrupt)
    assert record.verdict.reason is EndReason.CANCELLED
    assert record.tap is not None
    assert record.tap.seats[0].connects == 1
    assert record.tap.seats[0].open == 0
    assert (tmp_path / "run/tap.json").exists()


async def test_where_roles_cannot_reach_us_a_tap_is_refused(spec_of, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started, with what to do."""
    from coworld_actors.testing.fake_driver import FakeSite

    monkeypatch.setattr(FakeSite, "doorway", None)
    driver = FakeDriver({"game": hangs(), "player": hangs()})
    spec = msgspec.structs.replace(spec_of(), tap=TapSpec())
    async with driver, open_system("test") as system:
        with pytest.raises(PreconditionMissing, match="fake driver cannot connect") as caught:
            await run_episode(system, driver, spec)
    assert "--tap" in caught.value.todo
    assert driver.steps == []


def test_chaos_for_a_seat_that_is_not_there_is_refused(spec_of) -> None:
    """With the seats there are."""
    with pytest.raises(Refused, match="no seat 2") as caught:
        msgspec.structs.replace(spec_of(), tap=TapSpec(chaos=parse_chaos("drop=1 seats=0,2"))).__post_init__()
    assert "0 to 1" in caught.value.todo


async def start_tap(house: SupervisorRef, spec: EpisodeSpec, game: Address, doorway: Doorway = LOOPBACK):
    """A tap and the referee that it reports to."""
    referee = await house.start_actor(ChildSpec(name="referee", start=lambda: Referee(2, 0), restart=Restart.TEMPORARY))
    log = TapLog(spec)
    tap = await house.start_actor(
        ChildSpec(name="tap", start=lambda: Tap(game, doorway, log, None, referee), restart=Restart.TEMPORARY)
    )
    return tap, referee, log


async def facts_when(referee, condition) -> Facts:
    with trio.fail_after(60):
        while True:
            facts = await referee.ask(Findings(), deadline=30)
            if condition(facts):
                return facts
            await trio.sleep(0.01)


async def test_a_seat_is_known_by_its_door(house: SupervisorRef, system: ActorSystem, spec_of, server) -> None:
    """Whatever comes in there is its player, told once, however often it comes."""
    events: list[Record] = []
    system.events.subscribe(events.append)
    tap, referee, log = await start_tap(house, spec_of(), await server(silent))
    doors = await tap.ask(Doors(), deadline=30)
    assert len({door.port for door in doors}) == 2
    for _ in range(3):
        async with await trio.open_tcp_stream(doors[1].host, doors[1].port) as stream:
            await stream.send_all(b"?slot=0")
            facts = await facts_when(referee, lambda facts: facts.connected)
    assert facts.tapped
    assert facts.connected == {1}
    assert [r.event.slot for r in events if isinstance(r.event, SeatJoined)] == [1]
    await tap.stop()
    with pytest.raises(OSError):
        await trio.open_tcp_stream(doors[0].host, doors[0].port)
    log.close()


async def test_a_name_is_resolved(house: SupervisorRef, spec_of, server) -> None:
    """A driver may know its game by one."""
    address = await server(accepts())
    tap, referee, _ = await start_tap(house, spec_of(), Address(host="localhost", port=address.port))
    doors = await tap.ask(Doors(), deadline=30)
    async with await trio.open_tcp_stream(doors[0].host, doors[0].port):
        await facts_when(referee, lambda facts: facts.connected == {0})


async def test_a_place_where_it_cannot_listen_is_the_machines_fault(house: SupervisorRef, spec_of) -> None:
    """Told in a sentence; nobody gets an address."""
    doorway = Doorway(bind="192.0.2.1", host="192.0.2.1")
    tap, referee, _ = await start_tap(house, spec_of(), Address(host="127.0.0.1", port=1), doorway)
    facts = await facts_when(referee, lambda facts: facts.fault)
    assert "the tap cannot listen for players: Cannot assign requested address" in facts.fault.message
    assert not facts.tapped
    with trio.move_on_after(0.1) as nobody:
        await tap.ask(Doors(), deadline=30)
    assert nobody.cancelled_caught


async def test_looks_at_its_own_loop(house: SupervisorRef, spec_of, server) -> None:
    """What blocks us is in the report as our own lag."""
    import time

    tap, _, log = await start_tap(house, spec_of(), await server(silent))
    door = (await tap.ask(Doors(), deadline=30))[0]
    await trio.sleep(0.05)
    assert log.lag.count == 0, "nobody was connected"
    async with await trio.open_tcp_stream(door.host, door.port):
        with trio.fail_after(60):
            while not log.lag.count:
                await trio.sleep(0.01)
            time.sleep(0.2)  # noqa: ASYNC251 - it is what has to be seen
            while log.lag.longest < 0.15:
                await trio.sleep(0.01)
    assert log.document().report.own.lag.max >= 0.15
