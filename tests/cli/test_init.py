"""`coworld-actors init` as a newcomer meets it: what it writes plays at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "coworld_actors"]


def call(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], cwd=directory, capture_output=True, text=True, timeout=240, check=False)


def played(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    (episode,) = json.loads(done.stdout)["episodes"]
    return episode


def test_a_new_game_plays_and_its_replay_is_good(tmp_path: Path) -> None:
    """`init game`, then the first command that it names."""
    begun = call(tmp_path, "init", "game", "berry-race")
    assert begun.returncode == 0, begun.stderr
    assert "coworld-actors run berry-race/coworld_manifest.json" in begun.stdout
    assert "coworld-actors build berry-race" in begun.stdout
    episode = played(call(tmp_path, "run", "berry-race/coworld_manifest.json", "--verify-replay", "--json"))
    eager, wanderer = (seat["score"] for seat in episode["seats"])
    assert eager > wanderer


def test_a_new_player_plays_the_new_game(tmp_path: Path) -> None:
    """It knows the game of `init game`, from its own directory and from the one above."""
    assert call(tmp_path, "init", "game", "world").returncode == 0
    begun = call(tmp_path, "init", "player", "my-bot", "--manifest", "world/coworld_manifest.json", "--json")
    assert begun.returncode == 0, begun.stderr
    assert json.loads(begun.stdout)["directory"] == "my-bot"
    for directory, manifest, bot in ((".", "world", "my-bot/bot.py"), ("my-bot", "../world", "bot.py")):
        done = call(tmp_path / directory, "run", manifest, f"cmd:python {bot}", "wanderer", "--json")
        bot_score, wanderer = (seat["score"] for seat in played(done)["seats"])
        assert bot_score > wanderer


def test_a_new_player_plays_orchard(tmp_path: Path) -> None:
    """The one that is written when no manifest is named."""
    assert call(tmp_path, "init", "player", "bot").returncode == 0
    orchard = str(Path(__file__).parents[2] / "examples" / "orchard")
    done = call(tmp_path, "run", orchard, "cmd:python bot/bot.py", "random", "--variant", "duel", "--json")
    bot, random = (seat["score"] for seat in played(done)["seats"])
    assert bot > random


def test_a_player_for_any_game_listens(tmp_path: Path) -> None:
    """It sits through an episode of a game that it does not know, shows what is said, and ends well."""
    assert call(tmp_path, "init", "game", "world").returncode == 0
    manifest = tmp_path / "world" / "coworld_manifest.json"
    manifest.write_text(manifest.read_text().replace("JSON objects", "Objects"))
    assert call(tmp_path, "init", "player", "bot", "--manifest", "world").returncode == 0
    short = ("--set", "max_ticks=2", "--set", "tick_timeout_seconds=0.5")
    episode = played(call(tmp_path, "run", "world", "cmd:python bot/bot.py", "eager", *short, "--json"))
    assert episode["seats"][0]["end"] == "finished"
    log = (Path(episode["directory"]) / "logs" / "policy_agent_0.log").read_text()
    assert "the first observation" in log
    assert '"crumb"' in log


def test_what_is_refused(tmp_path: Path) -> None:
    """One error line, the next step, exit code 2; nothing written."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    done = call(tmp_path, "init", "game", "full")
    assert done.returncode == 2
    assert "error: full has something in it" in done.stderr
    assert "  try: name a directory" in done.stderr
    assert call(tmp_path, "init", "player", "x", "--manifest", "none.json").returncode == 2
    assert call(tmp_path, "init").returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize("page", ["player", "global", "replay"])
def test_every_page_of_a_new_game_loads_what_it_names(tmp_path: Path, page: str) -> None:
    """Scripts and style are files beside it, as the server's policy demands; nothing comes from elsewhere."""
    assert call(tmp_path, "init", "game", "world").returncode == 0
    pages = tmp_path / "world" / "world" / "pages"
    text = (pages / f"{page}.html").read_text()
    assert (pages / f"{page}.js").exists()
    assert f'src="{page}.js"' in text
    assert "<style" not in text
    assert not any("http" in path.read_text().replace('"https:"', "") for path in pages.glob("*.html"))
