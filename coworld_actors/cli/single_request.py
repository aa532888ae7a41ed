"""What the options of a command say about a single episode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coworld_actors.cli.batch_options import pairs, place_of, player_access, tap_spec
from coworld_actors.cli.screen import Detail
from coworld_actors.cli.single import Guests, Options
from coworld_actors.episode.dialect import Compat
from coworld_actors.episode.spec import Limits

__all__ = ["single_options"]


def single_options(
    values: Mapping[str, Any], manifest: str, players: tuple[str, ...], *, guests: Guests | None = None
) -> Options:
    """The episode that a command line asks for.

    Args:
        values: of `world_options` and `output_options`, and `variants` with at most one.
        manifest: of the game.
        players: as they were named.
        guests: people who take seats.

    Raises:
        Refused: what does not go together.
    """
    access = player_access(values)
    return Options(
        manifest=manifest,
        players=players,
        variant=values["variants"][0] if values["variants"] else None,
        overrides=values["overrides"],
        images=pairs(values["images"], "--image", "NAME=DIR"),
        run=values["run_tokens"],
        place=place_of(values, outside=access.outside),
        secret_env=access.secret_env,
        compat=Compat(values["compat"]),
        limits=Limits(timeout=values["timeout"]),
        verify_replay=values["verify_replay"],
        reports=values["reports"] is not False,
        tap=tap_spec(tap=values["tap"], budget=values["budget"], record=values["record"], chaos=values["chaos"]),
        guests=guests,
        output=values["output"],
        events=values["events"],
        detail=Detail.QUIET if values["quiet"] else Detail.VERBOSE if values["verbose"] else Detail.NORMAL,
        as_json=values["as_json"],
    )
