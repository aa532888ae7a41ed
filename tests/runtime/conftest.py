"""Runtimes on real processes, and scripted episodes for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from coworld_actors.episode.spec import EpisodeSpec, Limits
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver
from tests.coworlds import IMAGE, PROGRAMS, scripted_manifest, write_coworld

__all__ = ["driver", "spec_of"]

SpecOf = Callable[..., EpisodeSpec]


@pytest.fixture
def spec_of(tmp_path: Path) -> SpecOf:
    """Makes specs of scripted episodes, each with an id and a directory of its own."""
    count = 0

    def make(
        behaviour: str = "plays",
        players: Sequence[str] = ("plays",),
        *,
        id: str = "",  # noqa: A002 - the word of the spec
        directory: Path | None = None,
        **more: Any,
    ) -> EpisodeSpec:
        nonlocal count
        count += 1
        name = id or f"e-{count}"
        manifest = write_coworld(tmp_path / f"coworld-{count}", scripted_manifest(behaviour, players, **more))
        return EpisodeSpec(
            plan=build_plan(load_manifest(manifest)),
            directory=directory or tmp_path / f"run-{count}",
            id=name,
            limits=Limits(timeout=60, startup=30, player_grace=10, support=30),
        )

    return make


@pytest.fixture
def driver() -> ProcessDriver:
    """A process driver that knows the scripted programs."""
    return ProcessDriver(load_images(None, {IMAGE: str(PROGRAMS)}))
