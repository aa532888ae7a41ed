"""Lines out of a stream of bytes, whatever the other side makes of them; and bytes into it, as long as it reads."""

from __future__ import annotations

from typing import final

import trio

__all__ = ["LineTooLong", "Lines", "send"]

RECEIVE = 16 * 1024
CHUNK = 64 * 1024


class LineTooLong(Exception):
    """A line has more bytes than are taken; what is left of it will be skipped."""


@final
class Lines:
    """Reads lines. Never holds more than a line of the limit and what came in with its end.

    Args:
        stream: where they come from.
        limit: bytes of a line, its end included.
    """

    def __init__(self, stream: trio.abc.ReceiveStream, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0
        self._skipping = False
        self._ended = False

    async def next(self) -> bytes | None:
        """The next line without its end; None when there is none. A last line without an end is none.

        Raises:
            LineTooLong: it is longer than the limit; the next call goes on after it.
            trio.BrokenResourceError: the connection was lost.
        """
        while True:
            end = self._buffer.find(b"\n", self._searched)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                self._searched = 0
                skipped, self._skipping = self._skipping, False
                if skipped:
                    continue
                if end >= self._limit:
                    raise LineTooLong
                return line
            self._searched = len(self._buffer)
            if self._skipping or self._searched >= self._limit:
                self._buffer.clear()
                self._searched = 0
                if not self._skipping:
                    self._skipping = True
                    raise LineTooLong
            if not await self.fill():
                return None

    async def fill(self) -> bool:
        """Wait until something is there that `next` has not looked at; False at the end."""
        if len(self._buffer) > self._searched:
            return True
        data = b"" if self._ended else await self._stream.receive_some(RECEIVE)
        self._ended = not data
        self._buffer += data
        return not self._ended


async def send(stream: trio.abc.SendStream, data: bytes, deadline: float) -> None:
    """Send everything, as long as the other side reads.

    Args:
        stream: where it goes.
        data: any number of bytes.
        deadline: seconds for each 64 KiB.

    Raises:
        trio.TooSlowError: the other side did not read in time; the stream is of no more use.
        trio.BrokenResourceError: the connection was lost.
    """
    view = memoryview(data)
    for start in range(0, len(view), CHUNK):
        with trio.fail_after(deadline):
            await stream.send_all(view[start : start + CHUNK])
