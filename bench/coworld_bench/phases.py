"""Where the time of one episode goes, by the number of seats: Orchard's variants through `coworld-actors run`, as a user starts it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

from coworld_bench.scenarios.orchard import folder
from coworld_drivers.scratch import scratch

__all__ = ["ROWS", "VARIANTS", "play_variant"]

VARIANTS: Mapping[str, int] = {"duel": 2, "crowd": 8, "big": 64}
"""Variants and their seats."""

ROWS: Mapping[str, str] = {
    "whole": "whole episode, ms",
    "around": "before the first player's start and after the game's end, ms",
    "seating": "seating, ms",
    "rate": "ticks per second from the first frame",
    "reporting": "reporter and grader, ms",
}
"""What is told of each."""

_AROUND = frozenset({"starting", "probing", "closing", "checking", "done"})


def play_variant(variant: str) -> dict[str, float]:
    """Play one episode; a value for each of `ROWS`."""
    with scratch("bench") as directory:
        output = directory / "run"
        command = [sys.executable, "-m", "coworld_actors", "run", str(folder()), "--variant", variant]
        done = subprocess.run([*command, "--json", "--quiet", "--output", output], capture_output=True, check=True)
        (episode,) = json.loads(done.stdout)["episodes"]
        ticks = json.loads((output / "results.json").read_text())["ticks"]
    phases = {phase["phase"]: phase["seconds"] for phase in episode["phases"]}
    return {
        "whole": episode["seconds"] * 1e3,
        "around": sum(seconds for phase, seconds in phases.items() if phase in _AROUND) * 1e3,
        "seating": phases["seating"] * 1e3,
        "rate": ticks / phases["playing"],
        "reporting": phases["reporting"] * 1e3,
    }
