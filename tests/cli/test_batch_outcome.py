"""What a batch ends with: which exit code comes first, and what is shown where there is little room."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from coworld_actors.batch.budgets import BudgetCount
from coworld_actors.batch.conclusion import Conclusion
from coworld_actors.batch.options import Bounds
from coworld_actors.batch.records import Status
from coworld_actors.batch.runner import BatchEnd
from coworld_actors.batch.statistics.comparison import Comparison
from coworld_actors.batch.statistics.summary import summarize
from coworld_actors.cli.batch_outcome import exit_code_of, standings_table
from coworld_actors.cli.batch_play import Played
from coworld_protocol.errors import InternalFault, PreconditionMissing
from tests.batches import line, schedule


def outcome(*statuses: Status, **more: Any) -> Conclusion:
    """Of four episodes, of which these are over."""
    made = schedule(4)
    lines = [line(each, status=status) for each, status in zip(made.episodes, statuses, strict=False)]
    summary = summarize(coworld="c", game_version="1", schedule=made, lines=lines, resamples=10)
    return Conclusion(summary=summary, directory=Path("/b"), **more)


GOOD = outcome(*[Status.GOOD] * 4)


def rendered(found: Conclusion, width: int) -> str:
    console = Console(width=width)
    with console.capture() as shown:
        console.print(standings_table(found.summary, "a title", width))
    return shown.get()


SLOW = BudgetCount(passed=0, failed=(1,))


@pytest.mark.parametrize(
    ("found", "end", "received", "code"),
    [
        (GOOD, BatchEnd(), None, 0),
        (outcome(*[Status.GOOD] * 3, Status.FAILED), BatchEnd(), None, 1),
        (outcome(Status.FAILED), BatchEnd(stopped="too many"), None, 1),
        (outcome(*[Status.GOOD] * 3, Status.INVALID), BatchEnd(), None, 3),
        (outcome(*[Status.FAILED] * 3, Status.INFRASTRUCTURE), BatchEnd(), None, 3),
        (outcome(Status.GOOD), BatchEnd(error=PreconditionMissing("full")), None, 3),
        (outcome(Status.GOOD), BatchEnd(error=InternalFault("a defect")), None, 4),
        (outcome(*[Status.GOOD] * 4, budget=SLOW), BatchEnd(), None, 6),
        (outcome(*[Status.GOOD] * 4, budget=BudgetCount(passed=4)), BatchEnd(), None, 0),
        (outcome(*[Status.GOOD] * 4, budget=BudgetCount(passed=1, refused=(0,))), BatchEnd(), None, 3),
        (outcome(*[Status.GOOD] * 4, budget=BudgetCount(passed=1, failed=(1,), refused=(0,))), BatchEnd(), None, 6),
        (outcome(*[Status.GOOD] * 3, Status.FAILED, budget=SLOW), BatchEnd(), None, 1),
        (outcome(Status.GOOD), BatchEnd(stopped="SIGINT received"), signal.SIGINT, 130),
        (GOOD, BatchEnd(error=PreconditionMissing("full")), signal.SIGTERM, 143),
    ],
)
def test_the_exit_code_is_that_of_the_first_thing_to_know(
    found: Conclusion, end: BatchEnd, received: int | None, code: int
) -> None:
    """A signal, the machine or we, episodes that failed, players that were too slow."""
    assert exit_code_of(found, Played(end=end, received=received)) == code


@pytest.mark.parametrize(("scores", "code"), [((1.0, 0.0), 0), ((0.0, 1.0), 6), ((1.0, 1.0), 6)])
def test_a_comparison_ends_with_its_answer(scores: tuple[float, float], code: int) -> None:
    """H1, H0, none."""
    made = schedule(40, block=2)
    lines = [line(each, [scores[entrant] for entrant in each.seats]) for each in made.episodes]
    report = Comparison(made, Bounds(nelo1=300)).report(lines)
    assert exit_code_of(outcome(comparison=report), Played(end=BatchEnd(), received=None)) == code
    if code == 6 and report.decided is None:
        stopped = BatchEnd(stopped="too many failures")
        assert exit_code_of(outcome(comparison=report), Played(end=stopped, received=None)) == 1


@pytest.mark.parametrize(
    ("width", "there", "gone"), [(200, "own faults", ""), (80, "lost", "Elo"), (40, "score", "won")]
)
def test_standings_lose_columns_before_they_lose_digits(width: int, there: str, gone: str) -> None:
    """A narrow terminal shows fewer numbers, and those whole; who is meant stays."""
    shown = rendered(GOOD, width)
    assert there in shown
    assert not gone or gone not in shown
    assert "0.50 [0.25, 0.75]" in shown
    assert all(player.name in shown for player in GOOD.summary.players)


def test_standings_keep_faults_on_a_narrow_terminal() -> None:
    """That a player crashed is never what there is no room for."""
    made = schedule(1)
    good = line(made.episodes[0])
    seat = msgspec.structs.replace(good.seats[1], end="crashed", fault=True)
    lines = [msgspec.structs.replace(good, seats=(good.seats[0], seat))]
    summary = summarize(coworld="c", game_version="1", schedule=made, lines=lines, resamples=10)
    assert "crashed" in rendered(Conclusion(summary=summary, directory=Path("/b")), 80)
