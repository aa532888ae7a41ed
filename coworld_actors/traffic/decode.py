"""Frames out of recorded bytes: unmasked, inflated where that was agreed on, and never more than a bounded part of each."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from coworld_actors.traffic.scan import HEAD_LIMIT
from coworld_protocol.ws.deflate import EXTENSION, Inflater, read_answer
from coworld_protocol.ws.fields import read_extensions
from coworld_protocol.ws.masking import apply_mask
from coworld_protocol.ws.violation import Violation

__all__ = ["KEPT", "Piece", "StreamDecoder", "agreed_inflaters"]

KEPT = 1024 * 1024
"""Bytes of a frame's payload that are kept, packed and unpacked."""

_KINDS = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
_EXTENSIONS = re.compile(rb"(?im)^sec-websocket-extensions[ \t]*:([^\r\n]*)")
_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})")


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A frame, or the head of a handshake.

    Attributes:
        kind: `text`, `binary`, `continuation`, `close`, `ping`, `pong`; `request` or `answer` for a handshake; `unreadable` for bytes
            that are no frames.
        payload: unmasked and unpacked; the first `KEPT` bytes.
        size: bytes of the payload on the wire.
        final: the last frame of its message.
        packed: it is part of a compressed message.
        note: what is wrong with it, if anything.
    """

    kind: str
    payload: bytes = b""
    size: int = 0
    final: bool = True
    packed: bool = False
    note: str = ""


class StreamDecoder:
    """One direction of one connection.

    Args:
        answering: it begins with the answer to a handshake.
        on_agreed: called with the head of an answer that agrees to a websocket, before any frame behind it is read.

    Attributes:
        inflater: what unpacks compressed messages, once the handshake has agreed on it.
    """

    def __init__(self, *, answering: bool, on_agreed: Callable[[bytes], None] = lambda _: None) -> None:
        self._answering = answering
        self._on_agreed = on_agreed
        self._buffer = bytearray()
        self._in_head = True
        self._broken = False
        # The frame under way: its first byte, what is missing of its payload, what is kept of it, its size and key.
        self._frame: int | None = None
        self._left = 0
        self._kept = bytearray()
        self._size = 0
        self._key = b""
        self._packed = False  # the message under way is compressed
        self.inflater: Inflater | None = None

    def feed(self, data: bytes) -> list[Piece]:
        """What the next bytes complete."""
        found: list[Piece] = []
        if self._broken:
            return found
        self._buffer += data
        if self._in_head and not self._take_head(found):
            return found
        while not self._broken:
            if self._frame is None and not self._take_header(found):
                break
            part = self._buffer[: self._left]
            del self._buffer[: self._left]
            self._left -= len(part)
            self._kept += part[: max(KEPT - len(self._kept), 0)]
            if self._left:
                break
            found.append(self._finished())
        return found

    def _take_head(self, found: list[Piece]) -> bool:
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > HEAD_LIMIT:
                    self._break(found, "a handshake that does not end")
                return False
            head = bytes(self._buffer[: end + 4])
            del self._buffer[: end + 4]
            found.append(Piece(kind="answer" if self._answering else "request", payload=head, size=len(head)))
            if not self._answering:
                break
            matched = _STATUS.match(head)
            status = int(matched[1]) if matched else 0
            if status == 101:
                self._on_agreed(head)
                break
            if not 100 <= status < 200:
                self._break(found, "")
                return False
        self._in_head = False
        return True

    def _take_header(self, found: list[Piece]) -> bool:
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        first, second = buffer[0], buffer[1]
        length = second & 0x7F
        size = 2 + {126: 2, 127: 8}.get(length, 0)
        masked = second & 0x80
        if len(buffer) < size + (4 if masked else 0):
            return False
        if length > 125:
            length = int.from_bytes(buffer[2:size], "big")
        opcode = first & 0x0F
        if opcode not in _KINDS or first & 0x30 or length >> 63 or (opcode >= 8 and length > 125):
            self._break(found, "what comes here is not a websocket frame; nothing behind it is read")
            return False
        self._key = bytes(buffer[size : size + 4]) if masked else b""
        del buffer[: size + (4 if masked else 0)]
        self._frame, self._left, self._size = first, length, length
        self._kept = bytearray()
        return True

    def _finished(self) -> Piece:
        """The frame under way, which is whole."""
        assert self._frame is not None
        first, self._frame = self._frame, None
        opcode = first & 0x0F
        final = first >= 0x80
        payload = bytes(self._kept)
        self._kept = bytearray()
        if self._key:
            payload = apply_mask(payload, self._key)
        note = "" if len(payload) == self._size else f"only its first {KEPT} bytes are shown"
        if opcode in {1, 2}:
            self._packed = bool(first & 0x40)
        packed = self._packed and opcode < 8
        if packed:
            payload, note = self._unpacked(payload, final=final, whole=not note)
        return Piece(kind=_KINDS[opcode], payload=payload, size=self._size, final=final, packed=packed, note=note)

    def _unpacked(self, payload: bytes, *, final: bool, whole: bool) -> tuple[bytes, str]:
        if self.inflater is None:
            return payload, "compressed, and it cannot be unpacked"
        if not whole:
            self.inflater = None
            return b"", "cannot be unpacked: too big"
        try:
            payload = self.inflater.feed(payload, KEPT)
            if final:
                payload += self.inflater.finish(KEPT - len(payload))
        except Violation as violation:
            # Later messages may refer to what is missing now.
            self.inflater = None
            return b"", f"cannot be unpacked: {violation.reason}"
        return payload, ""

    def _break(self, found: list[Piece], note: str) -> None:
        self._broken = True
        self._buffer = bytearray()
        if note:
            found.append(Piece(kind="unreadable", note=note))


def agreed_inflaters(answer: bytes) -> tuple[Inflater | None, Inflater | None]:
    """What unpacks the game's and the player's messages, by the head of the game's answer; None where nothing was agreed on."""
    value = b", ".join(_EXTENSIONS.findall(answer)).decode("latin-1")
    try:
        for name, parameters in read_extensions(value):
            if name == EXTENSION:
                agreed = read_answer(parameters)
                return agreed.inflater(server=False), agreed.inflater(server=True)
    except ValueError:
        pass
    return None, None
