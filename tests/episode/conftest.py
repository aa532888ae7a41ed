"""Plays scripted Coworlds through the library, the way an embedding program would."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from coworld_actors.actors import ActorSystem, Record, SupervisorRef, open_system
from coworld_actors.episode.conductor import run_episode
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import EpisodeSpec, Limits
from coworld_actors.episode.workspace import Workspace
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from coworld_drivers.driver import Address
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver, ProcessSite
from tests.coworlds import IMAGE, PROGRAMS, scripted_manifest, write_coworld
from tests.disks import small_disk
from tests.strangers import Handler, serve

__all__ = ["house", "play", "server", "site", "small", "spec_of", "system", "workspace"]

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
        subscriber: Callable[[Record], None] | None = None,
        **more: Any,
    ) -> EpisodeRecord:
        spec = spec_of(behaviour, players, **more)
        images = load_images(tmp_path / "coworld", {})
        # Far beyond every limit of these episodes: an episode that does not end is a failed test, not a hanging run.
        with trio.fail_after(120):
            async with ProcessDriver(images) as driver, open_system("test") as system:
                for callback in (events.append if events is not None else None, subscriber):
                    if callback is not None:
                        system.events.subscribe(callback)
                return await run_episode(system, driver, spec, interrupt=interrupt)

    return run


@pytest.fixture
async def system() -> AsyncGenerator[ActorSystem]:
    """A system of actors."""
    async with open_system("test") as opened:
        yield opened


@pytest.fixture
async def house(system: ActorSystem) -> SupervisorRef:
    """A supervisor in it, as every episode has one."""
    return await system.start_supervisor("house")


@pytest.fixture
async def site() -> AsyncGenerator[ProcessSite]:
    """A place where the scripted programs can be started."""
    images = load_images(None, {IMAGE: str(PROGRAMS)})
    async with ProcessDriver(images) as driver, driver.open_site("e-1") as opened:
        yield opened


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """The new directory of an episode with two seats."""
    return Workspace.create(tmp_path / "run", 2)


@pytest.fixture
def server(nursery: trio.Nursery) -> Callable[[Handler], Awaitable[Address]]:
    """Serves a raw handler until the test has ended; returns its address."""

    async def start(handler: Handler) -> Address:
        return await serve(handler, nursery)

    return start


@pytest.fixture
def small(tmp_path: Path) -> Generator[Path]:
    """A directory with room for 64 KiB."""
    with small_disk(tmp_path / "small") as path:
        yield path
