"""Packages to build: a manifest template, Dockerfiles on a base image, and a docker client with a compose plugin of our own."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["FILE", "scripted_docker", "template", "with_compose", "write_template"]

FILE = "coworld_manifest_template.json"


def template(game: str = "{{GAME_IMAGE}}", player: str = "{{GAME_IMAGE}}", readme: str = "text") -> dict[str, Any]:
    """The smallest template that becomes a valid manifest."""
    text = {"type": "text", "value": "text"}
    return {
        "game": {
            "name": "built",
            "description": "d",
            "owner": "me@example.org",
            "config_schema": {
                "type": "object",
                "required": ["tokens"],
                "properties": {
                    "tokens": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "string"}},
                },
            },
            "results_schema": {"type": "object"},
            "runnable": {"type": "game", "image": game},
            "protocols": {"player": text, "global": text},
            "docs": {"readme": {"type": "text", "value": readme}},
        },
        "player": [{"id": "p", "type": "player", "name": "P", "description": "d", "image": player}],
        "variants": [{"id": "default", "name": "D", "description": "d", "game_config": {}}],
        "certification": {"game_config": {}, "players": [{"player_id": "p"}, {"player_id": "p"}]},
    }


def write_template(directory: Path, document: object, name: str = FILE) -> Path:
    """Write it; the directory is made."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(json.dumps(document, indent=1))
    return path


COMPOSE = """
import json, os, pathlib, subprocess, sys

DOCKER = {docker!r}
words = sys.argv[1:]
if words[:1] != ["compose"]:
    os.execv(DOCKER, [DOCKER, *words])
if words[1:] == ["version"]:
    sys.exit(print("Docker Compose version v2.0.0-scripted"))
assert words[1] == "--file", words
file = pathlib.Path(words[2])
project = file.parent.name
read = json.loads(file.read_text())
if words[3:] == ["config", "--format", "json"]:
    sys.exit(print(json.dumps({{"name": project, **read}})))
assert words[3] == "build", words
for name, service in read["services"].items():
    if "build" in service:
        context = file.parent / service["build"]["context"]
        tag = service.get("image", project + "-" + name)
        done = subprocess.run([DOCKER, "build", "--tag", tag, *words[4:], str(context)])
        if done.returncode:
            sys.exit(done.returncode)
"""
"""Enough of the plugin: a compose file that is JSON, as YAML may be; it builds one service after the other."""


def scripted_docker(directory: Path, program: str) -> Mapping[str, str]:
    """A PATH with a `docker` in front that is a Python program, by its text."""
    directory.mkdir()
    script = directory / "docker.py"
    script.write_text(program)
    client = directory / "docker"
    client.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I {shlex.quote(str(script))} "$@"\n')
    client.chmod(0o755)
    return {"PATH": f"{directory}:/usr/bin:/bin"}


def with_compose(directory: Path) -> Mapping[str, str]:
    """A PATH with the real docker and a scripted compose plugin."""
    docker = shutil.which("docker")
    assert docker is not None
    return scripted_docker(directory, COMPOSE.format(docker=docker))
