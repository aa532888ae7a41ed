"""The page about observability: its programs run, its table is complete."""

from __future__ import annotations

import logging
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from coworld_actors.observe import metrics
from coworld_actors.runtime.opening import open_runtime
from coworld_drivers.process import ProcessDriver
from tests.coworlds import scripted_manifest, write_coworld

PAGE = (Path(__file__).parent.parent.parent / "docs/observability.md").read_text()
BLOCKS: dict[str, str] = dict(re.findall(r"^```python title=(\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A Coworld of one player."""
    return write_coworld(tmp_path / "coworld", scripted_manifest(players=("plays",)))


@pytest.fixture
def serve(tmp_path: Path) -> Callable[[str], Any]:
    """The function of a program of the page."""

    def load(title: str) -> Any:
        (tmp_path / title).write_text(BLOCKS[title])
        return runpy.run_path(str(tmp_path / title))["serve"]

    return load


def test_every_program_of_the_page_is_known_here() -> None:
    """None is added that nobody runs."""
    assert sorted(BLOCKS) == ["logged.py", "metered.py", "structured.py", "traced.py"]
    assert PAGE.count("```python") == len(BLOCKS)


async def test_the_metered_program_counts_its_episode(serve, manifest: Path, tmp_path: Path) -> None:
    """One that is completed."""
    with trio.fail_after(120):
        text = await serve("metered.py")(manifest, tmp_path / "run")
    labels = 'coworld="scripted",driver="process",outcome="completed",runtime="matches"'
    assert f"coworld_episodes_closed_total{{{labels}}} 1.0" in text


async def test_the_traced_program_makes_the_tree_of_the_page(serve, manifest: Path, tmp_path: Path) -> None:
    """Parents and names."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with trio.fail_after(120):
        await serve("traced.py")(manifest, tmp_path / "run", provider)
    spans = {span.context.span_id: span for span in exporter.get_finished_spans()}
    parents = {span.name: spans[span.parent.span_id].name if span.parent else "" for span in spans.values()}
    assert parents == {"match": "", "episode": "match", "game": "episode", "player-0": "episode"}
    (episode,) = (span for span in spans.values() if span.name == "episode")
    assert set(episode.attributes or {}) <= set(re.findall(r"`(coworld\.[\w.]+)`", PAGE))


async def test_the_logged_program_writes_the_line_of_the_page(serve, manifest: Path, tmp_path: Path) -> None:
    """Up to its times and its directory."""
    written: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    root = logging.getLogger()
    level, handler = root.level, Kept()
    try:
        with trio.fail_after(120):
            await serve("logged.py")(manifest, tmp_path / "run", handler)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    (shown,) = re.findall(r"^INFO .*$", PAGE, re.MULTILINE)
    (line,) = [each for each in written if " episode " in each]

    def timeless(text: str) -> str:
        return re.sub(r"directory=.*", "", re.sub(r"\d+\.\d{3}\b", "T", text))

    assert timeless(line) == timeless(shown)


async def test_the_structured_program_gives_values(serve, manifest: Path, tmp_path: Path) -> None:
    """To the host's own last processor."""
    capture = structlog.testing.LogCapture()
    with trio.fail_after(120):
        await serve("structured.py")(manifest, tmp_path / "run", capture)
    (line,) = [entry for entry in capture.entries if entry["event"] == "episode"]
    assert line["outcome"] == "completed"
    started = [entry for entry in capture.entries if entry["event"] == "role_started"]
    assert {entry["actor"].rpartition("/")[2] for entry in started} == {"game", "player-0"}


async def test_the_table_of_metrics_is_complete(driver: ProcessDriver) -> None:
    """Names, kinds and labels are those of a registry."""
    rows = re.findall(r"^\| `(coworld_\w+)` \| (\w+) \| (.*?) \|", PAGE, re.MULTILINE)
    registry = CollectorRegistry()
    async with open_runtime(driver, attach=[metrics(registry)]):
        kinds = {f"{m.name}_total" if m.type == "counter" else m.name: m.type for m in registry.collect()}
    assert {name: kind for name, kind, _ in rows} == kinds
