"""What a benchmark ran on: every table of figures begins with it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

__all__ = ["machine"]


def machine(*packages: str) -> dict[str, str]:
    """The processor, the system, Python, and the versions of trio, of us, and of other packages."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": f"{os.cpu_count()} x {names[0] if names else platform.machine()}",
        "platform": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("trio", *packages, "coworld-actors")},
    }
