"""What a caller sees of one episode, without playing it."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest
import trio
import trio.testing

from coworld_actors.actors import Record
from coworld_actors.episode.events import Phase, PhaseEntered
from coworld_actors.episode.pages import Pages
from coworld_actors.episode.record import unplayed
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.verdict import EndReason, SeatEnd
from coworld_actors.runtime.handle import HISTORY, EpisodeHandle, EpisodeState


def record(seq: int, phase: Phase = Phase.PLAYING) -> Record:
    return Record(seq, 0.0, 0.0, "e-1", "", 0, PhaseEntered(phase=phase))


async def test_a_late_reader_begins_at_the_beginning(spec_of: Callable[..., EpisodeSpec]) -> None:
    """Events are read from the first one on, or after the one that a reader has seen; the end of the episode ends them."""
    handle = EpisodeHandle(spec_of())
    for seq in range(1, 5):
        handle.take(record(seq))
    early, late = handle.events(), handle.events(after=3)
    handle.take(record(5))
    handle.settle(unplayed(handle.spec, "process", ""))
    assert [each.seq async for each in early] == [1, 2, 3, 4, 5]
    assert [each.seq async for each in late] == [4, 5]
    assert [each.seq async for each in handle.events(after=4)] == [5]


async def test_history_and_readers_are_bounded(spec_of: Callable[..., EpisodeSpec]) -> None:
    """Whoever never reads costs a bounded buffer; what was lost is counted."""
    handle = EpisodeHandle(spec_of())
    idle = handle.events(capacity=10)
    for seq in range(HISTORY + 100):
        handle.take(record(seq))
    assert idle.dropped == HISTORY + 90
    assert len(await handle.events().batch(10 * HISTORY)) == HISTORY
    idle.close()
    handle.take(record(0))
    assert idle.dropped == HISTORY + 90


async def test_a_status_follows_the_phases(
    spec_of: Callable[..., EpisodeSpec], autojump_clock: trio.testing.MockClock
) -> None:
    """State, phase and the time in it."""
    handle = EpisodeHandle(spec_of())
    await trio.sleep(3)
    assert (handle.status().state, handle.status().in_state) == (EpisodeState.QUEUED, pytest.approx(3))
    assert handle.admitted() == pytest.approx(3)
    await trio.sleep(1)
    handle.take(record(1, Phase.SEATING))
    await trio.sleep(2)
    status = handle.status()
    assert (status.state, status.phase) == (EpisodeState.RUNNING, Phase.SEATING)
    assert (status.seconds, status.in_state) == (pytest.approx(6), pytest.approx(2))
    handle.settle(unplayed(handle.spec, "process", ""))
    assert (handle.status().state, handle.status().phase) == (EpisodeState.OVER, "")


async def test_a_cancel_is_news_once(spec_of: Callable[..., EpisodeSpec]) -> None:
    """The first one counts, with its reason."""
    handle = EpisodeHandle(spec_of())
    assert handle.cancel("no interest") is True
    assert handle.cancel("again") is False
    assert (handle.interrupt.raised, handle.interrupt.reason) == (True, "no interest")
    assert handle.status().cancelled
    other = EpisodeHandle(spec_of())
    other.settle(unplayed(other.spec, "process", ""))
    assert other.cancel() is False


async def test_every_waiter_gets_the_error_with_the_same_traceback(spec_of: Callable[..., EpisodeSpec]) -> None:
    """A hundred waits do not make the traceback a hundred times longer."""
    handle = EpisodeHandle(spec_of())
    try:
        raise OSError("disk on fire")  # noqa: TRY301 - it needs a traceback
    except OSError as error:
        handle.settle(None, error)
    lengths: set[int] = set()
    for _ in range(100):
        with pytest.raises(OSError, match="disk on fire") as caught:
            await handle.wait()
        lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))
    assert len(lengths) == 1


async def test_an_unplayed_episode_has_a_record_like_any_other(spec_of: Callable[..., EpisodeSpec]) -> None:
    """Called off before its turn: every seat is there, nobody is blamed but the caller, and there are no files."""
    found = unplayed(spec_of(players=("plays", "plays")), "process", "no interest")
    assert (found.verdict.reason, found.verdict.evidence, found.directory) == (EndReason.CANCELLED, "no interest", "")
    assert [seat.end for seat in found.seats] == [SeatEnd.NOT_STARTED] * 2


async def test_pages_are_waited_for_and_gone_with_the_episode(spec_of: Callable[..., EpisodeSpec]) -> None:
    """Whoever asks early waits, whoever asks late has them at once; of an episode that is over there are none."""
    handle = EpisodeHandle(spec_of())
    pages = Pages(viewer="http://127.0.0.1:1/client/global", players={0: "http://127.0.0.1:1/client/player?token=hush"})
    found: list[Pages | None] = []

    async def ask() -> None:
        found.append(await handle.pages())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert found == []
        handle.show(pages)
    assert found == [pages]
    assert await handle.pages() is pages
    assert "hush" not in repr(pages)
    handle.settle(unplayed(handle.spec, "process", ""))
    assert await handle.pages() is None
