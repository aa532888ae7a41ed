"""Plays scripted Coworlds through the library, the way an embedding program would."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from coworld_actors.actors import Record, open_system
from coworld_actors.episode.conductor import run_episode
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import EpisodeSpec, Limits
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver
from tests.coworlds import scripted_manifest, write_coworld

Play = Callable[..., Awaitable[EpisodeRecord]]


@pytest.fixture
def spec_of(tmp_path: Path) -> Callable[..., EpisodeSpec]:
    """Makes the spec of a scripted Coworld."""

    def make(
        behaviour: str = "plays",
        players: Sequence[str] = ("plays", "plays"),
        *,
        limits: Limits = Limits(timeout=60, startup=30, player_grace=10, support=30),
        verify_replay: bool = False,
        secret_env: dict[str, str] | None = None,
        **more: Any,
    ) -> EpisodeSpec:
        loaded = load_manifest(write_coworld(tmp_path / "coworld", scripted_manifest(behaviour, players, **more)))
        return EpisodeSpec(
            id="e-1",
            plan=build_plan(loaded),
            directory=tmp_path / "run",
            limits=limits,
            verify_replay=verify_replay,
            secret_env=secret_env or {},
        )

    return make


@pytest.fixture
def play(tmp_path: Path, spec_of: Callable[..., EpisodeSpec]) -> Play:
    """Plays one episode and returns its record; `events` collects every record of the stream."""

    async def run(
        behaviour: str = "plays",
        players: Sequence[str] = ("plays", "plays"),
        *,
        interrupt: Interrupt | None = None,
        events: list[Record] | None = None,
        **more: Any,
    ) -> EpisodeRecord:
        spec = spec_of(behaviour, players, **more)
        images = load_images(tmp_path / "coworld", {})
        # Far beyond every limit of these episodes: an episode that does not end is a failed test, not a hanging run.
        with trio.fail_after(120):
            async with ProcessDriver(images) as driver, open_system("test") as system:
                if events is not None:
                    system.events.subscribe(events.append)
                return await run_episode(system, driver, spec, interrupt=interrupt)

    return run
