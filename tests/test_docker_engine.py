"""The engine and the images that the other tests are given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker_base import Interpreter, base_of
from tests.docker_engine import Engine, python_base
from tests.docker_images import pip_base

HERE = Path(__file__).parent
KEPT_AWAY = ("--user", "12345:12345", "--read-only", "--cap-drop", "ALL", "--network", "none")

ASKS = """
from tests.docker_engine import engine

def test_it(engine): pass
"""

LOOK = """
import asyncio, bz2, ctypes, decimal, hashlib, json, lzma, os, socket, sqlite3, ssl, subprocess, sys, tempfile, zoneinfo
print(json.dumps({
    "version": sys.version, "path": sys.path, "uid": os.getuid(), "ssl": ssl.OPENSSL_VERSION,
    "compiled": [m.__cached__ for m in sys.modules.values() if getattr(m, "__cached__", None) and os.path.exists(m.__cached__)],
    "tmp": oct(os.stat("/tmp").st_mode), "sh": subprocess.run(["sh", "-c", "env | cat; id"], capture_output=True).returncode,
}))
"""


@pytest.mark.parametrize("ci", ["", "1"])
def test_no_engine_is_a_failure_in_ci_and_a_reason_elsewhere(tmp_path: Path, ci: str):
    """What is skipped on a laptop fails where an engine is a promise."""
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {HERE.parent}\n")
    (tmp_path / "test_it.py").write_text(ASKS)
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'base'}"]
    environ = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock", "CI": ci}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == (1 if ci else 0), done.stdout
    assert ("1 error" if ci else "1 skipped") in done.stdout
    assert "needs a Docker engine" in done.stdout


def test_the_base_image_is_a_whole_python(engine: Engine, python_image: str):
    """For a user that it does not know, who may write nothing; its modules are compiled already."""
    done = engine.run("run", "--rm", *KEPT_AWAY, python_image, "python3", "-c", LOOK)
    said = json.loads(done.stdout)
    assert said["version"] == sys.version
    assert said["uid"] == 12345
    assert said["tmp"] == "0o41777"
    assert said["sh"] == 0
    assert len(said["compiled"]) > 50


def test_the_same_content_has_the_same_name(engine: Engine, python_image: str):
    """A second session finds what the first has made; another interpreter is other content."""
    first, second = (base_of(Interpreter.of(sys.executable)) for _ in range(2))
    assert python_image == f"coworld-test-python:{first.digest}" == f"coworld-test-python:{second.digest}"
    assert first._replace(texts={}).digest != first.digest
    assert python_base(engine) == python_image


def test_pip_needs_no_index(engine: Engine, pip_image: str):
    """It builds and installs without a network, and knows nothing else."""
    command = "pip install --quiet --target /tmp/x websockets hatchling && pip install --target /tmp/y coworld-nothing"
    done = engine.run("run", "--rm", "--network", "none", pip_image, "sh", "-c", command, check=False)
    assert done.returncode == 1
    assert "No matching distribution found for coworld-nothing" in done.stderr


def test_the_sdk_can_be_installed(engine: Engine, sdk_image: str):
    """With the command-line program, in the version of this checkout."""
    command = "pip install --quiet coworld-actors && coworld-actors --help && python -c 'import coworld_protocol'"
    done = engine.run("run", "--rm", "--network", "none", sdk_image, "sh", "-c", command)
    assert "Usage" in done.stdout


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="this machine has no Python of its distribution's")
def test_the_distributions_python_works_too(engine: Engine):
    """Whose place is compiled in, and whose packages are elsewhere."""
    image = pip_base(engine, "/usr/bin/python3", tuple(sys.path), ("pip", "h11"))
    command = "pip install --quiet h11 && python -c 'import h11, sys; print(sys.prefix)'"
    assert engine.run("run", "--rm", "--network", "none", image, "sh", "-c", command).stdout.strip() == "/usr"


@pytest.mark.reference
def test_the_references_game_is_whole(engine: Engine, paint_arena_image: str):
    """All that its roles import is there, under the name that its manifest uses."""
    modules = "pyarrow.parquet, uvloop, httptools, requests, websockets, coworld.examples.paintarena.player"
    engine.run("run", "--rm", *KEPT_AWAY, paint_arena_image, "python", "-c", f"import {modules}")
    ids = {
        engine.run("image", "inspect", "--format", "{{.Id}}", name).stdout
        for name in (paint_arena_image, "coworld-paintarena:0.1.26")
    }
    assert len(ids) == 1
