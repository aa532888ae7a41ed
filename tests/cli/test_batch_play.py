"""A batch at play: where it is played, what a terminal shows, and what a full disk leaves."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from coworld_actors.batch.store import read_batch
from tests.coworlds import quick_manifest, write_coworld
from tests.disks import is_full, small_disk

ORCHARD = Path(__file__).parents[2] / "examples/orchard/coworld_manifest.json"
COMMAND = [sys.executable, "-m", "coworld_actors", "run"]
DUEL = ["greedy", "random", "--variant", "duel", "--set", "max_ticks=10", "--no-reports"]


def play(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=240, check=False
    )


def table(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "summary.json").read_text())
    del found["duration"]
    return found


def test_every_driver_plays_the_same_episodes(tmp_path: Path) -> None:
    """Processes warm and cold, tasks here and in workers: one table."""
    ways = (
        ["--warm", "off"],
        ["--warm", "auto"],
        ["--driver", "inproc", "--workers", "1"],
        ["--driver", "inproc", "--workers", "2"],
    )
    for number, way in enumerate(ways):
        done = play(ORCHARD, *DUEL, "-n", "4", "--parallel", "2", *way, "--output", str(number), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    tables = [table(tmp_path / str(number)) for number in range(len(ways))]
    assert tables[0] == tables[1] == tables[2] == tables[3]


def test_a_signal_stops_workers_and_resume_goes_on(tmp_path: Path) -> None:
    """Nothing of theirs is left, and nothing is played twice."""
    arguments = [ORCHARD, *DUEL, "--set", "max_ticks=400", "-n", "24", "--driver", "inproc", "--workers", "2"]
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--parallel", "4", "--events", "-", "--output", "out"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while '"event":"episode"' not in process.stdout.readline():
        pass
    ours = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert psutil.wait_procs(ours, timeout=5)[1] == []
    done = play("--resume", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(text) for text in (tmp_path / "out/episodes.jsonl").read_text().splitlines()]
    assert sorted(line["index"] for line in lines) == list(range(24))


def test_a_terminal_gets_a_live_picture_and_then_the_table(tmp_path: Path) -> None:
    """The picture goes away; what stays is the outcome. With NO_COLOR nothing is coloured."""
    path = write_coworld(tmp_path / "c", quick_manifest(config={"ticks": 3, "pause": 0.1}))
    shown = _on_terminal(path, tmp_path, {})
    assert "\x1b[?25l" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert re.search(r"done \d+/6", shown)
    assert "6 of 6 episodes count" in shown
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", _on_terminal(path, tmp_path, {"NO_COLOR": "1"}))
    assert "\x1b" not in _on_terminal(path, tmp_path, {"TERM": "dumb"})


def _on_terminal(coworld: Path, cwd: Path, environment: dict[str, str]) -> str:
    leader, follower = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    process = subprocess.Popen(
        [*COMMAND, str(coworld), "strong", "weak", "-n", "6", "--parallel", "2"],
        cwd=cwd,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**inherited, "TERM": "xterm-256color", **environment},
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            data = os.read(leader, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(leader)
    assert process.wait(timeout=120) == 0
    return shown.decode(errors="replace")


def test_a_full_disk_stops_a_batch_that_can_go_on(tmp_path: Path) -> None:
    """Exit code 3 and the machine's name for it; with room again, `--resume` plays the rest."""
    path = write_coworld(tmp_path / "c", quick_manifest())
    arguments = [path, "strong", "weak", "-n", "30", "--parallel", "1", "--retries", "0"]
    with small_disk(tmp_path / "small") as small:
        done = play(*arguments, "--output", small / "out", cwd=tmp_path)
        assert done.returncode == 3, done.stderr
        assert is_full(done.stderr)
        assert "Traceback" not in done.stderr
        _, lines = read_batch(small / "out")
        good = sum(line.status == "good" for line in lines)
        assert 0 < good < 30
        for each in sorted((small / "out/episodes").iterdir())[:2]:
            for file in [*each.rglob("*")]:
                if file.is_file():
                    file.unlink()
        (tmp_path / "out").mkdir()
        subprocess.run(["cp", "-r", f"{small}/out/.", str(tmp_path / "out")], check=True)
    resumed = play("--resume", tmp_path / "out", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert table(tmp_path / "out")["episodes"]["good"] == 30
