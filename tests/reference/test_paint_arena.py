"""The public reference's own game, players and reporters play under this runtime as they are."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.played import until_said

pytestmark = pytest.mark.reference

COMMAND = [sys.executable, "-m", "coworld_actors", "run"]
PAINTER = "sweep-painter"
SUMMARIZER = "paint-arena-summarizer"
PARQUET = "paint-arena-parquet-stats-reporter"
SHORT = ("--set", "max_ticks=20", "--set", "tick_rate=60")
RUN_SECONDS = 180
"""Far more than any run here takes, also on a busy machine."""

NO_PAINT = """
import sys

sys.exit("this painter has no paint")
"""

LEAVES = """
import os
from websockets.sync.client import connect

with connect(os.environ["COWORLD_PLAYER_WS_URL"]) as socket:
    for _ in range(3):
        socket.recv()
    print("the bucket is empty", flush=True)
    os._exit(7)
"""

READ_REPORTS = """
import json, sys
from pathlib import Path
import pyarrow.parquet
from coworld.report import validate_report_zip

run = Path(sys.argv[1])
rows = pyarrow.parquet.read_table(run / "reports" / sys.argv[3] / "stats.parquet").to_pylist()
print(json.dumps({
    "manifests": [validate_report_zip((run / "reports" / id / "report.zip").read_bytes()).model_dump() for id in sys.argv[2:]],
    "rows": [[row["ts"], row["player"], row["key"], json.loads(row["value"])] for row in rows],
}))
"""
"""Reads both reports with the reference's own validator and the library that wrote the table."""

CHECK_REQUEST = """
import os
from coworld.examples.paintarena.reporter._sdk_vendored import OutputManifest, build_report_zip, read_uri, write_uri
from coworld.reporter_protocol import ReportRequest

request = ReportRequest.model_validate_json(os.environ["COGAME_REPORT_REQUEST"])
(episode,) = request.episodes
assert episode.status == episode.manifest.status == "success"
assert set(episode.manifest.include) == set(episode.manifest.files) == {"results", "replay", "game_logs", "player_logs"}
for token, entry in episode.manifest.files.items():
    found = getattr(episode.artifacts, token)
    if isinstance(entry, str):
        assert read_uri(found.uri), token
    else:
        assert set(entry) == set(found), (token, entry, found)
        assert all(read_uri(found[key].uri) for key in entry), token
page = ("summary.md", b"# All there")
write_uri(request.report_uri, build_report_zip(OutputManifest(reporter_id="checker", render="summary.md"), [page]), "application/zip")
"""
"""A reporter that reads our request with the reference's models and every input with the reference's client."""


def run(*arguments: str | Path, cwd: Path, code: int = 0) -> dict[str, Any]:
    """Play; returns the episode's record as `--json` shows it."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments), "--json"],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["exit_code"] == code
    (episode,) = document["episodes"]
    assert isinstance(episode, dict)
    return episode


def image_of(manifest: Path) -> str:
    """The one image behind the game, its players and its reporters."""
    return str(json.loads(manifest.read_text())["game"]["runnable"]["image"])


def map_images(manifest: Path, python: Path, **players: str) -> None:
    """Write `coworld_local.toml`: the arena's image, and an image `NAME:1` for every program of a player of ours."""
    lines = [f"[images.{json.dumps(image_of(manifest))}]", 'root = "."', f"python = {json.dumps(str(python))}"]
    for name, program in players.items():
        (manifest.parent / f"{name}.py").write_text(program)
        lines += [f'[images."{name}:1"]', 'root = "."', f"python = {json.dumps(str(python))}"]
    (manifest.parent / "coworld_local.toml").write_text("\n".join(lines) + "\n")


def check_whole_episode(episode: dict[str, Any], python: Path, ticks: int) -> None:
    """Scores, seats, files and both reports are there and agree with each other and with what the game wrote."""
    directory = Path(episode["directory"])
    results = json.loads((directory / "results.json").read_text())
    assert episode["verdict"]["good"]
    assert episode["verdict"]["reason"] == "completed"
    assert results["ticks"] == ticks
    assert [seat["end"] for seat in episode["seats"]] == ["finished", "finished"]
    assert [seat["player"] for seat in episode["seats"]] == [PAINTER, PAINTER]
    assert not any(seat["fault"] for seat in episode["seats"])
    assert [seat["score"] for seat in episode["seats"]] == results["scores"]

    replay = json.loads((directory / "replay").read_text())
    assert len(replay["frames"]) == ticks
    assert replay["results"] == results

    reports = {report["id"]: report for report in episode["reports"]}
    assert {identity: (report["role"], report["ok"]) for identity, report in reports.items()} == {
        SUMMARIZER: ("reporter", True),
        PARQUET: ("reporter", True),
    }
    assert reports[SUMMARIZER]["render"] == f"reports/{SUMMARIZER}/summary.md"
    assert episode["id"] in (directory / "reports" / SUMMARIZER / "summary.md").read_text()
    stats = json.loads((directory / "reports" / SUMMARIZER / "stats.json").read_text())
    assert stats["episode_id"] == episode["id"]
    assert stats["ticks"] == ticks
    assert [slot["painted_tiles"] for slot in stats["slots"]] == results["painted_tiles"]

    read = json.loads(
        subprocess.run(
            [python, "-c", READ_REPORTS, directory, SUMMARIZER, PARQUET], check=True, capture_output=True, text=True
        ).stdout
    )
    assert [manifest["reporter_id"] for manifest in read["manifests"]] == [SUMMARIZER, PARQUET]
    assert read["manifests"][0]["render"] == "summary.md"
    assert read["manifests"][1]["event_log"] == "stats.parquet"
    assert len([row for row in read["rows"] if row[2] == "scores"]) == ticks
    assert [ticks, -1, "final_results", results] in read["rows"]

    started = {actor["name"] for actor in episode["actors"]}
    assert started >= {"game", "player-0", "player-1", f"reporter-{SUMMARIZER}", f"reporter-{PARQUET}"}
    assert not any(actor["role"] in {"commissioner", "optimizer"} for actor in episode["actors"])


def test_the_game_its_players_and_its_reporters_play_a_whole_episode(
    arena: Path, reference: Any, tmp_path: Path
) -> None:
    """Mapped by `coworld_local.toml`; the replay is loaded into the game again and shows itself."""
    map_images(arena, reference.python)
    episode = run(arena, "--verify-replay", *SHORT, cwd=tmp_path)
    check_whole_episode(episode, reference.python, 20)
    assert episode["variant"] == "certification"
    assert "replay" in {actor["name"] for actor in episode["actors"]}
    assert "/client/replay" in (Path(episode["directory"]) / "logs/replay.stdout.log").read_text()


def test_the_default_variant_plays_at_its_own_length(arena: Path, reference: Any, tmp_path: Path) -> None:
    """Mapped by `--image` to a virtual environment, nothing set: a hundred ticks, and both painters have painted."""
    episode = run(
        arena, PAINTER, "--variant", "default", "--image", f"{image_of(arena)}={reference.venv}", cwd=tmp_path
    )
    check_whole_episode(episode, reference.python, 100)
    assert episode["variant"] == "default"
    assert all(seat["connected"] and seat["score"] > 1 for seat in episode["seats"])


def test_a_player_that_crashes_at_once_is_a_bad_seat_of_a_good_episode(
    arena: Path, reference: Any, tmp_path: Path
) -> None:
    """The game starts without it when its connect time-out has passed; the record names the seat and the last words."""
    map_images(arena, reference.python, no_paint=NO_PAINT)
    chosen = (PAINTER, "no_paint:1", "--run", "python", "--run", "no_paint.py")
    episode = run(arena, *chosen, *SHORT, "--set", "player_connect_timeout_seconds=2", cwd=tmp_path)
    assert episode["verdict"]["good"]
    assert episode["verdict"]["failed_seats"] == [1]
    painter, crashed = episode["seats"]
    assert (painter["end"], painter["fault"]) == ("finished", False)
    assert (crashed["end"], crashed["fault"]) == ("crashed", True)
    assert "exit code 1" in crashed["evidence"]
    assert "this painter has no paint" in crashed["evidence"]
    assert all(report["ok"] for report in episode["reports"])


def test_a_player_that_crashes_while_the_game_waits_for_it_fails_the_episode(
    arena: Path, reference: Any, tmp_path: Path
) -> None:
    """The game would wait for three minutes; at the deadline the blame is the player's and the game's is none."""
    map_images(arena, reference.python, no_paint=NO_PAINT)
    chosen = ("no_paint:1", PAINTER, "--run", "python", "--run", "no_paint.py")
    episode = run(arena, *chosen, *SHORT, "--timeout", "15", cwd=tmp_path, code=1)
    verdict = episode["verdict"]
    assert (verdict["good"], verdict["reason"], verdict["blame"]) == (False, "player_failed", "players")
    assert verdict["failed_seats"] == [0]
    assert "seat 0" in verdict["message"]
    assert [seat["end"] for seat in episode["seats"]] == ["crashed", "stopped"]
    error = json.loads((Path(episode["directory"]) / "error_info.json").read_text())
    assert (error["error_type"], error["failed_policy_index"]) == ("player_error", 0)
    assert episode["reports"] == []


def test_a_player_that_crashes_in_the_middle_is_named(arena: Path, reference: Any, tmp_path: Path) -> None:
    """Whether the game survives the lost socket is its own luck; the seat is named in either case."""
    map_images(arena, reference.python, leaves=LEAVES)
    chosen = (PAINTER, "leaves:1", "--run", "python", "--run", "leaves.py")
    done = subprocess.run(
        [*COMMAND, str(arena), *chosen, *SHORT, "--timeout", "45", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    (episode,) = json.loads(done.stdout)["episodes"]
    assert done.returncode == (0 if episode["verdict"]["good"] else 1)
    assert episode["verdict"]["failed_seats"] == [1]
    assert (episode["seats"][1]["end"], episode["seats"][1]["fault"]) == ("crashed", True)
    assert "exit code 7" in episode["seats"][1]["evidence"]
    assert "the bucket is empty" in episode["seats"][1]["evidence"]
    assert not episode["seats"][0]["fault"]


def test_a_report_request_is_what_the_reference_understands(arena: Path, reference: Any, tmp_path: Path) -> None:
    """Its own models read the request; what the manifest lists is there under the same keys and can be read."""
    map_images(arena, reference.python)
    manifest = json.loads(arena.read_text())
    (arena.parent / "checker.py").write_text(CHECK_REQUEST)
    (summarizer,) = [entry for entry in manifest["reporter"] if entry["id"] == SUMMARIZER]
    manifest["reporter"] = [{**summarizer, "id": "checker", "run": ["python", "checker.py"]}]
    arena.write_text(json.dumps(manifest))
    (report,) = run(arena, *SHORT, cwd=tmp_path)["reports"]
    assert report["ok"], report
    assert report["render"] == "reports/checker/summary.md"


def test_an_interrupt_in_the_middle_leaves_no_process(arena: Path, reference: Any, tmp_path: Path) -> None:
    """SIGINT while they paint: 130, a record that says cancelled, and neither game nor player is left."""
    map_images(arena, reference.python)
    process = subprocess.Popen(
        [*COMMAND, str(arena), "--set", "max_ticks=10000", "--output", "out", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until_said(process, tmp_path / "out/logs/game.stdout.log", "starting game")
    roles = psutil.Process(process.pid).children(recursive=True)
    commands = [" ".join(role.cmdline()) for role in roles]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=RUN_SECONDS)
    assert sum("paintarena" in command for command in commands) == 3
    assert process.returncode == 130, err
    (episode,) = json.loads(out)["episodes"]
    assert episode["verdict"]["reason"] == "cancelled"
    assert [seat["end"] for seat in episode["seats"]] == ["stopped", "stopped"]
    assert psutil.wait_procs(roles, timeout=10)[1] == []
