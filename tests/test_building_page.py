"""docs/building.md: its commands are the commands, its options are the options."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from coworld_actors.cli.build import build
from coworld_actors.package.sources import COMPOSE_FILES, TEMPLATE_FILE
from coworld_actors.package.template import placeholder

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "building.md").read_text()


def test_the_first_commands_of_the_page_work(tmp_path: Path) -> None:
    """As they stand, up to the one that needs a base image from a registry, which is only tried."""
    (block,) = re.findall(r"^```\n(coworld-actors init.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    init, run, made, played = block.splitlines()
    assert played.endswith("berry-race/dist/coworld_manifest.json --driver docker")
    for line in (init, run, f"{made} --dry-run"):
        command = [sys.executable, "-m", "coworld_actors", *line.split()[1:]]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr


def test_the_page_names_what_there_is() -> None:
    """Options, files and placeholders."""
    options = {name for parameter in build.params for name in parameter.opts if name.startswith("--")}
    told = set(re.findall(r"`(--[a-z-]+)", PAGE)) - {"--name", "--manifest", "--driver"}
    assert told <= options
    assert options - told <= {"--quiet", "--debug"}
    for name in (*COMPOSE_FILES, TEMPLATE_FILE):
        assert f"`{name}`" in PAGE
    for service in ("game-server", "berry-race"):
        assert f"`{{{{{placeholder(service)}}}}}`" in PAGE
