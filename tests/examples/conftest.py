"""Orchard as real processes, and a real browser for its pages."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

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


class Browser:
    """Chromium, driven over the WebDriver protocol."""

    KEYS: Mapping[str, str] = {
        "ArrowLeft": "\ue012",
        "ArrowUp": "\ue013",
        "ArrowRight": "\ue014",
        "ArrowDown": "\ue015",
    }

    def __init__(self, driver: str, profile: Path) -> None:
        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--window-size=1200,800",
        ]
        flags += [
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
        ]
        options = {"args": [*flags, f"--user-data-dir={profile}"], "binary": shutil.which("chromium")}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._http = httpx.Client(base_url=driver, timeout=120)
        answer = self._http.post("/session", json={"capabilities": {"alwaysMatch": wanted}})
        assert answer.status_code == 200, answer.text
        self._session = answer.json()["value"]["sessionId"]

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._http.request(method, f"/session/{self._session}{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *args: Any) -> Any:
        return self._call("POST", "/execute/sync", {"script": script, "args": args})

    def until(self, script: str, seconds: float = 60) -> Any:
        """Ask until the script's value is true; the value."""
        deadline = time.monotonic() + seconds
        while True:
            if value := self.run(script):
                return value
            assert time.monotonic() < deadline, f"never true: {script}\n{self.run('return document.body.outerHTML')}"
            time.sleep(0.02)

    def _keys(self, *actions: Mapping[str, str]) -> None:
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": list(actions)}]})

    def press(self, key: str) -> None:
        """Press and release a key, by its name or its character."""
        value = self.KEYS.get(key, key)
        self._keys({"type": "keyDown", "value": value}, {"type": "keyUp", "value": value})

    def hold(self, key: str) -> None:
        self._keys({"type": "keyDown", "value": self.KEYS.get(key, key)})

    def release(self, key: str) -> None:
        self._keys({"type": "keyUp", "value": self.KEYS.get(key, key)})

    def errors(self) -> list[str]:
        """What the pages have complained about since the last call."""
        entries = self._call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def picture(self) -> bytes:
        """A PNG of the page."""
        return base64.b64decode(self._call("GET", "/screenshot"))

    def quit(self) -> None:
        self._call("DELETE", "")
        self._http.close()


@pytest.fixture(scope="session")
def chromedriver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running chromedriver, for the whole session."""
    program = shutil.which("chromedriver")
    assert program, (
        "the page tests need Debian's chromium and chromium-driver: apt-get install chromium chromium-driver"
    )
    directory = tmp_path_factory.mktemp("chromedriver")
    log = directory / "driver.log"
    environ = os.environ | {"HOME": str(directory), "TMPDIR": str(directory)}
    with log.open("wb") as out:
        # A group of its own: chromedriver's children are ended with it.
        process = subprocess.Popen([program, "--port=0"], stdout=out, stderr=out, env=environ, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"on port (\d+)\.", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{found[1]}"
    finally:
        process.terminate()
        process.wait()
        # Chromium's helpers follow their parent; whoever of the group is still there is ended here.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def browser(chromedriver: str, tmp_path: Path) -> Iterator[Browser]:
    """A fresh Chromium with a profile of its own; the test fails when a page logged an error."""
    chromium = Browser(chromedriver, tmp_path / "profile")
    try:
        yield chromium
        assert chromium.errors() == []
    finally:
        chromium.quit()
