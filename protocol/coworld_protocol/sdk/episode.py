"""One episode: rules in the middle, seats and viewers around them, and the clock that drives them."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import msgspec
import trio

from coworld_protocol.sdk.rules import GameConfig, Replay, Rules
from coworld_protocol.sdk.seats import Seats
from coworld_protocol.sdk.web import Endpoint, Socket

__all__ = ["AdminCommand", "Episode", "Finished", "Status"]

MoveT = TypeVar("MoveT")

_DEFAULT_RATE = 5.0
_LEFT = 1000
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
    """

    def __init__(self, config: GameConfig, rules: Rules[MoveT], move_type: type[MoveT]) -> None:
        self._config = config
        self._rules = rules
        self._rate = config.tick_rate
        self._started = False
        self._running = trio.Event()
        self._running.set()
        self._over = False
        self._viewers: set[Socket] = set()
        self._admins: set[Socket] = set()
        self._viewers_gone = trio.Event()
        self._frames: list[msgspec.Raw] = []
        self._start = msgspec.Raw(msgspec.json.encode(rules.snapshot()))
        self._encoded: tuple[object, str] = (None, "")
        self.seconds = 0.0
        self.seats: Seats[MoveT] = Seats(
            config.tokens, move_type, greet=self._greeting, tick=lambda: rules.tick, changed=self._tell_status
        )

    async def play(self) -> None:
        """From the first seat to the last tick. Nothing is written and nobody is told yet."""
        with trio.move_on_after(self._config.player_connect_timeout_seconds):
            await self.seats.all_connected()
        self._started = True
        self._tell_status()
        first = begin = trio.current_time()
        while not self._rules.done:
            await self._running.wait()
            begin = await self._tick_time(begin)
            self._tick()
        self.seconds = trio.current_time() - first

    def replay(self) -> bytes:
        """The replay file."""
        results = msgspec.Raw(msgspec.json.encode(self._rules.results()))
        return msgspec.json.encode(Replay(start=self._start, frames=self._frames, results=results))

    def results(self) -> bytes:
        """The results file."""
        return msgspec.json.encode(self._rules.results())

    async def farewell(self) -> None:
        """Tell everybody how it ended and give their sockets a moment to close."""
        self._over = True
        self._tell_status()
        for slot in range(len(self._config.tokens)):
            self.seats.send(slot, self._encode(self._rules.final(slot)))
        self.seats.close_all()
        finished = self._encode(Finished(results=msgspec.Raw(self.results())))
        for socket in list(self._viewers):
            socket.send(finished)
        for socket in [*self._viewers, *self._admins]:
            socket.close(_LEFT, "episode over")
        with trio.move_on_after(_FAREWELL_SECONDS):
            await self.seats.all_gone()
            while self._viewers or self._admins:
                self._viewers_gone = trio.Event()
                await self._viewers_gone.wait()

    def viewer(self) -> Endpoint:
        """What receives the websocket of a `/global` viewer."""
        return _Onlooker(self, self._viewers)

    def admin(self) -> Endpoint:
        """What receives the websocket of an `/admin` client."""
        return _Onlooker(self, self._admins, admin=True)

    async def _tick_time(self, begin: float) -> float:
        """Wait until the tick that began at `begin` is over; ends with the time when the next one begins."""
        if self._config.mode == "realtime":
            due = begin + 1.0 / (self._rate or _DEFAULT_RATE)
            await trio.sleep_until(due)
            # The next tick is counted from when this one was due, so delays do not add up; after a stall or a pause of more than
            # a tick the clock starts anew instead of catching up in a burst.
            now = trio.current_time()
            return due if now - due < due - begin else now
        with trio.move_on_at(begin + self._config.tick_timeout_seconds):
            await self.seats.all_moved(self._config.reconnect_grace_seconds)
        if self._rate:
            await trio.sleep_until(begin + 1.0 / self._rate)
        else:
            await trio.lowlevel.checkpoint()
        return trio.current_time()

    def _tick(self) -> None:
        self._rules.step(self.seats.take_moves())
        frame = msgspec.json.encode(self._rules.frame())
        self._frames.append(msgspec.Raw(frame))
        if self._viewers:
            text = frame.decode()
            for socket in self._viewers:
                socket.send(text)
        if not self._rules.done:
            for slot, seated in enumerate(self.seats.connected):
                if seated:
                    self.seats.send(slot, self._encode(self._rules.observe(slot)))

    def _encode(self, message: object) -> str:
        """The message as text; the newest one is remembered, so one object sent to many seats is encoded once."""
        if self._encoded[0] is not message:
            self._encoded = (message, msgspec.json.encode(message).decode())
        return self._encoded[1]

    def _greeting(self, slot: int) -> list[str]:
        welcome = self._rules.welcome(slot)
        now = self._rules.final(slot) if self._rules.done else self._rules.observe(slot)
        return [self._encode(message) for message in (welcome, now) if message is not None]

    def _tell_status(self) -> None:
        if self._viewers or self._admins:
            text = self._status()
            for socket in [*self._viewers, *self._admins]:
                socket.send(text)

    def _status(self) -> str:
        status = Status(
            started=self._started,
            paused=not self._running.is_set(),
            done=self._rules.done,
            tick=self._rules.tick,
            tick_rate=self._rate,
            connected=self.seats.connected,
        )
        return msgspec.json.encode(status).decode()

    def _command(self, command: AdminCommand) -> None:
        if command.command == "pause":
            if self._running.is_set():
                self._running = trio.Event()
        elif command.command == "resume":
            self._running.set()
        elif command.tick_rate is not None and 0 <= command.tick_rate <= 1000:
            self._rate = command.tick_rate
        self._tell_status()


class _Onlooker:
    """One connection of a viewer or an administrator."""

    def __init__(self, episode: Episode[MoveT], group: set[Socket], *, admin: bool = False) -> None:
        self._episode = episode
        self._group = group
        self._admin = admin
        self._socket: Socket | None = None

    def opened(self, socket: Socket) -> None:
        self._socket = socket
        episode = self._episode
        if not self._admin:
            socket.send(msgspec.json.encode(episode._rules.snapshot()).decode())  # noqa: SLF001
        socket.send(episode._status())  # noqa: SLF001
        if episode._over:  # noqa: SLF001
            socket.close(_LEFT, "episode over")
        self._group.add(socket)

    def received(self, message: str | bytes) -> None:
        if not self._admin or self._socket is None:
            return
        try:
            command = msgspec.json.decode(message, type=AdminCommand)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            self._socket.close(_UNSUPPORTED, "not a command")
            return
        self._episode._command(command)  # noqa: SLF001

    def closed(self, code: int) -> None:
        del code
        if self._socket is not None:
            self._group.discard(self._socket)
            self._episode._viewers_gone.set()  # noqa: SLF001
