"""What is open when the interpreter ends. Whole processes that end are in `test_for_threads`."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from coworld_actors.runtime import at_exit


class Open:
    """Something open that writes down what it is asked."""

    def __init__(self, asked: list[str], name: str, *, forked: bool = False) -> None:
        self.asked = asked
        self.name = name
        self.forked = forked

    def leave(self) -> None:
        self.asked.append(f"leave {self.name}")

    def outlast(self) -> bool:
        self.asked.append(f"outlast {self.name}")
        return True


@pytest.fixture
def asked() -> Generator[list[str]]:
    """Three open things, of which one is the parent's and one has ended."""
    asked: list[str] = []
    things = [Open(asked, "one"), Open(asked, "two"), Open(asked, "the parent's", forked=True), Open(asked, "ended")]
    for thing in things:
        at_exit.keep(thing)
    at_exit.forget(things[-1])
    at_exit.forget(things[-1])
    yield asked
    for thing in things:
        at_exit.forget(thing)


def test_everything_is_asked_before_anything_is_awaited(asked: list[str]) -> None:
    """They end side by side; what has ended and what is a parent's is left alone."""
    at_exit.leave_all()
    assert asked == ["leave one", "leave two", "outlast one", "outlast two"]


def test_what_other_threads_use_is_left_after_them(asked: list[str]) -> None:
    """The interpreter waits for threads that are no daemons; as long as there is one, nothing is taken away from it."""
    gate = threading.Event()
    using = threading.Thread(target=gate.wait)
    using.start()
    at_exit.leave_all_unless_used()
    assert asked == []
    gate.set()
    using.join()
    at_exit.leave_all_unless_used()
    assert len(asked) == 4
