"""Games and players of one process meet here: what a websocket would carry goes from one deque to another.

A game opens `Doors` in its `House` in place of a port, a player gets a `MemoryLink` in place of a connection. Both ends see what
they would see over a socket: the same bytes, close codes, refusals and limits, and never an object of each other's. What a player
says is heard in the player's own task, but in the game's context, and what the game raises there ends the game and not the player.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final, NoReturn
from urllib.parse import parse_qsl, urlsplit

import msgspec
import trio

from coworld_protocol.sdk.turns import Turn, Turns
from coworld_protocol.ws.connection import MESSAGE_BYTES, ConnectionClosed
from coworld_protocol.ws.frames import ABNORMAL, payload_of
from coworld_protocol.ws.handshake import HandshakeRefused
from coworld_protocol.ws.web import Application, Endpoint, Limits, Request, Response

__all__ = [
    "HOST",
    "RESIDENCE",
    "Doors",
    "House",
    "MemoryLink",
    "MemorySocket",
    "Residence",
    "connect_in_memory",
    "serve_in_memory",
]

HOST: Final = "memory.invalid"
"""The host in addresses of games that are served in memory; a name that no network resolves (RFC 2606)."""

_NORMAL: Final = 1000
_TOO_BIG: Final = 1009
_TAKEN: Final = 256 * 1024

_clock = time.perf_counter


class Residence(msgspec.Struct, frozen=True):
    """Where a role of many in one process lives.

    Attributes:
        house: where its games and players meet.
        name: the role's.
    """

    house: House
    name: str


RESIDENCE: ContextVar[Residence | None] = ContextVar("coworld_residence", default=None)
"""Set by whoever runs several roles in one process, in the context of each one's task."""


class House:
    """The games of one episode, by port, and who comes to see them.

    Args:
        turns: the line in which the players of this loop stand.
        opened: called with the port when a game has opened its doors.
        joined: called with a role's name when it has connected to a game as a player.

    Attributes:
        turns: as given.
        spoke: when a game of the house last sent anything, on `time.perf_counter`; None before.
    """

    def __init__(
        self,
        turns: Turns,
        *,
        opened: Callable[[int], None] = lambda _: None,
        joined: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.turns = turns
        self.spoke: float | None = None
        self._opened = opened
        self._joined = joined
        self._doors: dict[int, Doors] = {}
        self._links: dict[str, list[MemoryLink]] = {}

    def open(self, port: int, doors: Doors) -> None:
        """Let players in.

        Raises:
            OSError: there is a game at this port.
        """
        if port in self._doors:
            raise OSError(f"There is a game at port {port} of this house.")
        self._doors[port] = doors
        self._opened(port)

    def close(self, port: int) -> None:
        """Let nobody in any more."""
        del self._doors[port]

    def connect(self, url: str, name: str) -> MemoryLink:
        """A new connection.

        Raises:
            ConnectionRefusedError: no game is there, or it has as many connections as it takes.
            HandshakeRefused: the game answers with another HTTP status than 101.
        """
        parts = urlsplit(url)
        doors = self._doors.get(parts.port or 80)
        if doors is None:
            raise ConnectionRefusedError("No game has opened its doors at this address.")
        link = doors.let_in(Request(method="GET", path=parts.path or "/", query=dict(parse_qsl(parts.query))))
        self._links[name] = [each for each in self._links.get(name, ()) if not each.closed] + [link]
        self._joined(name)
        return link

    def cut(self, name: str) -> None:
        """Break the connections of a role, as the end of a process does: neither side says good-bye."""
        for link in self._links.pop(name, ()):
            link.cut()


class Doors:
    """One game's side: everybody who is connected to it.

    Args:
        application: answers requests and takes websockets.
        house: where it is.
        limits: what one connection may cost. Of its clocks only `outbox_seconds` has a meaning here.
    """

    def __init__(self, application: Application, house: House, limits: Limits) -> None:
        self.limits = limits
        self.turns = house.turns
        self._application = application
        self._settled = application.settled
        self._house = house
        self._within = trio.lowlevel.current_task().context.run
        self._sockets: set[MemorySocket] = set()
        self._ended: deque[tuple[MemorySocket, int]] = deque()
        self._hearing = False
        self._bell = trio.Event()
        self._failure: BaseException | None = None
        self._shared = self._payload = b""

    async def run(self) -> NoReturn:
        """Tell the application what nobody's message brings to its knowledge; ends with what it raises."""
        while True:
            await self._bell.wait()
            if self._failure is not None:
                raise self._failure
            self._bell = trio.Event()
            self._hearing = True
            try:
                self._settle()
            finally:
                self._hearing = False

    def let_in(self, request: Request) -> MemoryLink:
        """Ask the application for an endpoint.

        Raises:
            ConnectionRefusedError: there are as many connections as it takes, or the game is ending.
            HandshakeRefused: the application does not let this one in.
        """
        if self._failure is not None or len(self._sockets) >= self.limits.connections:
            raise ConnectionRefusedError("The game takes no more connections.")
        answers: list[Endpoint | Response] = []
        self._call(lambda: answers.append(self._application.upgrade(request)))
        if not answers:
            raise ConnectionRefusedError("The game failed while it was asked.")
        answer = answers[0]
        if isinstance(answer, Response):
            raise HandshakeRefused(answer.status, answer.body[:512].decode(errors="replace").strip())
        socket = MemorySocket(self, answer)
        self._sockets.add(socket)
        self._call(lambda: answer.opened(socket))
        return socket.link

    def hear(self, received: Callable[[bytes, bool], None], payload: bytes) -> None:
        """A message of a player's: the application gets it now, in its own context."""
        if self._failure is None:
            self._hearing = True
            try:
                self._within(self._hear, received, payload)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - raised again in the game's own task
                self._fail(error)
            finally:
                self._hearing = False

    def _hear(self, received: Callable[[bytes, bool], None], payload: bytes) -> None:
        received(payload, True)
        if self._ended:
            self._tell_ended()
        self._settled()
        if self._ended:
            self._settle()

    def _settle(self) -> None:
        if self._ended:
            self._tell_ended()
        self._settled()
        while self._ended:
            self._tell_ended()
            self._settled()

    def _call(self, function: Callable[[], None]) -> None:
        def call() -> None:
            function()
            self._settle()

        self._hearing = True
        try:
            self._within(call)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - raised again in the game's own task
            self._fail(error)
        finally:
            self._hearing = False

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._bell.set()

    def payload(self, frame: bytes) -> bytes:
        """What a frame carries; of one that goes to many it is cut out once."""
        if frame is not self._shared:
            self._shared, self._payload = frame, payload_of(frame)
        self._house.spoke = _clock()
        return self._payload

    def note_end(self, socket: MemorySocket, code: int) -> None:
        """A connection is at its end; the application hears of it when it is in no call of ours."""
        self._sockets.discard(socket)
        self._ended.append((socket, code))
        if not self._hearing:
            self._bell.set()

    def part(self, socket: MemorySocket, code: int) -> None:
        """A player has gone."""
        self._call(lambda: socket.end(code))

    def close(self) -> None:
        """The game ends: cut off whoever is still connected, and tell the application, as promised."""
        for socket in tuple(self._sockets):
            socket.link.finish(ABNORMAL, "", clean=False)
            socket.end(ABNORMAL)
        errors: list[Exception] = []
        while self._ended:
            try:
                self._tell_ended()
            except Exception as error:  # noqa: BLE001 - the others are told all the same
                errors.append(error)
        if errors and self._failure is None:
            raise ExceptionGroup("The application failed when it was told of the end of its websockets.", errors)

    def _tell_ended(self) -> None:
        while self._ended:
            socket, code = self._ended.popleft()
            socket.endpoint.closed(code)


class MemorySocket:
    """A connection, seen from the application: a `ws.web.Socket`.

    Attributes:
        endpoint: the application's side.
        link: the player's.
        open: whether a message sent now has a chance to arrive.
    """

    __slots__ = ("_doors", "_over", "endpoint", "link", "open")

    def __init__(self, doors: Doors, endpoint: Endpoint) -> None:
        self._doors = doors
        self._over = False
        self.endpoint = endpoint
        self.open = True
        self.link = MemoryLink(doors, self)

    @property
    def buffered(self) -> int:
        """Bytes that the player has not taken yet."""
        return self.link.buffered

    def send(self, message: str | bytes) -> None:
        """Send one message."""
        self._push(message.encode() if isinstance(message, str) else message)

    def send_frame(self, frame: bytes) -> None:
        """Send what a frame carries."""
        if self.open and not self.link.push(self._doors.payload(frame)):
            self.drop()

    def close(self, code: int = _NORMAL, reason: str = "") -> None:
        """Close behind what was sent before; the player's end of a connection in memory always answers."""
        if self.open:
            self.link.finish(code, reason, clean=True)
            self.end(code)

    def drop(self) -> None:
        """Cut off a player that is too far behind; what it has not taken is lost."""
        self.link.finish(ABNORMAL, "", clean=False, lost=True)
        self.end(ABNORMAL)

    def refuse(self, code: int, reason: str) -> None:
        """Close on a player that has broken a rule of the transport."""
        self.link.finish(code, reason, clean=True)
        self.end(ABNORMAL)

    def end(self, code: int) -> None:
        """Nothing more is received or sent."""
        self.open = False
        if not self._over:
            self._over = True
            self._doors.note_end(self, code)

    def _push(self, payload: bytes) -> None:
        if self.open and not self.link.push(payload):
            self.drop()


class MemoryLink:
    """A connection, seen from the player; has the part of `ws.connection.Connection` that players use.

    Args:
        doors: the game's side of all connections.
        socket: its side of this one.

    Attributes:
        buffered: bytes that wait to be received.
    """

    __slots__ = ("_doors", "_end", "_inbox", "_limits", "_since", "_socket", "_taken", "_turn", "buffered")

    def __init__(self, doors: Doors, socket: MemorySocket) -> None:
        self._doors = doors
        self._socket = socket
        self._limits = doors.limits
        self._inbox: deque[bytes] = deque()
        self._turn = Turn(doors.turns)
        self._end: tuple[int, str, bool] | None = None
        self._since = 0.0
        self._taken = 0
        self.buffered = 0

    def push(self, payload: bytes) -> bool:
        """For the game: a message; False when the player is too far behind to be sent any more."""
        inbox = self._inbox
        if not inbox or self._taken >= _TAKEN:
            self._since = _clock()
            self._taken = 0
        elif (
            self.buffered + len(payload) > self._limits.outbox_bytes
            or _clock() - self._since > self._limits.outbox_seconds
        ):
            return False
        inbox.append(payload)
        self.buffered += len(payload)
        self._turn.call()
        return True

    def finish(self, code: int, reason: str, *, clean: bool, lost: bool = False) -> None:
        """For the game: nothing more comes; with `lost` neither does what waits."""
        if lost:
            self._inbox.clear()
            self.buffered = 0
        if self._end is None:
            self._end = (code, reason, clean)
        self._turn.call()

    async def receive_bytes(self) -> bytes:
        """The next message, oldest first; what came before the end is given out before the end is raised.

        Raises:
            ConnectionClosed: there is none and there will be none.
            trio.BusyResourceError: another task is receiving.
        """
        inbox = self._inbox
        if not inbox:
            while not inbox:
                if self._end is not None:
                    await trio.lowlevel.checkpoint()
                    raise ConnectionClosed(*self._end)
                await self._turn.sleep()
        elif self._turn.spent:
            await self._turn.pause()
        payload = inbox.popleft()
        size = len(payload)
        self.buffered -= size
        self._taken += size
        if size > MESSAGE_BYTES:
            self._leave(_TOO_BIG, "message too big")
            raise ConnectionClosed(_TOO_BIG, "message too big", clean=False)
        return payload

    async def send_text(self, payload: bytes) -> None:
        """Send one message. A checkpoint only after work of `SHARE_SECONDS` without one: else receiving is where a player gives way.

        Raises:
            ConnectionClosed: the connection is closed.
        """
        if self._turn.spent:
            # Whoever sends without end and never receives would keep everybody waiting for ever.
            await trio.lowlevel.checkpoint()
        if self._end is not None:
            raise ConnectionClosed(*self._end)
        socket = self._socket
        if len(payload) > self._limits.message_bytes:
            socket.refuse(_TOO_BIG, "message too big")
            return
        self._doors.hear(socket.endpoint.received, payload)

    async def attend(self) -> None:
        """Nothing has to be done for a connection that nobody reads: there are no pings in memory."""

    async def close(self, code: int = _NORMAL, reason: str = "") -> None:
        """Close; messages that were not received are lost. Closing twice does nothing."""
        self._leave(code, reason)
        await trio.lowlevel.checkpoint()

    @property
    def closed(self) -> bool:
        """Whether nothing more comes and nothing can be sent."""
        return self._end is not None

    def cut(self) -> None:
        """Break the connection without a word."""
        self._leave(ABNORMAL, "")

    def _leave(self, code: int, reason: str) -> None:
        if self._end is None:
            self.finish(code, reason, clean=code != ABNORMAL, lost=True)
            self._doors.part(self._socket, code)


async def serve_in_memory(
    application: Application,
    house: House,
    *,
    port: int,
    limits: Limits | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve the players of a house until cancelled; what `ws.pump.serve` is for sockets.

    Args:
        application: takes websockets; its pages have no visitors here.
        house: where the players are.
        port: the number under which they find it.
        limits: what one connection may cost.
        task_status: told the port once players are let in.

    Raises:
        OSError: there is a game at this port.
        Exception: what the application raised, whoever's message made it.
    """
    doors = Doors(application, house, limits or Limits())
    house.open(port, doors)
    try:
        task_status.started(port)
        await doors.run()
    finally:
        house.close(port)
        doors.close()


def connect_in_memory(url: str) -> MemoryLink | None:
    """A connection to a game of this process; None when the URL leads elsewhere.

    Raises:
        ConnectionRefusedError: no game is there.
        HandshakeRefused: the game answers with another HTTP status than 101.
        ValueError: the URL cannot be used.
    """
    residence = RESIDENCE.get()
    if residence is None or urlsplit(url).hostname != HOST:
        return None
    return residence.house.connect(url, residence.name)
