"""Frames as tests want them, and those that break RFC 6455, with the close code that each of them earns."""

from __future__ import annotations

__all__ = ["BROKEN", "MESSAGE_BYTES", "frame", "unmasked"]

MESSAGE_BYTES = 64 * 1024
"""Limit on a message for which some of the frames are too long."""


def frame(
    first: int, payload: bytes = b"", *, length: bytes | None = None, mask: bytes | None = b"\x37\xfa\x21\x3d"
) -> bytes:
    """A frame as the test wants it, right or wrong.

    Args:
        first: its first byte: FIN, reserved bits and opcode.
        payload: before masking.
        length: all bytes of the length in place of the right ones; the mask bit is added.
        mask: None leaves it unmasked.
    """
    if length is None:
        size = len(payload)
        length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
        if size > 65535:
            length = b"\x7f" + size.to_bytes(8, "big")
    head = bytes([first, length[0] | (0x80 if mask else 0)]) + length[1:]
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def unmasked(data: bytes) -> bytes:
    """The same frames as a server sends them."""
    frames = b""
    while data:
        size = {126: 2, 127: 8}.get(data[1] & 0x7F, 0)
        length = data[1:2] + data[2 : 2 + size]
        plain = int.from_bytes(length[1:], "big") if size else length[0] & 0x7F
        mask, data_from = data[2 + size : 6 + size], 6 + size
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data[data_from : data_from + plain]))
        frames += frame(data[0], payload, length=bytes([length[0] & 0x7F]) + length[1:], mask=None)
        data = data[data_from + plain :]
    return frames


LONG = b"x" * 126
BROKEN = {
    "unmasked-text": (frame(0x81, b"hi", mask=None), 1002),
    "unmasked-ping": (frame(0x89, b"", mask=None), 1002),
    "rsv1-without-deflate": (frame(0xC1, b"hi"), 1002),
    "rsv2": (frame(0xA1, b"hi"), 1002),
    "rsv3": (frame(0x91, b"hi"), 1002),
    "rsv1-on-a-ping": (frame(0xC9), 1002),
    **{f"opcode-{opcode}": (frame(0x80 | opcode), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "long-ping": (frame(0x89, LONG), 1002),
    "long-close": (frame(0x88, b"\x03\xe8" + LONG), 1002),
    "fragmented-ping": (frame(0x09, b"hi"), 1002),
    "fragmented-close": (frame(0x08, b"\x03\xe8"), 1002),
    "continuation-of-nothing": (frame(0x80, b"hi"), 1002),
    "message-inside-of-another": (frame(0x01, b"one") + frame(0x81, b"two"), 1002),
    "16-bit-length-that-fits-7": (frame(0x82, b"x" * 125, length=b"\x7e\x00\x7d"), 1002),
    "64-bit-length-that-fits-16": (frame(0x82, b"x" * 200, length=b"\x7f" + (200).to_bytes(8, "big")), 1002),
    "64-bit-length-with-the-high-bit": (frame(0x82, b"", length=b"\x7f\x80" + bytes(7)), 1002),
    "not-utf8": (frame(0x81, b"\xc3\x28"), 1007),
    "utf8-overlong": (frame(0x81, b"\xc0\xaf"), 1007),
    "utf8-surrogate": (frame(0x81, b"\xed\xa0\x80"), 1007),
    "utf8-beyond-unicode": (frame(0x81, b"\xf4\x90\x80\x80"), 1007),
    "not-utf8-split-over-frames": (frame(0x01, b"\xce\xba\xe1") + frame(0x00, b"\xbd") + frame(0x80, b"\xff"), 1007),
    "text-that-ends-inside-of-a-character": (frame(0x01, b"gr\xc3") + frame(0x80), 1007),
    "too-long": (frame(0x82, b"", length=b"\x7f" + (MESSAGE_BYTES + 1).to_bytes(8, "big")), 1009),
    "long-beyond-all-memory": (frame(0x82, b"", length=b"\x7f\x7f" + b"\xff" * 7), 1009),
    "too-long-over-fragments": (
        frame(0x02, bytes(40_000)) + frame(0x00, bytes(20_000)) + frame(0x80, bytes(10_000)),
        1009,
    ),
    "close-of-one-byte": (frame(0x88, b"\x03"), 1002),
    **{
        f"close-code-{code}": (frame(0x88, code.to_bytes(2, "big")), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1100, 2999, 5000, 65535)
    },
    "close-reason-not-utf8": (frame(0x88, b"\x03\xe8\xff\xff"), 1007),
}
"""Bytes behind a good handshake, from a client, and the code they earn where messages are limited to `MESSAGE_BYTES`."""
