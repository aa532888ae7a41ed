"""`run --driver docker` as a user meets it: whole episodes from images, and everything that is left of them."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.played import COMMAND, command
from tests.coworlds import PROGRAMS, scripted_manifest
from tests.engines import Caller, left_of, ordinary_user

PATIENCE = 240
"""Far more seconds than any run here takes, also on a busy machine."""

PRYING = """
import json, os, pathlib, subprocess, sys

own = pathlib.Path(os.environ["HOME"])
(own / ("own-" + os.environ["COWORLD_PLAYER_WS_URL"].partition("slot=")[2][:1])).write_text("here")
code = subprocess.run([sys.executable, "-m", "orchard.players.greedy"], stdout=subprocess.DEVNULL).returncode
marks = []
for top, folders, files in os.walk("/"):
    if top == "/":
        folders[:] = set(folders) - {"proc", "sys"}
    marks += [name for name in files if name.startswith("own-")]
print(json.dumps({
    "uid": os.getuid(),
    "marks": marks,
    "hush": os.environ.get("HUSH", "")[:4],
    "status": [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapBnd")][0],
}))
sys.exit(code)
"""
"""A player that leaves a file in its own directory before it plays, and looks for those of everybody else after all have."""

LISTENING = """
import functools, http.server, os, runpy, sys, threading
asked = threading.Event()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"the other port")
        asked.set()

    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("0.0.0.0", 9321), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("port:", os.environ["COWORLD_LOCAL_PORT_9321"], flush=True)
assert asked.wait(120)
sys.argv = ["game"]
runpy.run_module("orchard.game", run_name="__main__")
"""
"""A game with a port beside the contract's: it begins when somebody has been there."""


def changed(manifest: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The manifest, changed where it is."""
    document = json.loads(manifest.read_text())
    change(document)
    manifest.write_text(json.dumps(document))
    return manifest


def with_prying_player(document: dict[str, Any]) -> None:
    greedy = document["player"][0]
    document["player"].append({**greedy, "id": "prying", "name": "Prying", "run": ["python", "-c", PRYING]})


def short(**values: object) -> list[str]:
    """Settings of a short episode."""
    return [word for name, value in ({"max_ticks": 20} | values).items() for word in ("--set", f"{name}={value}")]


def tokens_of(run: Path) -> Sequence[str]:
    found: Sequence[str] = json.loads((run / "config.json").read_text())["tokens"]
    return found


def play_as(
    who: Caller, directory: Path, *arguments: str | Path, more: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run `coworld-actors` as somebody, in a directory of theirs."""
    os.chown(directory, who.uid, -1)
    private = dict.fromkeys(("HOME", "TMPDIR", "XDG_RUNTIME_DIR"), str(directory))
    return subprocess.run(
        [*who.words, *COMMAND, *map(str, arguments)],
        cwd=directory,
        env={**os.environ, **private, **more},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_an_episode_from_images_is_whole(orchard_manifest: Path, tmp_path: Path) -> None:
    """Scores, a report, a grade, usage, a replay that loads; every file is the caller's, and nobody sees or tells too much."""
    changed(orchard_manifest, with_prying_player)
    who = ordinary_user()
    place = tmp_path / "place"
    place.mkdir()
    hush = f"hush-{secrets.token_hex(8)}"
    chosen = ("greedy", "random", "prying", "prying", "--secret-env", "HUSH", "--verify-replay", "--json")
    done = play_as(
        who, place, "run", orchard_manifest, *chosen, *short(), "--driver", "docker", "-v", more={"HUSH": hush}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (episode,) = json.loads(done.stdout)["episodes"]
    run = Path(episode["directory"])
    assert (episode["driver"], episode["verdict"]["reason"]) == ("docker", "completed")

    results = json.loads((run / "results.json").read_text())
    assert [seat["score"] for seat in episode["seats"]] == results["scores"]
    assert results["ticks"] == 20
    assert {seat["end"] for seat in episode["seats"]} == {"finished"}
    reports = {report["role"]: report for report in episode["reports"]}
    assert {role: report["ok"] for role, report in reports.items()} == {"reporter": True, "grader": True}
    assert "<html" in (run / reports["reporter"]["render"]).read_text()
    assert 0 <= reports["grader"]["score"] <= 1

    actors = {actor["name"]: actor for actor in episode["actors"]}
    support = {"replay", "reporter-orchard-summary", "grader-orchard-closeness"}
    assert set(actors) == {"game", "player-0", "player-1", "player-2", "player-3", *support}
    for name, actor in actors.items():
        assert actor["cpu_seconds"] > 0, name
        assert 1 << 20 < actor["peak_memory"] < 1 << 30, name

    files = [run, *run.rglob("*")]
    assert {path.lstat().st_uid for path in files} == {who.uid}
    assert all(path.stat().st_mode & 0o400 for path in files)

    written = b"".join(path.read_bytes() for path in files if path.is_file() and path.name != "config.json")
    said = written + done.stdout.encode() + done.stderr.encode()
    tokens = tokens_of(run)
    assert len(set(tokens)) == 4
    assert not [word for word in (*tokens, hush) if word.encode() in said]
    assert hush not in (run / "config.json").read_text()

    for seat in (2, 3):
        seen = json.loads((run / f"logs/policy_agent_{seat}.log").read_text().splitlines()[-1])
        assert seen == {"uid": who.uid, "marks": [f"own-{seat}"], "hush": "hush", "status": "0" * 16}
        assert (run / f"players/{seat}/own-{seat}").read_text() == "here"
    assert left_of(f"coworld.episode={episode['id']}") == []


def test_traffic_is_measured_and_recorded_between_containers(orchard_manifest: Path, tmp_path: Path) -> None:
    """The tap stands in the episode's own network; the budget is judged and the recording can be read."""
    arguments = ("--tap", "--budget", "30s:0", "--record", "traffic.cwt", "--driver", "docker", "--no-reports")
    done = command(
        "run", orchard_manifest, "--variant", "duel", *short(), *arguments, "--output", "out", "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (episode,) = json.loads(done.stdout)["episodes"]
    assert episode["verdict"]["good"]
    assert [seat["connects"] for seat in episode["tap"]["seats"]] == [1, 1]
    assert episode["tap"]["budget"]["judgement"] == "passed"
    assert not [
        token for token in tokens_of(tmp_path / "out") if token.encode() in (tmp_path / "traffic.cwt").read_bytes()
    ]
    read = command("traffic", "traffic.cwt", cwd=tmp_path)
    assert read.returncode == 0, read.stderr
    assert "seat 1" in read.stdout
    exceeded = command(
        "run", orchard_manifest, "--variant", "duel", *short(), "--budget", "1ns:0", *arguments[-3:], cwd=tmp_path
    )
    assert exceeded.returncode in {2, 6}, exceeded.stderr


def test_trust_says_what_it_relaxed(orchard_manifest: Path, tmp_path: Path) -> None:
    """In one sentence, before anything is played; a role is then whom its image says, with the engine's capabilities."""
    changed(orchard_manifest, with_prying_player)
    chosen = ("prying", "greedy", "--variant", "duel", *short(), "--no-reports", "--output", "out")
    done = command("run", orchard_manifest, *chosen, "--driver", "docker", "--trust", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (warning,) = re.findall(r"^warning: --trust: .*(?:\n(?!\s+\d).*)*", done.stderr, re.MULTILINE)
    words = " ".join(warning.split())
    assert all(word in words for word in ("user of their image", "capabilities", "root", "network outside"))
    assert words.index("--trust") < done.stderr.index("starting the game")
    seen = json.loads((tmp_path / "out/logs/policy_agent_0.log").read_text().splitlines()[-1])
    assert seen["uid"] == 0
    assert int(seen["status"], 16) > 0
    assert seen["marks"] == ["own-0"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["coworld-test-nowhere:1", "--pull", "never"], 3, "coworld-test-nowhere:1"),
        (["img_0b6c3f3e-6a53-4a4e-9a6c-0d8b3d3b6a11"], 2, "img_0b6c3f3e-6a53-4a4e-9a6c-0d8b3d3b6a11"),
        (["cmd:python bot.py"], 2, "program of this machine"),
        (["py:bot:play"], 2, "program of this machine"),
        (["greedy", "--image", "orchard:0.1.0=."], 2, "names a directory"),
    ],
)
def test_what_cannot_be_a_container_starts_nothing(
    orchard_manifest: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    """The exit code, the culprit and the next step; no container was made, and nobody was blamed."""
    done = command(
        "run", orchard_manifest, *arguments, "greedy", "--variant", "duel", "--driver", "docker", cwd=tmp_path
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stderr.replace("\n", "")
    assert "  try: " in done.stderr
    assert "Traceback" not in done.stderr
    for record in tmp_path.glob("runs/*/episode.json"):
        document = json.loads(record.read_text())
        assert document["actors"] == []
        assert document["verdict"]["blame"] not in {"game", "players"}


def test_everything_that_is_wrong_with_images_is_told_together(orchard_manifest: Path, tmp_path: Path) -> None:
    """Two images are nowhere: both are in one refusal, and nothing was started."""
    names = ("coworld-test-nowhere:1", "coworld-test-nowhere:2")

    def wrong(document: dict[str, Any]) -> None:
        for player, image in zip(document["player"], names, strict=False):
            player["image"] = image

    changed(orchard_manifest, wrong)
    chosen = ("greedy", "random", "--variant", "duel", "--driver", "docker", "--pull", "never", "--output", "out")
    done = command("run", orchard_manifest, *chosen, cwd=tmp_path)
    assert done.returncode == 3, done.stdout + done.stderr
    said = done.stderr.replace("\n", "")
    assert all(name in said for name in names), done.stderr
    assert "Traceback" not in said
    assert not list(tmp_path.glob("out/logs/*"))


def test_a_game_is_reached_at_its_extra_port(orchard_manifest: Path, tmp_path: Path) -> None:
    """On this machine's loopback, where a variable says."""

    def listening(document: dict[str, Any]) -> None:
        game = document["game"]["runnable"]
        game["run"] = ["python", "-c", LISTENING]
        game["env"] = {"COWORLD_LOCAL_EXTRA_PORTS": "9321"}

    changed(orchard_manifest, listening)
    chosen = ("--variant", "duel", *short(), "--no-reports", "--driver", "docker", "--output", "out")
    process = subprocess.Popen(
        [*COMMAND, "run", str(orchard_manifest), *chosen],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "out/logs/game.stdout.log"
    end = time.monotonic() + PATIENCE
    while not (log.exists() and (found := re.search(r"port: (127\.0\.0\.1:\d+)\n", log.read_text()))):
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    with urllib.request.urlopen(f"http://{found[1]}/", timeout=60) as answer:
        assert answer.read() == b"the other port"
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said


def test_sixty_four_seats_are_sixty_five_containers(orchard_manifest: Path, tmp_path: Path) -> None:
    """All of them play, in one network, and nothing is left."""
    patient = short(max_ticks=3, tick_timeout_seconds=120, player_connect_timeout_seconds=200)
    chosen = ("greedy", "--variant", "big", *patient, "--no-reports", "--driver", "docker", "--json")
    done = command("run", orchard_manifest, *chosen, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (episode,) = json.loads(done.stdout)["episodes"]
    assert [seat["end"] for seat in episode["seats"]] == ["finished"] * 64
    assert len(episode["actors"]) == 65
    assert left_of(f"coworld.episode={episode['id']}") == []


OLD_PLAYER = """
import os
from websockets.sync.client import connect

with connect(os.environ["COGAMES_ENGINE_WS_URL"]) as socket:
    for message in socket:
        print(message)
"""


def test_a_game_of_the_first_generation(orchard_image: str, tmp_path: Path) -> None:
    """With `--compat auto` it plays and shows its replay by its own names; without, its missing page is what is said."""
    manifest = scripted_manifest(players=("plays",))
    game, (player,) = manifest["game"]["runnable"], manifest["player"]
    game |= {"image": orchard_image, "run": ["python", "-c", (PROGRAMS / "old_game.py").read_text()]}
    player |= {"image": orchard_image, "run": ["python", "-c", OLD_PLAYER]}
    path = tmp_path / "coworld_manifest.json"
    path.write_text(json.dumps(manifest))
    done = command(
        "run", path, "--driver", "docker", "--compat", "auto", "--verify-replay", "--output", "out", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "the replay loads\n" in done.stdout
    run = tmp_path / "out"
    assert json.loads((run / "replay").read_text()) == {"old": True}
    assert "final" in (run / "logs/policy_agent_0.log").read_text()
    assert 'names: ["plays player"]' in (run / "logs/game.stdout.log").read_text()
    shown = command("replay", run, "--verify", "--compat", "auto", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    today = command("run", path, "--driver", "docker", cwd=tmp_path)
    assert today.returncode == 1
    assert "/client/" in today.stderr
