"""Both ends of a pump for its tests: an application that notes what it is told, and a client that says what it is told to."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import trio

from coworld_protocol.ws.deflate import Inflater
from coworld_protocol.ws.frames import CLOSE, TEXT, Decoder, encode, encode_close
from coworld_protocol.ws.handshake import ClientHandshake, client_request, new_key
from coworld_protocol.ws.pump import serve
from coworld_protocol.ws.web import Limits, Request, Response, Socket

__all__ = [
    "PATIENCE",
    "SEGMENT",
    "Client",
    "Door",
    "Note",
    "Recorder",
    "Seat",
    "descriptors",
    "echo",
    "overwhelm",
    "reset",
    "served",
    "upgrade_request",
]

PATIENCE = 60.0
"""Seconds after which a test gives up; nothing takes a tenth of it unless the machine is busy."""

SEGMENT = 4096
"""A receive buffer so small that a client that does not read is noticed after some hundred kilobytes."""

Note = tuple[str, object]


class Seat:
    """An endpoint that notes its calls, and that none of them comes inside of another."""

    def __init__(self, site: Recorder) -> None:
        self._site = site
        self.socket: Socket | None = None
        self.notes: list[Note] = []

    @property
    def messages(self) -> list[object]:
        return [value for name, value in self.notes if name == "received"]

    @property
    def codes(self) -> list[object]:
        return [value for name, value in self.notes if name == "closed"]

    def opened(self, socket: Socket) -> None:
        with self._site.told():
            self.socket = socket
            self.notes.append(("opened", None))
            self._site.on_open(self)

    def received(self, payload: bytes, text: bool) -> None:
        with self._site.told():
            assert not self.codes
            self.notes.append(("received", payload.decode() if text else payload))
            self._site.on_message(self, payload)

    def closed(self, code: int) -> None:
        with self._site.told():
            self.notes.append(("closed", code))
            self._site.on_close(self)


class Recorder:
    """An application whose pages are a dictionary and whose websockets note their calls.

    Attributes:
        pages: path to body.
        seats: in the order in which they were asked for.
        settlings: how often things have settled.
        on_open, on_message, on_close, on_settled: what the application does next; nothing, until a test sets them.
    """

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {"/": b"hello\n"}
        self.seats: list[Seat] = []
        self.settlings = 0
        self.on_open: Callable[[Seat], object] = lambda seat: None
        self.on_message: Callable[[Seat, bytes], object] = lambda seat, payload: None
        self.on_close: Callable[[Seat], object] = lambda seat: None
        self.on_settled: Callable[[], object] = lambda: None
        self._depth = 0
        self._changed = trio.Event()

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """One call of the transport's; none comes before another has returned."""
        assert self._depth == 0, "the application was called from inside of one of its own calls"
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            self._changed.set()
            self._changed = trio.Event()

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds that only the transport's calls can bring about."""
        with trio.fail_after(PATIENCE):
            while not holds():
                await self._changed.wait()

    def respond(self, request: Request) -> Response | None:
        with self.told():
            body = self.pages.get(request.path)
            return None if body is None else Response(body=body)

    def upgrade(self, request: Request) -> Seat:
        with self.told():
            self.seats.append(Seat(self))
            return self.seats[-1]

    def settled(self) -> None:
        with self.told():
            self.settlings += 1
            self.on_settled()


def upgrade_request(key: str | None = None, *, deflate: bool = False) -> bytes:
    """A request for a websocket."""
    return client_request("here", "/", key or new_key(), deflate=deflate)


class Client:
    """The client's end of a websocket, reading only when it is asked to."""

    def __init__(self, stream: trio.SocketStream, *, message_bytes: int = 1 << 30) -> None:
        self.stream = stream
        self._message_bytes = message_bytes
        self._decoder = Decoder(masked=False, message_bytes=message_bytes)
        self._inbox: deque[tuple[int, bytes]] = deque()

    async def upgrade(self, *, deflate: bool = False, behind: bytes = b"") -> None:
        """Ask for a websocket and take the answer; `behind` goes out in the same segment as the request."""
        key = new_key()
        handshake = ClientHandshake(key, deflate=deflate)
        with trio.fail_after(PATIENCE):
            await self.stream.send_all(upgrade_request(key, deflate=deflate) + behind)
            while (accepted := handshake.receive(bytes(await self.stream.receive_some()))) is None:
                pass
        assert (accepted.deflate is not None) is deflate
        if accepted.deflate is not None:
            inflate: Inflater = accepted.deflate.inflater(server=False)
            self._decoder = Decoder(masked=False, message_bytes=self._message_bytes, inflate=inflate)
        self._inbox.extend(self._decoder.receive(accepted.rest))

    async def send(self, payload: bytes, opcode: int = TEXT) -> None:
        """Send one masked frame."""
        await self.stream.send_all(encode(opcode, payload, mask=True))

    async def send_close(self, code: int = 1000) -> None:
        await self.stream.send_all(encode_close(code, mask=True))

    async def event(self) -> tuple[int, bytes] | None:
        """The next message or control frame; None at the end of the stream."""
        with trio.fail_after(PATIENCE):
            while not self._inbox:
                data = bytes(await self.stream.receive_some(65536))
                if not data:
                    return None
                self._inbox.extend(self._decoder.receive(data))
                assert self._decoder.violation is None
            return self._inbox.popleft()

    async def message(self) -> bytes:
        """The next event, which has to be a message."""
        event = await self.event()
        assert event is not None, "the stream has ended"
        assert event[0] < CLOSE, event
        return event[1]

    async def close_code(self) -> int:
        """The code of the close frame that comes after any other events."""
        while True:
            event = await self.event()
            assert event is not None, "the stream ended without a close frame"
            if event[0] == CLOSE:
                return int.from_bytes(event[1][:2], "big")

    async def rest(self) -> list[tuple[int, bytes]]:
        """All events until the stream's end."""
        events = []
        while (event := await self.event()) is not None:
            events.append(event)
        return events


class Door:
    """A server that is running, and the ways in; what went in is closed at the end.

    Attributes:
        port: on 127.0.0.1.
    """

    def __init__(self) -> None:
        self.port = 0
        self.scope = trio.CancelScope()
        self.shut = trio.Event()
        self._streams: list[trio.SocketStream] = []

    async def dial(self, *, receive_bytes: int | None = None, unix: str | None = None) -> trio.SocketStream:
        """A connection that has said nothing yet.

        Args:
            receive_bytes: the kernel's receive buffer; None leaves the choice to the kernel.
            unix: path of the Unix socket to use in place of the port.
        """
        sock = trio.socket.socket() if unix is None else trio.socket.socket(trio.socket.AF_UNIX)
        if receive_bytes is not None:
            sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_bytes)
        stream = trio.SocketStream(sock)
        self._streams.append(stream)
        await sock.connect(("127.0.0.1", self.port) if unix is None else unix)
        return stream

    async def connect(self, *, receive_bytes: int | None = None, deflate: bool = False, behind: bytes = b"") -> Client:
        """An open websocket; see `dial` and `Client.upgrade`."""
        client = Client(await self.dial(receive_bytes=receive_bytes))
        await client.upgrade(deflate=deflate, behind=behind)
        return client

    async def stop(self) -> None:
        """Cancel the server and wait until it has ended; clients stay as they are."""
        self.scope.cancel()
        await self.shut.wait()

    def close(self) -> None:
        for stream in self._streams:
            stream.socket.close()


@contextlib.asynccontextmanager
async def served(
    site: Recorder, *, spin: bool | None = False, unix: str | None = None, **limits: float
) -> AsyncIterator[Door]:
    """A pump on a free port; cancelled at the end."""
    door = Door()

    async def run(*, task_status: trio.TaskStatus[int]) -> None:
        try:
            with door.scope:
                await serve(
                    site,
                    host="127.0.0.1",
                    port=0,
                    limits=Limits(**limits),  # type: ignore[arg-type]
                    spin=spin,
                    unix=unix,
                    task_status=task_status,
                )
        finally:
            door.shut.set()

    try:
        async with trio.open_nursery() as nursery:
            door.port = await nursery.start(run)
            yield door
            nursery.cancel_scope.cancel()
    finally:
        door.close()


def descriptors() -> set[tuple[str, str]]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add((entry.name, str(entry.readlink())))
    return found


def reset(client: Client) -> None:
    """Go away with a reset instead of a goodbye."""
    client.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.stream.socket.close()


def overwhelm(seat: Seat) -> None:
    """Send until the receiver is given up."""
    assert seat.socket is not None
    while seat.socket.open:
        seat.socket.send(b"x" * 50_000)


def echo(seat: Seat, payload: bytes) -> None:
    assert seat.socket is not None
    seat.socket.send(payload.decode())


# Broadcast and back-pressure
