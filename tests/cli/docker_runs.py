"""Runs with the docker driver as processes of their own, and what of each is on the engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.docker_engine import Engine
from tests.relays import Relay

__all__ = ["GOOD", "MACHINE", "Runs", "relay", "runs"]

LONG = 240.0
"""Far more seconds than any run here takes, also on a busy machine."""

GONE_SECONDS = 30.0
"""For all that a killed run has left; five are promised, and a machine that does other things as well is given more."""

GOOD = ("completed", "nobody")
MACHINE = ("infrastructure", "infrastructure")


class Runs:
    """Starts runs and knows what of them is on the engine.

    Args:
        manifest: what is played.
        directory: for outputs.
        engine: the engine.
    """

    def __init__(self, manifest: Path, directory: Path, engine: Engine) -> None:
        self.manifest = manifest
        self.directory = directory
        self.engine = engine
        self.started: list[subprocess.Popen[str]] = []

    def change(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Change the manifest."""
        document = json.loads(self.manifest.read_text())
        edit(document)
        self.manifest.write_text(json.dumps(document))

    def add_players(self, codes: Mapping[str, str], resources: Mapping[str, Any]) -> None:
        """Further players: Python code by id, and what they ask for."""

        def edit(manifest: dict[str, Any]) -> None:
            first = manifest["player"][0]
            for name, code in codes.items():
                asked = {"resources": resources[name]} if name in resources else {}
                manifest["player"].append({**first, "id": name, "run": ["python", "-c", code], **asked})

        self.change(edit)

    def start(
        self, *words: str | Path, environ: Mapping[str, str] | None = None, output: str = "out"
    ) -> subprocess.Popen[str]:
        """Start a run; its records go to `output`."""
        command = [sys.executable, "-m", "coworld_actors", "run", self.manifest, "--driver", "docker", "--json"]
        process = subprocess.Popen(
            [*map(str, command), "--output", str(self.directory / output), *map(str, words)],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "400", **(environ or {})},
        )
        self.started.append(process)
        return process

    def end(self, process: subprocess.Popen[str], *, tidy: bool = True) -> tuple[int, str]:
        """Exit code and standard error of a run that ends by itself.

        Args:
            process: the run.
            tidy: whether nothing of it may be left at that moment.
        """
        out, err = process.communicate(timeout=LONG)
        if tidy:
            assert not self.left(process), err
        return process.returncode, f"{err}\n{out if process.returncode else ''}"

    def run(self, *words: str | Path, **options: Any) -> tuple[int, str]:
        """Start it and wait for its end."""
        return self.end(self.start(*words, **options))

    def record(self, output: str = "out") -> dict[str, Any]:
        """What became of the episode."""
        found: dict[str, Any] = json.loads((self.directory / output / "episode.json").read_text())
        return found

    def verdict(self, output: str = "out") -> tuple[str, str]:
        """Reason and blame."""
        verdict = self.record(output)["verdict"]
        return verdict["reason"], verdict["blame"]

    def faults(self, output: str = "out") -> list[bool]:
        """Which seats are to blame for something."""
        return [seat["fault"] for seat in self.record(output)["seats"]]

    def wait_for(self, event: str, output: str = "out") -> None:
        """Wait until an event has been recorded whose line holds these words."""
        path = self.directory / output / "events.jsonl"
        end = time.monotonic() + LONG
        while not (path.exists() and event in path.read_text()):
            assert time.monotonic() < end, f"{event!r} never came"
            assert self.started[-1].poll() is None, f"the run ended before {event!r}"
            time.sleep(0.02)

    def left(self, process: subprocess.Popen[str]) -> list[str]:
        """Containers, networks and processes of a run."""
        form = '{{.Label "coworld.owner"}} {{.ID}}'
        listed = self.engine.run("ps", "--all", "--format", form).stdout.splitlines()
        listed += self.engine.run("network", "ls", "--format", form).stdout.splitlines()
        found = [line for line in listed if f":{process.pid}:" in line]
        others: set[int] = set()
        for each in self.started:
            if each is not process and each.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    others |= {each.pid, *(child.pid for child in psutil.Process(each.pid).children(recursive=True))}
        for each in psutil.process_iter(["cmdline"]):
            words = each.info["cmdline"] or []
            janitor = words[-1:] == [str(process.pid)] and any("janitor" in word for word in words)
            if each.pid not in others and (str(self.directory) in " ".join(words) or janitor):
                found.append(" ".join(words))
        return found

    def gone(self, process: subprocess.Popen[str], seconds: float = GONE_SECONDS) -> float:
        """Wait until nothing is left of a run; how long that took."""
        start = time.monotonic()
        while left := self.left(process):
            assert time.monotonic() - start < seconds, left
            time.sleep(0.1)
        return time.monotonic() - start


@pytest.fixture
def runs(orchard_manifest: Path, tmp_path: Path, engine: Engine) -> Iterator[Runs]:
    """Runs of Orchard, its certification game of four players and a hundred ticks."""
    made = Runs(orchard_manifest, tmp_path, engine)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
            process.communicate()
            made.gone(process)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """The engine, as something that can be taken away."""
    made = Relay(tmp_path_factory.mktemp("relay") / "engine.sock")
    yield made
    made.close()
