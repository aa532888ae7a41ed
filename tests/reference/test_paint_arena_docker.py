"""The public reference's own game, players and reporters as containers: played, shown again, and played by a person."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browsers import PATIENCE, chromium, page
from tests.cli.played import COMMAND, command, until_said
from tests.cli.test_play import Playing, playing
from tests.cli.test_replay_show import Showing, showing
from tests.engines import gone, left_of

__all__ = ["Playing", "Showing", "chromium", "page", "playing", "showing"]

pytestmark = pytest.mark.reference

PAINTER = "sweep-painter"
SUMMARIZER = "paint-arena-summarizer"
PARQUET = "paint-arena-parquet-stats-reporter"
DOCKER = ("--driver", "docker")
SHORT = ("--set", "max_ticks=20", "--set", "tick_rate=60")
PACED = ("--set", "tick_rate=8")
"""Slow enough for a page to be drawn between two ticks."""
RUN_SECONDS = 180
"""Far more than any run here takes, also on a busy machine."""

expect.set_options(timeout=PATIENCE * 1000)


@pytest.fixture
def world(arena: Path, paint_arena_image: str) -> Path:
    """The manifest, naming the image of just this content, with nothing beside it that a process could be started from."""
    manifest = json.loads(arena.read_text())
    name = manifest["game"]["runnable"]["image"]
    arena.write_text(arena.read_text().replace(json.dumps(name), json.dumps(paint_arena_image)))
    return arena


def episode_of(said: str) -> dict[str, Any]:
    """The one episode's record, as `--json` shows it."""
    (episode,) = json.loads(said)["episodes"]
    assert isinstance(episode, dict)
    return episode


def check_reports(episode: dict[str, Any], ticks: int) -> None:
    """Both reporters have read the episode, and say what the game wrote."""
    directory = Path(episode["directory"])
    results = json.loads((directory / "results.json").read_text())
    reports = {report["id"]: report for report in episode["reports"]}
    assert {identity: report["ok"] for identity, report in reports.items()} == {SUMMARIZER: True, PARQUET: True}
    stats = json.loads((directory / "reports" / SUMMARIZER / "stats.json").read_text())
    assert (stats["episode_id"], stats["ticks"]) == (episode["id"], ticks)
    assert [slot["painted_tiles"] for slot in stats["slots"]] == results["painted_tiles"]
    assert (directory / "reports" / PARQUET / "stats.parquet").read_bytes().startswith(b"PAR1")


def test_a_whole_episode_is_played_and_shown_again(world: Path, tmp_path: Path) -> None:
    """Scores, both reports and a replay that loads; the run's directory alone is enough to check that once more."""
    done = command("run", world, *SHORT, *DOCKER, "--verify-replay", "--output", "out", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    episode, run = episode_of(done.stdout), tmp_path / "out"
    results = json.loads((run / "results.json").read_text())
    assert (episode["driver"], episode["verdict"]["reason"]) == ("docker", "completed")
    assert results["ticks"] == 20
    assert [seat["score"] for seat in episode["seats"]] == results["scores"]
    # Twenty moves from a corner of their own each paint more than the corner.
    assert all(score > 1 for score in results["scores"])
    assert [(seat["player"], seat["end"], seat["fault"]) for seat in episode["seats"]] == [
        (PAINTER, "finished", False)
    ] * 2
    check_reports(episode, 20)
    names = {"game", "player-0", "player-1", "replay", f"reporter-{SUMMARIZER}", f"reporter-{PARQUET}"}
    actors = {actor["name"]: actor for actor in episode["actors"]}
    assert set(actors) == names
    assert all(actor["cpu_seconds"] > 0 and actor["peak_memory"] > 1 << 20 for actor in actors.values())
    assert "/client/replay" in (run / "logs/replay.stdout.log").read_text()
    replay = json.loads((run / "replay").read_text())
    assert len(replay["frames"]) == 20
    assert replay["results"] == results

    shown = command("replay", run, "--verify", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "with the docker driver" in shown.stderr.replace("\n", " ")
    assert left_of(f"coworld.episode={episode['id']}") == []


def test_a_person_plays_against_a_container_and_watches_the_replay(
    playing: Callable[..., Playing], showing: Callable[..., Showing], world: Path, page: Page
) -> None:
    """The game's own page moves its painter in a real browser until the game is over; its replay runs there as well."""
    # The pages name no icon, and the game has none: a browser that asks for one would call that an error.
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    run = playing(world, PAINTER, "--seat", 0, *DOCKER, "--no-open", "--json", "--set", "max_ticks=40", *PACED)
    assert run.link("watch").endswith("/client/global")
    page.goto(run.link("play seat 0"))
    status = page.locator("#status")
    end = time.monotonic() + PATIENCE
    # What is pressed before the page is connected goes nowhere.
    # Whether its last message still comes is the game's own luck: it goes on sending while a player leaves.
    while status.inner_text() not in {"Done", "Disconnected"}:
        assert time.monotonic() < end, page.content()
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(20)
    expect(page.locator(".agent.you")).to_have_attribute("data-heading", "→")
    shown_scores = page.locator("#scores .score").all_inner_texts()
    page.goto("about:blank")
    assert run.end() == 0, run.said
    episode = episode_of(run.result)
    assert [(seat["end"], seat["fault"]) for seat in episode["seats"]] == [("person", False), ("finished", False)]
    assert episode["seats"][0]["score"] > 1
    assert [float(text.rpartition(": ")[2]) for text in shown_scores] == [seat["score"] for seat in episode["seats"]]
    check_reports(episode, 40)
    assert gone(f"coworld.episode={episode['id']}", 10)

    shown = showing(run.output)
    page.goto(shown.link())
    expect(page.locator("#status")).to_have_text(re.compile(r"\b[1-9]\d*/40"))
    page.goto("about:blank")
    shown.process.send_signal(signal.SIGINT)
    assert shown.end() == 0, shown.said
    assert list(shown.temporary.iterdir()) == []


def test_an_interrupt_while_they_paint_leaves_no_container(world: Path, tmp_path: Path) -> None:
    """SIGINT in the middle: 130, a record that says cancelled, and nothing of the episode on the engine."""
    process = subprocess.Popen(
        [*COMMAND, "run", str(world), *DOCKER, "--set", "max_ticks=10000", "--output", "out", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until_said(process, tmp_path / "out/logs/game.stdout.log", "starting game")
    identity = json.loads((tmp_path / "out/events.jsonl").read_text().splitlines()[0])["scope"]
    assert len([name for name in left_of(f"coworld.episode={identity}") if "player" in name or "game" in name]) == 3
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == 130, err
    episode = episode_of(out)
    assert (episode["id"], episode["verdict"]["reason"]) == (identity, "cancelled")
    assert [seat["end"] for seat in episode["seats"]] == ["stopped", "stopped"]
    assert left_of(f"coworld.episode={identity}") == []
