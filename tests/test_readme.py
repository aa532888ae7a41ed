"""The README is executable where it shows code, and names what exists."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from coworld_actors.cli.exits import Exit

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


async def test_the_embedding_example_plays(tmp_path: Path) -> None:
    """The code of the page plays the example Coworld and returns its scores."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "example.py").write_text(code)
    play = runpy.run_path(str(tmp_path / "example.py"))["play"]
    good, scores = await play(ROOT / "examples/orchard/coworld_manifest.json", tmp_path / "run")
    assert good
    assert len(scores) == 4


def test_the_first_two_commands_are_verbs_of_the_makefile() -> None:
    """What a newcomer types first is there."""
    first = re.findall(r"^make (\w+)", README, re.MULTILINE)[:2]
    assert first == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{verb}:", makefile, re.MULTILINE) for verb in first)


def test_the_table_of_exit_codes_is_complete() -> None:
    """Every code of the program is on the page."""
    rows = re.findall(r"^\| ([\d, ]+) \|", README, re.MULTILINE)
    assert {int(code) for row in rows for code in row.split(",")} == set(Exit)


def test_every_page_that_is_linked_exists() -> None:
    """No link of the page leads nowhere."""
    for target in re.findall(r"\]\(([\w/.]+)\)", README):
        assert (ROOT / target).exists(), target
