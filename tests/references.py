"""The public reference in a virtual environment of its own: a fixture of the whole session."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docker_engine import CACHE, alone

__all__ = ["ARENA_IMAGE", "VERSION", "Reference", "reference"]

VERSION = "0.1.26"
REQUIREMENTS = (f"coworld[examples]=={VERSION}", "fastapi==0.115.5", "uvicorn[standard]==0.34.2", "websockets==15.0.1")
"""The package with what it says its examples need; the three servers' versions are those of the example's own Dockerfile."""

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
    with alone(venv.name):
        if not (python.exists() and complete.is_file() and complete.read_text() == wanted):
            interpreter, options = _interpreter()
            shutil.rmtree(venv, ignore_errors=True)
            _install(interpreter, "-m", "venv", str(venv))
            _install(str(python), "-m", "pip", "install", "--disable-pip-version-check", *options, *REQUIREMENTS)
            complete.write_text(wanted)
    (paint_arena,) = venv.glob("lib/python3*/site-packages/coworld/examples/paintarena")
    return Reference(venv, python, paint_arena)


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
