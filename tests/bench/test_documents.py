"""One run as a value, as JSON and in a page."""

from __future__ import annotations

import msgspec
import pytest

from coworld_bench.documents import Report, as_json, marks, measure, title_of, write_block
from coworld_bench.plan import Plan
from coworld_protocol.errors import Refused


def test_a_report_survives_json(plan: Plan) -> None:
    """What is written can be read back as the same value."""
    report = measure("codec", msgspec.structs.replace(plan, seconds=0.01))
    assert report.benchmark == "codec"
    assert report.goals == ()
    assert report.machine["python"]
    assert msgspec.json.decode(as_json(report), type=Report) == report


def test_a_block_is_put_at_the_end_and_replaced_in_place(tmp_path) -> None:
    """The part between the marks is the benchmark's; the rest of the page is left alone."""
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n\nIntroduction.\n")
    write_block(page, "ws", "first")
    begin, end = marks("ws")
    assert page.read_text() == f"# Benchmarks\n\nIntroduction.\n\n{begin}\n\nfirst\n\n{end}\n"
    page.write_text(page.read_text() + "\nMore.\n")
    write_block(page, "tap", "other")
    write_block(page, "ws", "second\n")
    text = page.read_text()
    assert "first" not in text
    assert text.index("Introduction.") < text.index("second") < text.index("More.") < text.index("other")
    assert text.count(begin) == 1


def test_a_page_is_made_when_there_is_none(tmp_path) -> None:
    """A new page holds the block alone."""
    write_block(tmp_path / "new.md", "codec", "text")
    assert (tmp_path / "new.md").read_text().startswith(marks("codec")[0])


def test_a_lost_end_mark_is_refused(tmp_path) -> None:
    """Without its end we would eat the rest of the page."""
    page = tmp_path / "page.md"
    page.write_text(f"{marks('ws')[0]}\nold\n\nprecious\n")
    with pytest.raises(Refused, match="has no line"):
        write_block(page, "ws", "new")
    assert "precious" in page.read_text()


def test_everybody_has_a_title() -> None:
    """A contestant is called the same in every table but the lockstep one, where it is a pair."""
    from coworld_bench.plan import Cell

    def title(scenario: str, name: str, unit: str = "messages/s") -> str:
        return title_of(
            Cell(scenario=scenario, title="", connections=1, size=1, unit=unit, figures={}),
            name,
        )

    assert title("echo", "fastapi") == "FastAPI on uvicorn"
    assert title("lockstep", "fastapi") == "FastAPI on uvicorn, websockets players"
    assert title("orchard", "orchard-sdk").startswith("ours")
    assert title("tap", "direct") == "no relay"
    assert title("masking alone", "ours-python", "us") == "ours without the C helper"
    assert title("echo", "somebody") == "somebody"
