"""Orchard's pages in a real browser, against real games."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect
from websockets.sync.client import connect

PAGES = Path(__file__).parents[2] / "examples" / "orchard" / "orchard" / "pages"
# The name of a vocabulary, not an address that is fetched.
SVG = "http://www.w3.org/2000/svg"
DRAWN = """() => {
  const board = document.querySelector("#board");
  const pixels = board.getContext("2d").getImageData(0, 0, board.width, board.height).data;
  const seen = new Set();
  for (let at = 0; at < pixels.length; at += 4 * 97) seen.add(pixels.slice(at, at + 3).join());
  return seen.size;
}"""
PATIENCE = 60.0
expect.set_options(timeout=PATIENCE * 1000)


def number(page: Page, name: str) -> int:
    """What the page says in `data-NAME` of its body."""
    return int(page.locator("body").get_attribute(f"data-{name}") or 0)


def until(page: Page, script: str) -> None:
    """Ask until a script's value is true. Playwright's own waiting evaluates text in the page, which the pages' policy forbids."""
    deadline = time.monotonic() + PATIENCE
    while not page.evaluate(script):
        assert time.monotonic() < deadline, f"never true: {script}\n{page.content()}"
        page.wait_for_timeout(20)


def reach(page: Page, tick: int) -> None:
    """Wait until the page shows a tick or a later one."""
    until(page, f"Number(document.body.dataset.tick) >= {tick}")


def shown_scores(page: Page) -> list[int]:
    return [int(text) for text in page.locator("#scores .score").all_text_contents()]


def test_the_pages_load_nothing_from_outside():
    """No page, script or style names an address of another site."""
    for path in PAGES.iterdir():
        text = path.read_text()
        assert not re.search(r"(https?:)?//(?!\s)[\w-]+\.[\w.]+", text.replace("// ", "").replace(SVG, "")), path.name
        assert not re.search(r"(src|href)=\"/", text), (
            f"{path.name} has an absolute URL, which breaks behind a path prefix"
        )


def test_a_person_plays_with_the_keyboard(start_orchard, page):
    """Ten moves by arrows, letters and the space bar move the forager; the page shows seat, tick and the score that grows."""
    episode = start_orchard(2, max_ticks=200, tick_timeout_seconds=300, tree_share=0.4)
    body = page.locator("body")
    with connect(episode.url("/player", 1), proxy=None) as other:
        page.goto(episode.url("/client/player", 0, "http"))
        expect(body).to_have_attribute("data-score", "0")
        here = number(page, "cell")
        width, height = 12, 8
        keys = {"ArrowRight": (1, 0), "d": (1, 0), "ArrowDown": (0, 1), "s": (0, 1), "ArrowLeft": (-1, 0), "a": (-1, 0)}
        keys |= {"ArrowUp": (0, -1), "w": (0, -1), "Space": (0, 0), "D": (1, 0)}
        for tick, (key, (across, down)) in enumerate(keys.items(), 1):
            page.keyboard.press(key)
            other.send(json.dumps({"move": "stay", "tick": tick - 1}))
            expect(body).to_have_attribute("data-tick", str(tick))
            y, x = divmod(here, width)
            here = (y + down) % height * width + (x + across) % width
            assert number(page, "cell") == here, key
        seen: dict[str, object] = {}
        while seen.get("tick") != 10:
            seen = json.loads(other.recv(timeout=PATIENCE))
        score = number(page, "score")
        assert score > 0
        assert score == seen["scores"][0]
        expect(page.locator("#tick")).to_have_text("tick 10 of 200")
        expect(page.locator("#scores li")).to_have_count(2)
        expect(page.locator("#scores li.me .seat")).to_have_text("0")
        expect(page.locator("#scores li.me .score")).to_have_text(str(score))
        assert page.evaluate(DRAWN) > 5


def test_a_held_key_keeps_going_and_a_released_one_stops(start_orchard, page):
    """While a key is down every observation is answered with its move, and no more after it is let go."""
    episode = start_orchard(2, max_ticks=400, mode="realtime", tick_rate=20)
    body = page.locator("body")
    with connect(episode.url("/player", 1), proxy=None):
        page.goto(episode.url("/client/player", 0, "http"))
        expect(body).to_have_attribute("data-cell", re.compile(r"\d+"))
        start, tick = number(page, "cell"), number(page, "tick")
        page.keyboard.down("ArrowRight")
        reach(page, tick + 5)
        until(page, f"document.body.dataset.cell !== '{start}'")
        assert number(page, "cell") // 12 == start // 12
        expect(body).to_have_attribute("data-sent", "right")
        page.keyboard.up("ArrowRight")
        tick = number(page, "tick")
        reach(page, tick + 3)
        rest = number(page, "cell")
        reach(page, tick + 9)
        assert number(page, "cell") == rest


def test_the_player_page_comes_back_after_a_break_and_shows_the_end(start_orchard, page):
    """Reloading the page takes the seat again; when the episode is over the page says who has won."""
    episode = start_orchard(2, max_ticks=3, tick_timeout_seconds=300)
    body = page.locator("body")
    with connect(episode.url("/player", 1), proxy=None) as other:
        page.goto(episode.url("/client/player", 0, "http"))
        expect(body).to_have_attribute("data-tick", "0")
        page.reload()
        expect(body).to_have_attribute("data-tick", "0")
        for tick in range(3):
            page.keyboard.press("Space")
            other.send(json.dumps({"move": "stay", "tick": tick}))
            expect(body).to_have_attribute("data-tick", str(tick + 1))
        expect(body).to_have_attribute("data-over", "yes")
        expect(page.locator("#status")).to_have_text(re.compile("^over: "))
    assert episode.wait() == 0


def test_the_viewer_draws_ticks_as_they_come(start_orchard, page):
    """A page opened in the middle shows the state at once, then every tick, then the winner."""
    episode = start_orchard(2, max_ticks=100, tick_rate=20)
    for slot in range(2):
        episode.sit(slot, "greedy")
    page.goto(episode.url("/client/global", scheme="http"))
    reach(page, 6)
    assert page.evaluate(DRAWN) > 5
    expect(page.locator("#scores li")).to_have_count(2)
    expect(page.locator("body")).to_have_attribute("data-over", "yes")
    expect(page.locator("body")).to_have_attribute("data-tick", "100")
    shown = shown_scores(page)
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


def test_a_replay_plays_at_once_loops_pauses_and_scrubs(replay_page, page):
    """Without a click it plays, and begins again at the end; it can be paused, scrubbed and stepped."""
    page.goto(replay_page.url("/client/replay", scheme="http"))
    reach(page, 3)
    page.locator("#speed").select_option("60")
    until(page, "Number(document.body.dataset.loops) >= 1")
    play = page.locator("#play")
    play.click()
    still = number(page, "tick")
    expect(play).to_have_text("play")
    expect(page.locator("#status")).to_have_text("paused")
    # Twenty pictures later nothing has moved.
    page.evaluate(
        "() => { window.pictures = 0; const count = () => { window.pictures++; requestAnimationFrame(count); }; count(); }"
    )
    until(page, "window.pictures > 20")
    assert number(page, "tick") == still
    for tick in (17, 0, 30):
        page.locator("#scrub").fill(str(tick))
        assert number(page, "tick") == tick
    scores = json.loads((replay_page.directory / "results.json").read_text())["scores"]
    assert shown_scores(page) == sorted(scores, reverse=True)
    # A slider takes the arrows for itself while it has the focus.
    page.locator("#scrub").blur()
    page.keyboard.press("ArrowLeft")
    assert number(page, "tick") == 29
    page.keyboard.press("Space")
    expect(play).to_have_text("pause")
    assert page.evaluate(DRAWN) > 5


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


def test_pages_work_behind_a_prefix_and_with_an_address(replay_page, page):
    """Assets load relative to the page, and `address` names the socket, whatever else the query says."""
    server = Prefix(replay_page.url("", scheme="http"))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        origin = f"127.0.0.1:{server.server_address[1]}"
        page.goto(f"http://{origin}/deep/path/client/replay?address={replay_page.url('/replay', scheme='http')}&slot=9")
        reach(page, 3)
        address = "name => import('/deep/path/client/board.js').then((board) => board.socketUrl(name))"
        assert page.evaluate(address, "replay") == replay_page.url("/replay")
        page.evaluate("history.replaceState(null, '', '/deep/path/client/player?slot=1&token=a%2Bb')")
        assert page.evaluate(address, "player") == f"ws://{origin}/deep/path/player?slot=1&token=a%2Bb"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_admin_page_pauses_and_resumes(start_orchard, page):
    """With `admin` on its page halts and moves the clock."""
    episode = start_orchard(
        2, mode="realtime", tick_rate=20, max_ticks=10000, player_connect_timeout_seconds=0, admin=True
    )
    page.goto(episode.url("/client/admin", scheme="http"))
    status = page.locator("#status")
    expect(status).to_have_text(re.compile("^running"))
    page.locator("#pause").click()
    expect(status).to_have_text(re.compile("^paused"))
    page.locator("#rate").fill("1000")
    page.locator("#set").click()
    expect(status).to_have_text(re.compile("1000 ticks"))
    page.locator("#resume").click()
    expect(status).to_have_text(re.compile("^running"))
