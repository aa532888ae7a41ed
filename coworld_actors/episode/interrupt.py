"""The caller's way to end an episode in order: what runs under a scope of an interrupt is cancelled when it is raised."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import trio

__all__ = ["Interrupt"]


class Interrupt:
    """Raised once, by anybody on trio's thread; stays raised.

    Attributes:
        raised: whether it is.
        reason: what the one who raised it said.
    """

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()
        self._thrown = trio.Event()
        self.reason = ""
        self.raised = False

    def throw(self, reason: str) -> None:
        """Cancel every open scope, and every later one at once."""
        if self.raised:
            return
        self.raised = True
        self.reason = reason
        self._thrown.set()
        for scope in self._scopes:
            scope.cancel(reason=reason)

    async def wait(self) -> str:
        """Wait until it is raised; returns what the one who raised it said."""
        await self._thrown.wait()
        return self.reason

    @contextmanager
    def scope(self) -> Generator[trio.CancelScope]:
        """A scope that ends when the interrupt is raised."""
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            if self.raised:
                scope.cancel(reason=self.reason)
            try:
                yield scope
            finally:
                self._scopes.discard(scope)
