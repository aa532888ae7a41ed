"""`run` with a tap: what is shown, what is written, and what the exit code says about a budget."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from coworld_actors.cli.exits import Exit
from coworld_actors.cli.single import exit_code_of
from coworld_actors.episode.verdict import EndReason
from coworld_actors.traffic.report import BudgetVerdict, Judgement, TapReport
from tests.coworlds import scripted_manifest, write_coworld
from tests.records import bad, record

COMMAND = [sys.executable, "-m", "coworld_actors", "run"]


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def coworld(tmp_path: Path) -> Path:
    """A good scripted Coworld."""
    return write_coworld(tmp_path / "coworld", scripted_manifest())


def test_a_tapped_run_shows_how_long_players_took(coworld: Path, tmp_path: Path) -> None:
    """A line for each seat and one for our own share; the whole report is a file and part of the JSON document."""
    done = run(coworld, "--tap", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "seat 0: " in done.stdout
    assert "seat 1: " in done.stdout
    assert "answers n=" in done.stdout
    assert "our own loop's lag" in done.stdout
    document = json.loads((tmp_path / "runs/latest/tap.json").read_text())
    assert len(document["report"]["seats"]) == 2
    (episode,) = json.loads(run(coworld, "--tap", "--json", cwd=tmp_path).stdout)["episodes"]
    assert [seat["connects"] for seat in episode["tap"]["seats"]] == [1, 1]


def test_without_it_nothing_is_said_of_a_tap(coworld: Path, tmp_path: Path) -> None:
    """Off unless asked for."""
    done = run(coworld, cwd=tmp_path)
    assert done.returncode == 0
    assert "lag" not in done.stdout
    assert not (tmp_path / "runs/latest/tap.json").exists()


def test_an_exceeded_budget_ends_with_6(tmp_path: Path) -> None:
    """The episode is good; the sentence names the seat, and --budget alone asks for the tap."""
    manifest = scripted_manifest(players=("thinks_long",))
    # The scripted game does not wait for a slow player; this one does.
    manifest["game"]["runnable"]["run"] = ["python", "-S", "-E", "quick_game.py"]
    manifest["player"][0]["run"] = ["python", "-S", "-E", "quick_player.py"]
    coworld = write_coworld(tmp_path / "c", manifest)
    done = run(coworld, "--budget", "1500ms:0", cwd=tmp_path)
    assert done.returncode == 6, done.stdout + done.stderr
    assert "error: the budget 1500ms:0 is exceeded: seat 0: 1 answers took longer than 1.50 s, 0 may" in done.stderr
    assert "thinks_long player" in done.stdout


def test_chaos_and_recording_ask_for_the_tap_too(coworld: Path, tmp_path: Path) -> None:
    """What was done is said; what passed is kept."""
    done = run(coworld, "--chaos", "delay=1ms stall=1:2ms seed=7", "--record", "traffic", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "chaos: delay=0.001s stall=1.0:0.002s seed=7" in done.stdout
    assert "chaos: stall at frame 1 to the game, seat 0, connection 0" in done.stderr
    assert (tmp_path / "traffic").read_bytes().startswith(b"coworld-traffic 1\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--chaos", "explode=1"], "'explode' is nothing it can do"),
        (["--chaos", ""], "nothing would happen"),
        (["--chaos", "drop=1 seats=2"], "there is no seat 2"),
        (["--budget", "55"], "no latency budget"),
        (["--budget", ""], "no latency budget"),
    ],
)
def test_a_wrong_option_is_refused_and_nothing_is_started(
    coworld: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    """With what would be right."""
    done = run(coworld, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "try:" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_recording_never_replaces_a_file(coworld: Path, tmp_path: Path) -> None:
    """It is refused before a role is started."""
    before = coworld.read_bytes()
    done = run(coworld, "--record", coworld, cwd=tmp_path)
    assert done.returncode == 3
    assert coworld.read_bytes() == before
    assert "Traceback" not in done.stderr
    assert not psutil.Process().children(recursive=True)


def tapped(judgement: Judgement) -> TapReport:
    return TapReport(budget=BudgetVerdict(budget="1s:0", judgement=judgement, seats=(), reason="because"))


@pytest.mark.parametrize(
    ("changes", "received", "code"),
    [
        ({"tap": TapReport()}, None, Exit.GOOD),
        ({"tap": tapped(Judgement.PASSED)}, None, Exit.GOOD),
        ({"tap": tapped(Judgement.FAILED)}, None, Exit.GATE),
        ({"tap": tapped(Judgement.REFUSED)}, None, Exit.PRECONDITION),
        ({"tap": tapped(Judgement.FAILED), "verdict": bad(EndReason.GAME_CRASHED)}, None, Exit.FAILED),
        ({"tap": tapped(Judgement.FAILED), "verdict": bad(EndReason.INTERNAL)}, None, Exit.INTERNAL),
        ({"tap": tapped(Judgement.FAILED)}, 15, Exit.TERMINATED),
    ],
)
def test_an_episode_that_does_not_count_comes_before_its_budget(
    changes: dict[str, Any], received: int | None, code: Exit
) -> None:
    """6 is for a good episode whose players were too slow; one where we were too slow ends with 3."""
    assert exit_code_of(msgspec.structs.replace(record(), **changes), received) is code
