"""A replay is shown until the person leaves or the game does, in a real browser, and nothing is left of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Page, expect

from tests.browsers import PATIENCE, chromium, page
from tests.cli.played import COMMAND, command
from tests.coworlds import scripted_manifest, write_coworld

__all__ = ["chromium", "page"]

ORCHARD = Path(__file__).parents[2] / "examples/orchard/coworld_manifest.json"
expect.set_options(timeout=PATIENCE * 1000)


class Showing:
    """`coworld-actors replay` in a process of its own, with a place of its own for temporary files."""

    def __init__(self, directory: Path, *arguments: object) -> None:
        self.temporary = directory / "temporary"
        self.temporary.mkdir(exist_ok=True)
        self.stdout = directory / "stdout"
        with self.stdout.open("w") as stdout:
            self.process = subprocess.Popen(
                [*COMMAND, "replay", *map(str, arguments), "--no-open"],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "TMPDIR": str(self.temporary)},
            )
        self.said = ""
        self.roles: list[psutil.Process] = []
        self._reader = threading.Thread(target=self._hear)
        self._reader.start()

    def _hear(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.said += line

    def link(self) -> str:
        end = time.monotonic() + PATIENCE
        while not (found := re.search(r"^replay: (\S+)\n", self.said, re.MULTILINE)):
            assert time.monotonic() < end, self.said
            assert self.process.poll() is None, self.said
            time.sleep(0.02)
        self.roles = psutil.Process(self.process.pid).children(recursive=True)
        assert self.roles
        return found[1]

    def end(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert psutil.wait_procs(self.roles, timeout=5)[1] == []
        return code

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.stdout.read_text())
        return document

    def give_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)


@pytest.fixture
def showing(tmp_path: Path) -> Iterator[Callable[..., Showing]]:
    """Starts `replay`, and ends what a test has left."""
    started: list[Showing] = []

    def start(*arguments: object) -> Showing:
        started.append(Showing(tmp_path, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.give_up()


@pytest.fixture(scope="module")
def orchard_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a short run of Orchard."""
    place = tmp_path_factory.mktemp("orchard")
    run = place / "out"
    done = command("run", ORCHARD, "--variant", "duel", "--set", "max_ticks=8", "--output", run, "--quiet", cwd=place)
    assert done.returncode == 0, done.stderr
    return run


def test_a_replay_moves_in_a_browser_until_one_leaves(showing, orchard_run: Path, page: Page) -> None:
    """Ctrl-C is how it ends: exit code 0, no process, no file; nothing was written into the run's directory."""
    before = sorted(path for path in orchard_run.rglob("*"))
    run = showing(orchard_run)
    page.goto(run.link())
    expect(page.locator("body")).to_have_attribute("data-tick", re.compile(r"[1-8]"))
    # A page whose game goes away says so in its console, which is no error of the page's.
    page.goto("about:blank")
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 0, run.said
    assert list(run.temporary.iterdir()) == []
    assert sorted(path for path in orchard_run.rglob("*")) == before


def test_sigterm_has_its_own_code(showing, orchard_run: Path) -> None:
    """As everywhere; the end is as orderly, and the document says that the page was there, and what ended it."""
    run = showing(orchard_run, "--json")
    run.link()
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 143
    assert list(run.temporary.iterdir()) == []
    document = run.document()
    assert (document["exit_code"], document["replay"]["shown"]) == (143, True)
    assert (document["error"]["type"], document["error"]["what"]) == ("Interrupted", "SIGTERM ended the replay")


def test_after_sigkill_no_process_is_left(showing, orchard_run: Path) -> None:
    """The janitor ends the game."""
    run = showing(orchard_run)
    run.link()
    run.process.kill()
    assert run.end() == -signal.SIGKILL


def shown_by(tmp_path: Path, behaviour: str) -> tuple[Path, Path]:
    """A manifest, and a replay that makes its game behave like that."""
    manifest = write_coworld(tmp_path / "coworld", scripted_manifest(behaviour))
    (tmp_path / "a").write_text(json.dumps({"behaviour": behaviour}))
    return manifest, tmp_path / "a"


def test_a_game_that_dies_is_told(showing, tmp_path: Path) -> None:
    """While it shows the replay: exit code 1 with how it ended."""
    manifest, replay = shown_by(tmp_path, "plays")
    run = showing(replay, "--manifest", manifest)
    run.link()
    game = next(each for each in run.roles if "scripted_game.py" in " ".join(each.cmdline()))
    game.kill()
    assert run.end() == 1
    assert "the game ended while it showed the replay: killed by SIGKILL" in run.said
    assert list(run.temporary.iterdir()) == []


def test_leaving_before_it_is_shown_is_an_interruption(showing, tmp_path: Path) -> None:
    """There was nothing to leave yet: 130 as elsewhere."""
    manifest, replay = shown_by(tmp_path, "replay_hangs")
    run = showing(replay, "--manifest", manifest, "--json")
    end = time.monotonic() + PATIENCE
    while not any(
        "scripted_game.py" in " ".join(each.cmdline()) for each in psutil.Process(run.process.pid).children(True)
    ):
        assert time.monotonic() < end, run.said
        time.sleep(0.02)
    run.roles = psutil.Process(run.process.pid).children(recursive=True)
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130
    assert list(run.temporary.iterdir()) == []
    document = run.document()
    assert (document["replay"]["shown"], document["error"]["type"]) == (False, "Interrupted")


def test_a_replay_that_shows_nothing_fails_the_check(tmp_path: Path) -> None:
    """Its page is there and `/replay` is silent: 1 with the reason."""
    manifest, replay = shown_by(tmp_path, "silent_replay")
    done = command("replay", replay, "--verify", "--manifest", manifest, cwd=tmp_path)
    assert done.returncode == 1
    assert "the game shows nothing on /replay: no message within 10 s" in done.stderr
