"""Whole episodes: what the runtime adds to a game, what warm starts and one process are worth, and whether very many cost what few do.

Every measurement is made in a process of its own (`play_many`), or by hand (`by_hand`). The parts, each of which runs alone with
`--only`: `phases`, `overhead`, `warm`, `inproc`, `alive`, `flat`.
"""

from __future__ import annotations

import functools
import os
import statistics
from collections.abc import Callable, Mapping, Sequence

import msgspec

from coworld_bench import phases
from coworld_bench.by_hand import play_by_hand
from coworld_bench.harness import interleave, spread
from coworld_bench.plan import Cell, Figure, Plan, figure_of_rates
from coworld_bench.play_many import Job, Kind, Played, play_many
from coworld_bench.worlds import load_world, missing
from coworld_protocol.errors import PreconditionMissing, Refused

__all__ = ["CONTESTANTS", "PARTS", "Sizes", "measure", "skipped"]

CONTESTANTS: Mapping[str, str] = {
    **phases.ROWS,
    "start-by-hand": "cold start of the same processes by hand, one after the other",
    "own": "the game's own time, by hand: from all seated to its results",
    "episode-cold": "the runtime, cold: whole episode",
    "episode-warm": "the runtime, warm: whole episode",
    "added-cold": "the runtime, cold: beyond the game's own time",
    "added-warm": "the runtime, warm: beyond the game's own time",
    "beyond-by-hand": "the runtime, cold: beyond the same episode by hand",
    "cold": "process driver, cold",
    "warm": "process driver, warm",
    "inproc": "in-process driver, one process",
    "workers": "in-process driver, a worker for each core",
    "bare": "the bare rules and the same players, plain calls",
    "bare-cores": "the same on all cores",
    "memory": "memory for each episode, KB",
    "lag": "lateness of the event loop, p99, ms",
    "lag-own": "the same without what other programs took, ms",
    "lag-worst": "lateness of the event loop, longest, ms",
    "together": "alive at once",
    "ended": "ended and counted",
    "seconds": "seconds for all of them",
    "cost": "processor time for each episode, ms",
    "growth": "resident memory at the end over that before the first, MB",
}
"""Rows of the tables."""

ARENA = ("max_ticks=10", "tick_rate=60")
"""Ten ticks at sixty a second."""

PACED = ('mode="realtime"', "tick_rate=2", "max_ticks=40")
"""A thousand of these make two thousand ticks a second: the processor is not the limit, and all are alive for 20 s."""


_WARMUP = 8
"""Episodes after which every role of the process driver starts warm: a template takes shape over a role's first starts."""


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """How much each part plays in a round.

    Attributes:
        variants: of Orchard whose phases are told.
        single: episodes one after the other whose median is one episode's time.
        cold: episodes of the process driver, cold.
        warm: warm.
        inproc: in one process.
        bare: of the bare rules.
        alive: at once.
        paced: configuration of those that are not played flat out.
        flat: sizes of the batches that are compared.
        small: small batches of one size in a round, whose median counts.
        settled: episodes before them, until everything that is kept has been made.
        rounds_alive: rounds of `alive` and `flat` at the most: they take longest.
    """

    variants: tuple[str, ...] = tuple(phases.VARIANTS)
    single: int = 7
    cold: int = 40
    warm: int = 200
    inproc: int = 1000
    bare: int = 1000
    alive: int = 1000
    paced: tuple[str, ...] = PACED
    flat: tuple[int, ...] = (10, 100, 1000, 10_000)
    small: int = 10
    settled: int = 50
    rounds_alive: int = 3


_FULL = Sizes()
_QUICK = Sizes(
    variants=("duel", "crowd"),
    single=2,
    cold=4,
    warm=12,
    inproc=40,
    bare=40,
    alive=50,
    paced=('mode="realtime"', "tick_rate=4", "max_ticks=20"),
    flat=(10, 100),
    small=2,
    settled=20,
    rounds_alive=1,
)


def measure(plan: Plan) -> list[Cell]:
    """Run the parts that the plan names, or all.

    Raises:
        Refused: it names something else.
        PreconditionMissing: there is no checkout, or an episode came to no good end.
    """
    unknown = plan.names - set(PARTS)
    if unknown:
        raise Refused(f"bench episodes has no part {min(unknown)!r}", todo=f"choose from: {', '.join(PARTS)}")
    sizes = _QUICK if plan.quick else _FULL
    if lack := missing("orchard"):
        raise PreconditionMissing(f"episodes cannot be measured without {lack}", todo="run it in a checkout")
    chosen = [part for name, part in PARTS.items() if not plan.names or name in plan.names]
    return [cell for part in chosen for cell in part(plan, sizes)]


def skipped() -> dict[str, str]:
    """Worlds that cannot be measured here, and what is missing."""
    return {name: lack for name in ("paint-arena",) if (lack := missing(name))}


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


# One episode.


def _phases(plan: Plan, sizes: Sizes) -> list[Cell]:
    about = "phases of one episode, Orchard, cold"
    contestants = {variant: functools.partial(phases.play_variant, variant) for variant in sizes.variants}
    found = interleave(contestants, plan.rounds, progress=plan.progress, about=about)
    cells = []
    for variant, played in found.items():
        seats = phases.VARIANTS[variant]
        figures = {row: Figure(value=spread([each[row] for each in played])) for row in phases.ROWS}
        title = f"{variant}, {seats} seats"
        cells.append(Cell(scenario=about, title=title, connections=seats, size=0, unit="as named", figures=figures))
    return cells


def _overhead(plan: Plan, sizes: Sizes) -> list[Cell]:
    return [
        _overhead_of(plan, sizes, name, settings)
        for name, settings in (("orchard", ()), ("paint-arena", ARENA))
        if not missing(name)
    ]


def _overhead_of(plan: Plan, sizes: Sizes, name: str, settings: tuple[str, ...]) -> Cell:
    world = load_world(name, settings)

    def by_hand() -> tuple[float, float]:
        found = [play_by_hand(world) for _ in range(sizes.single)]
        return statistics.median(each.start for each in found), statistics.median(each.own for each in found)

    def runtime(kind: Kind) -> tuple[float, float]:
        job = Job(kind=kind, world=name, settings=settings, episodes=sizes.single, parallel=1, warmup=_WARMUP)
        return statistics.median(_good(job, play_many(job)).each), 0.0

    found = interleave(
        {"by hand": by_hand, "cold": lambda: runtime("cold"), "warm": lambda: runtime("warm")},
        plan.rounds,
        progress=plan.progress,
        about=f"overhead, {world.title}",
    )
    start = [first for first, _ in found["by hand"]]
    own = [second for _, second in found["by hand"]]
    cold = [first for first, _ in found["cold"]]
    warm = [first for first, _ in found["warm"]]
    rows = {
        "start-by-hand": start,
        "own": own,
        "episode-cold": cold,
        "episode-warm": warm,
        "added-cold": _less(cold, own),
        "added-warm": _less(warm, own),
        "beyond-by-hand": [c - s - o for c, s, o in zip(cold, start, own, strict=True)],
    }
    figures = {row: Figure(value=spread([value * 1e3 for value in values])) for row, values in rows.items()}
    return Cell(scenario="one episode", title=world.title, connections=2, size=0, unit="ms", figures=figures)


# Rates.


def _warm(plan: Plan, sizes: Sizes) -> list[Cell]:
    count = cores()
    jobs = {
        "cold": Job(kind="cold", episodes=sizes.cold, parallel=count, warmup=count),
        "warm": Job(kind="warm", episodes=sizes.warm, parallel=count, warmup=_WARMUP + 2 * count),
    }
    return _rates(plan, "process driver, Orchard duel", f"{count} at once", jobs, per=60.0, unit="episodes/minute")


def _inproc(plan: Plan, sizes: Sizes) -> list[Cell]:
    count = cores()
    jobs = {
        "bare": Job(kind="bare", episodes=sizes.bare, parallel=1, warmup=20),
        "inproc": Job(kind="inproc", episodes=sizes.inproc, parallel=16, warmup=20, tidy=True),
        "workers": Job(
            kind="workers", episodes=count * sizes.inproc, parallel=16 * count, workers=count, warmup=40, tidy=True
        ),
        "bare-cores": Job(kind="bare", episodes=count * sizes.bare, parallel=1, workers=count, warmup=20),
        "cold": Job(kind="cold", episodes=sizes.cold, parallel=count, warmup=count),
    }
    return _rates(plan, "in-process driver, Orchard duel", "", jobs, per=1.0, unit="episodes/s")


def _rates(plan: Plan, scenario: str, title: str, jobs: Mapping[str, Job], *, per: float, unit: str) -> list[Cell]:
    def play(job: Job) -> Played:
        return _good(job, play_many(job))

    contestants = {name: functools.partial(play, job) for name, job in jobs.items()}
    found = interleave(contestants, plan.rounds, progress=plan.progress, about=scenario)
    figures = {
        name: figure_of_rates([per * jobs[name].episodes / each.seconds for each in played])
        for name, played in found.items()
    }
    cells = [Cell(scenario=scenario, title=title or unit, connections=2, size=0, unit=unit, figures=figures)]
    # Processes that live as long as the measurement, workers and templates, are not in the account yet when it ends.
    whole = {name: played for name, played in found.items() if jobs[name].kind in {"cold", "inproc", "bare"}}
    if len(whole) > 1:
        spent = {
            name: Figure(value=spread([each.processor / jobs[name].episodes * 1e3 for each in played]))
            for name, played in whole.items()
        }
        about = f"{scenario}, processor time for each episode"
        cells.append(Cell(scenario=about, title="ms", connections=2, size=0, unit="ms", figures=spent))
    return cells


# Very many.


def _alive(plan: Plan, sizes: Sizes) -> list[Cell]:
    count = sizes.alive
    kinds = {"flat out": (), "paced": sizes.paced}

    def run(settings: tuple[str, ...]) -> Played:
        job = Job(kind="inproc", settings=settings, episodes=count, parallel=count, warmup=8)
        return play_many(job)

    contestants = {title: functools.partial(run, settings) for title, settings in kinds.items()}
    rounds = min(plan.rounds, sizes.rounds_alive)
    about = f"{count} episodes alive at once, in one process"
    found = interleave(contestants, rounds, progress=plan.progress, about=about)
    cells = []
    for title, played in found.items():
        rows: dict[str, list[float]] = {
            "ended": [each.good for each in played],
            "together": [each.alive for each in played],
            "memory": [each.memory / 1e3 / count for each in played],
            "lag": [each.lag * 1e3 for each in played],
            "lag-own": [each.lag_own * 1e3 for each in played],
            "lag-worst": [each.lag_worst * 1e3 for each in played],
            "seconds": [each.seconds for each in played],
        }
        figures = {row: Figure(value=spread(values)) for row, values in rows.items()}
        cells.append(Cell(scenario=about, title=title, connections=count, size=0, unit="as named", figures=figures))
    return cells


def _flat(plan: Plan, sizes: Sizes) -> list[Cell]:
    def run(count: int) -> list[Played]:
        job = Job(kind="inproc", episodes=count, parallel=8, warmup=sizes.settled, tidy=True)
        # A small batch is over before its cost can be told from noise: several of them, each in a process of its own.
        return [_good(job, play_many(job)) for _ in range(max(1, min(sizes.small, 200 // count)))]

    rounds = min(plan.rounds, sizes.rounds_alive)
    contestants = {str(count): functools.partial(run, count) for count in sizes.flat}
    found = interleave(contestants, rounds, progress=plan.progress, about="from few to very many, episodes")
    cells = []
    for title, parts in found.items():
        count = int(title)
        cost = [statistics.median(each.processor for each in part) / count * 1e3 for part in parts]
        growth = [statistics.median(each.kept for each in part) / 1e6 for part in parts]
        figures = {"cost": Figure(value=spread(cost)), "growth": Figure(value=spread(growth))}
        cells.append(
            Cell(
                scenario="from few to very many, in-process driver, Orchard duel",
                title=f"{count} episodes",
                connections=count,
                size=0,
                unit="as named",
                figures=figures,
            )
        )
    return cells


def _good(job: Job, played: Played) -> Played:
    if played.good != job.episodes:
        raise PreconditionMissing(
            f"{job.episodes - played.good} of {job.episodes} episodes of {job.world}, {job.kind}, did not count",
            todo="play some with coworld-actors run to see why",
        )
    return played


def _less(values: Sequence[float], others: Sequence[float]) -> list[float]:
    return [value - other for value, other in zip(values, others, strict=True)]


PARTS: Mapping[str, Callable[[Plan, Sizes], list[Cell]]] = {
    "phases": _phases,
    "overhead": _overhead,
    "warm": _warm,
    "inproc": _inproc,
    "alive": _alive,
    "flat": _flat,
}
