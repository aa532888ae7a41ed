"""The public reference in a virtual environment of its own, and its Paint Arena as an author would have it on disk."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

__all__ = ["Reference", "arena", "reference"]

VERSION = "0.1.26"
REQUIREMENTS = (f"coworld[examples]=={VERSION}", "fastapi==0.115.5", "uvicorn[standard]==0.34.2", "websockets==15.0.1")
"""The package with what it says its examples need; the three servers' versions are those of the example's own Dockerfile."""

CACHE = Path(__file__).parents[2] / ".cache"
ARENA_IMAGE = f"coworld-paintarena:{VERSION}"
INSTALL_SECONDS = 1200


class Reference(NamedTuple):
    """An installed reference.

    Attributes:
        venv: the virtual environment.
        python: its interpreter.
        paint_arena: the example's directory inside the installed package.
    """

    venv: Path
    python: Path
    paint_arena: Path


@pytest.fixture(scope="session")
def reference() -> Reference:
    """The reference, installed once per checkout; a failed installation fails the test with what pip said."""
    venv = CACHE / f"reference-{VERSION}"
    complete = venv / "complete.json"
    python = venv / "bin" / "python"
    wanted = json.dumps(REQUIREMENTS)
    with _alone(venv):
        if not (python.exists() and complete.is_file() and complete.read_text() == wanted):
            interpreter, options = _interpreter()
            shutil.rmtree(venv, ignore_errors=True)
            _install(interpreter, "-m", "venv", str(venv))
            _install(str(python), "-m", "pip", "install", "--disable-pip-version-check", *options, *REQUIREMENTS)
            complete.write_text(wanted)
    (paint_arena,) = venv.glob("lib/python3*/site-packages/coworld/examples/paintarena")
    return Reference(venv, python, paint_arena)


@contextmanager
def _alone(venv: Path) -> Iterator[None]:
    """Let one run at a time look and build; the kernel gives the lock back when a run dies."""
    venv.parent.mkdir(parents=True, exist_ok=True)
    with venv.with_name(f"{venv.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _interpreter() -> tuple[str, tuple[str, ...]]:
    """A Python that the reference admits (below 3.13), or ours with pip told not to mind."""
    if sys.version_info < (3, 13):
        return sys.executable, ()
    for name in ("python3.12", "python3.11"):
        if found := shutil.which(name):
            return found, ()
    return sys.executable, ("--ignore-requires-python",)


def _install(*command: str) -> None:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=INSTALL_SECONDS, check=False
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}", pytrace=False)


@pytest.fixture
def arena(reference: Reference, tmp_path: Path) -> Path:
    """The package's own manifest with its blanks filled in, and nothing else changed; returns its path, no image is mapped yet.

    The commissioner's image exists nowhere: a role that is not run needs none.
    """
    template = (reference.paint_arena / "coworld_manifest_template.json").read_text(encoding="utf-8")
    filled = template.replace("{{PAINTARENA_IMAGE}}", ARENA_IMAGE).replace("{{COMMISSIONER_IMAGE}}", "nowhere:1")
    assert "{{" not in filled
    manifest = json.loads(filled)
    manifest["game"]["version"] = VERSION
    path = tmp_path / "arena" / "coworld_manifest.json"
    path.parent.mkdir()
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return path
