"""Runtimes on real processes, blocked imports, and the words that nobody may see."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coworld_actors.actors import Event, Record
from coworld_actors.runtime.runtime import Runtime
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver
from tests.coworlds import IMAGE, PROGRAMS
from tests.runtime.conftest import driver, spec_of

__all__ = ["driver", "new_driver", "spec_of", "tell", "without"]

ROOT = Path(__file__).parent.parent.parent
FOLDERS = [str(ROOT), str(ROOT / "drivers"), str(ROOT / "protocol")]


@pytest.fixture
def without() -> Callable[[str, str], str]:
    """Runs a program in which a package cannot be imported; returns what it printed."""

    def run(package: str, program: str) -> str:
        blocker = f"import sys; sys.path[:0] = {FOLDERS!r}; sys.modules[{package!r}] = None\n"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", blocker + program],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def new_driver() -> Callable[[], ProcessDriver]:
    """Makes drivers, for tests with several runtimes."""
    return lambda: ProcessDriver(load_images(None, {IMAGE: str(PROGRAMS)}))


@pytest.fixture
def tell() -> Callable[..., None]:
    """Tells whoever listens to a runtime of something that did not happen."""

    def hand_out(runtime: Runtime, event: Event, *, actor: str = "", incarnation: int = 0, scope: str = "") -> None:
        record = Record(0, 0.0, 0.0, scope, actor, incarnation, event)
        for callback in tuple(runtime.system.events._subscribers.values()):
            callback(record)

    return hand_out
