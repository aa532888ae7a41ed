"""Pages are opened by whatever browser there is, without waiting for it, without its words, and without tokens in its arguments."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import trio

from coworld_actors.cli import browser
from coworld_actors.cli.browser import open_pages
from coworld_actors.doctor.desk import check_browser
from coworld_actors.doctor.finding import Surroundings
from tests.doctor.clients import script


@pytest.fixture
def game() -> Iterator[tuple[str, list[str]]]:
    """A server that answers everything; its address and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def use_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str) -> Path:
    """Make a program the browser; it finds the address in `url`. Returns where it writes what it was started with."""
    seen = tmp_path / "seen"
    program = tmp_path / "browser"
    program.write_text(
        f"#!{sys.executable}\nimport sys, time, urllib.request\nurl = sys.argv[1]\n"
        f"open({str(seen)!r}, 'a').write(url + '\\n')\n{body}\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(program))
    return seen


FETCHES = "urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=60).read()"


async def test_a_page_with_a_token_is_reached_through_a_door(monkeypatch, tmp_path: Path, game) -> None:
    """The browser is started with an address that knows no token and leads on once; others are as they are."""
    address, asked = game
    seen = use_browser(monkeypatch, tmp_path, FETCHES)
    with trio.fail_after(60):
        assert await open_pages([f"{address}/client/global", f"{address}/client/player?slot=0&token=hush"])
    assert asked == ["/client/global", "/client/player?slot=0&token=hush"]
    shown = seen.read_text().splitlines()
    assert shown[0] == f"{address}/client/global"
    assert "hush" not in shown[1]
    door = urlsplit(shown[1])
    with pytest.raises(OSError, match="failed"):
        await trio.open_tcp_stream(str(door.hostname), int(door.port or 0))


async def test_the_door_leads_on_once_and_only_for_its_key(monkeypatch, tmp_path: Path, game, capfd) -> None:
    """Whoever comes with another path, another method or a second time finds nothing; what the browser writes is nowhere."""
    address, _ = game
    steps = (
        "import urllib.error\n"
        "def status(request):\n"
        "    class Stay(urllib.request.HTTPRedirectHandler):\n"
        "        def redirect_request(self, *_):\n"
        "            return None\n"
        "    try:\n"
        "        return urllib.request.build_opener(Stay, urllib.request.ProxyHandler({})).open(request, timeout=60).status\n"
        "    except urllib.error.HTTPError as error:\n"
        "        return error.code\n"
        "found = [status(url + 'x'), status(urllib.request.Request(url, method='POST')), status(url)]\n"
        "open(sys.argv[0] + '.found', 'w').write(repr(found))\n"
        "print('words for the terminal', flush=True)\n"
    )
    use_browser(monkeypatch, tmp_path, steps)
    with trio.fail_after(60):
        assert await open_pages([f"{address}/client/player?slot=0&token=hush"])
        found = tmp_path / "browser.found"
        while not found.exists() or not found.read_text():
            await trio.sleep(0.02)
    assert found.read_text() == "[404, 404, 302]"
    assert capfd.readouterr() == ("", "")


async def test_a_browser_that_stays_holds_nobody_up(monkeypatch, tmp_path: Path, game) -> None:
    """One in the foreground is taken for a success after a while, and left alone."""
    monkeypatch.setattr(browser, "LAUNCH_SECONDS", 0.5)
    use_browser(monkeypatch, tmp_path, "time.sleep(20)")
    with trio.fail_after(15):
        assert await open_pages([f"{game[0]}/client/global"])
    left = psutil.Process().children(recursive=True)
    assert len(left) == 2
    for process in reversed(left):
        process.kill()
    psutil.wait_procs(left, timeout=10)


async def test_a_browser_that_cannot_be_started_is_told(monkeypatch, tmp_path: Path) -> None:
    """It is no failure of what wanted to show something."""
    monkeypatch.setenv("BROWSER", str(tmp_path / "no-such-program"))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with trio.fail_after(60):
        assert not await open_pages(["http://127.0.0.1:1/client/player?token=hush"])


async def test_without_a_thread_to_wait_in_the_game_goes_on(monkeypatch, tmp_path: Path, game) -> None:
    """The browser was started; that nobody hears how it fared is no failure of the game's."""
    seen = use_browser(monkeypatch, tmp_path, FETCHES)

    async def exhausted(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(trio.to_thread, "run_sync", exhausted)
    with trio.fail_after(60):
        assert await open_pages([f"{game[0]}/client/player?token=hush"])
    assert "hush" not in seen.read_text()


class Said:
    """A screen of which only this is looked at."""

    attended = True

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"DISPLAY": ":0"},
        {"DISPLAY": ":0", "SSH_CONNECTION": "a b c d"},
        {"BROWSER": "no-such-program"},
        {"BROWSER": "no-such-program", "DISPLAY": ":0"},
    ],
)
async def test_what_the_doctor_says_is_what_is_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: dict[str, str]
) -> None:
    """Pages are tried where it says that they are opened, and addresses are left to the person where it says so."""
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(script(tmp_path / "bin", "xdg-open", "true")))
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    tried: list[str] = []

    async def opened(addresses: list[str]) -> bool:
        tried.extend(addresses)
        return True

    monkeypatch.setattr(browser, "open_pages", opened)
    screen = Said()
    await browser.show_in_browser(["a"], None, screen)  # type: ignore[arg-type]
    (finding,) = await check_browser(Surroundings())
    assert bool(tried) is ("pages are opened with" in finding.text) is not bool(screen.notes)
