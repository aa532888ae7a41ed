"""`coworld_protocol.sdk.audience`: those who look on, without a network."""

from __future__ import annotations

import pytest

from coworld_protocol.sdk.audience import Audience


@pytest.fixture
def log() -> list:
    """What the audience has told its owner."""
    return []


@pytest.fixture
def audience(log) -> Audience:
    """An audience that is greeted with two frames and listened to."""
    return Audience(
        lambda: [b"first", b"second"], lambda: log.append("left"), lambda socket, payload: log.append(payload)
    )


def enter(audience, socket):
    endpoint = audience.endpoint()
    endpoint.opened(socket)
    return endpoint


def test_everybody_is_greeted_and_then_shown_the_same(audience, held_socket):
    """The greeting comes first; the same frame goes to all."""
    early, late = held_socket(), held_socket()
    enter(audience, early)
    audience.show(b"tick")
    enter(audience, late)
    audience.show(b"tock")
    assert early.frames == [b"first", b"second", b"tick", b"tock"]
    assert late.frames == [b"first", b"second", b"tock"]
    assert len(audience) == 2


def test_who_has_gone_is_shown_nothing(audience, held_socket, log):
    """Leaving is told once, and an empty audience is false."""
    socket = held_socket()
    endpoint = enter(audience, socket)
    endpoint.closed(1006)
    audience.show(b"tick")
    assert socket.frames == [b"first", b"second"]
    assert log == ["left"]
    assert not audience


def test_what_is_said_is_heard_if_anybody_listens(audience, held_socket, log):
    """A listener gets every message; without one they are dropped."""
    enter(audience, held_socket()).received(b"hi", True)
    assert log == [b"hi"]
    enter(Audience(list, lambda: None), held_socket()).received(b"hi", True)
    assert log == [b"hi"]


def test_the_end_closes_everybody_and_whoever_still_comes(audience, held_socket):
    """After the good-bye a newcomer gets the greeting and a proper close."""
    early, late = held_socket(), held_socket()
    enter(audience, early)
    audience.dismiss()
    enter(audience, late)
    assert early.closes == late.closes == [(1000, "episode over")]
    assert late.frames == [b"first", b"second"]
