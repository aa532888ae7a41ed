"""Paint Arena from its image: the public reference's `run-episode`, our `run --driver docker`, and both beside `docker run` by hand.

All play the same episodes (20 ticks at 20 Hz, two players) from the same image on the same engine, taking turns. A time is that of
a whole command, from its start to its end, with nothing left on the engine. What is done by hand is the floor: no runtime that
starts the same three containers is faster.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from coworld_bench.docker_by_hand import Ground, play_in_containers, prepared
from coworld_bench.episode_goals import goal
from coworld_bench.goals import Goal
from coworld_bench.harness import Spread, interleave, ratio, spread
from coworld_bench.plan import Cell, Figure, Plan
from coworld_bench.worlds import ARENA_VERSION, World, arena_manifest, arena_place, load_world, missing
from coworld_drivers.scratch import scratch
from coworld_protocol.errors import PreconditionMissing, Refused

__all__ = ["AT_ONCE", "CONTESTANTS", "engine", "judge_containers", "measure"]

AT_ONCE = 8
"""Episodes that are played in parallel."""

CONTESTANTS: Mapping[str, str] = {
    "run-episode": f"coworld {ARENA_VERSION} run-episode",
    "run-docker": "coworld-actors run --driver docker",
    "docker-run": "docker run by hand, nothing checked (the floor)",
    "run-docker-8": f"coworld-actors run --driver docker, {AT_ONCE} at once",
    "docker-run-8": f"docker run by hand, {AT_ONCE} at once (the floor)",
}
"""Rows of the tables."""

_SETTINGS = ("max_ticks=20", "tick_rate=20")
_LIMIT = 300.0
_TIMES = "Paint Arena from its image, one episode"
_RATES = "Paint Arena from its image, episodes per minute"


class _Took(msgspec.Struct, frozen=True):
    seconds: float
    processor: float


def measure(plan: Plan) -> list[Cell]:
    """Play.

    Raises:
        Refused: the plan names an unknown contestant.
        PreconditionMissing: no reference, no engine, no image; or an episode came to no good end.
    """
    unknown = plan.names - set(CONTESTANTS)
    if unknown:
        names = ", ".join(CONTESTANTS)
        raise Refused(f"bench containers has no contestant {min(unknown)!r}", todo=f"choose from: {names}")
    if lack := missing("paint-arena"):
        raise PreconditionMissing(
            f"containers cannot be measured without {lack}",
            todo="name a virtual environment that has it with --reference, or run the tests once, which make one",
        )
    docker = _docker()
    world = load_world("paint-arena", _SETTINGS)
    _require_image(docker, world.plan.manifest.game.runnable.image)
    with scratch("bench") as place, prepared(docker) as ground:
        manifest = place / "coworld_manifest.json"
        document = arena_manifest()
        # What both runners play when no variant is named.
        document["certification"]["game_config"] = world.plan.game_config
        manifest.write_bytes(msgspec.json.encode(document))
        ways = {
            name: way for name, way in _ways(world, ground, manifest).items() if not plan.names or name in plan.names
        }
        for name, way in ways.items():
            # Once for nothing: files are read from the disk, and the engine's own caches are filled.
            if not name.endswith("-8"):
                plan.progress(f"containers: {name}, to warm up")
                _timed(way, place)
        contestants = {name: functools.partial(_timed, way, place) for name, way in ways.items()}
        found = interleave(contestants, plan.rounds, progress=plan.progress, about="containers")
    return _cells(found)


def _ways(world: World, ground: Ground, manifest: Path) -> dict[str, Callable[[Path], object]]:
    ours = (sys.executable, "-m", "coworld_actors", "run", str(manifest), "--driver", "docker", "--quiet")

    def reference(place: Path) -> None:
        program = arena_place() / "bin" / "coworld"
        _command([str(program), "run-episode", str(manifest), "--output-dir", str(place / "out")], place)
        _require_results([place / "out" / "results.json"])

    def one(place: Path) -> None:
        _command([*ours, "--no-reports", "--output", str(place / "out")], place)
        _require_results([place / "out" / "results.json"])

    def several(place: Path) -> None:
        many = ("--episodes", str(AT_ONCE), "--parallel", str(AT_ONCE))
        _command([*ours, *many, "--output", str(place / "out")], place)
        _require_results(sorted((place / "out").glob("episodes/*/results.json")), AT_ONCE)

    return {
        "run-episode": reference,
        "run-docker": one,
        "docker-run": lambda place: play_in_containers(world, ground, place),
        "run-docker-8": several,
        "docker-run-8": lambda place: play_in_containers(world, ground, place, episodes=AT_ONCE),
    }


def _timed(way: Callable[[Path], object], place: Path) -> _Took:
    own = place / "episode"
    own.mkdir()
    try:
        used, began = _machine_seconds(), time.perf_counter()
        way(own)
        return _Took(time.perf_counter() - began, _machine_seconds() - used)
    finally:
        shutil.rmtree(own)


def _command(command: Sequence[str], place: Path) -> None:
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=_LIMIT, check=False)
    if done.returncode != 0:
        raise PreconditionMissing(
            f"{Path(command[0]).name} {command[1]} came to no good end: exit code {done.returncode}",
            evidence=done.stderr.strip()[-400:],
            todo="play Paint Arena with it to see why",
        )


def _require_results(files: Sequence[Path], count: int = 1) -> None:
    ticks = [json.loads(file.read_bytes())["ticks"] for file in files if file.exists()]
    if len(ticks) != count or not all(ticks):
        raise PreconditionMissing(f"{count} results were expected", evidence=f"ticks played: {ticks}")


def _cells(found: Mapping[str, Sequence[_Took]]) -> list[Cell]:
    single = {name: took for name, took in found.items() if not name.endswith("-8")}
    per_minute = {
        name: [60 * (AT_ONCE if name.endswith("-8") else 1) / each.seconds for each in took]
        for name, took in found.items()
    }
    processor = {
        name: [each.processor / (AT_ONCE if name.endswith("-8") else 1) for each in took]
        for name, took in found.items()
    }
    cells = [
        _cell(_TIMES, "seconds", {name: [each.seconds for each in took] for name, took in single.items()}),
        _cell(_RATES, "episodes/minute", per_minute),
        _cell("processor time of the whole machine for each episode", "seconds", processor),
    ]
    return [cell for cell in cells if cell.figures]


def _cell(scenario: str, unit: str, rows: Mapping[str, Sequence[float]]) -> Cell:
    figures = {name: Figure(value=spread(values)) for name, values in rows.items()}
    return Cell(scenario=scenario, title="Paint Arena", connections=2, size=0, unit=unit, figures=figures)


def judge_containers(cells: Sequence[Cell]) -> list[Goal]:
    """The goals of `bench containers`, and what is the best that anybody could do."""
    seconds = functools.partial(_ratio, cells, _TIMES)
    rates = functools.partial(_ratio, cells, _RATES)
    one, several = (
        f"one episode vs {CONTESTANTS['run-episode']}",
        f"rate, {AT_ONCE} at once vs one run-episode at a time",
    )
    return [
        goal(one, "x", 0.6, 0.5, seconds("run-docker", "run-episode"), at_most=True),
        goal(f"({one}: docker run by hand)", "x", 0.6, 0.5, seconds("docker-run", "run-episode"), at_most=True),
        goal(several, "x", 4, 4, rates("run-docker-8", "run-episode")),
        goal(f"({several}: docker run by hand)", "x", 4, 4, rates("docker-run-8", "run-episode")),
    ]


def _ratio(cells: Sequence[Cell], scenario: str, ours: str, theirs: str) -> Spread | None:
    for cell in cells:
        if cell.scenario == scenario and ours in cell.figures and theirs in cell.figures:
            return ratio(cell.figures[ours].value.values, cell.figures[theirs].value.values)
    return None


def engine() -> dict[str, str]:
    """Versions of client and engine, and how it stores layers and keeps control groups; empty without an engine."""
    docker = shutil.which("docker")
    if docker is None:
        return {}
    words = {
        "docker client": ("version", "{{.Client.Version}}"),
        "docker engine": ("info", "{{.ServerVersion}} ({{.Driver}}, cgroup {{.CgroupVersion}})"),
    }
    said = {name: _ask(docker, command, "--format", form) for name, (command, form) in words.items()}
    return {name: text for name, text in said.items() if text}


def _docker() -> str:
    docker = shutil.which("docker")
    if docker is None or not _ask(docker, "version", "--format", "{{.Server.Version}}"):
        raise PreconditionMissing(
            "containers cannot be measured: no engine answers", todo="start one; `coworld-actors doctor` looks at it"
        )
    return docker


def _require_image(docker: str, image: str) -> None:
    if not _ask(docker, "image", "inspect", "--format", "{{.Id}}", image):
        (example,) = arena_place().glob("lib/python3*/site-packages/coworld/examples/paintarena")
        raise PreconditionMissing(
            f"image {image} is not on this engine",
            todo=f"build it: `docker build --tag {image} {os.path.relpath(example)}`; the tests make one that needs no registry",
        )


def _ask(docker: str, *words: str) -> str:
    done = subprocess.run([docker, *words], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _machine_seconds() -> float:
    """Processor seconds that this machine has worked, all programs together: an engine's work is not its client's."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()
    user, nice, system, _, _, interrupts, soft = (int(field) for field in fields[1:8])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")
