"""The worlds that whole episodes are measured with: Orchard of a checkout, and the public reference's Paint Arena if it is there."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from coworld_actors.manifest.load import check_manifest, load_manifest
from coworld_actors.manifest.seats import EpisodePlan, build_plan
from coworld_bench.scenarios.orchard import folder
from coworld_drivers.images import Image, ImageMap, load_images
from coworld_protocol.errors import PreconditionMissing

__all__ = [
    "ARENA_VERSION",
    "ENV_REFERENCE",
    "World",
    "arena_manifest",
    "arena_place",
    "load_world",
    "missing",
    "reference_at",
]

ARENA_VERSION = "0.1.26"
ENV_REFERENCE = "COWORLD_BENCH_REFERENCE"
"""A virtual environment with that version of the public package `coworld`, its examples and their servers."""

_ARENA_IMAGE = f"coworld-paintarena:{ARENA_VERSION}"


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Something to play.

    Attributes:
        name: `orchard` or `paint-arena`.
        title: for a table.
        plan: the episode.
        images: where its image is.
    """

    name: str
    title: str
    plan: EpisodePlan
    images: ImageMap


def missing(name: str) -> str:
    """What a world would need and is not there."""
    if name == "orchard":
        return "" if (folder() / "coworld_manifest.json").exists() else "a checkout's examples/orchard"
    return "" if _template() is not None else f"coworld {ARENA_VERSION} in {ENV_REFERENCE}"


def load_world(name: str, settings: Sequence[str] = ()) -> World:
    """A world of that name, its configuration changed as `--set` does.

    Raises:
        PreconditionMissing: it is not there.
    """
    if lack := missing(name):
        raise PreconditionMissing(f"{name} cannot be measured: it needs {lack}")
    if name == "orchard":
        loaded = load_manifest(folder())
        plan = build_plan(loaded, players=("greedy",), variant="duel", overrides=settings)
        return World(name=name, title="Orchard duel", plan=plan, images=load_images(loaded.directory, {}))
    document = arena_manifest()
    plan = build_plan(check_manifest(document, source=str(_template())), overrides=settings)
    place = arena_place()
    image = Image(root=place, python=place / "bin" / "python", source=ENV_REFERENCE)
    return World(name=name, title="Paint Arena", plan=plan, images=ImageMap({_ARENA_IMAGE: image}))


def arena_manifest() -> dict[str, Any]:
    """The reference's own manifest of Paint Arena, its blanks filled in; the commissioner's image exists nowhere."""
    template = _template()
    assert template is not None, "whoever asks has looked for what is missing"
    filled = template.read_text(encoding="utf-8").replace("{{PAINTARENA_IMAGE}}", _ARENA_IMAGE)
    document: dict[str, Any] = json.loads(filled.replace("{{COMMISSIONER_IMAGE}}", "nowhere:1"))
    document["game"]["version"] = ARENA_VERSION
    return document


def arena_place() -> Path:
    """The virtual environment of the reference: as the variable says, or where the tests install it."""
    named = os.environ.get(ENV_REFERENCE)
    return Path(named) if named else Path(__file__).parents[2] / ".cache" / f"reference-{ARENA_VERSION}"


@contextlib.contextmanager
def reference_at(place: Path | None) -> Generator[None]:
    """Take the reference from a virtual environment, or that of a Python in one; None leaves it where it is."""
    before = os.environ.get(ENV_REFERENCE)
    if place is not None:
        os.environ[ENV_REFERENCE] = str(place.absolute() if place.is_dir() else place.absolute().parent.parent)
    try:
        yield
    finally:
        if place is not None:
            os.environ.pop(ENV_REFERENCE)
            os.environ.update({} if before is None else {ENV_REFERENCE: before})


def _template() -> Path | None:
    found = arena_place().glob("lib/python3*/site-packages/coworld/examples/paintarena/coworld_manifest_template.json")
    return next(iter(sorted(found)), None)


def own_code() -> None:
    """Let this process import Orchard's own modules, to call its rules and players without any runtime."""
    if str(folder()) not in sys.path:
        sys.path.insert(0, str(folder()))
