"""Variables of a role: the process's, or its own where many are in one process."""

from __future__ import annotations

import os

import trio

from coworld_protocol.sdk.environment import ENVIRONMENT, environment
from coworld_protocol.sdk.player import player_url


def test_without_a_setting_it_is_the_processs(monkeypatch):
    """A role that is a process reads its environment, as it is now."""
    monkeypatch.setenv("COWORLD_PLAYER_WS_URL", "ws://here/player")
    assert environment() is os.environ
    assert player_url() == "ws://here/player"


async def test_each_task_has_its_own_and_its_children_and_threads_too():
    """Tasks side by side do not see each other's."""
    seen: dict[str, list[str]] = {}

    async def role(name: str) -> None:
        ENVIRONMENT.set({"COWORLD_PLAYER_WS_URL": f"ws://{name}"})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child, name)

    async def child(name: str) -> None:
        await trio.sleep(0.01)
        seen[name] = [player_url(), await trio.to_thread.run_sync(player_url)]

    async with trio.open_nursery() as nursery:
        for name in ("a", "b"):
            nursery.start_soon(role, name)
    assert seen == {name: [f"ws://{name}"] * 2 for name in ("a", "b")}
    assert environment() is os.environ
