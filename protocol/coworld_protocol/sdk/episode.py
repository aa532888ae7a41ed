"""One episode: rules in the middle, seats and viewers around them, and the clock that drives them.

In lockstep without a rate nobody's clock is needed while moves come: the transport says when everything that had arrived was
handed over, and if nobody is left to wait for, the next tick is made right there, by a plain call. The task in `play` only wakes up
for what no message announces: rates, deadlines, seats that left, and the end.
"""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import msgspec
import trio

from coworld_protocol.sdk.audience import Audience
from coworld_protocol.sdk.rules import GameConfig, Replay, Rules
from coworld_protocol.sdk.seats import Seats, text_frame
from coworld_protocol.ws.frames import TEXT, encode
from coworld_protocol.ws.web import Socket

__all__ = ["AdminCommand", "Episode", "Finished", "Status"]

MoveT = TypeVar("MoveT")

_DEFAULT_RATE = 5.0
_UNSUPPORTED = 1003
_FAREWELL_SECONDS = 5.0


class Status(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="status"):
    """Sent to `/global` and `/admin` on connect and whenever it changes.

    Attributes:
        started: whether the first tick's clock runs.
        paused: whether the clock is halted.
        done: whether the last tick is over.
        tick: ticks so far.
        tick_rate: ticks per second asked for; 0: as fast as moves come.
        connected: per seat, whether somebody sits there.
    """

    started: bool
    paused: bool
    done: bool
    tick: int
    tick_rate: float
    connected: list[bool]


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="finished"):
    """The last message to `/global`.

    Attributes:
        results: what was written for the runner.
    """

    results: msgspec.Raw


class AdminCommand(msgspec.Struct, frozen=True, kw_only=True):
    """What `/admin` takes.

    Attributes:
        command: what to do.
        tick_rate: the new rate, for `tick_rate`; 0..1000.
    """

    command: Literal["pause", "resume", "tick_rate"]
    tick_rate: float | None = None


class Episode(Generic[MoveT]):
    """Runs the rules to their end.

    Args:
        config: mode, rates and waits.
        rules: the game.
        move_type: the Struct a player's message must decode to.

    Attributes:
        seconds: how long the ticks took in all, once they are over.
        seats: who sits where.
        viewers: who watches `/global`.
        admins: who is at `/admin`.
    """

    def __init__(self, config: GameConfig, rules: Rules[MoveT], move_type: type[MoveT]) -> None:
        self._config = config
        self._rules = rules
        self._rate = config.tick_rate
        self._started = False
        self._paused = False
        self._first = self._begin = 0.0
        self._bell = _Bell()
        # Whether `settled` makes the ticks itself; whether the task in `play` waits for the last move of a tick.
        self._stepping = False
        self._awaiting = False
        self._encode = msgspec.json.Encoder().encode
        self._start = self._encode(rules.snapshot())
        self._frames: list[bytes] = []
        self.seconds = 0.0
        self.seats: Seats[MoveT] = Seats(config.tokens, move_type, greet=self._greet_seat, changed=self._changed)
        self.seats.tick = rules.tick
        self.viewers = Audience(self._greet_viewer, self._bell.ring)
        self.admins = Audience(lambda: [self._status()], self._bell.ring, self._command)

    async def play(self) -> None:
        """From the first seat to the last tick. Nothing is written and nobody is told yet."""
        with trio.move_on_after(self._config.player_connect_timeout_seconds):
            while not self.seats.full:
                await self._bell.heard()
        self._started = True
        self._first = self._begin = trio.current_time()
        self._choose()
        self._tell_status()
        while not self._rules.done:
            due, look = self._due()
            now = trio.current_time()
            if due <= now:
                self._tick(due, now)
                await trio.lowlevel.checkpoint()
            else:
                with trio.move_on_at(look):
                    await self._bell.heard()

    def settled(self) -> None:
        """Every message that had arrived was handed over: in lockstep, tick if there is nobody left to wait for. One tick per call."""
        if (self._stepping or self._awaiting) and not self.seats.waiting:
            if self._stepping:
                now = trio.current_time()
                self._tick(now, now)
            else:
                self._bell.ring()

    def replay(self) -> bytes:
        """The replay file."""
        raw = msgspec.Raw
        return self._encode(
            Replay(start=raw(self._start), frames=[raw(frame) for frame in self._frames], results=raw(self.results()))
        )

    def results(self) -> bytes:
        """The results file."""
        return self._encode(self._rules.results())

    async def farewell(self) -> None:
        """Tell everybody how it ended and give their sockets a moment to close."""
        self._tell_status()
        self.seats.tell(self._rules.final)
        self.seats.dismiss()
        self.viewers.show(text_frame(Finished(results=msgspec.Raw(self.results()))))
        self.viewers.dismiss()
        self.admins.dismiss()
        with trio.move_on_after(_FAREWELL_SECONDS):
            while not self.seats.empty or self.viewers or self.admins:
                await self._bell.heard()

    def _due(self) -> tuple[float, float]:
        """When the next tick is due as things are, and when to look again though nothing has changed."""
        begin = self._begin
        self._awaiting = False
        if self._paused:
            return float("inf"), float("inf")
        if self._config.mode == "realtime":
            due = begin + 1.0 / (self._rate or _DEFAULT_RATE)
            return due, due
        earliest = begin + 1.0 / self._rate if self._rate else begin
        look = self.seats.forget(self._config.reconnect_grace_seconds)
        if not self.seats.waiting:
            return earliest, earliest
        self._awaiting = True
        due = max(earliest, begin + self._config.tick_timeout_seconds)
        return due, min(due, look)

    def _tick(self, due: float, now: float) -> None:
        """Make the tick that was due at `due`."""
        rules, seats = self._rules, self.seats
        # In real time the next tick is counted from when this one was due, so delays do not add up; after a stall or a pause of more
        # than a tick the clock starts anew instead of catching up in a burst. In lockstep a tick's time begins when it is made.
        drifted = self._config.mode == "realtime" and now - due < due - self._begin
        self._begin = due if drifted else now
        rules.step(seats.take_moves())
        seats.tick = rules.tick
        frame = self._encode(rules.frame())
        self._frames.append(frame)
        if self.viewers:
            self.viewers.show(encode(TEXT, frame))
        if rules.done:
            self.seconds = now - self._first
            self._choose()
            self._bell.ring()
        else:
            seats.tell(rules.observe)

    def _choose(self) -> None:
        """Decide who makes the ticks from here on."""
        self._stepping = (
            self._config.mode == "lockstep"
            and not self._rate
            and self._started
            and not self._paused
            and not self._rules.done
        )

    def _greet_seat(self, slot: int) -> list[bytes]:
        welcome = self._rules.welcome(slot)
        now = self._rules.final(slot) if self._rules.done else self._rules.observe(slot)
        return [text_frame(message) for message in (welcome, now) if message is not None]

    def _greet_viewer(self) -> list[bytes]:
        return [text_frame(self._rules.snapshot()), self._status()]

    def _changed(self) -> None:
        self._bell.ring()
        self._tell_status()

    def _tell_status(self) -> None:
        if self.viewers or self.admins:
            frame = self._status()
            self.viewers.show(frame)
            self.admins.show(frame)

    def _status(self) -> bytes:
        return text_frame(
            Status(
                started=self._started,
                paused=self._paused,
                done=self._rules.done,
                tick=self._rules.tick,
                tick_rate=self._rate,
                connected=self.seats.connected,
            )
        )

    def _command(self, socket: Socket, payload: bytes) -> None:
        try:
            command = msgspec.json.decode(payload, type=AdminCommand)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            socket.close(_UNSUPPORTED, "not a command")
            return
        if command.command == "pause":
            self._paused = True
        elif command.command == "resume":
            if self._paused and self._config.mode == "lockstep":
                # The time of a tick that was halted begins anew.
                self._begin = trio.current_time()
            self._paused = False
        elif command.tick_rate is not None and 0 <= command.tick_rate <= 1000:
            self._rate = command.tick_rate
        self._choose()
        self._changed()


class _Bell:
    """Wakes the one task that waits; nobody hears a bell that rang before."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        self._event.set()

    async def heard(self) -> None:
        self._event = trio.Event()
        await self._event.wait()
