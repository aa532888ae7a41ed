"""Directories with little room, whoever runs the tests."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

SIZE = 64 * 1024


@contextmanager
def small_disk(path: Path) -> Generator[Path]:
    """A directory in which 64 KiB can be written: a file system of its own, or, without the right to mount, a limit per file."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        try:
            yield path
        finally:
            subprocess.run(["umount", "-l", str(path)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, before[1]))
    try:
        yield path
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def is_full(text: str) -> bool:
    """Whether a message says that there was no room."""
    return "No space left" in text or "File too large" in text
