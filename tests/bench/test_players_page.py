"""The page: whole, by itself, and safe whatever players are called."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import pytest

from coworld_actors.traffic.latency import Latency, Series
from coworld_bench.players import Interval, PlayerFigures, PlayersReport
from coworld_bench.players_page import page

HOSTILE = "</title><script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"


def latency(durations: Sequence[float]) -> Latency:
    series = Series()
    for seconds in durations:
        series.record(seconds)
    return series.latency()


def report(*players: PlayerFigures, coworld: str = "orchard 1") -> PlayersReport:
    return PlayersReport(coworld=coworld, variant="certification", rounds=3, machine={"cpu": "some"}, players=players)


def player(
    name: str = "greedy", durations: Sequence[float] = tuple(0.001 * (place + 1) for place in range(1000))
) -> PlayerFigures:
    intervals = (
        Interval(share=0.5, value=0.5, low=0.4, high=0.6),
        Interval(share=0.9, value=0.9, low=0.8, high=1.0),
        Interval(share=0.99, value=0.99, low=0.98, high=1.0),
        Interval(share=1.0, value=1.0),
    )
    return PlayerFigures(player=name, episodes=3, answers=latency(durations), intervals=intervals)


def svg(text: str) -> ET.Element:
    found = re.search(r"<svg.*</svg>", text, re.DOTALL)
    assert found
    return ET.fromstring(found[0])  # our own page


def points(line: ET.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]


def test_the_page_has_the_table_and_a_curve_for_each_player() -> None:
    """Figures with their intervals; curves that never fall, from the shortest answers to the longest one."""
    text = page(report(player("greedy"), player("random", [0.01] * 50)))
    assert "500 ms" in text
    assert "400 to 600 ms" in text
    lines = [each for each in svg(text).iter() if each.tag == "polyline"]
    assert [line.findtext("title") for line in lines] == ["greedy", "random"]
    assert lines[0].attrib["stroke"] != lines[1].attrib["stroke"]
    for line in lines:
        places = points(line)
        assert places == sorted(places, key=lambda place: (place[0], -place[1]))
        assert all(0 <= x <= 860 and 0 <= y <= 460 for x, y in places)


def test_series_are_not_mixed() -> None:
    """Where one player missed ticks all are shown on their answers, and once more on the corrected series."""
    interval = (Interval(share=0.5, value=0.02),) * 4
    slow = PlayerFigures(
        player="slow", episodes=3, answers=latency([0.02] * 7), intervals=interval,
        corrected=latency([0.02] * 7 + [0.3]), corrected_intervals=(Interval(share=0.5, value=0.3),) * 4,
    )  # fmt: skip
    quick = PlayerFigures(
        player="quick", episodes=3, answers=latency([0.01] * 9), intervals=interval,
        corrected=latency([0.01] * 9), corrected_intervals=interval,
    )  # fmt: skip
    both = page(report(slow, quick, player("unpaced")))
    answers, _, corrected = both.partition("<h2>")
    drawn = [[line.findtext("title") for line in svg(part).iter("polyline")] for part in (answers, corrected)]
    assert drawn == [["slow", "quick", "unpaced"], ["slow", "quick"]]
    assert "300 ms" not in answers
    assert "300 ms" in corrected
    assert "<td>8</td>" in corrected
    assert "<h2>" not in page(report(quick, player("unpaced")))


def test_the_page_needs_nothing_from_anywhere() -> None:
    """No script, no address, and a policy that forbids both."""
    text = page(report(player()))
    assert "<script" not in text
    assert not re.search(r"https?://|src=|href=|url\(", text)
    assert "default-src 'none'" in text


@pytest.mark.parametrize("where", ["player", "coworld", "trouble", "note", "machine", "variant"])
def test_names_are_text_and_nothing_else(where: str) -> None:
    """A hostile name in any place comes out escaped; the drawing stays well-formed."""
    figures = PlayerFigures(
        player=HOSTILE if where == "player" else "p",
        episodes=1,
        failed=1,
        trouble=HOSTILE if where == "trouble" else "",
        note=HOSTILE if where == "note" else "",
        answers=latency([0.01, 0.02]),
        intervals=(Interval(share=0.5, value=0.01),) * 4,
    )
    text = page(
        PlayersReport(
            coworld=HOSTILE if where == "coworld" else "c",
            variant=HOSTILE if where == "variant" else "v",
            rounds=1,
            machine={"cpu": HOSTILE if where == "machine" else "m"},
            players=(figures,),
        )
    )
    assert "<script>" not in text
    assert "<img" not in text
    assert "&lt;script&gt;" in text
    svg(text)


def test_players_without_answers_are_shown_as_such() -> None:
    """A row of dashes, and no curve; a single answer is a curve already."""
    silent = PlayerFigures(player="silent", episodes=0, failed=3, trouble="it crashed", note="no answers")
    text = page(report(silent))
    assert "<svg" not in text
    assert "it crashed" in text
    assert "3 failed" in text
    assert len(list(svg(page(report(silent, player("one", [0.5])))).iter("polyline"))) == 1


def test_answers_in_no_time_can_be_drawn() -> None:
    """A logarithm of zero is nobody's figure."""
    assert len(points(next(svg(page(report(player("p", [0.0, 0.0, 1e-9])))).iter("polyline")))) > 1


def test_a_stopped_measurement_says_so() -> None:
    """The figures are not of everything that was asked for."""
    stopped = PlayersReport(coworld="c", variant="v", rounds=3, machine={}, players=(player(),), interrupted=2)
    assert "stopped before its end" in page(stopped)
