"""The whole session's watch: when the last test is done, nothing of ours may be left on the machine, and every event was right."""

from __future__ import annotations

import gc
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from coworld_drivers.janitor import MARK, marked
from tests.docker_engine import engine, left_on_the_engine, python_image
from tests.docker_images import orchard_image, orchard_manifest, paint_arena_image, pip_image, sdk_image
from tests.event_schema import EventSchema
from tests.references import reference

__all__ = [
    "engine",
    "every_event_fits",
    "nothing_left_behind",
    "orchard_image",
    "orchard_manifest",
    "paint_arena_image",
    "pip_image",
    "python_image",
    "reference",
    "sdk_image",
    "session_mark",
]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A suite that a shell runs in its background is deaf to SIGINT, and so is every program that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

SETTLE_SECONDS = 10.0
"""Longer than a janitor's own limit: what it is still sweeping is not left behind."""

# Opened lazily, once per process, by the event loop and the interpreter; closed by nobody.
_ALLOWED_FILES = ("anon_inode:", "/dev/null", "/dev/urandom", "/dev/random")


def _open_files() -> set[tuple[int, str]]:
    found: set[tuple[int, str]] = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add((int(entry.name), str(entry.readlink())))
    return found


def _processes(mark: str, before: set[int]) -> dict[int, psutil.Process]:
    found = {child.pid: child for child in psutil.Process().children(recursive=True) if child.pid not in before}
    for pid in marked(mark):
        with suppress(psutil.NoSuchProcess):
            found[pid] = psutil.Process(pid)
    return found


def _describe(process: psutil.Process) -> str:
    try:
        return f"process {process.pid} ({process.status()}): {' '.join(process.cmdline()) or process.name()}"
    except psutil.Error:
        return f"process {process.pid}"


@pytest.fixture(scope="session")
def session_mark() -> str:
    """The mark that every process started by this session carries, directly or below a run's own."""
    return f"pytest-{uuid.uuid4().hex}"


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind(session_mark: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the session when something of ours is left at its end: process, socket, pipe, descriptor, temporary file, container, network.

    Processes: the recursive children of this one, and whatever carries the session's mark in its environment, wherever it went.
    Temporary files: what is called `coworld...` in the session's own TMPDIR.
    """
    temporary = tmp_path_factory.mktemp("system-temp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, session_mark)
        patch.setenv("TMPDIR", str(temporary))
        # Where control sockets are: those of a killed runtime stay until the next one looks, which is nobody's temporary file.
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        patch.setattr(tempfile, "tempdir", str(temporary))
        files_before = _open_files()
        children_before = {child.pid for child in psutil.Process().children(recursive=True)}
        yield
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            gc.collect()
            processes = _processes(session_mark, children_before)
            files = {
                (number, target)
                for number, target in _open_files() - files_before
                if not target.startswith(_ALLOWED_FILES) and not target.endswith("(deleted)")
            }
            litter = sorted(path.name for path in temporary.iterdir() if path.name.startswith("coworld"))
            left = [*map(_describe, processes.values())]
            left += [f"file descriptor {number}: {target}" for number, target in sorted(files)]
            left += [f"temporary file: {name}" for name in litter]
            left += left_on_the_engine(session_mark)
            if not left or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        for process in processes.values():
            with suppress(psutil.Error):
                process.kill()
    if left:
        pytest.fail("the tests left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def every_event_fits() -> Iterator[None]:
    """Fail the session when any event that was published in it does not fit the schema, or contradicts what was told before."""
    schema = EventSchema()
    with schema.installed():
        yield
    if schema.failures:
        found = "\n  ".join(schema.failures)
        pytest.fail(f"of {schema.seen} events these were wrong:\n  {found}", pytrace=False)
