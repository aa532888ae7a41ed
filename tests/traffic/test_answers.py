"""Which frame an answer answers: the definition's sentences, one by one, and a model of the corrected series."""

from __future__ import annotations

import random

import pytest

from coworld_actors.traffic.answers import BURST, ENOUGH, MOST_WAITING, AnswerClock, Answers
from coworld_actors.traffic.latency import Series


def played(*happenings: tuple[str, float], end: float | None = None) -> Answers:
    """`("game", at)` and `("player", at)` in order."""
    answers = Answers()
    clock = AnswerClock(answers)
    for who, at in happenings:
        if who == "game":
            clock.delivered(at)
        else:
            clock.answered(at)
    if end is not None:
        clock.ended(end)
    return answers


def times(series: Series) -> list[float]:
    """Every duration, shortest first, rounded to a tenth of a percent."""
    return [float(f"{high:.3g}") for _, high, count in series.classes() for _ in range(count)]


def test_an_answer_is_timed_from_the_newest_frame() -> None:
    """The wait between a greeting and the game's start, and other players' turns, are not the player's time."""
    answers = played(("game", 0.0), ("game", 5.0), ("player", 5.2), ("game", 6.0), ("game", 9.0), ("player", 9.1))
    assert times(answers.answers) == pytest.approx([0.1, 0.2], rel=0.002)


def test_a_second_message_is_unprompted() -> None:
    """Nothing was asked between them."""
    answers = played(("game", 0.0), ("player", 0.1), ("player", 0.2))
    assert (answers.answers.count, answers.unprompted) == (1, 1)


def test_a_message_before_any_frame_is_unprompted() -> None:
    """A player may speak first."""
    answers = played(("player", 1.0), ("game", 2.0), ("player", 2.5))
    assert (answers.answers.count, answers.unprompted) == (1, 1)


def test_what_arrives_in_the_instant_of_the_answer_is_not_what_it_answers() -> None:
    """The tap may see both at once: the answer is to the frame before, and the new one stays unanswered."""
    answers = played(("game", 1.0), ("game", 2.0), ("player", 2.0), ("player", 2.5))
    assert times(answers.answers) == pytest.approx([0.5, 1.0], rel=0.002)
    assert answers.unprompted == 0


def test_a_frame_and_a_message_in_the_same_instant_are_no_question_and_answer() -> None:
    """No player answers in no time."""
    answers = played(("game", 1.0), ("player", 1.0), ("player", 1.3))
    assert times(answers.answers) == pytest.approx([0.3], rel=0.002)
    assert answers.unprompted == 1


def test_frames_in_a_burst_are_one_tick() -> None:
    """A tick of several messages counts once in the corrected series, and no interval lies inside of it."""
    happenings = [(who, tick * 0.1 + after) for tick in range(30) for who, after in
                  (("game", 0.0), ("game", BURST / 2), ("player", 0.02))]  # fmt: skip
    answers = played(*happenings)
    assert times(answers.waits) == times(answers.answers) == pytest.approx([0.02 - BURST / 2] * 30, rel=0.002)
    assert answers.intervals.count == 29
    assert answers.ticked()
    assert answers.interval() == pytest.approx(0.1, rel=0.002)


def test_a_fast_game_is_not_one_long_burst() -> None:
    """A burst ends a millisecond after it began, however dense the messages are."""
    answers = played(*(("game", tick * BURST * 0.75) for tick in range(100)))
    assert answers.intervals.count == 49


def test_a_burst_torn_by_an_answer_in_its_instant_is_still_to_be_answered() -> None:
    """The part that came in the instant of the answer waits for the next one."""
    answers = played(("game", 1.0), ("game", 1.0 + BURST / 2), ("player", 1.0 + BURST / 2), ("player", 1.5))
    assert times(answers.answers) == pytest.approx([BURST / 2, 0.5], rel=0.01)
    assert answers.waits.count == 1


def test_every_missed_tick_counts_with_its_own_wait() -> None:
    """A player that takes three ticks for an answer: 20 ms against the third tick, but 120, 70 and 20 for the three of them."""
    happenings: list[tuple[str, float]] = []
    for turn in range(20):
        begin = turn * 0.15
        happenings += [("game", begin), ("game", begin + 0.05), ("game", begin + 0.1), ("player", begin + 0.12)]
    answers = played(*happenings)
    assert answers.ticked()
    assert answers.answers.quantile(1) == pytest.approx(0.02, rel=0.01)
    corrected = answers.corrected()
    assert corrected.count == 60
    assert corrected.quantile(0.33) == pytest.approx(0.02, rel=0.01)
    assert corrected.quantile(0.66) == pytest.approx(0.07, rel=0.01)
    assert corrected.quantile(1) == pytest.approx(0.12, rel=0.01)


def test_a_stalled_player_has_the_analytic_percentiles() -> None:
    """One stall of 1 s among ticks of 10 ms that are answered in 1 ms: 100 missed ticks wait 1000, 990, ... 10 ms, 900 wait 1."""
    answers = Answers()
    clock = AnswerClock(answers)
    tick = 0.01
    for number in range(1000):
        clock.delivered(number * tick)
        if not 500 <= number < 599:
            clock.answered(number * tick + (0.001 if number != 599 else 0.01))
    assert answers.ticked()
    raw, corrected = answers.answers, answers.corrected()
    assert raw.quantile(0.99) == pytest.approx(0.001, rel=0.01), "the stall is hidden: that is coordinated omission"
    assert corrected.count == 1000
    for share in (0.91, 0.95, 0.99, 1.0):
        assert corrected.quantile(share) == pytest.approx(max(0.001, (share - 0.9) * 10), rel=0.02, abs=0.0101)


def test_a_frozen_player_is_no_better_off_than_a_slow_one() -> None:
    """Ticks that were never answered count with their wait until the end; the last one, that nobody has to answer, does not."""
    happenings: list[tuple[str, float]] = []
    for tick in range(100):
        happenings.append(("game", tick * 0.1))
        if tick < 50:
            happenings.append(("player", tick * 0.1 + 0.01))
    answers = played(*happenings, end=9.95)
    assert (answers.left.count, answers.ends) == (49, 1)
    assert answers.corrected().count == 99
    assert answers.corrected().longest == pytest.approx(4.95, rel=0.002)


def test_the_message_at_the_game_s_end_is_no_missed_tick() -> None:
    """However long the connection stays open behind it."""
    happenings = [(who, tick * 0.1 + after) for tick in range(50) for who, after in (("game", 0.0), ("player", 0.01))]
    answers = played(*happenings, ("game", 5.0), end=60.0)
    assert answers.ticked()
    assert answers.corrected().latency() == answers.answers.latency()
    assert answers.ends == 1


def test_waiting_for_others_before_the_first_answer_is_not_counted() -> None:
    """A greeting, and joins of others, and then ticks: only the ticks belong to the corrected series."""
    answers = played(
        ("game", 0.0),
        ("game", 3.0),
        ("game", 3.4),
        *(("game", 10 + tick * 0.1) for tick in range(5)),
        ("player", 10.45),
    )
    assert times(answers.waits) == pytest.approx([0.05, 0.15, 0.25, 0.35, 0.45], rel=0.01)


def test_a_slow_start_is_counted() -> None:
    """Ticks that come from the beginning on are waited for from the beginning on."""
    answers = played(*(("game", tick * 0.1) for tick in range(5)), ("player", 0.45))
    assert times(answers.waits) == pytest.approx([0.05, 0.15, 0.25, 0.35, 0.45], rel=0.01)


def test_a_game_at_no_pace_is_not_ticked() -> None:
    """Turns that take as long as they take have no corrected series to be judged on; neither have a few even ones."""
    source = random.Random(1)
    at, happenings = 0.0, list[tuple[str, float]]()
    for _ in range(200):
        at += source.expovariate(1)
        happenings.append(("game", at))
        at += source.expovariate(1)
        happenings.append(("player", at))
    assert not played(*happenings).ticked()
    assert not played(*(("game", float(tick)) for tick in range(ENOUGH))).ticked()
    assert played(*(("game", float(tick)) for tick in range(ENOUGH + 1))).ticked()


def test_the_corrected_series_is_what_a_model_says() -> None:
    """Random ticks and answers: each tick with the first answer that began after it."""
    for seed in range(200):
        source = random.Random(seed)
        happenings = sorted(
            [(tick * 0.1, "game") for tick in range(30)]
            + [(0.0001 + source.random() * 4, "player") for _ in range(source.randrange(1, 40))]
        )
        answers = played(*((who, at) for at, who in happenings))
        replies = [at for at, who in happenings if who == "player"]
        # Of two ticks before the first answer nobody can say whether they keep a pace: only the second counts.
        first = 1 if 0.1 < replies[0] <= 0.2 else 0
        waits = [
            min(later) - tick * 0.1 for tick in range(first, 30) if (later := [at for at in replies if at > tick * 0.1])
        ]
        assert times(answers.waits) == pytest.approx(sorted(waits), rel=0.006, abs=2e-9)
        newest = [at - max(tick * 0.1 for tick in range(30) if tick * 0.1 < at) for at in replies]
        asked = [one for place, one in enumerate(newest) if not place or one < replies[place] - replies[place - 1]]
        assert times(answers.answers) == pytest.approx(sorted(asked), rel=0.006, abs=2e-9)
        assert answers.unprompted == len(replies) - len(asked)


def test_memory_is_bounded_for_a_player_that_never_answers() -> None:
    """Neighbouring ticks are counted together; how many there were stays exact, their waits nearly so."""
    answers = Answers()
    clock = AnswerClock(answers)
    count = 20 * MOST_WAITING
    for tick in range(count):
        clock.delivered(tick * 0.01)
    assert len(clock._ticks) <= MOST_WAITING
    clock.ended(count * 0.01)
    assert answers.left.count + answers.ends == count
    assert answers.left.quantile(0.5) == pytest.approx(count * 0.005, rel=0.02)
