"""One attempt at a time at what many want at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import trio

__all__ = ["Shared"]

Result = TypeVar("Result")


class Shared(Generic[Result]):
    """Who comes while an attempt is under way shares its end.

    Also a bad end: a hundred that come together wait for one failure, not for a hundred one after the other.
    """

    def __init__(self) -> None:
        self._attempt: _Attempt | None = None

    async def of(self, make: Callable[[], Awaitable[Result]]) -> Result:
        """What the attempt under way brings, or else a new one.

        Raises:
            Exception: what the attempt raised.
        """
        while self._attempt is not None:
            attempt = self._attempt
            await attempt.over.wait()
            if attempt.error is not None:
                raise attempt.error
            if attempt.made:
                result: Result = attempt.result
                return result
        self._attempt = attempt = _Attempt()
        try:
            attempt.result = await make()
            attempt.made = True
        except Exception as error:
            attempt.error = error
            raise
        finally:
            # One that was cancelled has neither result nor error: the first who waited makes the next.
            self._attempt = None
            attempt.over.set()
        made: Result = attempt.result
        return made


class _Attempt:
    def __init__(self) -> None:
        self.over = trio.Event()
        self.made = False
        self.result: Any = None
        self.error: Exception | None = None
