"""Follows the frames of one direction of a connection on a copy of its bytes: what begins, what ends, how it was closed.

Nothing is checked that need not be: the two ends have their own decoders, and what they make of bad bytes is their business.
Nothing is kept but a torn header, the head of the handshake and the payload of a close frame.
"""

from __future__ import annotations

import re

__all__ = ["HEAD_LIMIT", "FrameScanner"]

HEAD_LIMIT = 64 * 1024
"""Bytes of a handshake's head; a longer one is not followed."""

_CLOSE = 8
_HEADER_SIZES = {126: 4, 127: 10}
_WHOLE = b"\x81\x82\xc1\xc2"  # first bytes of messages of one frame, the last two compressed
_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})")

_IN_HEAD, _IN_FRAMES, _BLIND = 0, 1, 2


class FrameScanner:
    """One direction of one connection. No method raises, and memory stays bounded, whatever the bytes are.

    Args:
        answering: this direction begins with the answer to a handshake, not with the request for one.

    Attributes:
        size: bytes so far, the handshake's included.
        begun: data messages whose first byte has been seen.
        ended: data messages whose last byte has been seen.
        control: whole control frames.
        status: of the answer to the handshake; 0 while there is none.
        close_code: of the first close frame: 1005 for one without, None for no close frame.
        close_reason: its text, as it came.
        blind: why the frames are not followed any more; empty while they are.
    """

    __slots__ = (
        "_answering", "_control", "_final", "_head", "_header", "_inside", "_key", "_left", "_message", "_opcode", "_phase",
        "begun", "blind", "close_code", "close_reason", "control", "ended", "size", "status",
    )  # fmt: skip

    def __init__(self, *, answering: bool) -> None:
        self._answering = answering
        self._phase = _IN_HEAD
        self._head = bytearray()
        self._header = b""
        self._inside = False  # of a frame's payload
        self._left = 0  # bytes of it
        self._opcode = 0
        self._final = False
        self._message = False  # of a data message
        self._key = b""
        self._control = bytearray()
        self.size = 0
        self.begun = 0
        self.ended = 0
        self.control = 0
        self.status = 0
        self.close_code: int | None = None
        self.close_reason = ""
        self.blind = ""

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        self.size += len(data)
        if self._phase == _IN_FRAMES:
            if not (self._inside or self._message or self._header) and _is_message(data):
                self.begun += 1
                self.ended += 1
            else:
                self._frames(data)
        elif self._phase == _IN_HEAD:
            self._in_head(data)

    def stop(self, why: str) -> None:
        """Follow no further; the bytes are still counted."""
        if self._phase != _BLIND:
            self._phase = _BLIND
            self.blind = why
            self._head = bytearray()
            self._header = b""
            self._control = bytearray()

    def _frames(self, data: bytes) -> None:
        if self._header:
            data = self._header + data
            self._header = b""
        position, end = 0, len(data)
        while True:
            if self._inside:
                available = end - position
                if self._opcode == _CLOSE:
                    self._control += data[position : position + self._left]
                if available < self._left:
                    self._left -= available
                    return
                position += self._left
                self._inside = False
                if self._opcode < _CLOSE:
                    if self._final and self._message:
                        self._message = False
                        self.ended += 1
                else:
                    self.control += 1
                    if self._opcode == _CLOSE:
                        self._closed()
                        return
            if position == end:
                return
            first = data[position]
            opcode = first & 0x0F
            if first & 0x30 or 2 < opcode < _CLOSE or opcode > 10:
                self.stop("its bytes are not websocket frames")
                return
            # The first byte of a torn header comes round again with the next bytes; a message begins once.
            if 0 < opcode < _CLOSE and not self._message:
                self._message = True
                self.begun += 1
            if end - position < 2:
                self._header = data[position:]
                return
            second = data[position + 1]
            length = second & 0x7F
            size = _HEADER_SIZES.get(length, 2)
            masked = second & 0x80
            if masked:
                size += 4
            if end - position < size:
                self._header = data[position:]
                return
            if length > 125:
                if opcode >= _CLOSE:
                    self.stop("its bytes are not websocket frames")
                    return
                length = int.from_bytes(data[position + 2 : position + (4 if length == 126 else 10)], "big")
                if length >> 63:
                    self.stop("its bytes are not websocket frames")
                    return
            position += size
            self._inside = True
            self._left = length
            self._opcode = opcode
            self._final = first >= 0x80
            if opcode == _CLOSE:
                self._key = data[position - 4 : position] if masked else b""

    def _closed(self) -> None:
        """Behind a close frame there is nothing to follow."""
        payload = bytes(self._control)
        if self._key:
            payload = bytes(byte ^ self._key[place & 3] for place, byte in enumerate(payload))
        self.close_code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
        self.close_reason = payload[2:].decode(errors="replace")
        self._phase = _BLIND
        self._control = bytearray()

    def _in_head(self, data: bytes) -> None:
        # A head may come one byte at a time: only what is new, and three bytes before it, can hold its end.
        start = max(len(self._head) - 3, 0)
        self._head += data
        while True:
            end = self._head.find(b"\r\n\r\n", start)
            if end < 0:
                if len(self._head) > HEAD_LIMIT:
                    self.stop("its handshake does not end")
                return
            if not self._answering:
                break
            status = _STATUS.match(self._head)
            self.status = int(status[1]) if status else 0
            if self.status == 101:
                break
            if not 100 <= self.status < 200:
                self.stop("it is no websocket")
                return
            # An interim answer (RFC 9110, 15.2); the one that counts comes behind it.
            del self._head[: end + 4]
            start = 0
        rest = bytes(self._head[end + 4 :])
        self._head = bytearray()
        self._phase = _IN_FRAMES
        if rest:
            self._frames(rest)


def _is_message(data: bytes) -> bool:
    """Whether these bytes are one data message in one frame and nothing else, which is what nearly always comes."""
    size = len(data)
    if size < 2 or data[0] not in _WHOLE:
        return False
    second = data[1]
    length = second & 0x7F
    if length < 126:
        length += 2
    elif length == 126 and size > 3:
        length = (data[2] << 8) + data[3] + 4
    else:
        return False
    return length + (second >> 7) * 4 == size
