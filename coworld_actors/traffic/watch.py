"""What the tap shows its bytes to: one seat's connections, their frames and their answers."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from coworld_actors.traffic.answers import AnswerClock, Answers
from coworld_actors.traffic.report import CloseCount, Flow, Pace, TapSeatReport
from coworld_actors.traffic.scan import FrameScanner

__all__ = ["MOST_OPEN", "SeatTraffic", "Sink"]

MOST_OPEN = 1024
"""Connections of one seat that are followed at a time; further ones are only counted."""

_MOST_CLOSES = 64
_NO_CLOSE_FRAME = 1006


class Sink(Protocol):
    """Who keeps the bytes; `Recorder` is one. `direction` is `to_player` or `to_game`; nothing may be raised."""

    def opened(self, slot: int, connection: int, at: float) -> None:
        """A connection began."""
        ...

    def add(self, slot: int, connection: int, direction: str, at: float, data: bytes) -> None:
        """Bytes went by."""
        ...

    def closed(self, slot: int, connection: int, at: float, by: str) -> None:
        """A connection is over."""
        ...


class _Link:
    """One connection."""

    __slots__ = ("clock", "first", "to_game", "to_player", "upgraded")

    def __init__(self, answers: Answers) -> None:
        self.to_player = FrameScanner(answering=True)
        self.to_game = FrameScanner(answering=False)
        self.clock = AnswerClock(answers)
        self.upgraded = False
        self.first = ""  # who sent the first close frame

    def unread(self, scanner: FrameScanner) -> str:
        """Why its frames were not followed; a connection that was declined has none."""
        return scanner.blind if self.upgraded or not self.to_player.status else ""


class SeatTraffic:
    """All traffic of one seat. No method raises and memory stays bounded, whatever the bytes are.

    Every `at` is seconds of one clock that does not go back. Bytes are shown in the order in which they passed.

    Args:
        slot: the seat.
        recorder: who keeps the bytes.
    """

    __slots__ = ("_answers", "_at", "_bytes", "_closes", "_connects", "_control", "_links", "_messages", "_recorder",
                 "_slot", "_unread", "_upgraded")  # fmt: skip

    def __init__(self, slot: int, recorder: Sink | None = None) -> None:
        self._slot = slot
        self._recorder = recorder
        self._links: dict[int, _Link] = {}
        self._answers = Answers()
        self._connects = 0
        self._upgraded = 0
        self._at = 0.0
        # Of connections that are over: to the player, to the game.
        self._messages = [0, 0]
        self._control = [0, 0]
        self._bytes = [0, 0]
        self._closes: Counter[tuple[str, int]] = Counter()
        self._unread = ""

    def opened(self, at: float, connection: int) -> None:
        """A connection to the game stands."""
        self._at = at
        self._connects += 1
        if connection in self._links:
            self._finish(self._links.pop(connection), at, "")
        if len(self._links) < MOST_OPEN:
            self._links[connection] = _Link(self._answers)
        if self._recorder is not None:
            self._recorder.opened(self._slot, connection, at)

    def to_player(self, at: float, data: bytes, connection: int = 0) -> None:
        """Bytes of the game's reached the player."""
        self._at = at
        link = self._links.get(connection)
        if link is None:
            self._bytes[0] += len(data)
        else:
            scanner = link.to_player
            before = scanner.ended
            scanner.feed(data)
            if scanner.ended != before:
                link.clock.delivered(at)
            # The game's first message may come in one piece with its answer to the handshake.
            if not link.upgraded:
                self._handshake(link)
            if scanner.close_code is not None and not link.first:
                link.first = "game"
        if self._recorder is not None:
            self._recorder.add(self._slot, connection, "to_player", at, data)

    def to_game(self, at: float, data: bytes, connection: int = 0) -> None:
        """Bytes of the player's came for the game."""
        self._at = at
        link = self._links.get(connection)
        if link is None:
            self._bytes[1] += len(data)
        else:
            scanner = link.to_game
            before = scanner.begun
            scanner.feed(data)
            begun = scanner.begun - before
            if begun:
                link.clock.answered(at)
                # Those behind the first came in the same instant: nothing was asked between them.
                self._answers.unprompted += begun - 1
            if scanner.close_code is not None and not link.first:
                link.first = "player"
        if self._recorder is not None:
            self._recorder.add(self._slot, connection, "to_game", at, data)

    def closed(self, at: float, by: str, connection: int = 0) -> None:
        """A connection is over; `by`: who ended it, `player`, `game` or `tap`."""
        self._at = at
        link = self._links.pop(connection, None)
        if link is not None:
            self._finish(link, at, by)
        if self._recorder is not None:
            self._recorder.closed(self._slot, connection, at, by)

    def lost(self) -> None:
        """Bytes are missing here, of any connection: none that is open can be followed any further."""
        for link in self._links.values():
            for scanner in (link.to_player, link.to_game):
                scanner.stop("bytes of it are missing")

    def report(self) -> TapSeatReport:
        """Everything so far; ticks that are still unanswered have waited until the last thing that was seen."""
        answers = Answers()
        answers.waits, answers.intervals = self._answers.waits, self._answers.intervals
        answers.left.merge(self._answers.left)
        answers.ends = self._answers.ends
        messages, control, sizes, unread = list(self._messages), list(self._control), list(self._bytes), self._unread
        for link in self._links.values():
            link.clock.leave(self._at, answers)
            for way, scanner in enumerate((link.to_player, link.to_game)):
                messages[way] += scanner.ended
                control[way] += scanner.control
                sizes[way] += scanner.size
                unread = unread or link.unread(scanner)
        ticked = answers.ticked()
        return TapSeatReport(
            slot=self._slot,
            connects=self._connects,
            upgraded=self._upgraded,
            open=len(self._links),
            to_player=Flow(messages=messages[0], control=control[0], bytes=sizes[0]),
            to_game=Flow(messages=messages[1], control=control[1], bytes=sizes[1]),
            answers=self._answers.answers.latency(),
            corrected=answers.corrected().latency() if ticked else None,
            pace=Pace(interval=answers.interval(), regular=answers.regular(), ticked=ticked),
            unprompted=self._answers.unprompted,
            unanswered=answers.left.count + answers.ends,
            closes=tuple(CloseCount(by=by, code=code, count=count) for (by, code), count in self._closes.most_common()),
            unread=unread,
        )

    def _handshake(self, link: _Link) -> None:
        """The answer to a handshake may have come; one that declines makes the rest of the connection no websocket."""
        if link.to_player.status == 101:
            link.upgraded = True
            self._upgraded += 1
        elif link.to_player.blind and not link.to_game.blind:
            link.to_game.stop(link.to_player.blind)

    def _finish(self, link: _Link, at: float, by: str) -> None:
        link.clock.ended(at)
        for way, scanner in enumerate((link.to_player, link.to_game)):
            self._messages[way] += scanner.ended
            self._control[way] += scanner.control
            self._bytes[way] += scanner.size
            self._unread = self._unread or link.unread(scanner)
        frame = {"game": link.to_player, "player": link.to_game}.get(link.first)
        code = _NO_CLOSE_FRAME if frame is None or frame.close_code is None else frame.close_code
        key = (link.first or by[:16], code)
        if key in self._closes or len(self._closes) < _MOST_CLOSES:
            self._closes[key] += 1
        else:
            self._closes["other", 0] += 1
