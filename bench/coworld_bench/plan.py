"""How much is measured, and what comes out: the values that scenarios, goals, tables and JSON share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from coworld_bench.cores import Cores
from coworld_bench.harness import Spread, spread
from coworld_bench.load import Load
from coworld_bench.programs import compiled
from coworld_bench.rivals import RIVALS, Mode, Rival

__all__ = ["Cell", "Figure", "Plan", "figure_of_loads", "figure_of_rates", "quiet"]


def quiet(_: str) -> None:
    """Progress that nobody wants to see."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured.

    Attributes:
        rounds: interleaved rounds.
        seconds: measured in each round for each contestant and cell.
        warmup: seconds before.
        quick: only the cells and rivals that the goals are about, and a smaller orchard.
        cores: where the two sides run.
        names: rivals to take; empty: all.
        python_load: do without the C load generator.
        progress: told what is going on.
    """

    rounds: int
    seconds: float
    warmup: float
    cores: Cores
    quick: bool = False
    names: frozenset[str] = frozenset()
    python_load: bool = False
    progress: Callable[[str], None] = quiet

    @property
    def generator(self) -> str:
        """What makes the load: `c` or `python`."""
        return "python" if self.python_load or compiled("load") is None else "c"

    def takes(self, rival: Rival) -> bool:
        """Whether somebody is measured; whoever has something missing is not."""
        return (not self.names or rival.name in self.names) and not rival.missing

    def rivals(self, mode: Mode, quick: Sequence[str]) -> list[Rival]:
        """Who is measured in a mode; `quick` names those who are left in a quick run."""
        return [
            rival
            for rival in RIVALS.values()
            if mode in rival.modes and self.takes(rival) and (self.names or not self.quick or rival.name in quick)
        ]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What one contestant did in one cell.

    Attributes:
        value: messages or ticks per second, or microseconds; the cell's unit says which.
        p50: median round trip in microseconds; None where there is no load generator to see it.
        p99: as p50, of ninety-nine percent.
        load_busy: the load generator's share of its core.
        server_us: processor time of the server per message in microseconds. Other programs on the machine hardly touch it; polling
            in place of sleeping is in it.
    """

    value: Spread
    p50: Spread | None = None
    p99: Spread | None = None
    load_busy: Spread | None = None
    server_us: Spread | None = None


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a table: everybody under the same load.

    Attributes:
        scenario: `echo`, `broadcast`, `lockstep`, `orchard`, `tap` or a part of the codec.
        title: column's head.
        connections: how many at once.
        size: bytes of a message.
        unit: of every figure's `value`.
        figures: by contestant.
    """

    scenario: str
    title: str
    connections: int
    size: int
    unit: str
    figures: Mapping[str, Figure]


def figure_of_loads(loads: Sequence[Load], *, per: int = 1) -> Figure:
    """From what the load generator saw in each round.

    Args:
        loads: one per round.
        per: messages of one unit: the number of connections where ticks are counted.
    """
    return Figure(
        value=spread([load.rate / per for load in loads]),
        p50=spread([load.p50 for load in loads]),
        p99=spread([load.p99 for load in loads]),
        load_busy=spread([load.busy for load in loads]),
        server_us=spread([load.server_seconds / max(load.messages, 1) * 1e6 for load in loads]),
    )


def figure_of_rates(rates: Sequence[float]) -> Figure:
    """From ticks per second."""
    return Figure(value=spread(rates))
