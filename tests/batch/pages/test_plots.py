"""Drawings: inside of their paper, with a name, and nothing where there is nothing to draw."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

from coworld_actors.batch.pages.data import Histogram
from coworld_actors.batch.pages.plots import Curve, Row, bars, curves, interval_rows, legend, ridges, whisker


def test_curves_have_bands_where_there_are_ends() -> None:
    """A polygon behind each line that has one; what is no number is left out."""
    points = ((1.0, 5.0, None, None), (2.0, 6.0, 4.0, 8.0), (3.0, math.nan, None, None), (4.0, 5.5, 5.0, 6.0))
    drawing = ET.fromstring(
        curves(
            [Curve(place=0, name="<a>", points=points), Curve(place=1, name="b", points=((1.0, 5.0, None, None),))],
            label="l", across="blocks", marks=lambda axis: [(mark, str(mark)) for mark in axis.marks()],
        )
    )  # fmt: skip
    assert len(drawing.findall("polygon")) == 1
    lines = drawing.findall("polyline")
    assert [line.findtext("title") for line in lines] == ["<a>"]
    assert len(lines[0].attrib["points"].split()) == 3


def test_nothing_to_draw_is_nothing() -> None:
    """A line needs two points, a row a value."""
    assert (
        curves([Curve(place=0, name="a", points=((1, 2, None, None),))], label="", across="", marks=lambda _: []) == ""
    )
    assert interval_rows([Row(place=0, name="a", value=None)], label="", across="", words=str) == ""
    nought = [Row(place=0, name="a", value=0.0)]
    assert interval_rows(nought, label="", across="", words=str, logarithmic=True) == ""


def test_intervals_are_where_their_axis_says() -> None:
    """The dot between the ends, equal values above each other, and a row without a value empty."""
    rows = [
        Row(place=0, name="a", value=1.0, low=0.0, high=2.0, words="a: 1"),
        Row(place=1, name="b", value=1.0),
        Row(place=2, name="c", value=None),
    ]
    drawing = ET.fromstring(interval_rows(rows, label="l", across="x", zero=True, words=str))
    dots = drawing.findall("g/circle")
    assert len(dots) == 2
    assert dots[0].attrib["cx"] == dots[1].attrib["cx"]
    assert len(drawing.findall("g/path")) == 1
    assert drawing.find("line[@class='zero']") is not None


def test_bars_are_as_tall_as_they_are_many() -> None:
    """Twice as many, twice as tall; no bar for none."""
    found = Histogram(edges=(0.0, 1.0, 2.0, 3.0), counts=(2, 0, 4))
    boxes = ET.fromstring(bars(found, label="l", across="x", words=str)).findall("rect")
    assert len(boxes) == 2
    assert float(boxes[1].attrib["height"]) == 2 * float(boxes[0].attrib["height"])


def test_ridges_share_one_axis() -> None:
    """A row for each player, from the same left to the same right, even of one who has no score in it."""
    edges = (0.0, 1.0, 2.0)
    rows = [
        (0, "a", Histogram(edges=edges, counts=(1, 2)), "a: 3"),
        (1, "b", Histogram(edges=edges, counts=(0, 0)), "b: 0"),
    ]
    paths = ET.fromstring(ridges(rows, label="l", across="x")).findall("path")
    assert len(paths) == 2
    assert paths[0].attrib["d"].split(",")[0] == paths[1].attrib["d"].split(",")[0]


def test_a_whisker_has_its_words() -> None:
    """What the drawing shows can be read aloud; the line at nought only where nought is on the axis."""
    row = Row(place=0, name="a", value=1.0, low=0.5, high=1.5, words='a: "1"')
    drawing = ET.fromstring(whisker(row, -1, 2, zero=True))
    assert drawing.attrib["aria-label"] == 'a: "1"'
    assert drawing.find("line") is not None
    assert ET.fromstring(whisker(row, 0.5, 2, zero=True)).find("line") is None


def test_a_legend_has_a_key_for_each_name() -> None:
    """Escaped."""
    shown = legend([(0, "<a>"), (1, "b")])
    assert shown.count("<li>") == 2
    assert "&lt;a&gt;" in shown
