"""permessage-deflate (RFC 7692): its parameters, and the two streams that do the work.

Inflation is bounded: no call makes more than one byte above what it may give out, whatever the peer packed. A window of 8 bits,
which zlib cannot write, is kept by matching at distance 1 only.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from coworld_protocol.ws.violation import Violation

__all__ = [
    "EXTENSION",
    "OFFER",
    "Deflate",
    "DeflateOffer",
    "Deflater",
    "Inflater",
    "choose",
    "read_answer",
    "read_offer",
]

EXTENSION: Final = "permessage-deflate"
OFFER: Final = "permessage-deflate; client_max_window_bits"
"""What our clients offer: any parameters that the server likes."""

_TAIL: Final = b"\x00\x00\xff\xff"  # RFC 7692, 7.2.1: the end of every message, left out on the wire
_EMPTY: Final = b"\x00"  # RFC 7692, 7.2.3.6: a message of no bytes
_SMALLEST_ZLIB_WINDOW: Final = 9
# A deflate stream that ends inside of a message is followed by another (RFC 7692, 7.2.3.4). Each costs a new zlib state and a copy
# of what is left of the frame's part, so a frame made of nothing but ends would be work of the square of its length.
_STREAMS_IN_A_MESSAGE: Final = 64

_BITS = re.compile(r"[89]|1[0-5]")


class Deflate(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters both ends agreed on (RFC 7692, 7.1).

    Attributes:
        server_no_context_takeover: each message of the server is compressed by itself.
        client_no_context_takeover: the same for the client.
        server_max_window_bits: base-2 logarithm of the server's window in bytes, 8..15.
        client_max_window_bits: the same for the client.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15

    def answer(self, *, server_bits: bool = False) -> str:
        """The value of the server's `Sec-WebSocket-Extensions`.

        Args:
            server_bits: name the server's window even if it is the largest, as an answer to an offer that named one has to.
        """
        parts = [EXTENSION]
        if self.server_no_context_takeover:
            parts.append("server_no_context_takeover")
        if self.client_no_context_takeover:
            parts.append("client_no_context_takeover")
        if server_bits or self.server_max_window_bits < 15:
            parts.append(f"server_max_window_bits={self.server_max_window_bits}")
        if self.client_max_window_bits < 15:
            parts.append(f"client_max_window_bits={self.client_max_window_bits}")
        return "; ".join(parts)

    def inflater(self, *, server: bool) -> Inflater:
        """What reads the peer's messages; `server`: we are the server."""
        if server:
            return Inflater(window_bits=self.client_max_window_bits, takeover=not self.client_no_context_takeover)
        return Inflater(window_bits=self.server_max_window_bits, takeover=not self.server_no_context_takeover)

    def deflater(self, *, server: bool) -> Deflater:
        """What writes our own messages; `server`: we are the server."""
        if server:
            return Deflater(window_bits=self.server_max_window_bits, takeover=not self.server_no_context_takeover)
        return Deflater(window_bits=self.client_max_window_bits, takeover=not self.client_no_context_takeover)


class DeflateOffer(msgspec.Struct, frozen=True, kw_only=True):
    """One offer of a client.

    Attributes:
        server_no_context_takeover: the server must compress each message by itself.
        client_no_context_takeover: the client is going to.
        server_max_window_bits: the server's window must not be larger, 8..15; None: not said.
        client_max_window_bits: the client's window is not going to be larger, 8..15, and the server may ask for a smaller one;
            15 when it gave no number; None: not said, and the server must not ask.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int | None = None
    client_max_window_bits: int | None = None


def read_offer(parameters: Sequence[tuple[str, str | None]]) -> DeflateOffer | None:
    """The offer that these parameters of the extension make; None when one is unknown, given twice or has a bad value, which a
    server has to decline (RFC 7692, 7.1).
    """
    try:
        flags, bits = _read(parameters, valueless=True)
    except ValueError:
        return None
    return DeflateOffer(
        server_no_context_takeover="server_no_context_takeover" in flags,
        client_no_context_takeover="client_no_context_takeover" in flags,
        server_max_window_bits=bits.get("server_max_window_bits"),
        client_max_window_bits=bits.get("client_max_window_bits"),
    )


def read_answer(parameters: Sequence[tuple[str, str | None]]) -> Deflate:
    """The agreement that a server's answer to `OFFER` makes.

    Raises:
        ValueError: it is none; the connection has to fail.
    """
    flags, bits = _read(parameters, valueless=False)
    return Deflate(
        server_no_context_takeover="server_no_context_takeover" in flags,
        client_no_context_takeover="client_no_context_takeover" in flags,
        server_max_window_bits=bits.get("server_max_window_bits", 15),
        client_max_window_bits=bits.get("client_max_window_bits", 15),
    )


def choose(offers: Iterable[DeflateOffer], *, window_bits: int = 12, takeover: bool = True) -> Deflate | None:
    """What a server agrees to: the client's first offer, with windows no larger than ours.

    Args:
        offers: in the client's order of preference.
        window_bits: largest window on both sides, 8..15. At 12 one connection's two streams hold some 50 KiB, at 15 some 300.
        takeover: whether the server's messages may refer to earlier ones. Without it, one compressed frame can be shared by many
            receivers and nothing is held between messages.
    """
    for offer in offers:
        asked = offer.client_max_window_bits
        return Deflate(
            server_no_context_takeover=offer.server_no_context_takeover or not takeover,
            client_no_context_takeover=offer.client_no_context_takeover,
            server_max_window_bits=min(offer.server_max_window_bits or 15, window_bits),
            client_max_window_bits=15 if asked is None else min(asked, window_bits),
        )
    return None


def _read(parameters: Sequence[tuple[str, str | None]], *, valueless: bool) -> tuple[set[str], dict[str, int]]:
    flags: set[str] = set()
    bits: dict[str, int] = {}
    for name, value in parameters:
        if name in flags or name in bits:
            raise ValueError("a parameter of permessage-deflate is given twice")
        if name in {"server_no_context_takeover", "client_no_context_takeover"}:
            if value is not None:
                raise ValueError("a no_context_takeover of permessage-deflate has a value")
            flags.add(name)
        elif name in {"server_max_window_bits", "client_max_window_bits"}:
            if value is None and valueless and name == "client_max_window_bits":
                bits[name] = 15
            elif value is None or not _BITS.fullmatch(value):
                raise ValueError("a window of permessage-deflate is not 8 to 15 bits")
            else:
                bits[name] = int(value)
        else:
            raise ValueError("a parameter of permessage-deflate is unknown")
    return flags, bits


class Inflater:
    """Undoes a peer's compression.

    Args:
        window_bits: the peer's window, 8..15.
        takeover: whether its messages refer to earlier ones.
    """

    def __init__(self, *, window_bits: int, takeover: bool) -> None:
        self._bits = -window_bits
        self._takeover = takeover
        self._stream: zlib._Decompress | None = None
        self._under_way = False  # bytes of this message went in, and its last deflate stream did not end
        self._ended = 0  # deflate streams of this message that did

    def feed(self, data: bytes, limit: int) -> bytes:
        """What the next part of a message unpacks to.

        Args:
            data: a part of its payload.
            limit: bytes that may come out.

        Raises:
            Violation: more than `limit` bytes would (1009), or it is no deflate stream (1007).
        """
        if not data:
            return b""
        stream = self._stream
        if stream is None:
            stream = self._stream = zlib.decompressobj(self._bits)
        self._under_way = True
        found = _inflate(stream, data, limit)
        return found if not stream.eof else self._next_streams(found, stream, limit)

    def finish(self, limit: int) -> bytes:
        """What is left of a message all of whose parts went in; the next `feed` starts another.

        Args:
            limit: bytes that may come out.

        Raises:
            Violation: as `feed` does.
        """
        # A message of no bytes, or one that ends with its deflate stream, needs no tail: it would start another stream badly.
        found = self.feed(_TAIL, limit) if self._under_way else b""
        self._under_way = False
        self._ended = 0
        if not self._takeover:
            self._stream = None
        return found

    def _next_streams(self, found: bytes, stream: zlib._Decompress, limit: int) -> bytes:
        """Go on behind the end of a stream. The next one has an empty window: that is what every peer's zlib starts it with."""
        parts = [found]
        room = limit - len(found)
        while stream.eof:
            self._ended += 1
            if self._ended > _STREAMS_IN_A_MESSAGE:
                raise Violation(1007, "too many deflate streams in a message")
            data = stream.unused_data
            if not data:
                self._stream = None
                self._under_way = False
                break
            stream = self._stream = zlib.decompressobj(self._bits)
            part = _inflate(stream, data, room)
            parts.append(part)
            room -= len(part)
        return b"".join(parts)


def _inflate(stream: zlib._Decompress, data: bytes, limit: int) -> bytes:
    try:
        # One byte more than allowed proves the excess; zlib makes no further one.
        found = stream.decompress(data, limit + 1)
    except zlib.error:
        raise Violation(1007, "compressed data is damaged") from None
    if len(found) > limit:
        raise Violation(1009, "message too big")
    return found


class Deflater:
    """Compresses our messages.

    Every message that goes through `compress` has to be sent: with takeover, later ones refer to it. Messages that are not worth it
    are sent as they are and do not go through.

    Args:
        window_bits: our window, 8..15.
        takeover: whether messages refer to earlier ones.
        level: zlib's, 0..9.
    """

    def __init__(self, *, window_bits: int, takeover: bool, level: int = zlib.Z_DEFAULT_COMPRESSION) -> None:
        self._bits = window_bits
        self._takeover = takeover
        self._level = level
        self._stream: zlib._Compress | None = None

    def compress(self, payload: bytes) -> bytes:
        """The payload of a whole message, compressed; its first frame carries RSV1."""
        if not payload:
            # zlib writes nothing at all when it is flushed twice in a row.
            return _EMPTY
        stream = self._stream or self._open()
        packed = stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)
        if self._takeover:
            self._stream = stream
        return packed[:-4]

    def _open(self) -> zlib._Compress:
        bits = max(self._bits, _SMALLEST_ZLIB_WINDOW)
        # Distances of 1 are inside of every window.
        strategy = zlib.Z_RLE if self._bits < _SMALLEST_ZLIB_WINDOW else zlib.Z_DEFAULT_STRATEGY
        # The hash table is kept in proportion: with 15 bits this is zlib's own default of 8.
        return zlib.compressobj(self._level, zlib.DEFLATED, -bits, bits - 7, strategy)
