"""One open websocket for ordinary use: send, receive, iterate, ping, close.

    async with await connect("ws://127.0.0.1:8080/player?slot=0") as connection:
        await connection.send("hello")
        async for message in connection:
            ...

It works on a raw non-blocking socket: an operation is tried first, and only one that would block waits. **An operation
which did not wait makes no checkpoint**, save after 32 of them or 1 ms: no task starves another, none pays for a task
switch per message, and a cancellation may be noticed that much later.

Back-pressure goes both ways. Nothing is read from the kernel before the messages decoded earlier have been taken, and
`send` waits while the kernel is full. Pings are answered while somebody reads: in `receive`, `ping` or `close`, or in
`attend`, which is for those who are busy elsewhere.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import TYPE_CHECKING, Final

import trio

from coworld_protocol.ws.frames import (
    ABNORMAL,
    BINARY,
    NO_CODE,
    PING,
    PONG,
    TEXT,
    Decoder,
    encode,
    encode_close,
    parse_close,
)
from coworld_protocol.ws.inlet import Inlet
from coworld_protocol.ws.outlet import Outlet

if TYPE_CHECKING:
    from typing import Self

    from coworld_protocol.ws.deflate import Deflate
    from coworld_protocol.ws.hub import Place
    from coworld_protocol.ws.spin import Spinner
    from coworld_protocol.ws.tls import Tls

__all__ = ["CLOSE_SECONDS", "MESSAGE_BYTES", "Connection", "ConnectionClosed"]

MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Longest message that is received unless the caller says otherwise."""

CLOSE_SECONDS: Final = 2.0
"""Time for closing unless the caller says otherwise."""

_IDLE_SECONDS: Final = 1.0
_WAITING_MESSAGES: Final = 64
_WAITING_BYTES: Final = 1024 * 1024
_PING_BYTES: Final = 125
# Below that size deflate hardly saves a byte.
_WORTH_DEFLATING: Final = 128
_GOOD_ENDS: Final = frozenset({1000, 1001, NO_CODE})


class ConnectionClosed(Exception):
    """The websocket is closed: nothing more comes and nothing can be sent.

    Attributes:
        code: the peer's close code; 1005 when its close frame had none, 1006 when it sent none; ours when it broke the
            protocol.
        reason: what was said about it.
        clean: whether the peer sent a close frame.
    """

    def __init__(self, code: int, reason: str, clean: bool) -> None:
        super().__init__(f"close code {code}" + (f": {reason}" if reason else ""))
        self.code = code
        self.reason = reason
        self.clean = clean


class Connection:
    """An open websocket; made by `connect` or `serve_connections`.

    For one receiving task and any number of sending ones. With `async with` it is closed at the end of the block;
    iterating ends when the peer closes with 1000, 1001 or no code, and raises `ConnectionClosed` for any other end.

    Args:
        sock: connected and non-blocking; belongs to the connection from now on.
        client: whether we are the client, whose frames are masked.
        message_bytes: longest message to accept, after inflation.
        deflate: the compression that was agreed to.
        subprotocol: the subprotocol that was agreed to.
        rest: what came behind the handshake.
        spinner: when to poll before sleeping while an answer is expected, that is from a `send` to the next message.
        tls: the encryption, after its handshake.
        close_seconds: time for closing, in all.
        place: where to wait for the socket together with many others; None: by itself.

    Attributes:
        subprotocol: the subprotocol that was agreed to, or None.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        client: bool,
        message_bytes: int = MESSAGE_BYTES,
        deflate: Deflate | None = None,
        subprotocol: str | None = None,
        rest: bytes = b"",
        spinner: Spinner | None = None,
        tls: Tls | None = None,
        close_seconds: float = CLOSE_SECONDS,
        place: Place | None = None,
    ) -> None:
        self.subprotocol = subprotocol
        self._sock = sock
        self._place = place
        self._client = client
        self._outlet = Outlet(sock, tls)
        self._inlet = Inlet(sock, tls, spinner, self._outlet, self._take, place)
        self._deflater = deflate.deflater(server=not client) if deflate else None
        inflater = deflate.inflater(server=not client) if deflate else None
        self._decoder = Decoder(masked=not client, message_bytes=message_bytes, inflate=inflater)
        self._close_seconds = close_seconds
        self._messages: deque[tuple[int, bytes]] = deque()
        self._end: tuple[int, str, bool] | None = None
        self._closing = False
        self._released = False
        self._receiving = False
        self._active = False
        self._pings: dict[bytes, None] = {}
        self._pinged = 0
        if rest:
            self._take(rest)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except ConnectionClosed as closed:
            if closed.clean and closed.code in _GOOD_ENDS:
                raise StopAsyncIteration from None
            raise

    @property
    def code(self) -> int | None:
        """The close code, as `ConnectionClosed` has it; None while the websocket is open."""
        return None if self._end is None else self._end[0]

    @property
    def reason(self) -> str | None:
        """What was said about the end; None while the websocket is open."""
        return None if self._end is None else self._end[1]

    async def receive(self) -> str | bytes:
        """The next message, oldest first; what came before the end is given out before the end is raised.

        Cancelling it loses no message.

        Raises:
            ConnectionClosed: there is none and there will be none.
            trio.BusyResourceError: another task is receiving.
        """
        opcode, payload = await self._next()
        return payload.decode() if opcode == TEXT else payload

    async def receive_bytes(self) -> bytes:
        """As `receive`, but text is given as the UTF-8 that came, which is valid: for decoding JSON into a Struct."""
        return (await self._next())[1]

    async def _next(self) -> tuple[int, bytes]:
        messages = self._messages
        if self._receiving:
            raise trio.BusyResourceError("Another task is receiving from this websocket.")
        if messages and self._inlet.owes_checkpoint():
            await self._inlet.give_way()
        self._active = True
        if not messages:
            self._receiving = True
            try:
                while not messages:
                    if self._end is not None:
                        await trio.lowlevel.checkpoint()
                        raise ConnectionClosed(*self._end)
                    await self._inlet.read()
            finally:
                self._receiving = False
        if self._inlet.parked:
            self._inlet.parked.unpark_all()
        return messages.popleft()

    async def send(self, message: str | bytes) -> None:
        """Send one message, text or binary; waits while the kernel is full.

        A `send` that is cancelled while it waits may have begun: then the message goes out whole before the next one,
        or never.

        Raises:
            ConnectionClosed: the websocket is closed, or `close` was called.
        """
        if isinstance(message, str):
            await self._send(TEXT, message.encode())
        else:
            await self._send(BINARY, message)

    async def send_text(self, payload: bytes) -> None:
        """As `send`, for text that is UTF-8 already, which is not checked: for JSON encoded from a Struct."""
        await self._send(TEXT, payload)

    async def _send(self, opcode: int, payload: bytes) -> None:
        if self._inlet.owes_checkpoint():
            await self._inlet.give_way()
        self._refuse_if_closed()
        outlet = self._outlet
        if outlet.idle:
            outlet.write(self._frame(opcode, payload))
            if outlet.waiting:
                async with outlet.turn:
                    await outlet.flush()
        else:
            async with outlet.turn:
                await outlet.flush()
                self._refuse_if_closed()
                outlet.write(self._frame(opcode, payload))
                await outlet.flush()
        if outlet.broken or outlet.waiting:
            self._lose()
            self._refuse_if_closed()
        self._inlet.expecting = True

    async def ping(self, payload: bytes | None = None) -> float:
        """Send a ping and wait for its pong; the seconds it took.

        Reads meanwhile when nobody else does. Messages that come stay to be received; when many wait nothing further
        is read until they are taken.

        Args:
            payload: at most 125 bytes, not those of a ping under way; None chooses.

        Raises:
            ConnectionClosed: no pong will come.
            ValueError: the payload cannot be used.
        """
        data = self._next_ping() if payload is None else payload
        if len(data) > _PING_BYTES or data in self._pings:
            raise ValueError("A ping carries at most 125 bytes, and not those of another that is under way.")
        await trio.lowlevel.checkpoint()
        self._refuse_if_closed()
        started = trio.current_time()
        self._pings[data] = None
        try:
            self._put(encode(PING, data, mask=self._client))
            while data in self._pings:
                self._refuse_if_closed()
                await self._make_progress()
        finally:
            self._pings.pop(data, None)
        return trio.current_time() - started

    async def attend(self, *, ping_seconds: float = 0.0, pong_seconds: float = 20.0) -> None:
        """Read while nobody has been in `receive` for a second, so that pings are answered; ends with the websocket.

        Run it in the background: `nursery.start_soon(connection.attend)`. What it reads waits to be received, at most
        64 messages or a mebibyte; a peer that sends more is held back. While messages are received it does nothing.

        Args:
            ping_seconds: send a ping this often; 0: never.
            pong_seconds: a peer that sends nothing at all for so long after a ping is gone, and the websocket ends
                with 1006.
        """
        async with trio.open_nursery() as nursery:
            if ping_seconds:
                nursery.start_soon(self._keep_alive, ping_seconds, pong_seconds)
            while self._end is None:
                self._active = False
                await trio.sleep(_IDLE_SECONDS)
                while self._end is None and not (self._active or self._receiving):
                    await self._make_progress()
            nursery.cancel_scope.cancel()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with a handshake; messages that were not received are lost. Closing twice does nothing.

        However the peer behaves, and also when this is cancelled, the socket is closed in the end.

        Args:
            code: 1000..1014 or 3000..4999.
            reason: cut to 123 bytes.
        """
        try:
            with trio.move_on_after(self._close_seconds):
                if not self._closing:
                    self._closing = True
                    # Before any checkpoint: a close that is cancelled says goodbye, too, if the kernel has room.
                    self._put(encode_close(code, reason, mask=self._client))
                await trio.lowlevel.checkpoint()
                while self._end is None:
                    self._messages.clear()
                    await self._inlet.read()
                await self._linger(*self._end)
        finally:
            self.abort()

    async def aclose(self) -> None:
        """`close`, under the name of trio's resources."""
        await self.close()

    def abort(self) -> None:
        """Close the socket at once, without a word to the peer."""
        if not self._released:
            self._released = True
            self._finish(ABNORMAL, "", clean=False)
            if self._place is not None:
                self._place.close()
            else:
                trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    async def _make_progress(self) -> None:
        """Read once; or, when enough messages wait already, wait until one is taken."""
        waiting = self._messages
        if len(waiting) >= _WAITING_MESSAGES or sum(len(payload) for _, payload in waiting) >= _WAITING_BYTES:
            await self._inlet.parked.park()
        else:
            await self._inlet.read()

    def _take(self, data: bytes) -> None:
        """Digest bytes of the peer's; none say that it sends no more."""
        if not data:
            self._finish(ABNORMAL, "", clean=False)
            return
        decoder = self._decoder
        for opcode, payload in decoder.receive(data):
            if opcode <= BINARY:
                self._messages.append((opcode, payload))
                self._inlet.expecting = False
            elif opcode == PING:
                if not self._closing:
                    self._outlet.put(encode(PONG, payload, mask=self._client))
            elif opcode == PONG:
                self._take_pong(payload)
            else:
                code, reason = parse_close(payload)
                self._answer_end(code, "")
                self._finish(code, reason, clean=True)
        violation = decoder.violation
        if violation is not None:
            self._answer_end(violation.code, violation.reason)
            self._finish(violation.code, violation.reason, clean=False)

    def _take_pong(self, payload: bytes) -> None:
        if payload in self._pings:
            # It answers the pings before its own as well (RFC 6455, 5.5.3).
            for earlier in list(self._pings):
                del self._pings[earlier]
                if earlier == payload:
                    break

    def _answer_end(self, code: int, reason: str) -> None:
        if not self._closing:
            self._closing = True
            self._outlet.put(encode_close(code, reason, mask=self._client))

    def _finish(self, code: int, reason: str, *, clean: bool) -> None:
        if self._end is None:
            self._end = (code, reason, clean)
            self._closing = True
            self._inlet.parked.unpark_all()
            self._outlet.stop()

    def _refuse_if_closed(self) -> None:
        if self._end is not None:
            raise ConnectionClosed(*self._end)
        if self._closing:
            raise ConnectionClosed(ABNORMAL, "this side is closing", clean=False)

    def _frame(self, opcode: int, payload: bytes) -> bytes:
        if self._deflater is not None and len(payload) >= _WORTH_DEFLATING:
            return encode(opcode, self._deflater.compress(payload), mask=self._client, rsv1=True)
        return encode(opcode, payload, mask=self._client)

    def _next_ping(self) -> bytes:
        self._pinged += 1
        return self._pinged.to_bytes(4, "big")

    def _put(self, frame: bytes) -> None:
        self._outlet.put(frame)
        if self._outlet.broken:
            self._lose()

    def _lose(self) -> None:
        """The peer takes nothing more; what it said before that still counts."""
        if self._end is None:
            self._inlet.drain()
            self._finish(ABNORMAL, "", clean=False)

    async def _linger(self, code: int, _reason: str, clean: bool) -> None:
        """Send what is left, then let the peer close first, where it has to or our close frame could be lost.

        RFC 6455, 7.1.1: the server closes the TCP connection. And closing with bytes unread resets it, whatever is
        under way.
        """
        if code == ABNORMAL:
            return
        async with self._outlet.turn:
            await self._outlet.flush()
        if clean and not self._client:
            return
        try:
            if not clean:
                self._sock.shutdown(socket.SHUT_WR)
            await self._inlet.discard()
        except (OSError, trio.ClosedResourceError, trio.BusyResourceError):
            # The peer is gone, or another task is closing, too.
            return

    async def _keep_alive(self, ping_seconds: float, pong_seconds: float) -> None:
        inlet = self._inlet
        while self._end is None:
            await trio.sleep(ping_seconds)
            reads = inlet.reads
            self._put(encode(PING, self._next_ping(), mask=self._client))
            await trio.sleep(pong_seconds)
            if inlet.reads == reads and len(self._messages) < _WAITING_MESSAGES:
                # This process may have been busy itself: what has come meanwhile counts.
                inlet.drain()
            if inlet.reads == reads and len(self._messages) < _WAITING_MESSAGES:
                self._finish(ABNORMAL, "no answer to a ping", clean=False)
                self.abort()
