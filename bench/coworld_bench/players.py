"""Who answers how fast: several players of one Coworld, measured through the tap, side by side.

Every player is measured in episodes in which it has all the seats: its answers are then not mixed with anybody else's load, and every
player of any Coworld can be measured in the same way. Episodes are interleaved, and the order turns from round to round, so that
a slow minute of the machine touches all players alike.

Answers within an episode are not independent of each other, so intervals come from resampling whole episodes. They say how much the
figures vary from episode to episode on this machine; with a handful of episodes they are rough and, if anything, too narrow.
"""

from __future__ import annotations

import bisect
import itertools
import operator
import random
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import trio

from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import EpisodeSpec, Limits, TapSpec
from coworld_actors.manifest.seats import EpisodePlan
from coworld_actors.runtime.admission import Admission
from coworld_actors.runtime.opening import OpenDriver, open_runtime
from coworld_actors.traffic.latency import Latency, Series
from coworld_actors.traffic.report import TapReport, seconds_text
from coworld_bench.machine import machine
from coworld_drivers.scratch import scratch

__all__ = ["FEWEST", "QUANTILES", "Interval", "Measured", "PlayerFigures", "PlayersReport", "figures", "measure"]

QUANTILES = (0.5, 0.9, 0.99, 1.0)
"""What is shown of each player with an interval; 1 is the longest answer of all."""

FEWEST = 3
"""Episodes below which nothing is said about how much the figures vary."""

_RESAMPLED = 500
_CONFIDENCE = 0.95
_OWN_SHARE = 0.1


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A quantile and how much it varies.

    Attributes:
        share: the quantile, 0 to 1.
        value: of all answers, in seconds.
        low: lower end of the 95 % interval, in seconds; None with fewer than `FEWEST` episodes, and for the longest of all.
        high: upper end.
    """

    share: float
    value: float
    low: float | None = None
    high: float | None = None


class PlayerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One player.

    Attributes:
        player: its id in the manifest, or the image as it was given.
        episodes: how many were measured.
        failed: how many did not count, and are in no figure.
        faults: seats of counted episodes that ended by the player's own fault: it crashed, or never connected.
        trouble: what the first of those episodes or seats said.
        answers: of all seats and episodes.
        corrected: the same against the ticks; None unless every seat was ticked.
        intervals: `QUANTILES` of the answers.
        corrected_intervals: `QUANTILES` of the corrected series; empty where there is none.
        unanswered: ticks that nothing came back for.
        lag: how late our own event loop was meanwhile.
        note: why the figures are to be taken with caution, if they are.
    """

    player: str
    episodes: int
    failed: int = 0
    faults: int = 0
    trouble: str = ""
    answers: Latency = Latency()
    corrected: Latency | None = None
    intervals: tuple[Interval, ...] = ()
    corrected_intervals: tuple[Interval, ...] = ()
    unanswered: int = 0
    lag: Latency = Latency()
    note: str = ""


class PlayersReport(msgspec.Struct, frozen=True, kw_only=True):
    """Several players side by side.

    Attributes:
        coworld: name and version of the game.
        variant: what was played.
        rounds: episodes of each player that were asked for.
        machine: what it ran on.
        players: in the order in which they were named.
        interrupted: the measurement was stopped by a signal; the figures are of what had been played.
    """

    coworld: str
    variant: str
    rounds: int
    machine: dict[str, str]
    players: tuple[PlayerFigures, ...]
    interrupted: int | None = None

    def corrects(self) -> bool:
        """Whether the corrected series says anything that the answers do not: some player missed ticks."""
        return any(player.corrected is not None and player.corrected != player.answers for player in self.players)


class Measured(msgspec.Struct, kw_only=True):
    """What the episodes of one player have come to so far.

    Attributes:
        reports: the tap's, of every episode that counts.
        failed: episodes that do not count.
        faults: seats that ended by the player's own fault.
        trouble: what the first of those said.
    """

    reports: list[TapReport] = []
    failed: int = 0
    faults: int = 0
    trouble: str = ""

    def take(self, record: EpisodeRecord) -> str:
        """Count an episode; returns how it went, in half a sentence."""
        if not record.verdict.good or record.tap is None:
            self.failed += 1
            self.trouble = self.trouble or record.verdict.message
            return f"does not count: {record.verdict.message}"
        self.reports.append(record.tap)
        for seat in record.seats:
            if seat.fault:
                self.faults += 1
                self.trouble = self.trouble or f"seat {seat.slot} {seat.end.replace('_', ' ')}"
        merged = _merged([seat.answers for seat in record.tap.seats])
        return f"{merged.count} answers, half of them within {seconds_text(merged.quantile(0.5))}"


async def measure(
    plans: Sequence[tuple[str, EpisodePlan]],
    driver: OpenDriver,
    rounds: int,
    *,
    limits: Limits | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> PlayersReport:
    """Play the episodes. The first SIGINT or SIGTERM ends them in order; what was measured until then is reported.

    Args:
        plans: a name and what to play for each player; all of one Coworld and variant.
        driver: where the roles run.
        rounds: episodes of each.
        limits: clocks of every episode.
        progress: told how each episode went.
    """
    found = {name: Measured() for name, _ in plans}
    received: list[int] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(_stop_at_signal, nursery.cancel_scope, received)
        with scratch("bench") as place:
            async with open_runtime(driver, name="bench-players", admission=Admission(parallel=1)) as runtime:
                for at in range(rounds):
                    for turn in range(len(plans)):
                        name, plan = plans[(turn + at) % len(plans)]
                        spec = EpisodeSpec(
                            plan=plan,
                            directory=Path(place) / f"{at}-{turn}",
                            limits=limits or Limits(),
                            reports=False,
                            tap=TapSpec(),
                        )
                        handle = await runtime.start_episode(spec)
                        progress(f"{name}, round {at + 1} of {rounds}: {found[name].take(await handle.wait())}")
        nursery.cancel_scope.cancel()
    first = plans[0][1]
    game = first.manifest.game
    return PlayersReport(
        coworld=f"{game.name} {game.version}",
        variant=first.variant_id,
        rounds=rounds,
        machine=machine(),
        players=tuple(figures(name, measured) for name, measured in found.items()),
        interrupted=received[0] if received else None,
    )


def figures(player: str, measured: Measured) -> PlayerFigures:
    """What a player's episodes come to."""
    reports = measured.reports
    seats = [seat for report in reports for seat in report.seats]
    paced = [seat.corrected for seat in seats if seat.corrected is not None]
    ticked = bool(seats) and len(paced) == len(seats)
    corrected = _merged(paced).latency() if ticked else None
    lag = _merged([report.own.lag for report in reports if report.own is not None])
    answers = _merged([seat.answers for seat in seats]).latency()
    return PlayerFigures(
        player=player,
        episodes=len(reports),
        failed=measured.failed,
        faults=measured.faults,
        trouble=measured.trouble,
        answers=answers,
        corrected=corrected,
        intervals=_intervals([_merged([seat.answers for seat in report.seats]) for report in reports]),
        corrected_intervals=_intervals(
            [_merged([seat.corrected for seat in report.seats if seat.corrected is not None]) for report in reports]
        )
        if ticked
        else (),
        unanswered=sum(seat.unanswered for seat in seats),
        lag=lag.latency(),
        note=_note(answers, lag.latency()),
    )


def _note(answers: Latency, lag: Latency) -> str:
    if not answers.count:
        return "no answers"
    if lag.p99 > _OWN_SHARE * answers.p99:
        return f"our own loop was late by up to {seconds_text(lag.p99)} in 99 of 100 cases: part of these times is ours"
    return ""


def _merged(parts: Sequence[Latency]) -> Series:
    series = Series()
    for part in parts:
        series.merge(part.series())
    return series


def _intervals(episodes: Sequence[Series]) -> tuple[Interval, ...]:
    """Quantiles of all episodes together, with percentile intervals of a bootstrap over whole episodes; none of nothing."""
    if not any(series.count for series in episodes):
        return ()
    items = sorted((high, owner, times) for owner, series in enumerate(episodes) for _, high, times in series.classes())
    values, owners, counts = zip(*items, strict=True)
    longest = max(series.longest for series in episodes)

    def quantiles(weights: Sequence[int]) -> list[float]:
        seen = list(itertools.accumulate(map(operator.mul, map(weights.__getitem__, owners), counts)))
        return [min(values[bisect.bisect_left(seen, share * seen[-1])], longest) for share in QUANTILES]

    points = quantiles([1] * len(episodes))
    # The same figures come out of the same measurements.
    source = random.Random(len(episodes))
    drawn: list[list[float]] = []
    if len(episodes) >= FEWEST:
        for _ in range(_RESAMPLED):
            weights = [0] * len(episodes)
            for _ in episodes:
                weights[source.randrange(len(episodes))] += 1
            # Nothing but episodes without an answer may have been drawn.
            if any(weights[owner] for owner in owners):
                drawn.append(quantiles(weights))
    return tuple(
        # Resampling says nothing about the longest of all: there is always the same one, or it is left out.
        _interval(share, point, [each[at] for each in drawn] if share < 1 else [])
        for at, (share, point) in enumerate(zip(QUANTILES, points, strict=True))
    )


def _interval(share: float, value: float, drawn: list[float]) -> Interval:
    if not drawn:
        return Interval(share=share, value=value)
    drawn.sort()
    tail = int((1 - _CONFIDENCE) / 2 * len(drawn))
    return Interval(share=share, value=value, low=drawn[tail], high=drawn[-1 - tail])


async def _stop_at_signal(
    scope: trio.CancelScope, received: list[int], task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            received.append(number)
            scope.cancel()
            return
