"""The README is executable where it shows code, and names what exists."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import click
import pytest

from coworld_actors.cli import cli
from coworld_actors.cli.exits import Exit

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = re.compile(r"^(?:\$ |    )?(coworld-actors .*)$", re.MULTILINE)


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


def test_every_page_is_linked() -> None:
    """A page that nobody finds is none."""
    assert {path.name for path in PAGES[1:]} <= set(re.findall(r"\]\(docs/(\w+\.md)\)", README))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_shown_exists_with_its_options(page: Path) -> None:
    """In every block of README and docs."""
    for block in re.findall(r"^```\w*\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in SHOWN.findall(block):
            words = iter(shlex.split(line, comments=True)[1:])
            command: click.Command = cli
            for word in words:
                if isinstance(command, click.Group):
                    assert word in command.commands, line
                    command = command.commands[word]
                elif word.startswith("-") and word != "-":
                    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
                    assert word.partition("=")[0] in known, line
