"""When an episode proves nothing: every reason and every end of a seat, on a machine that is well and on one that chokes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from coworld_actors.batch.pacing.strain import CROWD_LIMIT, LAG_LIMIT, STARVED_LIMIT, Strain
from coworld_actors.batch.pacing.verdicts import SLOW_ENDS, SLOW_REASONS, invalidated
from coworld_actors.episode.verdict import FAULTS, Blame, EndReason, SeatEnd, Verdict
from tests.records import GOOD, bad, record, seat

ORCHARD = Path(__file__).parents[3] / "examples/orchard/coworld_manifest.json"

PATIENCE = 60.0

WELL = Strain(seconds=10.0, lag=0.02, starved=0.02, crowd=1.5, pressure=1.0, memory=0.0, available=2**33)
CROWDED = msgspec.structs.replace(WELL, crowd=CROWD_LIMIT + 1)
LATE = msgspec.structs.replace(WELL, lag=LAG_LIMIT + 0.1, starved=0.3)
STOPPED = msgspec.structs.replace(WELL, lag=STARVED_LIMIT + 1, starved=STARVED_LIMIT + 1)
BUSY = msgspec.structs.replace(WELL, lag=STARVED_LIMIT + 1, starved=0.0)
SHORT = msgspec.structs.replace(WELL, memory=0.9)
CHOKING = (CROWDED, LATE, STOPPED, BUSY, SHORT)

# What is due to slowness, to a lack of memory, and to neither.
SLOW = "slow"
MEMORY = "memory"
NEVER = "never"
REASONS = {
    EndReason.COMPLETED: NEVER,
    EndReason.GAME_START_FAILED: NEVER,
    EndReason.GAME_NEVER_HEALTHY: SLOW,
    EndReason.GAME_CRASHED: SLOW,
    EndReason.GAME_OUT_OF_MEMORY: MEMORY,
    EndReason.CONTRACT_VIOLATED: SLOW,
    EndReason.PLAYER_FAILED: NEVER,
    EndReason.TIMED_OUT: SLOW,
    EndReason.STALLED: SLOW,
    EndReason.RESULTS_MISSING: NEVER,
    EndReason.RESULTS_MALFORMED: NEVER,
    EndReason.REPLAY_MISSING: NEVER,
    EndReason.REPLAY_UNLOADABLE: SLOW,
    EndReason.INFRASTRUCTURE: NEVER,
    EndReason.INTERNAL: NEVER,
    EndReason.CANCELLED: NEVER,
}
ENDS = {
    SeatEnd.FINISHED: NEVER,
    SeatEnd.LEFT_EARLY: SLOW,
    SeatEnd.CRASHED: SLOW,
    SeatEnd.OUT_OF_MEMORY: MEMORY,
    SeatEnd.START_FAILED: NEVER,
    SeatEnd.PERSON: NEVER,
    SeatEnd.NEVER_CONNECTED: SLOW,
    SeatEnd.OVERSTAYED: SLOW,
    SeatEnd.ORPHANED: SLOW,
    SeatEnd.STOPPED: NEVER,
    SeatEnd.NOT_STARTED: NEVER,
    SeatEnd.UNKNOWN: NEVER,
}
BY_SEATS = (EndReason.COMPLETED, EndReason.PLAYER_FAILED, EndReason.RESULTS_MISSING)


def verdict(reason: EndReason) -> Verdict:
    return GOOD if reason is EndReason.COMPLETED else bad(reason, Blame.GAME)


def expected(kind: str, strain: Strain) -> bool:
    return kind == SLOW or (kind == MEMORY and strain is SHORT)


def test_nothing_is_left_out_of_the_tables() -> None:
    """A new reason or a new end of a seat has to be decided about."""
    assert set(REASONS) == set(EndReason)
    assert set(ENDS) == set(SeatEnd)
    assert {reason for reason, kind in REASONS.items() if kind == SLOW} == SLOW_REASONS
    assert {end for end, kind in ENDS.items() if kind == SLOW} == SLOW_ENDS


@pytest.mark.parametrize("reason", EndReason)
def test_on_a_machine_that_is_well_everything_counts(reason: EndReason) -> None:
    """Without strain no episode is invalid, however it ended, and whatever became of its seats."""
    for end in SeatEnd:
        seats = (seat(0), seat(1, end, fault=end in FAULTS))
        assert invalidated(record(verdict(reason), seats=seats), WELL) == ""


@pytest.mark.parametrize("strain", CHOKING)
@pytest.mark.parametrize("reason", EndReason)
def test_a_reason_is_excused_if_slowness_leads_to_it(reason: EndReason, strain: Strain) -> None:
    """With seats that have nothing to do with it, the reason alone decides; a good episode only where we did not run at all."""
    found = invalidated(record(verdict(reason)), strain)
    wanted = expected(REASONS[reason], strain) or (reason is EndReason.COMPLETED and strain is STOPPED)
    assert bool(found) is wanted, found


@pytest.mark.parametrize("strain", [CROWDED, LATE, BUSY, SHORT])
@pytest.mark.parametrize("reason", BY_SEATS)
@pytest.mark.parametrize("end", SeatEnd)
def test_a_seat_is_excused_if_slowness_leads_to_its_end(end: SeatEnd, reason: EndReason, strain: Strain) -> None:
    """Where players are what it is about, one end of a seat that slowness leads to is enough."""
    seats = (seat(0), seat(1, end, fault=end in FAULTS))
    assert bool(invalidated(record(verdict(reason), seats=seats), strain)) is expected(ENDS[end], strain)


@pytest.mark.parametrize("reason", sorted(set(EndReason) - set(BY_SEATS)))
def test_seats_do_not_excuse_a_game(reason: EndReason) -> None:
    """That a seat ended badly makes no difference where the game broke the contract by itself."""
    crashed = record(verdict(reason), seats=(seat(0), seat(1, SeatEnd.CRASHED, fault=True)))
    assert invalidated(crashed, CROWDED) == invalidated(record(verdict(reason)), CROWDED)


def test_the_evidence_has_the_number() -> None:
    """Whoever reads the line learns what was measured, and all of it."""
    both = msgspec.structs.replace(CROWDED, memory=0.5)
    found = invalidated(record(bad(EndReason.TIMED_OUT)), both)
    assert f"{CROWD_LIMIT + 1:.1f} tasks" in found
    assert "50%" in found


def test_out_of_memory_names_memory_alone() -> None:
    """That it was crowded as well does not explain why memory ran out."""
    both = msgspec.structs.replace(CROWDED, memory=0.5)
    found = invalidated(record(bad(EndReason.GAME_OUT_OF_MEMORY)), both)
    assert "memory" in found
    assert "tasks wanted" not in found


IMPATIENT = """
import json, os, pathlib
from websockets.sync.client import connect

with connect(os.environ["COWORLD_PLAYER_WS_URL"], ping_timeout=None, proxy=None) as socket:
    while (message := json.loads(socket.recv(timeout=2.0)))["type"] != "final":
        # Before the first tick the other seat may still be empty.
        if message.get("tick", 0) > 0:
            pathlib.Path("going").touch()
"""
"""A player that gives up with a traceback when the game says nothing for two seconds."""

RUNNER = """
import sys
from pathlib import Path

import msgspec
import trio

from coworld_actors.batch.pacing.strain import StrainGauge
from coworld_actors.batch.pacing.verdicts import invalidated
from coworld_actors.episode.spec import EpisodeSpec, TapSpec
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from coworld_actors.runtime.opening import open_runtime
from coworld_drivers.images import ImageMap, load_images
from coworld_drivers.process import ProcessDriver


async def main(manifest, root, directory):
    loaded = load_manifest(manifest)
    images = ImageMap.merged([load_images(loaded.directory, {}), load_images(None, {"impatient:1": root})])
    plan = build_plan(
        loaded,
        players=["greedy", "impatient:1"],
        variant="duel",
        overrides=['mode="realtime"', "tick_rate=20", "max_ticks=140"],
        run=["python", "impatient.py"],
    )
    async with StrainGauge() as gauge, open_runtime(ProcessDriver(images)) as runtime:
        begin = trio.current_time()
        spec = EpisodeSpec(plan=plan, directory=Path(directory), tap=TapSpec(), reports=False)
        record = await (await runtime.start_episode(spec)).wait()
        excuse = invalidated(record, gauge.between(begin, trio.current_time()))
        ends = [seat.end for seat in record.seats]
        print(msgspec.json.encode([record.verdict.reason, ends, excuse, record.seats[1].evidence]).decode())


trio.run(main, *sys.argv[1:])
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_a_runner_that_was_stopped_blames_no_player(tmp_path: Path, stopped: bool) -> None:
    """SIGSTOP for as long as a player waits for what the runner relays: the player fails, and the episode proves nothing."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "impatient.py").write_text(IMPATIENT)
    command = [sys.executable, "-c", RUNNER, str(ORCHARD), str(root), str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        until = time.monotonic() + PATIENCE
        while not (root / "going").exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        if stopped:
            runner.send_signal(signal.SIGSTOP)
            time.sleep(4.0)
            runner.send_signal(signal.SIGCONT)
        reason, ends, excuse, evidence = json.loads(runner.stdout.readline())
    assert reason == EndReason.COMPLETED
    assert ends[0] == SeatEnd.FINISHED
    if stopped:
        assert ends[1] == SeatEnd.CRASHED, evidence
        assert "did not get to run" in excuse
    else:
        assert ends[1] == SeatEnd.FINISHED or excuse, evidence
