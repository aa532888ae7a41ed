"""`run` and `play` ask for the same episode by the same options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from coworld_actors.cli import cli
from coworld_actors.cli.screen import Detail
from coworld_actors.cli.single import Guests, Options
from coworld_actors.cli.single_request import single_options
from coworld_actors.episode.dialect import Compat
from coworld_protocol.errors import Refused

WORDS = [
    *("m.json", "greedy", "random", "--variant", "duel", "--set", "a=1", "--image", "i=dir", "--run", "bot.py"),
    *("--timeout", "7", "--compat", "auto", "--verify-replay", "--no-reports", "--output", "out", "--quiet", "--json"),
]


def parsed(command: str, *words: str) -> dict[str, Any]:
    found = cli.commands[command].make_context(command, [*WORDS, *words])
    return dict(found.params)


def test_what_is_said_is_what_is_asked_for() -> None:
    """Each option has its place, whichever of the commands has it."""
    run, play = (single_options(parsed(name), "m.json", ("greedy", "random")) for name in ("run", "play"))
    assert run == play
    assert isinstance(run, Options)
    assert (run.variant, run.overrides, run.images, run.run) == ("duel", ("a=1",), {"i": "dir"}, ("bot.py",))
    assert (run.limits.timeout, run.compat, run.verify_replay, run.reports) == (7.0, Compat.AUTO, True, False)
    assert (run.output, run.events, run.detail, run.as_json) == (Path("out"), None, Detail.QUIET, True)
    guests = Guests(seats=frozenset({0}), browser=False)
    seated = single_options(parsed("play"), "m.json", ("greedy", "random"), guests=guests)
    assert seated == msgspec.structs.replace(play, guests=guests)


def test_what_does_not_go_together_is_refused() -> None:
    """Before anything is loaded."""
    with pytest.raises(Refused, match="--trust is for containers"):
        single_options(parsed("run", "--trust"), "m.json", ())
