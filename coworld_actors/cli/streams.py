"""stdout and stderr: the one way to them, for text that nobody can vouch for and for ends that nobody reads any more."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TextIO, cast

from coworld_protocol.errors import PreconditionMissing

__all__ = ["Stream", "encodable"]


class Stream:
    """A text stream that never raises: what cannot be written is lost, and why is kept.

    A character that the stream's encoding lacks is written as its escape. After a failure the descriptor leads to /dev/null:
    the interpreter flushes both streams when it ends, and would turn a second failure into an exit code of its own.

    Args:
        target: None for a stream that was closed before we were started.

    Attributes:
        failure: the first error, None while there is none.
    """

    def __init__(self, target: TextIO | None) -> None:
        self._target = target
        self.failure: OSError | None = None

    @property
    def file(self) -> TextIO:
        """This, for libraries that ask for a file and use no more than what is here."""
        return cast("TextIO", self)

    @property
    def encoding(self) -> str:
        """As the stream's own; UTF-8 where there is none."""
        return getattr(self._target, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether a terminal is behind it."""
        try:
            return self._target is not None and self._target.isatty()
        except ValueError:
            return False

    def write(self, text: str) -> int:
        """Write, or forget."""
        if self._target is not None and self.failure is None:
            try:
                self._target.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except OSError as error:
                self._fail(error)
            except ValueError:
                self._target = None
        return len(text)

    def write_utf8(self, data: bytes) -> None:
        """Write bytes that are UTF-8 whatever the stream's encoding, and flush."""
        buffer = getattr(self._target, "buffer", None)
        if buffer is None:
            self.write(data.decode())
        elif self.failure is None:
            self.flush()
            try:
                buffer.write(data)
            except OSError as error:
                self._fail(error)
        self.flush()

    def flush(self) -> None:
        """Flush, or forget."""
        if self._target is not None and self.failure is None:
            try:
                self._target.flush()
            except OSError as error:
                self._fail(error)
            except ValueError:
                self._target = None

    def trouble(self, name: str) -> PreconditionMissing | None:
        """What a user has to know of a failure; nothing when the reader has just gone, which is the reader's right.

        Args:
            name: what the stream is called.
        """
        if self.failure is None or self.failure.errno == errno.EPIPE:
            return None
        return PreconditionMissing(
            f"{name} cannot be written: {self.failure.strerror}", todo="free some space there, or send it elsewhere"
        )

    def _fail(self, error: OSError) -> None:
        self.failure = error
        with contextlib.suppress(OSError, ValueError, AttributeError):
            assert self._target is not None
            number = self._target.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.dup2(nowhere, number)
            finally:
                os.close(nowhere)


def encodable(text: str) -> str:
    """A text that UTF-8 can spell: bytes of a file name that were none are escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
