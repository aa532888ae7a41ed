"""Clients that misbehave: scripts under the name of the real one, first on a PATH of their own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coworld_actors.doctor.finding import Finding, Surroundings

__all__ = ["VERSIONS", "calling", "docker_of", "found", "script"]

VERSIONS: Mapping[str, Any] = {"Client": {"Version": "28.2.2"}, "Server": {"Version": "20.10.24+dfsg1"}}


def script(directory: Path, name: str, text: str) -> Path:
    """An executable shell script; returns the directory, for a PATH."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return directory


def docker_of(directory: Path, info: Mapping[str, Any], versions: Mapping[str, Any] = VERSIONS) -> Path:
    """A client whose engine describes itself like this."""
    (directory / "answers").mkdir(parents=True)
    (directory / "answers/version").write_text(json.dumps(versions))
    (directory / "answers/info").write_text(json.dumps(info))
    (directory / "answers/context").write_text("unix:///var/run/docker.sock\n")
    for empty in ("network", "container", "ps"):
        (directory / "answers" / empty).write_text("")
    return script(directory, "docker", f'exec cat {directory}/answers/"$1"')


def calling(path: Path | str, *drivers: str, patience: float = 30.0, **variables: str) -> Surroundings:
    """Surroundings with this directory first on PATH."""
    environ = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}", **variables}
    return Surroundings(drivers=frozenset(drivers or ("process",)), environ=environ, patience=patience)


def found(findings: Sequence[Finding], name: str) -> Finding:
    """The finding of that name."""
    (finding,) = [each for each in findings if each.name == name]
    return finding
