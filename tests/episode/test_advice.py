"""The next step after a bad verdict: there always is one, and it names something to do."""

from __future__ import annotations

import pytest

from coworld_actors.episode.advice import next_step
from coworld_actors.episode.verdict import Blame, EndReason, SeatEnd
from coworld_protocol import contract
from tests.records import bad, record, seat

OWN = [reason for reason in EndReason if reason not in {EndReason.COMPLETED, EndReason.PLAYER_FAILED}]


@pytest.mark.parametrize("reason", OWN)
def test_every_reason_of_the_closed_set_has_a_step(reason: EndReason) -> None:
    """A reason that is added without advice fails here."""
    assert next_step(record(bad(reason)))


def test_every_step_is_another_one() -> None:
    """Reasons that are told apart get different advice, but for the two that only the game's log explains."""
    assert len({next_step(record(bad(reason))) for reason in OWN}) == len(OWN) - 1


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (EndReason.GAME_CRASHED, contract.LOG_GAME_STDERR),
        (EndReason.GAME_NEVER_HEALTHY, contract.ENV_PORT),
        (EndReason.TIMED_OUT, "--timeout"),
        (EndReason.RESULTS_MISSING, contract.ENV_RESULTS_URI),
        (EndReason.RESULTS_MALFORMED, "results_schema"),
        (EndReason.REPLAY_MISSING, contract.ENV_SAVE_REPLAY_URI),
        (EndReason.REPLAY_UNLOADABLE, "logs/replay.stderr.log"),
    ],
)
def test_a_step_names_the_file_the_option_or_the_variable(reason: EndReason, words: str) -> None:
    """What to read or to turn is spelled out."""
    assert words in next_step(record(bad(reason)))


def test_where_players_are_to_blame_the_first_bad_seats_log_is_named() -> None:
    """Whatever the reason: the player's own words are in its log."""
    seats = (seat(0), seat(1, SeatEnd.CRASHED, fault=True), seat(2, SeatEnd.CRASHED, fault=True))
    verdict = bad(EndReason.PLAYER_FAILED, Blame.PLAYERS, failed_seats=(1, 2))
    assert next_step(record(verdict, seats=seats)) == "read logs/policy_agent_1.log"


def test_a_game_is_not_excused_by_a_bad_seat() -> None:
    """Seats with faults of their own do not change the advice where the game is to blame."""
    verdict = bad(EndReason.GAME_CRASHED, failed_seats=(0,))
    assert contract.LOG_GAME_STDERR in next_step(record(verdict))


def test_a_good_episode_needs_no_step() -> None:
    """Nothing to do is said with nothing."""
    assert next_step(record()) == ""
