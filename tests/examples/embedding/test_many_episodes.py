"""A service's long day: two hundred episodes, one in ten goes wrong, and a signal in the middle of the next ones."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import psutil
import pytest
import trio

from tests.examples.embedding.conftest import LONG, Service, ServiceFactory

EPISODES = 200
PARALLEL = 4
MEGABYTE = 1024 * 1024


class Provocation(NamedTuple):
    """What is asked for and what has to become of it.

    Attributes:
        wish: part of the request.
        outcome: the verdict's reason, or the error's type.
        blame: whose doing it was; empty without a verdict.
        failed: seats that failed by themselves.
    """

    wish: dict[str, Any]
    outcome: str
    blame: str = "nobody"
    failed: tuple[int, ...] = ()


GOOD = Provocation({}, "completed")
# A seat that is lost early leaves the game half a second, so that even a busy machine sees the player's end before the game's.
ALONE = {"ticks": 3, "pause": 0.25}
CRASHES = [
    Provocation({"settings": {"behaviour": "crashes_mid"}}, "game_crashed", "game"),
    Provocation({"players": ["crashes-mid"], "settings": ALONE}, "completed", "nobody", (0,)),
    Provocation({"settings": {"behaviour": "killed_mid"}}, "game_crashed", "game"),
    Provocation({"settings": {"behaviour": "exits_at_once"}}, "game_start_failed", "game"),
    Provocation({"players": ["crashes-at-once"], "settings": ALONE}, "completed", "nobody", (0,)),
    # What is neither the game's doing nor a player's: its directory is gone when it is to be recorded; nothing has that image.
    Provocation({"settings": {"behaviour": "takes_the_directory"}}, "precondition_missing"),
    Provocation({"players": ["ghost:1"]}, "precondition_missing"),
    Provocation({"settings": {"behaviour": "results_no_json"}}, "results_malformed", "game"),
]


def plan() -> list[Provocation]:
    """Every tenth goes wrong, each kind in turn."""
    return [CRASHES[number // 10 % len(CRASHES)] if number % 10 == 7 else GOOD for number in range(EPISODES)]


async def play(service: Service, provocation: Provocation) -> None:
    """Ask for one episode, follow it to its end and look at what became of it."""
    episode = await service.start(**provocation.wish)
    events = await service.all_events(episode)
    _, last = events[-1]
    closed = last["event"]
    assert closed["type"] == "episode_closed", provocation
    found = Provocation(provocation.wish, closed["outcome"], closed["blame"], tuple(closed["failed_seats"]))
    assert found == provocation._replace(blame=provocation.blame if closed["blame"] else "")
    view = await service.get(f"/episodes/{episode}")
    if provocation.outcome == "precondition_missing":
        assert view["error"]["what"]
        assert not (service.runs / episode / "episode.json").exists()
    else:
        assert view["record"]["verdict"]["reason"] == provocation.outcome
        assert json.loads((service.runs / episode / "episode.json").read_text()) == view["record"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trio_service", "fastapi_service"])
async def test_two_hundred_episodes_with_crashes_and_a_signal(start_service: ServiceFactory, name):
    """Each ends as it has to, the service stays as it was; then SIGTERM: every accepted episode has an end, nothing is left."""
    async with start_service(name, "--parallel", str(PARALLEL), "--queue", "40", "--keep", "20") as service:
        waiting = plan()[::-1]

        async def work() -> None:
            while waiting:
                await play(service, waiting.pop())

        process = psutil.Process(service.process.pid)
        for _ in range(2 * PARALLEL):
            await play(service, GOOD)
        descriptors, threads, memory = process.num_fds(), process.num_threads(), process.memory_info().rss
        async with trio.open_nursery() as nursery:
            # Twice as many as can play, so that there is always a queue.
            for _ in range(2 * PARALLEL):
                nursery.start_soon(work)
        health = await service.get("/healthz")
        assert health["status"] == "ok"
        assert health["streams"] == health["runtime"]["running"] == health["runtime"]["queued"] == 0
        assert sum(health["runtime"]["outcomes"].values()) == health["runtime"]["accepted"] == EPISODES + 2 * PARALLEL
        assert health["runtime"]["actors"] <= 1
        assert len((await service.get("/episodes"))["episodes"]) == 20
        # Room for idle workers of thread pools, for keep-alive connections and for twenty remembered episodes.
        assert process.num_fds() <= descriptors + 10
        assert process.num_threads() <= threads + 10
        assert process.memory_info().rss <= memory + 32 * MEGABYTE

        episodes = [await service.start(settings={"ticks": 100_000, "pause": 0.02}) for _ in range(30)]
        await service.until(lambda health: health["runtime"]["running"] == PARALLEL)
        with trio.fail_after(LONG):
            assert await service.terminate() == 0
        played = [episode for episode in episodes if (service.runs / episode).exists()]
        assert PARALLEL <= len(played) < 30, "those that waited were called off before anything was made for them"
        for episode in played:
            record = json.loads((service.runs / episode / "episode.json").read_text())
            assert record["verdict"]["reason"] == "cancelled"
        assert "called off: 30" in service.log
        assert service.log.count(" outcome=cancelled ") == 30
        assert "had to be killed" not in service.log
        assert [path.name for path in service.runs.rglob(".*")] == []
