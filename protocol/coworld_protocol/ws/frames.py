"""RFC 6455 frames: bytes to messages and messages to bytes, without any I/O.

`Decoder` takes bytes as they come off the wire and gives out whole messages and control frames; `encode` makes one frame. A frame
that lies complete in what was received is cut out and unmasked in one go. Anything else (a frame in pieces, a message in
fragments, a compressed one) is consumed as it comes: nothing is scanned or copied twice, and invalid UTF-8 or an excess of
length is found with the first byte that proves it.
"""

from __future__ import annotations

import codecs
import struct
from typing import TYPE_CHECKING, Final

from coworld_protocol.ws.masking import apply_mask, new_mask
from coworld_protocol.ws.violation import Violation

if TYPE_CHECKING:
    from coworld_protocol.ws.deflate import Inflater

__all__ = [
    "ABNORMAL",
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "NO_CODE",
    "PING",
    "PONG",
    "TEXT",
    "Decoder",
    "Violation",
    "encode",
    "encode_close",
    "parse_close",
    "payload_of",
]

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

PROTOCOL_ERROR: Final = 1002
NOT_UTF8: Final = 1007
TOO_BIG: Final = 1009

NO_CODE: Final = 1005
"""Stands for a close frame without a code; never sent."""
ABNORMAL: Final = 1006
"""Stands for a connection that ended without a close frame; never sent."""

_FIN: Final = 0x80
_RSV1: Final = 0x40
_RSV23: Final = 0x30
_MASKED: Final = 0x80
_CONTROL_BYTES: Final = 125

_MIDDLING = struct.Struct("!BBH").pack

# RFC 6455, 7.4.1 and the registry it founded: what may be on the wire. 3000-4999 belong to libraries and applications.
_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, *range(3000, 5000)})

# The two bytes before every short, whole, unmasked frame.
_SHORT_TEXT = tuple(bytes((_FIN | TEXT, length)) for length in range(126))
_SHORT_BINARY = tuple(bytes((_FIN | BINARY, length)) for length in range(126))

_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


def encode(opcode: int, payload: bytes, *, mask: bool = False, fin: bool = True, rsv1: bool = False) -> bytes:
    """One frame.

    Args:
        opcode: 0..15; not checked.
        payload: its content, already compressed when `rsv1` says so.
        mask: mask it, as a client must.
        fin: whether the message ends with it.
        rsv1: mark a compressed message; on its first frame only.
    """
    length = len(payload)
    if not mask and fin and not rsv1 and length < 65536:
        if length > 125:
            return _MIDDLING(_FIN | opcode, 126, length) + payload
        if opcode == TEXT:
            return _SHORT_TEXT[length] + payload
        if opcode == BINARY:
            return _SHORT_BINARY[length] + payload
    first = opcode | (_FIN if fin else 0) | (_RSV1 if rsv1 else 0)
    masked = _MASKED if mask else 0
    if length < 126:
        head = bytes((first, masked | length))
    elif length < 65536:
        head = _MIDDLING(first, masked | 126, length)
    else:
        head = bytes((first, masked | 127)) + length.to_bytes(8, "big")
    if mask:
        key = new_mask()
        return head + key + apply_mask(payload, key)
    return head + payload


def payload_of(frame: bytes) -> bytes:
    """The payload of one whole frame that `encode` made without a mask."""
    length = frame[1]
    return frame[2 if length < 126 else 4 if length == 126 else 10 :]


def encode_close(code: int = 1000, reason: str = "", *, mask: bool = False) -> bytes:
    """A close frame; `NO_CODE` makes an empty one, and a reason is cut to the 123 bytes that fit."""
    if code == NO_CODE:
        return encode(CLOSE, b"", mask=mask)
    text = reason.encode(errors="replace")[: _CONTROL_BYTES - 2].decode(errors="ignore").encode()
    return encode(CLOSE, code.to_bytes(2, "big") + text, mask=mask)


def parse_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a close frame; `NO_CODE` for an empty one.

    Raises:
        Violation: it is no close frame's payload.
    """
    if not payload:
        return NO_CODE, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or code not in _CLOSE_CODES:
        raise Violation(PROTOCOL_ERROR, "invalid close code")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise Violation(NOT_UTF8, "close reason is not UTF-8") from None


class Decoder:
    """Turns what one peer sends into messages and control frames.

    Args:
        masked: whether the peer has to mask: True when it is a client.
        message_bytes: longest message, over all its fragments, after inflation.
        inflate: undoes compression, if that was negotiated.

    Attributes:
        violation: what the peer did wrong; None while it behaves.
        closed: whether a close frame came.
    """

    def __init__(self, *, masked: bool, message_bytes: int, inflate: Inflater | None = None) -> None:
        self._masked = masked
        self._limit = message_bytes
        self._inflate = inflate
        self._plain = True  # nothing is under way, and the peer has behaved
        self._head = b""  # the start of a frame's head; at most 13 bytes
        self._opcode = CONTINUATION  # of the message under way; CONTINUATION: none is
        self._compressed = False
        self._message = bytearray()
        self._utf8 = _Utf8Decoder()
        self._frame = CONTINUATION  # of the frame under way
        self._final = False
        self._remaining = 0  # bytes of its payload that are still to come
        self._key = b""  # its mask, rotated to the next byte; empty when unmasked
        self._control = bytearray()
        self.violation: Violation | None = None
        self.closed = False

    @property
    def buffered(self) -> int:
        """Bytes that are held because a message or a frame's head is not complete."""
        return len(self._head) + len(self._message) + len(self._control)

    def receive(self, data: bytes) -> list[tuple[int, bytes]]:
        """What `data` completes, in order: `(opcode, payload)` of whole text and binary messages and of control frames.

        Text is valid UTF-8, a close frame's payload is valid. When the peer breaks the protocol, what came before is still given
        out and `violation` is set; after that, or after a close frame, everything is ignored.
        """
        payload = self.whole(data)
        if payload is not None:
            return [(data[0] & 0x0F, payload)]
        found: list[tuple[int, bytes]] = []
        if self.closed or self.violation is not None:
            return found
        try:
            self._receive(data, found)
        except Violation as violation:
            self.violation = violation
            self._head = b""
            self._message = bytearray()
        self._plain = not (self._remaining or self._head or self._opcode or self.closed or self.violation is not None)
        return found

    def whole(self, data: bytes) -> bytes | None:
        """The payload, if `data` is one uncompressed message of at most 65535 bytes in one frame and nothing else.

        None for anything else, which is to go to `receive`: nothing of it has been taken. Whether the message is a text is in
        the first byte: 0x81, and 0x82 for a binary one.
        """
        if not self._plain or len(data) < 4 or (data[0] != 0x81 and data[0] != 0x82):
            return None
        second = data[1]
        start = 2
        length = second
        if self._masked:
            start = 6
            length -= 128
        if length > 125:
            if length != 126:
                return None
            start += 2
            length = data[2] << 8 | data[3]
            if length < 126:
                return None
        if len(data) - start != length or length > self._limit:
            return None
        payload = data[start:]
        if self._masked:
            payload = apply_mask(payload, data[start - 4 : start])
        if data[0] == 0x82 or payload.isascii():
            return payload
        try:
            payload.decode()
        except UnicodeDecodeError:
            return None
        return payload

    def _receive(self, data: bytes, found: list[tuple[int, bytes]]) -> None:
        position = 0
        if self._remaining:
            position = self._continue(data, 0, found)
        elif self._head:
            data = self._head + data
            self._head = b""
        end = len(data)
        masked = self._masked
        while position < end:
            if self.closed:
                return
            if end - position < 2:
                break
            first, second = data[position], data[position + 1]
            length = second & 0x7F
            start = position + (6 if masked else 2)
            if (first != 0x81 and first != 0x82) or self._opcode or (second >= 0x80) is not masked:  # noqa: PLR1714 - the hot path
                # Everything but a whole, uncompressed message, which is nearly all there is.
                self._check(first, second)
            if length > _CONTROL_BYTES:
                start += 2 if length == 126 else 8
                # A bad length is told without waiting for the mask behind it.
                if start - 4 * masked > end:
                    break
                length = self._length(data, position + 2, wide=length == 127)
            # A compressed message may be longer than what it unpacks to; it is counted as it unpacks.
            if length > self._limit and not first & 0x48 and not self._compressed:
                raise Violation(TOO_BIG, "message too big")
            if start > end:
                break
            stop = start + length
            if stop <= end and (first == 0x81 or first == 0x82) and not self._opcode:  # noqa: PLR1714 - the hot path
                payload = data[start:stop]
                if masked:
                    payload = apply_mask(payload, data[start - 4 : start])
                if first == 0x81 and not payload.isascii():
                    _must_be_utf8(payload)
                found.append((first & 0x0F, payload))
                position = stop
                continue
            self._begin(first, length, data[start - 4 : start] if masked else b"")
            position = self._continue(data, start, found)
        if position < end:
            self._head = data[position:]

    def _check(self, first: int, second: int) -> None:
        """Check a frame's first two bytes against the rules of RFC 6455, 5.2 to 5.5."""
        opcode = first & 0x0F
        if first & _RSV23 or (first & _RSV1 and (self._inflate is None or opcode not in {TEXT, BINARY})):
            raise Violation(PROTOCOL_ERROR, "reserved bits set")
        if opcode & 0x08:
            if opcode > PONG:
                raise Violation(PROTOCOL_ERROR, "unknown opcode")
            if not first & _FIN:
                raise Violation(PROTOCOL_ERROR, "fragmented control frame")
            if second & 0x7F > _CONTROL_BYTES:
                raise Violation(PROTOCOL_ERROR, "control frame too long")
        elif opcode > BINARY:
            raise Violation(PROTOCOL_ERROR, "unknown opcode")
        elif opcode == CONTINUATION and not self._opcode:
            raise Violation(PROTOCOL_ERROR, "continuation of nothing")
        elif opcode and self._opcode:
            raise Violation(PROTOCOL_ERROR, "new message inside of another")
        if bool(second & _MASKED) is not self._masked:
            raise Violation(PROTOCOL_ERROR, "frame is not masked" if self._masked else "frame is masked")

    @staticmethod
    def _length(data: bytes, at: int, *, wide: bool) -> int:
        length = int.from_bytes(data[at : at + (8 if wide else 2)], "big")
        if length < (65536 if wide else 126) or length >> 63:
            raise Violation(PROTOCOL_ERROR, "length is not written as it must be")
        return length

    def _begin(self, first: int, length: int, key: bytes) -> None:
        """Start on a frame that is consumed as it comes."""
        opcode = first & 0x0F
        self._frame = opcode
        self._final = bool(first & _FIN)
        self._remaining = length
        self._key = key
        if opcode & 0x08:
            self._control = bytearray()
        elif opcode:
            self._opcode = opcode
            self._compressed = bool(first & _RSV1)

    def _continue(self, data: bytes, position: int, found: list[tuple[int, bytes]]) -> int:
        """Consume payload of the frame under way from `position` on; ends with the position behind it."""
        part = data[position : position + self._remaining]
        size = len(part)
        self._remaining -= size
        if size and self._key:
            key = self._key
            part = apply_mask(part, key)
            turn = size & 3
            self._key = key[turn:] + key[:turn]
        if self._frame & 0x08:
            self._control += part
            if not self._remaining:
                self._end_control(found)
        else:
            self._extend(part)
            if not self._remaining and self._final:
                self._end_message(found)
        return position + size

    def _extend(self, part: bytes) -> None:
        room = self._limit - len(self._message)
        if self._compressed:
            assert self._inflate is not None
            part = self._inflate.feed(part, room)
        elif len(part) + self._remaining > room:
            raise Violation(TOO_BIG, "message too big")
        if part:
            self._append(part)

    def _append(self, part: bytes) -> None:
        if self._opcode == TEXT:
            try:
                self._utf8.decode(part)
            except UnicodeDecodeError:
                raise Violation(NOT_UTF8, "text is not UTF-8") from None
            held = self._utf8.getstate()[0]
            # The library's decoder waits for the third byte of a surrogate, which no third byte makes valid.
            if len(held) == 2 and held[0] == 0xED and held[1] > 0x9F:
                raise Violation(NOT_UTF8, "text is not UTF-8")
        self._message += part

    def _end_message(self, found: list[tuple[int, bytes]]) -> None:
        if self._compressed:
            assert self._inflate is not None
            rest = self._inflate.finish(self._limit - len(self._message))
            if rest:
                self._append(rest)
        # What an incremental decoder still holds is the start of a character that never ended; else it is as new.
        if self._opcode == TEXT and self._utf8.getstate()[0]:
            raise Violation(NOT_UTF8, "text is not UTF-8")
        found.append((self._opcode, bytes(self._message)))
        self._message = bytearray()
        self._opcode = CONTINUATION
        self._compressed = False

    def _end_control(self, found: list[tuple[int, bytes]]) -> None:
        payload = bytes(self._control)
        self._control = bytearray()
        if self._frame == CLOSE:
            parse_close(payload)
            self.closed = True
        found.append((self._frame, payload))


def _must_be_utf8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise Violation(NOT_UTF8, "text is not UTF-8") from None
