"""Orchard as real processes, and a real browser for its pages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.browsers import chromium, page

__all__ = ["Episode", "Processes", "chromium", "page", "processes", "show_replay", "start_orchard"]

ROOT = Path(__file__).parents[2]
ORCHARD = ROOT / "examples" / "orchard"
# The example is a program of its own; its package is found where its image would have it.
sys.path.insert(0, str(ORCHARD))


class Processes:
    """Starts programs of Orchard and ends whatever is left of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, module: str, environ: Mapping[str, str], log: str) -> subprocess.Popen[bytes]:
        variables = {
            name: value for name, value in os.environ.items() if not name.startswith(("COGAME", "COWORLD_PLAYER"))
        }
        variables["PYTHONPATH"] = os.pathsep.join([str(ORCHARD), str(ROOT / "protocol")])
        with (self.directory / log).open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                env=variables | environ,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ORCHARD,
            )
        self.started.append(process)
        return process

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()


class Episode:
    """A running game of Orchard and its files."""

    def __init__(self, processes: Processes, process: subprocess.Popen[bytes], port: int, seats: int) -> None:
        self.processes = processes
        self.process = process
        self.directory = processes.directory
        self.port = port
        self.seats = seats

    def url(self, route: str, slot: int | None = None, scheme: str = "ws") -> str:
        query = "" if slot is None else f"?slot={slot}&token=token-{slot}"
        return f"{scheme}://127.0.0.1:{self.port}{route}{query}"

    def sit(self, slot: int, player: str, **environ: str) -> subprocess.Popen[bytes]:
        address = {"COWORLD_PLAYER_WS_URL": self.url("/player", slot)}
        return self.processes.start(f"orchard.players.{player}", address | environ, f"player-{slot}.log")

    def wait(self, seconds: float = 120) -> int:
        return self.process.wait(seconds)

    def results(self) -> Any:
        return json.loads((self.directory / "results.json").read_text())

    def log(self, name: str = "game.log") -> str:
        return (self.directory / name).read_text()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Programs of Orchard, ended with the test."""
    programs = Processes(tmp_path)
    yield programs
    programs.end()


def _wait_for_port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := re.search(r"on port (\d+)", log.read_text()):
            return int(found[1])
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    raise AssertionError(f"the game does not listen: {log.read_text()}")


@pytest.fixture
def start_orchard(processes: Processes) -> Callable[..., Episode]:
    """Start a game of Orchard with so many seats; `token-N` is the token of seat N."""

    def start(seats: int = 2, **config: Any) -> Episode:
        directory = processes.directory
        tokens = [f"token-{slot}" for slot in range(seats)]
        defaults = {"width": 12, "height": 8, "max_ticks": 40, "tick_timeout_seconds": 60, "seed": 3}
        (directory / "config.json").write_text(json.dumps({"tokens": tokens, **defaults, **config}))
        environ = {
            "COGAME_HOST": "127.0.0.1",
            "COGAME_PORT": "0",
            "COGAME_CONFIG_URI": f"file://{directory}/config.json",
            "COGAME_RESULTS_URI": f"file://{directory}/results.json",
            "COGAME_SAVE_REPLAY_URI": f"file://{directory}/replay",
        }
        process = processes.start("orchard.game", environ, "game.log")
        return Episode(processes, process, _wait_for_port(process, directory / "game.log"), seats)

    return start


@pytest.fixture
def show_replay(processes: Processes) -> Callable[[Path], Episode]:
    """Start Orchard in replay mode on a file."""

    def start(path: Path) -> Episode:
        environ = {"COGAME_HOST": "127.0.0.1", "COGAME_PORT": "0", "COGAME_LOAD_REPLAY_URI": f"file://{path}"}
        process = processes.start("orchard.game", environ, "show.log")
        return Episode(processes, process, _wait_for_port(process, processes.directory / "show.log"), 0)

    return start
