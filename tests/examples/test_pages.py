"""Orchard's pages in a real browser, against real games."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

PAGES = Path(__file__).parents[2] / "examples" / "orchard" / "orchard" / "pages"
# The name of a vocabulary, not an address that is fetched.
SVG = "http://www.w3.org/2000/svg"
CELL = "return Number(document.body.dataset.cell)"
DRAWN = """
const board = document.querySelector("#board");
const pixels = board.getContext("2d").getImageData(0, 0, board.width, board.height).data;
const seen = new Set();
for (let at = 0; at < pixels.length; at += 4 * 97) seen.add(pixels.slice(at, at + 3).join());
return seen.size;
"""


def test_the_pages_load_nothing_from_outside():
    """No page, script or style names an address of another site."""
    for path in PAGES.iterdir():
        text = path.read_text()
        assert not re.search(r"(https?:)?//(?!\s)[\w-]+\.[\w.]+", text.replace("// ", "").replace(SVG, "")), path.name
        assert not re.search(r"(src|href)=\"/", text), (
            f"{path.name} has an absolute URL, which breaks behind a path prefix"
        )


def test_a_person_plays_with_the_keyboard(start_orchard, browser):
    """Arrows, letters and the space bar move the forager; the page shows score, seat and tick."""
    episode = start_orchard(2, max_ticks=200, tick_timeout_seconds=300)
    other = connect(episode.url("/player", 1), proxy=None)
    with other:
        browser.open(episode.url("/client/player", 0, "http"))
        here = browser.until("return document.body.dataset.cell") and browser.run(CELL)
        width, height = 12, 8
        keys = {"ArrowRight": (1, 0), "d": (1, 0), "ArrowDown": (0, 1), "s": (0, 1), "ArrowLeft": (-1, 0), "a": (-1, 0)}
        keys |= {"ArrowUp": (0, -1), "w": (0, -1), " ": (0, 0), "D": (1, 0)}
        for tick, (key, (across, down)) in enumerate(keys.items(), 1):
            browser.press(key)
            other.send(json.dumps({"move": "stay", "tick": tick - 1}))
            browser.until(f"return document.body.dataset.tick === '{tick}'")
            y, x = divmod(here, width)
            here = (y + down) % height * width + (x + across) % width
            assert browser.run(CELL) == here, key
        assert browser.run("return document.querySelector('#tick').textContent") == "tick 10 of 200"
        assert browser.run("return document.querySelectorAll('#scores li').length") == 2
        assert browser.run("return document.querySelector('#scores li.me .seat').textContent") == "0"
        assert browser.run(DRAWN) > 5


def test_a_held_key_keeps_going_and_a_released_one_stops(start_orchard, browser):
    """While a key is down every observation is answered with its move, and no more after it is let go."""
    episode = start_orchard(2, max_ticks=400, mode="realtime", tick_rate=20)
    with connect(episode.url("/player", 1), proxy=None):
        browser.open(episode.url("/client/player", 0, "http"))
        start = browser.until("return document.body.dataset.cell") and browser.run(CELL)
        tick = int(browser.run("return document.body.dataset.tick"))
        browser.hold("ArrowRight")
        row = start // 12
        browser.until(
            f"return Number(document.body.dataset.tick) > {tick + 4} && document.body.dataset.cell !== '{start}'"
        )
        assert browser.run(CELL) // 12 == row
        assert browser.run("return document.body.dataset.sent") == "right"
        browser.release("ArrowRight")
        tick = int(browser.run("return document.body.dataset.tick"))
        browser.until(f"return Number(document.body.dataset.tick) > {tick + 2}")
        rest = browser.run(CELL)
        browser.until(f"return Number(document.body.dataset.tick) > {tick + 8}")
        assert browser.run(CELL) == rest


def test_the_player_page_comes_back_after_a_break_and_shows_the_end(start_orchard, browser):
    """Reloading the page takes the seat again; when the episode is over the page says who has won."""
    episode = start_orchard(2, max_ticks=3, tick_timeout_seconds=300)
    with connect(episode.url("/player", 1), proxy=None) as other:
        browser.open(episode.url("/client/player", 0, "http"))
        browser.until("return document.body.dataset.cell")
        browser.open(episode.url("/client/player", 0, "http"))
        browser.until("return document.body.dataset.cell")
        for tick in range(3):
            browser.press(" ")
            other.send(json.dumps({"move": "stay", "tick": tick}))
            browser.until(f"return Number(document.body.dataset.tick) === {tick + 1}")
        browser.until("return document.body.dataset.over === 'yes'")
        assert browser.run("return document.querySelector('#status').textContent").startswith("over: ")
    assert episode.wait() == 0


def test_the_viewer_draws_ticks_as_they_come(start_orchard, browser):
    """A page opened in the middle shows the state at once, then every tick, then the winner."""
    episode = start_orchard(2, max_ticks=100, tick_rate=20)
    for slot in range(2):
        episode.sit(slot, "greedy")
    browser.open(episode.url("/client/global", scheme="http"))
    browser.until("return Number(document.body.dataset.tick) > 5")
    assert browser.run(DRAWN) > 5
    assert browser.run("return document.querySelectorAll('#scores li').length") == 2
    browser.until("return document.body.dataset.over === 'yes'")
    browser.until("return Number(document.body.dataset.tick) === 100")
    shown = browser.run("return [...document.querySelectorAll('#scores .score')].map((one) => Number(one.textContent))")
    assert episode.wait() == 0
    assert shown == sorted(episode.results()["scores"], reverse=True)


@pytest.fixture
def replay_page(start_orchard, show_replay, tmp_path):
    """Orchard in replay mode on an episode of 30 ticks."""
    episode = start_orchard(2, max_ticks=30)
    for slot in range(2):
        episode.sit(slot, "greedy")
    assert episode.wait() == 0
    return show_replay(tmp_path / "replay")


def tick_of(browser):
    return int(browser.run("return document.body.dataset.tick"))


def test_a_replay_plays_at_once_loops_pauses_and_scrubs(replay_page, browser):
    """Without a click it plays, and begins again at the end; it can be paused, scrubbed and stepped."""
    browser.open(replay_page.url("/client/replay", scheme="http"))
    browser.until("return Number(document.body.dataset.tick) > 2")
    browser.run(
        "const speed = document.querySelector('#speed'); speed.value = '60'; speed.dispatchEvent(new Event('change'))"
    )
    browser.until("return Number(document.body.dataset.tick) === 30")
    browser.until("return Number(document.body.dataset.loops) >= 1")
    browser.run("document.querySelector('#play').click()")
    still = tick_of(browser)
    assert browser.run("return document.querySelector('#play').textContent") == "play"
    assert browser.run("return document.querySelector('#status').textContent") == "paused"
    # Two pictures later nothing has moved.
    browser.run(
        "window.frames_seen = 0; const count = () => { window.frames_seen++; requestAnimationFrame(count); }; count()"
    )
    browser.until("return window.frames_seen > 20")
    assert tick_of(browser) == still
    scrub = (
        "const bar = document.querySelector('#scrub'); bar.value = arguments[0]; bar.dispatchEvent(new Event('input'))"
    )
    for tick in (17, 0, 30):
        browser.run(scrub, tick)
        assert tick_of(browser) == tick
    results = replay_page_results(replay_page)
    shown = browser.run("return [...document.querySelectorAll('#scores .score')].map((one) => Number(one.textContent))")
    assert shown == sorted(results["scores"], reverse=True)
    browser.press("ArrowLeft")
    assert tick_of(browser) == 29
    browser.press(" ")
    browser.until("return document.querySelector('#play').textContent === 'pause'")
    assert browser.run(DRAWN) > 5


def replay_page_results(page):
    return json.loads((page.directory / "results.json").read_text())


class Prefix(ThreadingHTTPServer):
    """Serves a game's pages behind `/deep/path`, as hosted play does; sockets are not passed on."""

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Prefix.Handler)
        self.target = target

    class Handler(BaseHTTPRequestHandler):
        server: Prefix

        def do_GET(self) -> None:
            found = httpx.get(self.server.target + self.path.removeprefix("/deep/path"))
            self.send_response(found.status_code)
            for name in ("Content-Type", "Content-Length", "Content-Security-Policy"):
                if name in found.headers:
                    self.send_header(name, found.headers[name])
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(found.content)

        def log_message(self, *args: object) -> None:
            pass


def test_pages_work_behind_a_prefix_and_with_an_address(replay_page, browser):
    """Assets load relative to the page, and `address` names the socket, whatever else the query says."""
    server = Prefix(replay_page.url("", scheme="http"))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        base = f"http://127.0.0.1:{server.server_address[1]}/deep/path/client/replay"
        browser.open(f"{base}?address={replay_page.url('/replay', scheme='http')}&slot=9")
        browser.until("return Number(document.body.dataset.tick) > 2")
        script = "const done = arguments[0]; return import('./board.js').then((board) => board.socketUrl('replay'))"
        assert browser.run(script) == replay_page.url("/replay")
        script = "history.replaceState(null, '', '/deep/path/client/player?slot=1&token=a%2Bb'); "
        script += "return import('/deep/path/client/board.js').then((board) => board.socketUrl('player'))"
        assert browser.run(script) == f"ws://127.0.0.1:{server.server_address[1]}/deep/path/player?slot=1&token=a%2Bb"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_admin_page_pauses_and_resumes(start_orchard, browser):
    """With `admin` on its page halts and moves the clock."""
    episode = start_orchard(
        2, mode="realtime", tick_rate=20, max_ticks=10000, player_connect_timeout_seconds=0, admin=True
    )
    browser.open(episode.url("/client/admin", scheme="http"))
    browser.until("return document.querySelector('#status').textContent.startsWith('running')")
    browser.run("document.querySelector('#pause').click()")
    browser.until("return document.querySelector('#status').textContent.startsWith('paused')")
    browser.run("document.querySelector('#rate').value = 1000; document.querySelector('#set').click()")
    browser.until("return document.querySelector('#status').textContent.includes('1000 ticks')")
    browser.run("document.querySelector('#resume').click()")
    browser.until("return document.querySelector('#status').textContent.startsWith('running')")
