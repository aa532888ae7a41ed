"""`coworld-actors build` as an author meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from coworld_actors.manifest.load import load_manifest
from coworld_actors.package.scaffold import init_game, init_player
from tests.docker_engine import Engine
from tests.packages import template, write_template

COMMAND = [sys.executable, "-m", "coworld_actors"]
SLOW = "ARG BASE\nFROM ${BASE}\nLABEL coworld-test=image\nRUN python3 -c \"import time; print('x' * 7, flush=True); time.sleep(600)\"\n"


def call(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], cwd=directory, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A new game; its images are called so that everybody sees whose they are."""
    directory = tmp_path / "coworld-test-world"
    init_game(directory, "world")
    return directory


def test_a_new_game_is_built_and_plays_from_its_image(engine: Engine, sdk_image: str, world: Path) -> None:
    """`init game`, `build`, `run --driver docker`; the run directories beside it are not in the image."""
    (world / "runs").mkdir()
    (world / "runs" / "config.json").write_text("secret")
    done = call(world, "build", "--build-arg", f"BASE={sdk_image}")
    assert done.returncode == 0, done.stderr
    assert "{{IMAGE}} is coworld-test-world:coworld-" in done.stdout
    assert "COPY world world" in done.stderr
    manifest = world / "dist" / "coworld_manifest.json"
    image = load_manifest(manifest).manifest.game.runnable.image
    listed = engine.run("run", "--rm", "--label", "coworld-test=run", "--network", "none", image, "ls", "/app").stdout
    assert listed.split() == ["world"]
    played = call(world.parent, "run", str(manifest), "--driver", "docker", "--json")
    assert played.returncode == 0, played.stderr
    (episode,) = json.loads(played.stdout)["episodes"]
    eager, wanderer = (seat["score"] for seat in episode["seats"])
    assert eager > wanderer


def test_a_new_player_is_built_and_plays_from_its_image(engine: Engine, sdk_image: str, world: Path) -> None:
    """`init player`, `build`, and the name that it says as a player of a built game."""
    player = world.parent / "coworld-test-player"
    init_player(player, "bot", manifest=str(world))
    base = ("--build-arg", f"BASE={sdk_image}", "--quiet", "--json")
    built = call(world.parent, "build", str(player), *base)
    assert built.returncode == 0, built.stderr
    assert built.stderr == ""
    document = json.loads(built.stdout)
    assert (document["exit_code"], document["manifest"], document["error"]) == (0, None, None)
    (image,) = document["images"]
    assert call(world.parent, "build", str(world), *base).returncode == 0
    words = (str(world / "dist"), image["image"], "wanderer", "--run", "python", "--run", "bot.py")
    played = call(world.parent, "run", *words, "--driver", "docker", "--json")
    assert played.returncode == 0, played.stderr
    (episode,) = json.loads(played.stdout)["episodes"]
    bot, wanderer = (seat["score"] for seat in episode["seats"])
    assert bot > wanderer


def test_what_is_refused_has_a_next_step(tmp_path: Path) -> None:
    """A directory without anything, an argument without a name, a template with a mistake; with --json one document."""
    done = call(tmp_path, "build")
    assert done.returncode == 2
    assert "has nothing to build" in done.stderr
    assert "coworld-actors init game" in done.stderr
    assert call(tmp_path, "build", "--build-arg", "=x").returncode == 2
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "coworld_manifest_template.json").write_text('{"game":\n  oops}')
    done = call(tmp_path, "build", "--json")
    assert done.returncode == 2
    document = json.loads(done.stdout)
    assert "line 2, column 3" in document["error"]["evidence"]
    write_template(tmp_path, template("{{GAMES_IMAGE}}", "{{IMAGE}}"))
    done = call(tmp_path, "build", "--version", "1")
    assert "$.game.runnable.image" in done.stderr
    assert "{{IMAGE}}" in done.stderr


def test_a_dry_run_says_what_would_be(world: Path) -> None:
    """And leaves everything as it is."""
    done = call(world, "build", "--dry-run", "--version", "3.0")
    assert done.returncode == 0, done.stderr
    assert "{{IMAGE}} would be coworld-test-world" in done.stdout
    assert "world 3.0" in done.stdout
    assert not (world / "dist").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_calls_the_build_off(
    engine: Engine, python_image: str, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """The exit code is the signal's, one line says so, and there is no manifest."""
    directory = tmp_path / "coworld-test-slow"
    write_template(directory, template("{{IMAGE}}", "{{IMAGE}}"))
    (directory / "Dockerfile").write_text(SLOW)
    words = ["build", str(directory), "--version", "1", "--build-arg", f"BASE={python_image}", "--json"]
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "xxxxxxx" in line:
                break
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=120)
    assert process.returncode == code, said + err
    assert json.loads(out)["error"]["type"] == "Interrupted"
    assert f"error: {number.name} ended the build; no manifest was written" in err
    assert not (directory / "dist").exists()
