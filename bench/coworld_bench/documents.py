"""What a benchmark found, as one value: measured, as JSON, and as the marked part of a Markdown page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from coworld_bench import codec, containers, episodes, tap, ws
from coworld_bench.episode_goals import judge_episodes
from coworld_bench.goals import Goal, judge_tap, judge_ws
from coworld_bench.machine import machine
from coworld_bench.plan import Cell, Plan
from coworld_bench.scenarios.lockstep import PAIRS
from coworld_protocol.errors import Refused

__all__ = ["BENCHMARKS", "Report", "as_json", "marks", "measure", "title_of", "write_block"]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one benchmark.

    Attributes:
        benchmark: `ws`, `tap`, `codec`, `episodes` or `containers`.
        machine: what it ran on, with versions.
        cores: where the two sides ran.
        generator: what made the load: `c` or `python`; empty where there was none.
        rounds: interleaved rounds.
        seconds: measured per round, contestant and cell; 0 where a number of episodes is played instead.
        quick: it was a quick run.
        skipped: contestants that could not take part, and what was missing.
        cells: what was found.
        goals: what that means.
    """

    benchmark: str
    machine: Mapping[str, str]
    cores: str
    generator: str
    rounds: int
    seconds: float
    quick: bool
    skipped: Mapping[str, str]
    cells: tuple[Cell, ...]
    goals: tuple[Goal, ...]


BENCHMARKS: Mapping[str, Callable[[Plan], list[Cell]]] = {
    "ws": ws.measure,
    "tap": tap.measure,
    "codec": codec.measure,
    "episodes": episodes.measure,
    "containers": containers.measure,
}
_JUDGES: Mapping[str, Callable[[list[Cell]], list[Goal]]] = {
    "ws": judge_ws,
    "tap": judge_tap,
    "episodes": judge_episodes,
    "containers": containers.judge_containers,
}
_PACKAGES: Mapping[str, tuple[str, ...]] = {"ws": ws.PACKAGES, "codec": ("websockets", "wsproto")}
_SKIPPED: Mapping[str, Callable[[], dict[str, str]]] = {"ws": ws.skipped, "episodes": episodes.skipped}
_ALSO: Mapping[str, Callable[[], dict[str, str]]] = {"containers": containers.engine}
"""What else a benchmark ran on."""
_PINNED = frozenset({"ws", "tap"})
"""Those in which two sides have a core each, and one of them makes load."""


def measure(name: str, plan: Plan) -> Report:
    """Run a benchmark.

    Raises:
        CoworldError: it cannot be run, or a contestant did not play along.
    """
    cells = BENCHMARKS[name](plan)
    return Report(
        benchmark=name,
        machine={**machine(*_PACKAGES.get(name, ())), **(_ALSO[name]() if name in _ALSO else {})},
        cores=plan.cores.note if name in _PINNED else "",
        generator=plan.generator if name in _PINNED else "",
        rounds=plan.rounds,
        seconds=plan.seconds,
        quick=plan.quick,
        skipped=_SKIPPED[name]() if name in _SKIPPED else {},
        cells=tuple(cells),
        goals=tuple(_JUDGES[name](cells)) if name in _JUDGES else (),
    )


def as_json(report: Report) -> bytes:
    """The report as an indented document."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def title_of(cell: Cell, name: str) -> str:
    """What a contestant is called in a cell's table."""
    if cell.scenario == "lockstep":
        return next((pair.title for pair in PAIRS if pair.name == name), name)
    if name in episodes.CONTESTANTS:
        return episodes.CONTESTANTS[name]
    if name in containers.CONTESTANTS:
        return containers.CONTESTANTS[name]
    known = {"tap": tap.CONTESTANTS}.get(cell.scenario, codec.CONTESTANTS if cell.unit == "us" else ws.titles())
    return known.get(name, name)


def marks(name: str) -> tuple[str, str]:
    """The lines between which a page has a benchmark's part."""
    verb = "bench-containers" if name == "containers" else "bench"
    return f"<!-- bench {name}: written by `make {verb}` -->", f"<!-- bench {name}: end -->"


def write_block(path: Path, name: str, text: str) -> None:
    """Put `text` between a benchmark's marks in a page; a page without them gets both at its end.

    Raises:
        OSError: the page cannot be read or written.
        Refused: only one of the marks is there.
    """
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    begin, end = marks(name)
    block = f"{begin}\n\n{text.strip()}\n\n{end}"
    before, found, rest = page.partition(begin)
    if not found:
        path.write_text(f"{page.rstrip()}\n\n{block}\n".lstrip(), encoding="utf-8")
        return
    _, closed, after = rest.partition(end)
    if not closed:
        raise Refused(f"{path} has no line {end!r} after {begin!r}.", todo="put it back, or take the other away")
    path.write_text(before + block + after, encoding="utf-8")
