"""The two small C programs of the benchmarks, compiled when they are first needed and kept by their content."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["compiled"]

_FLAGS = ("-O2", "-std=gnu11")


@functools.cache
def compiled(name: str) -> Path | None:
    """The executable made from `name`.c beside this file, or None where there is no C compiler or it refuses.

    It is kept below `$XDG_CACHE_HOME/coworld-actors/bench`, else `~/.cache/...`, under a name made from the source's content.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    source = Path(__file__).with_name(f"{name}.c")
    digest = hashlib.blake2b(source.read_bytes() + " ".join(_FLAGS).encode(), digest_size=8).hexdigest()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "coworld-actors" / "bench"
    target = folder / f"{name}-{digest}"
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Made under another name first, so that nobody ever runs half of it.
        with tempfile.TemporaryDirectory(dir=folder) as workshop:
            made = Path(workshop) / name
            subprocess.run([compiler, *_FLAGS, "-o", made, source], check=True, capture_output=True)
            made.rename(target)
    except (OSError, subprocess.CalledProcessError):
        return None
    return target
