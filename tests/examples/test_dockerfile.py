"""The example's Dockerfile: built as it is, run as strictly as containers can be."""

from __future__ import annotations

import json
import re
import time
import tomllib
import urllib.request
from pathlib import Path

from tests.docker_engine import ROOT, Engine

DOCKERFILE = ROOT / "examples" / "orchard" / "Dockerfile"
STRICT = (
    "--user",
    "12345:12345",
    "--read-only",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
    "--tmpfs",
    "/tmp",
)
PATIENCE = 60.0


def test_it_installs_what_the_project_says():
    """The bounds in the Dockerfile are those of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = {*project["dependencies"], *project["optional-dependencies"]["examples"]}
    (install,) = re.findall(r"^RUN pip install .*$", DOCKERFILE.read_text(), re.MULTILINE)
    wanted = re.findall(r'"([^"]+)"', install)
    assert len(wanted) == 4
    assert set(wanted) <= bounds


def test_people_with_a_registry_build_on_an_official_image():
    """Without arguments the base is one that everybody can get."""
    assert DOCKERFILE.read_text().splitlines()[3:5] == ["ARG BASE=python:3.11-slim", "FROM ${BASE}"]


def test_its_modules_are_compiled(engine: Engine, orchard_image: str):
    """Nothing is left to compile at a start, where it could not be kept."""
    look = (
        "import os, sys, orchard.game, orchard.players.greedy, orchard.players.plain, orchard.reporter, orchard.grader;"
        "print([m.__name__ for m in sys.modules.values() if getattr(m, '__cached__', None) and not os.path.exists(m.__cached__)])"
    )
    done = engine.run("run", "--rm", "--network", "none", *STRICT, orchard_image, "python", "-c", look)
    assert done.stdout.strip() == "[]"


def test_the_game_serves_as_anybody_who_may_write_nothing(engine: Engine, orchard_image: str, tmp_path: Path):
    """An unknown user, no capability and a read-only root are enough for the game to be healthy."""
    (tmp_path / "config.json").write_text(json.dumps({"tokens": ["red", "blue"]}))
    tmp_path.chmod(0o755)
    variables = {
        "COGAME_HOST": "0.0.0.0",
        "COGAME_PORT": "8080",
        "COGAME_CONFIG_URI": "file:///in/config.json",
        "COGAME_RESULTS_URI": "file:///tmp/results.json",
        "COGAME_SAVE_REPLAY_URI": "file:///tmp/replay",
    }
    words = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    command = ("create", "--init", *STRICT, "--volume", f"{tmp_path}:/in:ro", "--publish", "127.0.0.1::8080")
    container = engine.run(*command, *words, orchard_image).stdout.strip()
    try:
        engine.run("start", container)
        address = engine.run("port", container, "8080/tcp").stdout.split()[0]
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"http://{address}/healthz", timeout=PATIENCE) as answer:
                    assert answer.status == 200
                    break
            except OSError:
                state = engine.run("inspect", "--format", "{{.State.Status}}", container).stdout.strip()
                assert state == "running", engine.run("logs", container).stderr
                assert time.monotonic() < deadline
                time.sleep(0.1)
    finally:
        engine.run("rm", "--force", "--volumes", container)
