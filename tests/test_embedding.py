"""The page on embedding is executable: its blocks play episodes, and each of its promises names a test that exists."""

from __future__ import annotations

import ast
import asyncio
import re
import runpy
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from coworld_actors import Verdict
from tests.coworlds import scripted_manifest, write_coworld

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/embedding.md").read_text()
BLOCKS = dict(re.findall(r"^```python title=(\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
LONG = 120.0


def block(name: str, tmp_path: Path) -> dict[str, Any]:
    """The names of a block of the page, as a module."""
    (tmp_path / name).write_text(BLOCKS[name])
    return runpy.run_path(str(tmp_path / name))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A Coworld with one seat."""
    return write_coworld(tmp_path / "coworld", scripted_manifest("plays", ("plays",)))


def test_every_block_is_played() -> None:
    """No block of the page is without a test below."""
    assert PAGE.count("```python") == len(BLOCKS)
    source = Path(__file__).read_text()
    assert all(source.count(f'"{name}"') == 1 for name in BLOCKS)


def test_trio(manifest: Path, tmp_path: Path) -> None:
    """Two episodes, from a trio program."""
    assert len(trio.run(block("with_trio.py", tmp_path)["play"], manifest, tmp_path)) == 1


def test_asyncio(manifest: Path, tmp_path: Path) -> None:
    """Two episodes, from an asyncio program."""
    assert len(asyncio.run(block("with_asyncio.py", tmp_path)["play"](manifest, tmp_path))) == 1


def test_threads(manifest: Path, tmp_path: Path) -> None:
    """Two episodes, from a program without a loop."""
    assert len(block("with_threads.py", tmp_path)["play"](manifest, tmp_path)) == 1


def test_docker(orchard_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An episode in containers, whose page for viewers is told while it lasts."""
    scores = trio.run(block("with_docker.py", tmp_path)["play"], orchard_manifest, tmp_path)
    assert len(scores) == 4
    assert None not in scores
    assert "watch it at http://127.0.0.1:" in capsys.readouterr().out


def test_batch(manifest: Path, tmp_path: Path) -> None:
    """Four episodes and a summary, from a trio program."""
    directory = tmp_path / "batch"
    assert len(trio.run(block("with_batch.py", tmp_path)["play"], manifest, directory)) == 1
    assert (directory / "summary.html").is_file()


def test_fastapi(manifest: Path, tmp_path: Path) -> None:
    """An episode by a request; the lifespan opens and closes the runtime."""
    app = block("with_fastapi.py", tmp_path)["service"](manifest, tmp_path)

    async def request() -> Any:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://service", timeout=LONG) as client:
                return (await client.post("/episodes/one")).json()

    assert asyncio.run(request()) == {"good": True, "reason": "completed"}


def test_guest_mode(manifest: Path, tmp_path: Path) -> None:
    """An episode in the host's own thread; a host that is cancelled lets the guest leave first."""
    play = block("with_guest_mode.py", tmp_path)["play"]
    verdict = asyncio.run(play(manifest, tmp_path))
    assert isinstance(verdict, Verdict)
    assert verdict.good

    async def impatient() -> None:
        endless = write_coworld(tmp_path / "endless", scripted_manifest("endless", ("plays",)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await play(endless, tmp_path / "second")

    asyncio.run(impatient())
    assert '"cancelled"' in (tmp_path / "second/first/episode.json").read_text()


def test_every_promise_names_tests_that_exist() -> None:
    """A promise without a test is a wish."""
    rows = re.findall(r"^\| .* \| (`tests/.*) \|$", PAGE, re.MULTILINE)
    assert len(rows) > 15
    for row in rows:
        for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row):
            tree = ast.parse((ROOT / path).read_text())
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path}::{name}"
