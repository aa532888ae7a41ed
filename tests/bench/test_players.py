"""Players side by side: what episodes are played, what figures come of them, and how sure they are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from coworld_actors.episode.spec import Limits
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from coworld_actors.traffic.latency import Latency, Series
from coworld_actors.traffic.report import Pace, TapCost, TapReport, TapSeatReport
from coworld_bench.players import QUANTILES, Measured, PlayerFigures, PlayersReport, figures, measure
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver
from tests.coworlds import scripted_manifest, write_coworld

ORCHARD = Path(__file__).parent.parent.parent / "examples/orchard/coworld_manifest.json"
LIMITS = Limits(timeout=120, startup=60, player_grace=30)


def latency(durations: Sequence[float]) -> Latency:
    series = Series()
    for seconds in durations:
        series.record(seconds)
    return series.latency()


def episode(
    *seats: Sequence[float], corrected: Sequence[float] | None = None, lag: Sequence[float] = (1e-5,) * 100
) -> TapReport:
    """A report of an episode with these answers in its seats."""
    return TapReport(
        seats=tuple(
            TapSeatReport(
                slot=slot,
                answers=latency(answers),
                corrected=None if corrected is None else latency(corrected),
                pace=Pace(interval=0.05, regular=1.0, ticked=corrected is not None),
                unanswered=1,
            )
            for slot, answers in enumerate(seats)
        ),
        own=TapCost(cost=latency([1e-5]), lag=latency(lag)),
    )


async def test_players_of_a_coworld_are_measured_side_by_side() -> None:
    """Orchard's three players: every one answered in every seat of every episode, in turns whose order changes."""
    loaded = load_manifest(str(ORCHARD))
    images = load_images(loaded.directory, {})
    short = ("max_ticks=15", "tick_rate=0")
    plans = [
        (name, build_plan(loaded, players=(name,), overrides=short, known_images=images.names()))
        for name in ("greedy", "random", "plain")
    ]
    said: list[str] = []
    report = await measure(plans, ProcessDriver(images, log=lambda _: None), 2, limits=LIMITS, progress=said.append)
    assert [line.partition(",")[0] for line in said] == ["greedy", "random", "plain", "random", "plain", "greedy"]
    assert [player.player for player in report.players] == ["greedy", "random", "plain"]
    for player in report.players:
        assert (player.episodes, player.failed, player.trouble) == (2, 0, "")
        seats = len(plans[0][1].seats)
        assert player.answers.count == 2 * seats * 15
        assert 0 < player.answers.p50 <= player.answers.max < 60
        assert player.lag.count
        assert [interval.share for interval in player.intervals] == list(QUANTILES)
        assert all(interval.low is None for interval in player.intervals), "two episodes say nothing about their spread"
    assert report.coworld.startswith("orchard ")
    assert (report.rounds, report.interrupted) == (2, None)
    assert "trio" in report.machine


async def test_a_player_that_crashes_is_said_to(tmp_path: Path) -> None:
    """Its seats are counted as faults, and the others are measured all the same."""
    path = write_coworld(tmp_path / "coworld", scripted_manifest(players=("plays", "crashes_at_once")))
    loaded = load_manifest(str(path))
    images = load_images(loaded.directory, {})
    names = ("crashes-at-once", "plays")
    plans = [(name, build_plan(loaded, players=(name,), known_images=images.names())) for name in names]
    report = await measure(plans, ProcessDriver(images, log=lambda _: None), 1, limits=LIMITS)
    crashing, playing = report.players
    assert (crashing.episodes, crashing.failed, crashing.faults) == (1, 0, 2)
    assert crashing.trouble == "seat 0 crashed"
    assert (crashing.intervals, crashing.note) == ((), "no answers")
    assert (playing.episodes, playing.failed, playing.faults) == (1, 0, 0)
    assert playing.answers.count


async def test_an_episode_that_does_not_count_is_in_no_figure(tmp_path: Path) -> None:
    """It is counted as failed, with what its verdict said."""
    path = write_coworld(tmp_path / "coworld", scripted_manifest("crashes_mid"))
    loaded = load_manifest(str(path))
    images = load_images(loaded.directory, {})
    plan = build_plan(loaded, players=("plays",), known_images=images.names())
    said: list[str] = []
    report = await measure(
        [("plays", plan)], ProcessDriver(images, log=lambda _: None), 1, limits=LIMITS, progress=said.append
    )
    (player,) = report.players
    assert (player.episodes, player.failed) == (0, 1)
    assert player.trouble
    assert player.answers == Latency()
    assert said == [f"plays, round 1 of 1: does not count: {player.trouble}"]


def test_figures_are_of_all_seats_and_episodes() -> None:
    """Series are merged, not averaged."""
    measured = Measured(reports=[episode([0.01] * 98, [0.02] * 100), episode([0.5] * 2, [])])
    found = figures("p", measured)
    assert found.answers.count == 200
    assert found.answers.p50 == pytest.approx(0.02, rel=0.002)
    assert found.answers.max == 0.5
    assert found.unanswered == 4
    assert [interval.value for interval in found.intervals] == pytest.approx([0.02, 0.02, 0.02, 0.5], rel=0.002)


def test_intervals_hold_the_true_value_as_often_as_they_say() -> None:
    """Episodes that differ from each other: of 60 measurements, most 95 % intervals of the median hold the truth."""
    held = 0
    for seed in range(60):
        source = random.Random(seed)
        episodes = []
        for _ in range(12):
            middle = 0.01 * source.lognormvariate(0, 0.2)
            episodes.append(episode([middle * source.lognormvariate(0, 0.3) for _ in range(60)]))
        median = figures("p", Measured(reports=episodes)).intervals[0]
        assert median.low is not None
        assert median.high is not None
        assert median.low <= median.value <= median.high
        held += median.low <= 0.01 <= median.high
    assert 48 <= held <= 60


def test_intervals_are_the_same_for_the_same_measurements() -> None:
    """The resampling is seeded; the longest of all has no interval."""
    measured = Measured(reports=[episode([0.01 * (place + 1)] * 20) for place in range(5)])
    assert figures("p", measured) == figures("p", measured)
    assert [interval.low is None for interval in figures("p", measured).intervals] == [False, False, False, True]


def test_both_series_have_quantiles_of_their_own() -> None:
    """The corrected one only where every seat is ticked; the answers' are always the answers'."""
    missed = figures("p", Measured(reports=[episode([0.01] * 10, corrected=[0.01] * 10 + [0.2] * 5)]))
    assert missed.corrected is not None
    assert missed.corrected.count == 15
    assert (missed.intervals[-1].value, missed.corrected_intervals[-1].value) == (0.01, 0.2)
    assert missed.answers.max == 0.01
    kept = figures("p", Measured(reports=[episode([0.01] * 10, corrected=[0.01] * 10)]))
    assert kept.corrected == kept.answers
    assert kept.corrected_intervals == kept.intervals
    mixed = [episode([0.01] * 10, corrected=[0.01] * 10 + [0.2]), episode([0.01] * 10)]
    waiting = figures("p", Measured(reports=mixed))
    assert (waiting.corrected, waiting.corrected_intervals) == (None, ())


def test_the_corrected_series_is_compared_when_any_player_missed_ticks() -> None:
    """One that missed none is compared on it as well; where nobody did it says nothing new."""
    missed = figures("slow", Measured(reports=[episode([0.01] * 10, corrected=[0.01] * 10 + [0.2] * 5)]))
    kept = figures("quick", Measured(reports=[episode([0.01] * 10, corrected=[0.01] * 10)]))
    waiting = figures("waiting", Measured(reports=[episode([0.01] * 10)]))

    def corrects(*players: PlayerFigures) -> bool:
        return PlayersReport(coworld="c", variant="v", rounds=1, machine={}, players=players).corrects()

    assert corrects(kept, missed)
    assert not corrects(kept, waiting)
    assert not corrects()


def test_a_slow_runner_is_named() -> None:
    """Figures that may be our own doing carry a note."""
    late = figures("p", Measured(reports=[episode([0.01] * 10, lag=[0.005] * 100)]))
    assert "our own loop was late by up to 5.0" in late.note
    assert figures("p", Measured(reports=[episode([0.01] * 10)])).note == ""
    assert figures("p", Measured()).note == "no answers"
