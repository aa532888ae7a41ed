"""The replay is checked by a game that sees nothing else: what passes, what does not and why, and that nothing stays."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import trio

from coworld_actors.actors import Record
from coworld_actors.episode.events import RoleStarted
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import Limits
from coworld_actors.episode.verdict import Blame, EndReason
from coworld_protocol.contract import ErrorType

LIMITS = Limits(timeout=60, startup=30, first_frame=3, replay=6)


def replaying() -> list[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    return [p for p in found if any("scripted_game" in word for word in p.cmdline())]


async def test_a_replay_that_shows_itself_passes_and_its_game_is_gone(play, tmp_path: Path) -> None:
    """The check has logs and a directory of its own, and the episode's own logs do not grow."""
    record: EpisodeRecord = await play(verify_replay=True, limits=LIMITS)
    assert record.verdict.good, record.verdict
    assert (tmp_path / "run/logs/replay.stdout.log").exists()
    assert (tmp_path / "run/replay-check").is_dir()
    assert "replay" in {actor.name for actor in record.actors}
    assert replaying() == []


@pytest.mark.parametrize(
    ("behaviour", "error", "words"),
    [
        ("no_replay", ErrorType.REPLAY_MISSING, "ended without a replay"),
        ("replay_link", ErrorType.REPLAY_MISSING, "ended without a replay"),
        ("replay_pipe", ErrorType.REPLAY_MISSING, "ended without a replay"),
        ("replay_crashes", ErrorType.REPLAY_UNLOADABLE, ""),
        ("silent_replay", ErrorType.REPLAY_UNLOADABLE, "the game shows nothing on /replay: no message within 3 s"),
        ("replay_hangs", ErrorType.REPLAY_UNLOADABLE, "within 6 s"),
    ],
)
async def test_a_replay_that_does_not_show_says_why(play, behaviour: str, error: ErrorType, words: str) -> None:
    """Missing, in disguise, crashing, silent and hanging are told apart; the game is to blame and is gone."""
    record: EpisodeRecord = await play(behaviour, verify_replay=True, limits=LIMITS)
    assert (record.verdict.error_type, record.verdict.blame) == (error, Blame.GAME), record.verdict
    assert words in record.verdict.message
    assert replaying() == []


async def test_without_being_asked_nobody_looks_at_the_replay(play, tmp_path: Path) -> None:
    """A missing replay is no fault of an episode that was not to be checked."""
    record: EpisodeRecord = await play("no_replay")
    assert record.verdict.good, record.verdict
    assert not (tmp_path / "run/replay-check").exists()


async def test_a_replay_is_not_checked_where_the_results_are_bad(play) -> None:
    """The first fault is the verdict; nothing is started for a second one."""
    record: EpisodeRecord = await play("no_results", verify_replay=True, limits=LIMITS)
    assert record.verdict.reason is EndReason.RESULTS_MISSING
    assert "replay" not in {actor.name for actor in record.actors}


async def test_an_interrupt_during_the_check_is_a_cancelled_episode(play) -> None:
    """A replay that was not looked at to the end has not passed."""
    interrupt = Interrupt()

    def watch(record: Record) -> None:
        if isinstance(record.event, RoleStarted) and record.event.name == "replay":
            interrupt.throw("enough")

    with trio.fail_after(60):
        record: EpisodeRecord = await play(verify_replay=True, limits=LIMITS, interrupt=interrupt, subscriber=watch)
    assert record.verdict.reason is EndReason.CANCELLED, record.verdict
    assert record.verdict.blame is Blame.CALLER
    assert replaying() == []
