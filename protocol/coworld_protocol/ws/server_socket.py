"""One open websocket on the server's side: frames between a wire and an application's endpoint, and how it ends.

open -> closing    we sent a close frame and wait for the peer's
open -> over       the peer sent a close frame, broke the protocol or fell too far behind: what it is owed is flushed
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coworld_protocol.ws.frames import (
    ABNORMAL,
    BINARY,
    CLOSE,
    NO_CODE,
    PING,
    PONG,
    TEXT,
    Decoder,
    encode,
    encode_close,
    parse_close,
)
from coworld_protocol.ws.web import Endpoint, Limits
from coworld_protocol.ws.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from coworld_protocol.ws.deflate import Deflater, Inflater

__all__ = ["ServerSocket", "Tally"]

_NORMAL: Final = 1000
_WHOLE_TEXT: Final = 0x81  # first byte of a text in one frame


class Tally:
    """What all websockets of one server note together.

    Attributes:
        spoke: whether the application has sent a message since this was last set to False: answers may be expected.
    """

    __slots__ = ("spoke",)

    def __init__(self) -> None:
        self.spoke = False


class ServerSocket:
    """One open websocket; the application sees it as a `ws.web.Socket`.

    Args:
        wire: its connection.
        endpoint: the application's side.
        limits: what it may cost.
        ended: called once, with the close code, as soon as nothing more can be received. It may come from inside of a call of the
            application's, so it must not call the application in turn.
        tally: notes that the application has sent something.
        inflate: undoes the peer's compression, if that was negotiated.
        deflate: compresses our messages, if that was negotiated.

    Attributes:
        open: whether a message sent now has a chance to arrive; False from our close frame on.
        over: whether the websocket is at its end; what waits for the peer is still to be flushed.
        broken: whether the connection is to be dropped with whatever waits.
    """

    __slots__ = (
        "_decoder",
        "_deflate",
        "_ended",
        "_limits",
        "_receive",
        "_received",
        "_tally",
        "_whole",
        "_wire",
        "broken",
        "endpoint",
        "open",
        "over",
    )

    def __init__(
        self,
        wire: Wire,
        endpoint: Endpoint,
        limits: Limits,
        ended: Callable[[int], None],
        tally: Tally,
        inflate: Inflater | None = None,
        deflate: Deflater | None = None,
    ) -> None:
        self._wire = wire
        self.endpoint = endpoint
        self._limits = limits
        self._ended = ended
        self._decoder = Decoder(masked=True, message_bytes=limits.message_bytes, inflate=inflate)
        self._receive = self._decoder.receive
        self._whole = self._decoder.whole
        self._received = endpoint.received
        self._deflate = deflate
        self.open = True
        self.over = False
        self._tally = tally
        self.broken = False

    @property
    def buffered(self) -> int:
        """Bytes that wait for the peer to take them."""
        return self._wire.waiting

    def send(self, message: str | bytes) -> None:
        """Send one text or binary message."""
        if isinstance(message, str):
            opcode, payload = TEXT, message.encode()
        else:
            opcode, payload = BINARY, message
        if self._deflate is not None:
            self.send_frame(encode(opcode, self._deflate.compress(payload), rsv1=True))
        else:
            self.send_frame(encode(opcode, payload))

    def send_frame(self, frame: bytes) -> None:
        """Send a frame that is encoded already."""
        if self.open:
            self._tally.spoke = True
            if not self._wire.write(frame):
                self._look_at_backlog()

    def close(self, code: int = _NORMAL, reason: str = "") -> None:
        """Start the close handshake."""
        if self.open:
            self._put(encode_close(code, reason))
            self.open = False

    def ping(self) -> None:
        """Ask whether the peer is still there."""
        if self.open:
            self._put(encode(PING, b""))

    def _put(self, data: bytes) -> None:
        """Send bytes, whoever they are owed to: the application's messages, answers to pings, close frames."""
        if not self._wire.write(data):
            self._look_at_backlog()

    def _look_at_backlog(self) -> None:
        wire = self._wire
        # One message larger than the limit may pass when nothing else waits: a replay is a single message.
        if not wire.open or wire.waiting - wire.spared > self._limits.outbox_bytes:
            self.drop()

    def drop(self, code: int = ABNORMAL) -> None:
        """End at once; what waits is lost."""
        self.broken = True
        self._end(code)

    def take(self, data: bytes) -> None:
        """Digest bytes of the peer's; none say that it sends no more."""
        payload = self._whole(data)
        if payload is not None:
            if self.open:
                self._received(payload, data[0] == _WHOLE_TEXT)
            return
        if not data:
            self.drop()
            return
        pongs: list[bytes] | None = None
        for opcode, payload in self._receive(data):
            if opcode == PING:
                # Collected: a flood of pings would cost a system call for each.
                pongs = pongs or []
                pongs.append(encode(PONG, payload))
                continue
            if pongs is not None:
                # Before the application answers what came behind the pings.
                self._put_pongs(pongs)
                pongs = None
            if opcode <= BINARY:
                if self.open:
                    self._received(payload, opcode == TEXT)
            elif opcode == CLOSE:
                self._take_close(payload)
        if pongs is not None:
            self._put_pongs(pongs)
        violation = self._decoder.violation
        if violation is not None and not self.over:
            if self.open:
                self._put(encode_close(violation.code, violation.reason))
            self._end(ABNORMAL)

    def _put_pongs(self, pongs: list[bytes]) -> None:
        if self.open:
            self._put(b"".join(pongs))

    def _take_close(self, payload: bytes) -> None:
        code, _ = parse_close(payload)
        if self.open:
            self._put(encode_close(code if code != NO_CODE else _NORMAL))
        self._end(code)

    def _end(self, code: int) -> None:
        if not self.over:
            self.open = False
            self.over = True
            self._ended(code)
