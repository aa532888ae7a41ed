"""Episodes in one process: the same tree, verdicts and files as with processes, for every way in which a role can end."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio

from coworld_actors.actors import Record, open_system
from coworld_actors.episode.conductor import run_episode
from coworld_actors.episode.events import PhaseEntered, SeatJoined
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.episode.launches import wanted
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import EpisodeSpec, Limits, TapSpec
from coworld_actors.episode.verdict import Blame, EndReason, SeatEnd
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from coworld_drivers.images import ImageMap, load_images
from coworld_drivers.inproc import InprocDriver
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import PreconditionMissing
from tests.memory_coworld import LIMITS, memory_images, memory_spec

ORCHARD = Path(__file__).parents[2] / "examples" / "orchard"
SHORT = Limits(timeout=8, startup=6, player_grace=1, support=30)


async def play_on(
    kind: type[InprocDriver | ProcessDriver],
    images: ImageMap,
    *specs: EpisodeSpec,
    events: list[Record] | None = None,
    interrupt: Interrupt | None = None,
) -> list[EpisodeRecord]:
    """Play episodes at once; their records in the order of the specs."""
    records: dict[str, EpisodeRecord] = {}
    with trio.fail_after(120):
        async with kind(images) as driver, open_system("test") as system:
            if events is not None:
                system.events.subscribe(events.append)
            await driver.check(wanted(specs[0]))

            async def one(spec: EpisodeSpec) -> None:
                records[spec.id] = await run_episode(system, driver, spec, interrupt=interrupt)

            if len(specs) == 1:
                await one(specs[0])
            else:
                async with trio.open_nursery() as nursery:
                    for spec in specs:
                        nursery.start_soon(one, spec)
    return [records[spec.id] for spec in specs]


async def play(directory: Path, *, events: list[Record] | None = None, **options: Any) -> EpisodeRecord:
    """One episode of the sum game in this process."""
    spec = memory_spec(directory, **options)
    (record,) = await play_on(InprocDriver, memory_images(directory), spec, events=events)
    return record


def open_files() -> list[str]:
    """What the descriptors of this process name."""
    return [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


def orchard(directory: Path, seed: int, config: Mapping[str, Any] | None = None) -> EpisodeSpec:
    """An episode of Orchard, all of whose lots are drawn from a seed."""
    loaded = load_manifest(ORCHARD / "coworld_manifest.json")
    overrides = [f"seed={seed}", *(f"{key}={json.dumps(value)}" for key, value in (config or {}).items())]
    plan = build_plan(loaded, variant="duel", players=["greedy", "random"], overrides=overrides)
    return EpisodeSpec(
        plan=plan,
        directory=directory,
        id=directory.name,
        limits=LIMITS,
        reports=False,
        role_env={"ORCHARD_PLAYER_SEED": str(seed)},
    )


async def test_an_episode_in_one_process_is_the_same_as_over_sockets(tmp_path: Path) -> None:
    """Same seeds, same scores, same replay byte for byte, same ends, phases, and names of files."""
    images = load_images(ORCHARD, {})
    (here,) = await play_on(InprocDriver, images, orchard(tmp_path / "here", 3))
    (there,) = await play_on(ProcessDriver, images, orchard(tmp_path / "there", 3))
    assert here.verdict == there.verdict
    assert here.verdict.good
    assert here.driver == "inproc"
    for ours, theirs in zip(here.seats, there.seats, strict=True):
        assert (ours.score, ours.end, ours.connected, ours.log) == (theirs.score, theirs.end, True, theirs.log)
    assert (tmp_path / "here/replay").read_bytes() == (tmp_path / "there/replay").read_bytes()
    assert (tmp_path / "here/results.json").read_bytes() == (tmp_path / "there/results.json").read_bytes()
    assert [phase.phase for phase in here.phases] == [phase.phase for phase in there.phases]
    assert {actor.name for actor in here.actors} == {actor.name for actor in there.actors}
    files = [
        {str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).rglob("*")} for name in ("here", "there")
    ]
    assert files[0] == files[1]
    assert (tmp_path / "here/logs/policy_agent_0.log").read_text() == (
        tmp_path / "there/logs/policy_agent_0.log"
    ).read_text()


async def test_many_at_once_are_the_same_as_one_after_the_other(tmp_path: Path) -> None:
    """Results depend on seeds and on nothing else."""
    images = load_images(ORCHARD, {})
    small = {"max_ticks": 40}
    at_once = await play_on(
        InprocDriver, images, *(orchard(tmp_path / f"many-{seed}", seed, small) for seed in range(12))
    )
    for seed in range(12):
        (alone,) = await play_on(InprocDriver, images, orchard(tmp_path / f"one-{seed}", seed, small))
        assert [seat.score for seat in at_once[seed].seats] == [seat.score for seat in alone.seats]
    assert len({tuple(seat.score for seat in record.seats) for record in at_once}) > 1


async def test_a_good_episode_leaves_everything_it_promises(tmp_path: Path) -> None:
    """Phases in order, arrivals told once, events on disk, logs of every role with what that role printed."""
    events: list[Record] = []
    record = await play(tmp_path, events=events)
    assert record.verdict.good, record.verdict
    assert [(seat.end, seat.connected, seat.score) for seat in record.seats] == [
        (SeatEnd.FINISHED, True, 3.0),
        (SeatEnd.FINISHED, True, 6.0),
    ]
    phases = [each.event.phase for each in events if isinstance(each.event, PhaseEntered)]
    assert phases == ["starting", "probing", "seating", "playing", "closing", "checking", "done"]
    assert sorted(each.event.slot for each in events if isinstance(each.event, SeatJoined)) == [0, 1]
    run = tmp_path / "e-1"
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    kinds = [line["event"]["type"] for line in lines]
    assert kinds.index("episode_started") < kinds.index("role_started") < kinds.index("episode_ended")
    assert [line["seq"] for line in lines] == sorted(line["seq"] for line in lines)
    assert (run / "logs/policy_agent_0.log").read_text() == "I am 1 in 0\n"
    assert (run / "logs/policy_agent_1.log").read_text() == "I am 2 in 1\n"
    assert "tick 3 of e-1" in (run / "logs/game.stdout.log").read_text()
    assert (run / "logs/game.stderr.log").read_text() == ""


@pytest.mark.parametrize(
    ("behaviour", "end", "evidence"),
    [
        ("crashes", SeatEnd.CRASHED, "exit code 1; last line: ValueError: cannot think"),
        ("exits", SeatEnd.CRASHED, "exit code 5"),
        ("exits with words", SeatEnd.CRASHED, "exit code 1; last line: no more ideas"),
        ("guesses", SeatEnd.CRASHED, "exit code 2"),
    ],
)
async def test_a_player_that_fails_is_a_bad_seat_of_a_good_episode(
    tmp_path: Path, behaviour: str, end: SeatEnd, evidence: str
) -> None:
    """Its failure is in its own log, and the others play on."""
    config = {"reconnect_grace_seconds": 0.1, "player_connect_timeout_seconds": 0.5}
    record = await play(tmp_path, players=[behaviour, "plays"], config=config)
    assert record.verdict.good, record.verdict
    assert record.verdict.failed_seats == (0,)
    assert record.seats[0].end is end
    assert evidence in record.seats[0].evidence
    assert record.seats[0].connected is (behaviour != "guesses")
    assert record.seats[1].end is SeatEnd.FINISHED
    log = (tmp_path / "e-1/logs/policy_agent_0.log").read_text()
    assert ("Traceback" in log) is (behaviour == "crashes")
    assert ("The game refused seat 0." in log) is (behaviour == "guesses")
    assert "Traceback" not in (tmp_path / "e-1/logs/policy_agent_1.log").read_text()


@pytest.mark.parametrize(
    ("behaviour", "reason", "evidence"),
    [
        ("crashes", EndReason.GAME_CRASHED, "exit code 1; last line: RuntimeError: a rule broke"),
        ("exits", EndReason.GAME_CRASHED, "exit code 7"),
        ("crashes at the start", EndReason.GAME_START_FAILED, "exit code 1; last line: RuntimeError: no such map"),
    ],
)
async def test_a_crash_of_the_rules_is_the_games_although_it_strikes_in_a_players_task(
    tmp_path: Path, behaviour: str, reason: EndReason, evidence: str
) -> None:
    """The players are cut off as over a socket, and nobody blames them."""
    record = await play(tmp_path, game=behaviour, limits=SHORT)
    assert record.verdict.reason is reason
    assert record.verdict.blame is Blame.GAME
    assert evidence in record.verdict.evidence
    assert not record.verdict.failed_seats
    assert ("Traceback" in (tmp_path / "e-1/logs/game.stderr.log").read_text()) is (behaviour != "exits")
    if reason is EndReason.GAME_CRASHED:
        assert "Traceback" not in (tmp_path / "e-1/logs/policy_agent_0.log").read_text()


async def test_a_player_that_never_connects_is_told_from_one_that_stays(tmp_path: Path) -> None:
    """Nobody has to look who is connected: the site sees every arrival."""
    config = {"player_connect_timeout_seconds": 3}
    record = await play(tmp_path, players=["never connects", "plays"], config=config, limits=SHORT)
    assert record.verdict.good, record.verdict
    assert [seat.end for seat in record.seats] == [SeatEnd.NEVER_CONNECTED, SeatEnd.FINISHED]
    assert [seat.connected for seat in record.seats] == [False, True]


async def test_a_player_that_ends_without_having_come_has_never_connected(tmp_path: Path) -> None:
    """Exit code 0 does not help it."""
    config = {"player_connect_timeout_seconds": 1.5}
    record = await play(tmp_path, players=["plays", "leaves before"], config=config)
    assert [seat.end for seat in record.seats] == [SeatEnd.FINISHED, SeatEnd.NEVER_CONNECTED]


async def test_a_player_that_stops_thinking_costs_its_moves_and_overstays(tmp_path: Path) -> None:
    """The tick's time runs out without it, and after the end it has the grace of all players."""
    record = await play(tmp_path, players=["sleeps", "plays"], config={"tick_timeout_seconds": 0.1}, limits=SHORT)
    assert record.verdict.good, record.verdict
    assert [seat.end for seat in record.seats] == [SeatEnd.OVERSTAYED, SeatEnd.FINISHED]
    assert record.seats[0].evidence.startswith("killed by SIGTERM")
    assert record.seats[0].score == 1.0


async def test_a_deadline_ends_a_game_that_waits(tmp_path: Path) -> None:
    """The game's last sign of life is the site's to tell."""
    limits = Limits(timeout=1.5, startup=1, player_grace=1)
    config = {"tick_timeout_seconds": 600}
    record = await play(tmp_path, players=["sleeps", "plays"], config=config, limits=limits)
    assert record.verdict.reason is EndReason.TIMED_OUT
    assert "its last frame is" in record.verdict.evidence


async def test_two_episodes_at_once_keep_their_variables_and_logs_apart(tmp_path: Path) -> None:
    """Every role reads its own environment and prints into its own log."""
    specs = [
        memory_spec(tmp_path, episode=name, numbers=numbers, config={"ticks": 50})
        for name, numbers in (("a", (1, 2)), ("b", (10, 20)))
    ]
    records = await play_on(InprocDriver, memory_images(tmp_path), *specs)
    assert [[seat.score for seat in record.seats] for record in records] == [[50, 100], [500, 1000]]
    for name, other, first in (("a", "b", "1"), ("b", "a", "10")):
        log = (tmp_path / name / "logs/game.stdout.log").read_text()
        assert log.count(f" of {name}\n") == 50
        assert f" of {other}\n" not in log
        assert (tmp_path / name / "logs/policy_agent_0.log").read_text() == f"I am {first} in 0\n"


async def test_one_crash_is_one_episodes(tmp_path: Path) -> None:
    """The others beside it do not notice."""
    specs = [
        memory_spec(tmp_path, episode=f"e{number}", game="crashes" if number == 2 else "plays") for number in range(5)
    ]
    records = await play_on(InprocDriver, memory_images(tmp_path), *specs)
    assert [record.verdict.good for record in records] == [True, True, False, True, True]


async def test_an_interrupt_in_mid_episode_leaves_no_task(tmp_path: Path) -> None:
    """The episode is recorded as called off, and the loop is as empty as before."""
    before = trio.lowlevel.current_statistics().tasks_living
    interrupt = Interrupt()
    spec = memory_spec(tmp_path, players=["sleeps", "plays"], config={"tick_timeout_seconds": 600})
    events: list[Record] = []
    records: list[EpisodeRecord] = []

    async def run() -> None:
        records.extend(await play_on(InprocDriver, memory_images(tmp_path), spec, events=events, interrupt=interrupt))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        with trio.fail_after(30):
            while not any(isinstance(each.event, PhaseEntered) and each.event.phase == "playing" for each in events):
                await trio.sleep(0.01)
        interrupt.throw("enough")
    assert records[0].verdict.reason is EndReason.CANCELLED
    assert {seat.end for seat in records[0].seats} == {SeatEnd.STOPPED}
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_a_cancelled_episode_leaves_no_task_and_the_streams_as_they_were(tmp_path: Path) -> None:
    """Also when everything around it is cancelled."""
    before = trio.lowlevel.current_statistics().tasks_living
    streams = sys.stdout, sys.stderr
    spec = memory_spec(tmp_path, players=["sleeps", "plays"], config={"tick_timeout_seconds": 600})
    with trio.move_on_after(1):
        await play_on(InprocDriver, memory_images(tmp_path), spec)
        raise AssertionError("this episode does not end by itself")
    assert trio.lowlevel.current_statistics().tasks_living == before
    assert (sys.stdout, sys.stderr) == streams


async def test_reports_and_the_replay_are_made_by_processes(tmp_path: Path) -> None:
    """A reporter runs as anywhere, and the replay is shown by the game as a process, over HTTP."""
    loaded = load_manifest(ORCHARD / "coworld_manifest.json")
    plan = build_plan(loaded, variant="duel", players=["greedy", "random"], overrides=["max_ticks=5"])
    spec = EpisodeSpec(plan=plan, directory=tmp_path / "run", limits=LIMITS, verify_replay=True)
    (record,) = await play_on(InprocDriver, load_images(ORCHARD, {}), spec)
    assert record.verdict.good, record.verdict
    assert record.reports
    assert all(report.ok for report in record.reports), record.reports


async def test_a_tap_is_refused(tmp_path: Path) -> None:
    """There is no network to stand in."""
    spec = memory_spec(tmp_path)
    spec = EpisodeSpec(plan=spec.plan, directory=spec.directory, tap=TapSpec())
    with pytest.raises(PreconditionMissing, match="which a tap needs"):
        await play_on(InprocDriver, memory_images(tmp_path), spec)


async def test_events_are_on_disk_while_it_is_played_and_take_no_descriptor(tmp_path: Path) -> None:
    """Once the play has begun its start can be read; nothing of the episode is open meanwhile."""
    spec = memory_spec(tmp_path, players=["sleeps", "plays"], config={"tick_timeout_seconds": 600})
    interrupt = Interrupt()
    path = spec.directory / "events.jsonl"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: play_on(InprocDriver, memory_images(tmp_path), spec, interrupt=interrupt), name="episode"
        )
        with trio.fail_after(30):
            while not (path.exists() and '"playing"' in path.read_text()):
                await trio.sleep(0.01)
        held = open_files()
        interrupt.throw("enough")
    assert not [name for name in held if str(tmp_path) in name]
