"""A person plays: the printed page in a real browser, leaving in the middle, and what is refused."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, expect

from coworld_actors.cli import cli
from coworld_actors.cli.play import _seats
from coworld_protocol.errors import Refused
from tests.browsers import PATIENCE, chromium, page
from tests.coworlds import scripted_manifest, write_coworld

__all__ = ["chromium", "page"]

ORCHARD = Path(__file__).parents[2] / "examples/orchard/coworld_manifest.json"
expect.set_options(timeout=PATIENCE * 1000)


class Playing:
    """`coworld-actors play` in a process of its own, what it has said so far, and what it has started."""

    def __init__(self, directory: Path, *arguments: object) -> None:
        self.output = directory / "out"
        command = [sys.executable, "-m", "coworld_actors", "play", *map(str, arguments), "--output", str(self.output)]
        self.process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said = ""
        self.result = ""
        self.roles: list[psutil.Process] = []
        self._readers = [threading.Thread(target=self._hear), threading.Thread(target=self._take)]
        for reader in self._readers:
            reader.start()

    def _hear(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line

    def _take(self) -> None:
        assert self.process.stdout is not None
        self.result = self.process.stdout.read()

    def link(self, what: str) -> str:
        """The address that is printed for it."""
        end = time.monotonic() + PATIENCE
        while not (found := re.search(rf"^{what}: (\S+)\n", self.said, re.MULTILINE)):
            assert time.monotonic() < end, self.said
            assert self.process.poll() is None, self.said
            time.sleep(0.02)
        self.roles = psutil.Process(self.process.pid).children(recursive=True)
        return found[1]

    def until_started(self, name: str) -> None:
        """Wait for a role's process."""
        end = time.monotonic() + PATIENCE
        while f'"name":"{name}"' not in (self.output / "events.jsonl").read_text():
            assert time.monotonic() < end, self.said
            time.sleep(0.02)
        self.roles = psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> int:
        """Wait for its end; returns the exit code, and sees that nothing is left."""
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        assert psutil.wait_procs(self.roles, timeout=5)[1] == []
        return code

    def give_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def playing(tmp_path: Path) -> Iterator[Callable[..., Playing]]:
    """Starts `play`, and ends what a test has left."""
    started: list[Playing] = []

    def start(*arguments: object) -> Playing:
        started.append(Playing(tmp_path, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.give_up()


def settings(**values: object) -> list[str]:
    return [word for name, value in values.items() for word in ("--set", f"{name}={json.dumps(value)}")]


def play_to_the_end(page: Page) -> None:
    """Go right until the page says that it is over; a press that lasts longer than a tick counts for two."""
    body = page.locator("body")
    end = time.monotonic() + PATIENCE
    while body.get_attribute("data-over") != "yes":
        assert time.monotonic() < end, page.content()
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(20)


def written(directory: Path) -> bytes:
    """Everything in a run's directory but what the game is given."""
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != "config.json")
    return b"".join(path.read_bytes() for path in files)


def test_a_person_plays_in_a_browser_to_the_end(playing, page: Page) -> None:
    """The printed page moves the forager, the score counts, and the token is written nowhere; the others are players."""
    game = settings(max_ticks=3, tick_timeout_seconds=300, width=12, height=8)
    run = playing(ORCHARD, "greedy", "--seat", 1, "--variant", "duel", "--no-open", "--json", *game)
    link = run.link("play seat 1")
    assert run.link("watch").endswith("/client/global")
    page.goto(link)
    body = page.locator("body")
    expect(page).to_have_title(re.compile("person$"))
    play_to_the_end(page)
    expect(body).to_have_attribute("data-tick", "3")
    expect(body).to_have_attribute("data-sent", "right")
    assert run.end() == 0, run.said
    (episode,) = json.loads(run.result)["episodes"]
    other, mine = episode["seats"]
    assert (mine["player"], mine["end"], mine["fault"], mine["log"]) == ("person", "person", False, "")
    assert other["player"] == "greedy"
    assert isinstance(mine["score"], float)
    token = link.rpartition("token=")[2].encode()
    assert token in (run.output / "config.json").read_bytes()
    assert token not in written(run.output)
    assert token.decode() not in run.result


def test_without_a_seat_one_watches(playing, page: Page) -> None:
    """The viewer's page is printed, every seat has its player, and the scores are shown as `run` shows them."""
    run = playing(ORCHARD, "--variant", "duel", "--no-open", *settings(max_ticks=60, tick_rate=10))
    page.goto(run.link("watch"))
    expect(page.locator("body")).to_have_attribute("data-over", "yes")
    assert run.end() == 0, run.said
    assert "with --seat 0 that seat is yours" in run.said
    assert "play seat" not in run.said
    assert "score" in run.result


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_leaving_in_the_middle_is_an_orderly_end(playing, number: signal.Signals, code: int) -> None:
    """A signal ends every role; the record says that the caller did it, nobody is to blame, and leaving is no error."""
    run = playing(ORCHARD, "--seat", 0, "--variant", "duel", "--no-open")
    run.link("play seat 0")
    run.until_started("player-1")
    run.process.send_signal(number)
    assert run.end() == code
    assert "the episode was left before its end" in run.said
    assert "error: " not in run.said
    assert len(run.roles) >= 2
    record = json.loads((run.output / "episode.json").read_text())
    assert (record["verdict"]["reason"], record["verdict"]["blame"]) == ("cancelled", "caller")
    assert [seat["fault"] for seat in record["seats"]] == [False, False]


def test_after_sigkill_nothing_is_left(playing) -> None:
    """The janitor ends the game and the players."""
    run = playing(ORCHARD, "--seat", 0, "--variant", "duel", "--no-open")
    run.link("play seat 0")
    run.until_started("player-1")
    run.process.kill()
    assert run.end() == -signal.SIGKILL
    assert len(run.roles) >= 2


def test_a_game_without_a_page_says_so(playing, tmp_path: Path) -> None:
    """With the address at which a program of one's own can have the seat; the game goes on."""
    game = {"player_connect_timeout_seconds": 0.5}
    manifest = write_coworld(tmp_path / "coworld", scripted_manifest("no_player_page", config=game))
    run = playing(manifest, "--seat", "all", "--no-open", "--quiet")
    assert run.end() == 0, run.said
    assert "warning: the game does not serve /client/player: HTTP status 404" in run.said
    assert (
        len(re.findall(r"^a program can play seat [01]: ws://\S+/player\?slot=[01]&token=\S+$", run.said, re.MULTILINE))
        == 2
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seat", "9"], "there is no seat 9"),
        (["--seat", "-1"], "is no seat"),
        (["--seat", "first"], "is no seat"),
        (["--seat", "0", "--driver", "inproc"], "nobody can play with --driver inproc"),
        (["--variant", "duel", "--variant", "four"], "several variants are given"),
        (["greedy", "--seat", "all"], "there is no seat for greedy"),
        (["nobody", "--seat", "0"], "no player 'nobody'"),
    ],
)
def test_what_cannot_be_played_writes_nothing(playing, tmp_path: Path, arguments: Sequence[str], words: str) -> None:
    """It is refused with the reason before a directory is made."""
    run = playing(ORCHARD, "--no-open", *arguments)
    assert run.end() == 2
    assert words in run.said
    assert not run.output.exists()


def test_seats_are_numbers_or_all() -> None:
    """Several make a set; a name, a sign or a number of another script is none."""
    assert _seats(()) == frozenset()
    assert _seats(("0", "2", "0")) == {0, 2}
    assert _seats(("1", "all")) is None
    for value in ("", "-1", "1.0", "²", "٣", "99999"):
        with pytest.raises(Refused):
            _seats((value,))


def test_the_help_says_how_to_sit_down() -> None:
    """The options of one's own come first."""
    shown = CliRunner().invoke(cli, ["play", "--help"]).output
    assert "--seat N|all" in shown
    assert "--open / --no-open" in shown


def test_the_pages_are_opened_in_a_browser(playing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seat's last, so that it is the tab that is seen; the browser is started with no token, and its words go nowhere."""
    browser = tmp_path / "browser"
    browser.write_text(
        f"#!{sys.executable}\nimport sys, urllib.request\nprint('words of a browser', flush=True)\n"
        "page = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=60)\n"
        f"open({str(tmp_path / 'opened')!r}, 'a').write(sys.argv[1] + ' ' + page.url + '\\n')\n"
    )
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    run = playing(ORCHARD, "--seat", 0, "--variant", "duel", "--open")
    seat, watch = run.link("play seat 0"), run.link("watch")
    opened = tmp_path / "opened"
    end = time.monotonic() + PATIENCE
    while not opened.exists() or opened.read_text().count("\n") < 2:
        assert time.monotonic() < end, run.said
        time.sleep(0.02)
    first, second = (line.split(" ") for line in opened.read_text().splitlines())
    assert first == [watch, watch]
    assert "token" not in second[0]
    assert second[1] == seat
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130
    assert "words of a browser" not in run.said + run.result


def test_a_person_passes_by_the_tap(playing, page: Page) -> None:
    """It measures players: a person's seat has no connection there, and blames nobody for that."""
    game = settings(max_ticks=3, tick_timeout_seconds=300, width=12, height=8)
    run = playing(ORCHARD, "--seat", 0, "--variant", "duel", "--no-open", "--tap", "--json", "--no-reports", *game)
    page.goto(run.link("play seat 0"))
    play_to_the_end(page)
    page.goto("about:blank")
    assert run.end() == 0, run.said
    (episode,) = json.loads(run.result)["episodes"]
    assert [(seat["end"], seat["connected"]) for seat in episode["seats"]] == [("person", None), ("finished", True)]
