"""Batches that nobody has played: lines and summaries with something in every field, and the drawings of a page made of them."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import msgspec

from coworld_actors.batch.records import EpisodeLine, SeatLine, Status
from coworld_actors.batch.statistics.summary import (
    Counts,
    Duration,
    Estimate,
    FailureCount,
    LatencySummary,
    Pair,
    PlayerSummary,
    SeatEffect,
    Summary,
)

__all__ = ["HOSTILE", "batch_lines", "batch_summary", "drawn", "estimate", "svgs"]

HOSTILE = (
    "</script></title><script>alert(1)</script>\"'&<img src=x onerror=alert(1)>\u202e\x1b[31m\x00 ü漢 " + "x" * 10_000
)


def batch_lines(players: int, blocks: int, *, seats: int = 2, directory: str = "episodes/e") -> list[EpisodeLine]:
    """Episodes of rotated seats, in which a player with a lower number scores more."""
    lot = random.Random(7)
    lines: list[EpisodeLine] = []
    for block in range(blocks):
        for turn in range(seats):
            entrants = [(block + seat + turn) % max(players, 1) for seat in range(seats)]
            lines.append(
                EpisodeLine(
                    index=len(lines), variant="duel", block=block, seed=42 + block, seed_applied=True,
                    status=Status.GOOD, reason="completed", blame="nobody", started="2026-01-01T00:00:00Z",
                    seconds=lot.uniform(0.2, 0.9), directory=f"{directory}{len(lines)}",
                    seats=tuple(
                        SeatLine(entrant=entrant, score=float(round(lot.gauss(40 - 3 * entrant, 5))), end="finished")
                        for entrant in entrants
                    ),
                )
            )  # fmt: skip
    return lines


def estimate(value: float, half: float) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half)


def batch_summary(names: Sequence[str], lines: Sequence[EpisodeLine], *, blocks: int, **changes: object) -> Summary:
    """A summary that has something in every field."""
    players = tuple(
        PlayerSummary(
            entrant=place, name=name, rank=place + 1, episodes=len(lines), seats=len(lines),
            score=estimate(40.0 - 3 * place, 0.6), standard_error=0.3, wins=9, draws=1, losses=2,
            win_share=estimate(0.7, 0.05), elo=estimate(120, 30), rating=estimate(80, 20), ladder=estimate(25, 2),
            faults={"crashed": 2} if place else {},
            latency=LatencySummary(answers=1000, p50=0.002, p99=0.03 * (place + 1), longest=0.5),
        )
        for place, name in enumerate(names)
    )  # fmt: skip
    pairs = tuple(
        Pair(
            first=first, second=second, blocks=blocks, wins=8, draws=1, losses=3, score=estimate(0.75, 0.1),
            elo=estimate(190, 60), superiority=0.99, margin=estimate(3, 1),
        )
        for first in range(len(names)) for second in range(first + 1, len(names))
    )  # fmt: skip
    summary = Summary(
        coworld="orchard", game_version="1.0.0", variants=("duel",), seating="rotate", seed=42, seed_applied=True,
        episodes=Counts(requested=len(lines) + 1, good=len(lines), failed=1), blocks=blocks, players=players, pairs=pairs,
        failures=(FailureCount(status="good", reason="crashed", entrant=0, count=3, example=0),) if lines else (),
        seat_effects=tuple(
            SeatEffect(variant="duel", slot=slot, episodes=9, effect=estimate(slot - 0.5, 0.2)) for slot in range(2)
        ),
        duration=Duration(shortest=0.2, median=0.5, p95=0.8, longest=0.9) if lines else None,
        notes=("seeds are paired",),
    )  # fmt: skip
    return msgspec.structs.replace(summary, **changes)


def svgs(text: str) -> list[ET.Element]:
    """Every drawing of a page; one that is not well-formed fails."""
    return [ET.fromstring(each) for each in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def drawn(text: str) -> list[ET.Element]:
    """The drawings that tell something."""
    return [each for each in svgs(text) if each.get("role") == "img"]
