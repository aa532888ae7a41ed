"""How long does an Orchard episode take, and how much of that is the runtime's own?

    python bench/episodes.py [--rounds 5] [--json]

Rounds are interleaved, so that a slow minute of the machine touches every variant. "own" is everything before the players are
started and after the game has ended, reporters and graders excepted: what a run costs beyond the game and its players.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from coworld_bench.machine import machine

MANIFEST = Path(__file__).parent.parent / "examples/orchard/coworld_manifest.json"
VARIANTS = {"duel": 2, "crowd": 8, "big": 64}
OWN = {"starting", "probing", "closing", "checking", "done"}


def play(variant: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        output = str(Path(directory) / "run")
        command = [sys.executable, "-m", "coworld_actors", "run", str(MANIFEST), "--variant", variant]
        done = subprocess.run([*command, "--json", "--quiet", "--output", output], capture_output=True, check=True)
        (episode,) = json.loads(done.stdout)["episodes"]
        ticks = json.loads((Path(output) / "results.json").read_text())["ticks"]
    phases = {phase["phase"]: phase["seconds"] for phase in episode["phases"]}
    return {
        "seconds": episode["seconds"],
        "own": sum(seconds for phase, seconds in phases.items() if phase in OWN),
        "seating": phases["seating"],
        "ticks_per_second": ticks / phases["playing"],
        "reporting": phases["reporting"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rounds: dict[str, list[dict[str, Any]]] = {variant: [] for variant in VARIANTS}
    for _ in range(options.rounds):
        for variant in VARIANTS:
            rounds[variant].append(play(variant))
    measures = list(rounds["duel"][0])
    summary = {
        variant: {m: [f(r[m] for r in runs) for f in (statistics.median, min, max)] for m in measures}
        for variant, runs in rounds.items()
    }
    if options.json:
        print(json.dumps({"machine": machine(), "rounds": options.rounds, "median_min_max": summary}, indent=2))
        return
    print("  ".join(f"{key} {value}" for key, value in machine().items()))
    print(f"{'variant':8}{'seats':>6}" + "".join(f"{m:>28}" for m in measures))
    for variant, figures in summary.items():
        cells = "".join(f"{f'{mid:.3f} ({low:.3f}..{high:.3f})':>28}" for mid, low, high in figures.values())
        print(f"{variant:8}{VARIANTS[variant]:>6}{cells}")


if __name__ == "__main__":
    main()
