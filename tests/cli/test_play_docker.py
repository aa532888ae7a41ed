"""The same with containers: a person plays a game in one, its replay is looked at, and leaving removes every container."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browsers import PATIENCE, chromium, page
from tests.cli.test_play import Playing, play_to_the_end, playing, settings
from tests.cli.test_replay_show import Showing, showing

__all__ = ["Playing", "Showing", "chromium", "page", "playing", "showing"]

expect.set_options(timeout=PATIENCE * 1000)


def containers_of(episode: str) -> list[str]:
    """Names of the containers of an episode, running or not."""
    listed = subprocess.run(
        ["docker", "ps", "--all", "--filter", f"label=coworld.episode={episode}", "--format", "{{.Names}}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return listed.stdout.split()


def test_a_person_plays_in_a_container_and_sees_the_replay(
    playing: Callable[..., Playing], showing: Callable[..., Showing], orchard_manifest: Path, page: Page
) -> None:
    """The published page takes the person's moves; the run's directory alone leads to the replay, in a container again."""
    game = settings(max_ticks=3, tick_timeout_seconds=300, width=12, height=8)
    run = playing(
        orchard_manifest, "--seat", 0, "--variant", "duel", "--driver", "docker", "--no-open", "--no-reports", *game
    )
    link = run.link("play seat 0")
    page.goto(link)
    body = page.locator("body")
    play_to_the_end(page)
    page.goto("about:blank")
    assert run.end() == 0, run.said
    record = json.loads((run.output / "episode.json").read_text())
    assert [seat["end"] for seat in record["seats"]] == ["person", "finished"]
    assert containers_of(record["id"]) == []
    shown = showing(run.output)
    page.goto(shown.link())
    expect(body).to_have_attribute("data-tick", re.compile(r"[1-3]"))
    page.goto("about:blank")
    shown.process.send_signal(signal.SIGINT)
    assert shown.end() == 0, shown.said
    assert "with the docker driver" in shown.said.replace("\n", "")
    assert list(shown.temporary.iterdir()) == []


def test_leaving_in_the_middle_removes_the_containers(playing: Callable[..., Playing], orchard_manifest: Path) -> None:
    """Ctrl-C while the game waits for the person: 130, and nothing is left on the engine."""
    run = playing(orchard_manifest, "--seat", 0, "--variant", "duel", "--driver", "docker", "--no-open")
    run.link("play seat 0")
    record = json.loads((run.output / "events.jsonl").read_text().splitlines()[0])
    run.until_started("player-1")
    assert len(containers_of(record["scope"])) == 2
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130
    assert containers_of(record["scope"]) == []
