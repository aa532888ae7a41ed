"""What `coworld-actors episodes` shows: pure functions from what is in a directory to rows and lines."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence

from coworld_actors.batch.browse import Browsed, EpisodeView, Kind
from coworld_actors.batch.repeat import Contrast
from coworld_actors.batch.story import Story
from coworld_actors.cli.ctl_view import Sheet, duration
from coworld_actors.traffic.report import lines as tap_lines

__all__ = ["episode_rows", "heading", "left_out_line", "repeat_lines", "seat_rows", "story_end", "story_head"]

_SEATS = 4
"""Seats of an episode that a row of the list has room for."""
_NOTE = 80
"""Characters of a sentence in the list."""
_LOG_LINE = 300
"""Characters of a line of a log."""


def heading(browsed: Browsed) -> str:
    """What the directory is, in a line."""
    counts = Counter(episode.status for episode in browsed.episodes)
    words = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    head = browsed.head
    if head is None:
        return f"{browsed.directory}: {_many(len(browsed.episodes), 'episode')}; {words}"
    rest = head.episodes - len(browsed.episodes)
    unplayed = f", {rest} not played yet" if rest > 0 else ""
    return (
        f"{browsed.directory}: {head.options.kind} {head.id}, {head.coworld} {head.game_version}, "
        f"{_many(head.episodes, 'episode')}; {words}{unplayed}"
    ).replace("; ,", ";")


def episode_rows(browsed: Browsed, episodes: Sequence[EpisodeView]) -> Sheet:
    """A row for each episode."""
    if browsed.kind is Kind.BATCH:
        headings = (">#", "status", "reason", "variant", ">block", ">seed", "seats", ">took", "note")
    else:
        headings = (">#", "id", "coworld", "status", "reason", "variant", "seats", ">took", "note")
    rows: list[tuple[str, ...]] = []
    for episode in episodes:
        seats, took = _seats(episode), duration(episode.seconds)
        if browsed.kind is Kind.BATCH:
            block = "" if episode.block is None else str(episode.block)
            seed = "" if episode.seed is None else str(episode.seed)
            rows.append(
                (
                    str(episode.index),
                    episode.status,
                    episode.reason,
                    episode.variant,
                    block,
                    seed,
                    seats,
                    took,
                    _note(episode),
                )
            )
        else:
            rows.append(
                (
                    str(episode.index), episode.id, episode.coworld, episode.status, episode.reason, episode.variant, seats, took,
                    _note(episode),
                )
            )  # fmt: skip
    return Sheet(headings, rows)


def left_out_line(shown: int, found: int, total: int) -> str:
    """What the list does not have; empty when it has everything."""
    if not found:
        return f"none of {_many(total, 'episode')} is like that"
    words = [f"and {found - shown} more: see --limit"] if found > shown else []
    words += [f"{found} of {_many(total, 'episode')} are like that"] if found < total else []
    return "; ".join(words)


def story_head(story: Story) -> Iterator[str]:
    """What it was and how it ended."""
    episode = story.episode
    yield f"episode {episode.index}  {episode.id}  {episode.coworld}  {episode.variant}".rstrip()
    blame = f" ({episode.blame})" if episode.blame not in {"", "nobody"} else ""
    yield ": ".join(
        filter(
            None, (f"{episode.status}, {episode.reason}{blame}" if episode.reason else episode.status, episode.message)
        )
    )
    facts: list[str] = []
    if episode.block is not None:
        facts.append(f"block {episode.block}")
    if episode.seed is not None:
        facts.append(f"seed {episode.seed}{'' if episode.seed_applied else ', which the game was not given'}")
    if episode.attempts > 1:
        facts.append(f"{episode.attempts} attempts")
    if episode.seconds is not None:
        facts.append(f"took {duration(episode.seconds)}")
    if episode.started:
        facts.append(f"began {episode.started}")
    if facts:
        yield ", ".join(facts)
    if episode.overload:
        yield f"the machine was choking: {episode.overload}"


def seat_rows(story: Story) -> Sheet:
    """A row for each seat."""
    rows: list[tuple[str, ...]] = [
        (
            str(slot),
            seat.player,
            "-" if seat.score is None else f"{seat.score:g}",
            f"{seat.end}, its own fault" if seat.fault else seat.end or "-",
            seat.evidence,
        )
        for slot, seat in enumerate(story.episode.seats)
    ]
    return Sheet((">seat", "player", ">score", "end", "evidence"), rows)


def story_end(story: Story, browsed: Browsed, *, timeline: bool) -> Iterator[str]:
    """Where it failed, what happened, what was written, what to do, and what shows more.

    Args:
        story: of the episode.
        browsed: where it is from.
        timeline: whether what happened is part of it.
    """
    if story.failed_at:
        yield f"where it failed: {story.failed_at}"
    if timeline and story.timeline:
        yield "what happened:"
        for moment in story.timeline:
            yield f"  {moment.at:8.2f}s {'!' if moment.bad else ' '} {moment.text}"
        if story.left_out:
            yield f"  and {story.left_out} more: see --all-events"
    if story.record is not None:
        for report in story.record.reports:
            yield f"{report.role} {report.id}: {'done' if report.ok else report.message}"
        if story.record.tap is not None:
            yield from tap_lines(story.record.tap)
    for log in story.logs:
        yield f"{log.name} ({_many(log.size, 'byte')}){'' if log.whole else ', its end'}:"
        for line in log.lines:
            yield f"  | {line if len(line) <= _LOG_LINE else line[: _LOG_LINE - 3] + '...'}"
    for trouble in story.troubles:
        yield f"missing: {trouble}"
    if story.step:
        yield f"try: {story.step}"
    if story.files:
        yield f"files: {story.files}"
    yield from _more(story, browsed)


def _more(story: Story, browsed: Browsed) -> Iterator[str]:
    command = f"coworld-actors episodes {shlex.quote(str(browsed.directory))}"
    if browsed.kind is not Kind.EPISODE:
        command += f" {story.episode.index}"
    if story.files:
        yield f"more: {command} --all-events"
        tap = story.record.tap if story.record is not None else None
        if tap is not None and tap.recording:
            yield f"      coworld-actors traffic {shlex.quote(tap.recording)}"
    if browsed.head is not None:
        yield f"{'     ' if story.files else 'more:'} {command} --rerun"


def repeat_lines(before: EpisodeView, found: Contrast) -> Iterator[str]:
    """What a second time has shown."""
    if found.same:
        yield f"the same as episode {before.index} before: its end, every seat and the results"
    else:
        yield f"not the same as episode {before.index} before:"
        yield from (f"  {each}" for each in found.differences)
        if not before.seed_applied:
            yield "  (the game was given no seed: equal episodes were not to be expected)"
    yield from found.notes


def _seats(episode: EpisodeView) -> str:
    shown = [
        f"{seat.player} {'-' if seat.score is None else format(seat.score, 'g')}{'!' if seat.fault else ''}"
        for seat in episode.seats[:_SEATS]
    ]
    more = len(episode.seats) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _note(episode: EpisodeView) -> str:
    note = episode.overload or episode.message
    return note if len(note) <= _NOTE else f"{note[: _NOTE - 3]}..."


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
