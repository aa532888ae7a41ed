"""The end of the interpreter: whatever the host has opened and never left is left for it, in order."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

__all__ = ["Leavable", "forget", "keep"]


class Leavable(Protocol):
    """Something open that ends in order when it is asked to."""

    @property
    def forked(self) -> bool:
        """Whether it belongs to the parent of this process, and is to be left alone."""
        ...

    def leave(self) -> None:
        """Ask for the end, without waiting."""
        ...

    def outlast(self) -> bool:
        """Wait for the end, within its own limit; whether it came."""
        ...


_open: dict[Leavable, None] = {}
_armed = False


def keep(thing: Leavable) -> None:
    """See that it is left when the interpreter ends, unless `forget` is called before."""
    global _armed  # noqa: PLW0603 - once per process
    _open[thing] = None
    if _armed:
        return
    _armed = True
    atexit.register(leave_all)
    # CPython 3.12 and later start no threads for atexit's functions, and leaving in order may need some. Where the interpreter
    # offers the earlier moment, which it made for its own thread pools, that one is taken.
    early: Callable[[Callable[[], None]], None] | None = getattr(threading, "_register_atexit", None)
    if early is not None:
        with suppress(RuntimeError):
            early(leave_all_unless_used)


def forget(thing: Leavable) -> None:
    """It has ended, or never began."""
    _open.pop(thing, None)


def leave_all_unless_used() -> None:
    """The main thread is done. Other threads that the interpreter waits for may be using what is open; it is left after them."""
    here = threading.current_thread()
    if all(thread.daemon or thread is here for thread in threading.enumerate()):
        leave_all()


def leave_all() -> None:
    """Ask everything for its end, then wait for each."""
    things = [thing for thing in tuple(_open) if not thing.forked]
    for thing in things:
        thing.leave()
    for thing in things:
        thing.outlast()
