"""Rivals as processes."""

from __future__ import annotations

import sys

import psutil
import pytest

from coworld_bench.contestants import Contestant, rival_command, started
from coworld_bench.rivals import RIVALS
from coworld_protocol.errors import PreconditionMissing


def test_lines_that_are_not_asked_for_are_passed_over() -> None:
    """What a server says before the line that is waited for does not matter."""
    contestant = Contestant([sys.executable, "-c", "print('hello'); print('ready 123', flush=True); input()"])
    try:
        assert contestant.port() == 123
        assert psutil.pid_exists(contestant.pid)
    finally:
        contestant.close()


def test_one_that_ends_is_named_with_its_last_words() -> None:
    """A rival that cannot start says why, and we pass it on."""
    contestant = Contestant([sys.executable, "-c", "raise SystemExit('no such library')"])
    try:
        with pytest.raises(PreconditionMissing, match="ended") as caught:
            contestant.port()
    finally:
        contestant.close()
    assert caught.value.evidence == "no such library"


def test_one_that_says_nothing_is_given_up() -> None:
    """Waiting has an end."""
    contestant = Contestant([sys.executable, "-c", "input()"])
    try:
        with pytest.raises(PreconditionMissing, match="said nothing"):
            contestant.line("ready ", 0.05)
    finally:
        contestant.close()


def test_all_are_ended_with_the_block() -> None:
    """Whatever happens in the block, no server outlives it."""
    names = [name for name in ("pump", "c-frames") if not RIVALS[name].missing]
    before = {child.pid for child in psutil.Process().children()}

    def work() -> None:
        with started({name: rival_command(RIVALS[name], "echo") for name in names}) as running:
            assert all(contestant.port() > 0 for contestant in running.values())
            assert len({child.pid for child in psutil.Process().children()} - before) == len(names)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert {child.pid for child in psutil.Process().children()} <= before


def test_a_rival_ends_when_it_is_let_go() -> None:
    """A server whose parent has gone does not stay: it ends with its standard input."""
    contestant = Contestant(rival_command(RIVALS["raw-epoll"], "echo"))
    try:
        contestant.port()
        process = contestant._process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0
        process.stdin = None
    finally:
        contestant.close()
