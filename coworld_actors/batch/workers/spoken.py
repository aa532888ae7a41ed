"""What a worker process writes to its standard output and error: passed on line by line, not too much of it, and its last words."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import trio

from coworld_protocol.printable import printable

__all__ = ["LINES", "LINE_WIDTH", "Spoken"]

LINES = 100
"""Lines that are passed on in `WINDOW_SECONDS`; the rest is counted."""
WINDOW_SECONDS = 10.0
LINE_WIDTH = 1000
"""Characters of a line that are passed on."""

_KEPT = 16 * 1024
_WORDS = 400
_BLOCKED = "the event loop has been blocked"
_FATAL = "Fatal Python error"
_PLACE = "  File "


@final
class Spoken:
    """One worker's output.

    Args:
        who: leads every line.
        note: takes them.
    """

    def __init__(self, who: str, note: Callable[[str], None]) -> None:
        self._who = who
        self._note = note
        self._kept = bytearray()
        self._rest = b""
        self._window = -WINDOW_SECONDS
        self._passed = 0
        self._left_out = 0

    async def listen(self, process: trio.Process) -> None:
        """Read until its end; never makes the worker wait."""
        assert process.stdout is not None
        try:
            async for data in process.stdout:
                self.take(bytes(data))
        finally:
            self.close()

    def take(self, data: bytes) -> None:
        """Some of the output."""
        self._kept += data
        del self._kept[:-_KEPT]
        *lines, rest = (self._rest + data).split(b"\n")
        # A line without an end is not collected for ever.
        self._rest = rest[: 4 * LINE_WIDTH]
        for line in lines:
            self._pass_on(line)

    def close(self) -> None:
        """The output has ended."""
        if self._rest:
            self._pass_on(self._rest)
        self._rest = b""
        self._tell_left_out()

    def last_words(self) -> str:
        """What says most about its end, in one line: who blocked its loop, where it crashed, or the last line."""
        lines = bytes(self._kept).decode(errors="replace").splitlines()
        at = max((n for n, line in enumerate(lines) if line.startswith((_BLOCKED, _FATAL))), default=None)
        if at is not None:
            words = lines[at]
            if words.startswith(_FATAL):
                words += next((f", {line.strip()}" for line in lines[at:] if line.startswith(_PLACE)), "")
        else:
            # Stacks that were asked for have their innermost call first.
            place = next((line.strip() for line in reversed(_stack(lines))), "")
            words = place or next((line for line in reversed(lines) if line.strip()), "")
        return printable(words.strip())[:_WORDS]

    def _pass_on(self, line: bytes) -> None:
        now = trio.current_time()
        if now - self._window >= WINDOW_SECONDS:
            self._tell_left_out()
            self._window, self._passed = now, 0
        if self._passed < LINES:
            self._passed += 1
            text = line[: 4 * LINE_WIDTH].decode(errors="replace").rstrip()
            self._note(f"{self._who}: {printable(text)[:LINE_WIDTH]}")
        else:
            self._left_out += 1

    def _tell_left_out(self) -> None:
        if self._left_out:
            self._note(f"{self._who}: {self._left_out} more lines are left out")
        self._left_out = 0


def _stack(lines: list[str]) -> list[str]:
    """The calls of a stack that the output ends with, reversed: outermost first."""
    found: list[str] = []
    for line in reversed(lines):
        if not line.startswith(_PLACE):
            break
        found.append(line)
    return found
