"""`coworld-actors bench players` as a user meets it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.coworlds import scripted_manifest, write_coworld

COMMAND = [sys.executable, "-m", "coworld_actors", "bench", "players"]
ORCHARD = Path(__file__).parent.parent.parent / "examples/orchard/coworld_manifest.json"
SHORT = ["--set", "max_ticks=10", "--set", "tick_rate=0"]


def players(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def coworld(tmp_path: Path) -> Path:
    """A scripted Coworld; one of its players crashes."""
    return write_coworld(tmp_path / "coworld", scripted_manifest(players=("plays", "crashes_at_once")))


def test_orchards_players_are_compared_in_a_table_and_on_a_page(tmp_path: Path) -> None:
    """Who answered how often and how fast, with intervals; the progress is on stderr, and no run's files stay."""
    done = players(ORCHARD, "greedy", "random", *SHORT, "--episodes", "3", "--html", "page.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("greedy", "random", "p50", "p99", "longest", "120", " to "):
        assert word in done.stdout
    assert "round 3 of 3" in done.stderr
    text = (tmp_path / "page.html").read_text()
    assert text.count("<polyline") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_without_names_every_player_is_measured(coworld: Path, tmp_path: Path) -> None:
    """As JSON: one document, with histograms; a player that crashes makes it exit code 1 and is complained of."""
    done = players(coworld, "--episodes", "1", "--json", "--quiet", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    found = {player["player"]: player for player in document["report"]["players"]}
    assert set(found) == {"plays", "crashes-at-once"}
    assert found["plays"]["answers"]["histogram"]
    assert found["crashes-at-once"]["faults"] == 2
    assert found["crashes-at-once"]["answers"]["count"] == 0
    assert "crashes-at-once ended in 2 seats by its own fault: seat 0 crashed" in done.stderr
    assert "round 1" not in done.stderr


def test_mistakes_are_refused_before_anything_is_played(coworld: Path, tmp_path: Path) -> None:
    """An unknown player, a page that cannot be written, a count that is none."""
    assert players(coworld, "nobody", cwd=tmp_path).returncode == 2
    assert players(coworld, "--html", "missing/page.html", cwd=tmp_path).returncode == 3
    assert players(coworld, "--episodes", "0", cwd=tmp_path).returncode == 2


def test_a_signal_ends_it_in_order_with_what_was_measured(coworld: Path, tmp_path: Path) -> None:
    """Exit code 130, the table of the episodes so far, no role left behind."""
    child = subprocess.Popen(
        [*COMMAND, str(coworld), "plays", "--episodes", "10000"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stderr is not None
    assert "round 1 of 10000" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=120)
    assert child.returncode == 130
    assert "plays" in out
