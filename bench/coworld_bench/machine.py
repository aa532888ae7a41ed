"""What a benchmark ran on: every table of figures begins with it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["machine", "version_of"]


def machine(*packages: str) -> dict[str, str]:
    """The processor, the system, Python, and the versions of trio, of us, and of other packages that are installed."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = {package: version_of(package) for package in ("trio", *packages, "coworld-actors")}
    return {
        "cpu": f"{os.cpu_count()} x {names[0] if names else platform.machine()}",
        "platform": platform.platform(),
        "python": platform.python_version(),
        **{package: found for package, found in versions.items() if found},
    }


def version_of(package: str) -> str:
    """The installed version, or nothing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
