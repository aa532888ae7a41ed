"""The page of a batch in a real browser, opened as a file, with the network out of reach."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from coworld_actors.batch.pages.page import page as batch_page
from tests.summaries import HOSTILE, batch_lines, batch_summary

SIZES = [(360, 740), (1200, 800)]


@pytest.fixture
def asked(page: Page) -> list[str]:
    """The addresses a page has asked for, none of which it gets but its own file."""
    requests: list[str] = []

    def answer(route) -> None:
        requests.append(route.request.url)
        if route.request.url.endswith("/summary.html"):
            route.continue_()
        else:
            route.abort()

    page.context.route("**/*", answer)
    return requests


def opened(page: Page, directory: Path, names: list[str], blocks: int = 20) -> None:
    lines = batch_lines(len(names), blocks)
    path = directory / "summary.html"
    path.write_text(batch_page(batch_summary(names, lines, blocks=blocks), lines, title=f"run of {names[0]}"))
    page.goto(path.as_uri())


@pytest.mark.parametrize("names", [["solo"], ["greedy", "random"], [f"bot-{place}" for place in range(64)]], ids=len)
def test_the_page_opens_from_a_file_and_asks_for_nothing(
    page: Page, asked: list[str], tmp_path: Path, names: list[str]
) -> None:
    """One request, its own; no error on the console; every drawing has a size, and the headline is there."""
    opened(page, tmp_path, names)
    expect(page.locator(".lead")).to_contain_text(names[0])
    for box in [each.bounding_box() for each in page.locator("figure svg").all()]:
        assert box is not None
        assert box["width"] > 100
        assert box["height"] > 20
    assert len(asked) == 1


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_a_desk_by_day_and_night(page: Page, tmp_path: Path, width: int, scheme) -> None:
    """The page itself never scrolls sideways - wide tables and plots do on their own -, and ink and paper stand apart."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    opened(page, tmp_path, [f"a player with a long name {place}" for place in range(8)])
    inner, outer = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert inner <= outer
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    shades = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
    assert (shades[0] < shades[1]) is (scheme == "light")
    assert abs(shades[0] - shades[1]) > 400


def test_hostile_names_do_nothing(page: Page, asked: list[str], tmp_path: Path) -> None:
    """No script runs, no image is asked for, no dialog opens; the name is there as text."""
    page.on("dialog", lambda dialog: pytest.fail(f"a dialog: {dialog.message}"))
    opened(page, tmp_path, [HOSTILE, "b"])
    assert page.locator("script, img, iframe, object, embed").count() == 0
    expect(page.locator("table th[scope=row]").first).to_contain_text("<script>alert(1)</script>")
    assert len(asked) == 1


def test_everything_can_be_reached_without_a_mouse_and_read_aloud(page: Page, tmp_path: Path) -> None:
    """Plots have a name, tables a caption, whatever scrolls takes the focus, and no heading's level is left out."""
    opened(page, tmp_path, ["greedy", "random"])
    for plot in page.locator("svg[role=img]").all():
        assert plot.get_attribute("aria-label")
    for grid in page.locator("table").all():
        assert grid.locator("caption").inner_text() or not grid.is_visible()
    for region in page.locator(".scroll").all():
        assert region.get_attribute("tabindex") == "0"
        assert region.get_attribute("aria-label")
    levels = [int(name[1]) for name in page.eval_on_selector_all("h1,h2,h3", "all => all.map(each => each.tagName)")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_it_can_be_printed(page: Page, tmp_path: Path) -> None:
    """On paper the colours are those of paper, and the page makes a document."""
    page.emulate_media(color_scheme="dark")
    opened(page, tmp_path, ["greedy", "random"])
    assert page.pdf().startswith(b"%PDF")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
