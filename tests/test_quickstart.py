"""The quickstart is executable: its files are written as they stand on the page, and played."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.docker_engine import Engine

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```\w+ title=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """The files of the page, in a directory; every page of the game is the one that is shown."""
    for name, text in BLOCK.findall((ROOT / "docs/quickstart.md").read_text()):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    for name in ("global.html", "replay.html"):
        (tmp_path / "pages" / name).write_text((tmp_path / "pages/player.html").read_text())
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "scores"), [([], [0, 20]), (["nine", "five", "--variant", "short", "--verify-replay"], [10, 0])]
)
def test_the_game_of_the_page_plays(world: Path, arguments: list[str], scores: list[int]) -> None:
    """The page's two commands play its game, and who says nine wins."""
    command = [sys.executable, "-m", "coworld_actors", "run", "coworld_manifest.json", *arguments, "--json"]
    done = subprocess.run(command, cwd=world, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (episode,) = json.loads(done.stdout)["episodes"]
    assert [seat["score"] for seat in episode["seats"]] == scores


def test_the_game_of_the_page_plays_in_containers(world: Path, engine: Engine, sdk_image: str) -> None:
    """The page's Dockerfile makes the image that its manifest names; the scores are the same."""
    image = f"coworld-test-highest:{uuid.uuid4().hex[:12]}"
    manifest = world / "coworld_manifest.json"
    manifest.write_text(manifest.read_text().replace("highest:0.1.0", image))
    (world / "coworld_local.toml").unlink()
    engine.build(image, world / "Dockerfile", world, BASE=sdk_image)
    try:
        command = [sys.executable, "-m", "coworld_actors", "run", str(manifest), "--driver", "docker", "--json"]
        done = subprocess.run(command, cwd=world, capture_output=True, text=True, timeout=240, check=False)
    finally:
        engine.run("image", "rm", "--force", image)
    assert done.returncode == 0, done.stderr
    (episode,) = json.loads(done.stdout)["episodes"]
    assert [seat["score"] for seat in episode["seats"]] == [0, 20]
