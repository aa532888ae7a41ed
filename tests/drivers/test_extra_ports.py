"""Extra ports: choosing them, telling the game, and saying clearly what cannot be."""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from collections.abc import Iterator

import pytest

from coworld_drivers import extra_ports, ports
from coworld_drivers.driver import ExtraPort, MachineFault, StartFailed
from coworld_drivers.extra_ports import choose_outside, parse_extra_ports, port_variables, same_outside
from coworld_protocol.errors import Refused


@pytest.fixture
def free() -> Iterator[int]:
    """A port that nobody uses and no role of this process is given."""
    port = ports.claim()
    ports.release(port)
    yield port
    ports.release(port)


@pytest.fixture
def used() -> Iterator[int]:
    """A port at which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_wish_becomes_ports() -> None:
    """As the protocol reads it; what it refuses is refused with the next step."""
    assert parse_extra_ports(" ") == ()
    assert parse_extra_ports("3724,8085:9000/tcp") == (ExtraPort(inside=3724), ExtraPort(inside=8085, outside=9000))
    with pytest.raises(Refused, match="COWORLD_LOCAL_EXTRA_PORTS") as caught:
        parse_extra_ports("3724/udp")
    assert "'3724/udp'" in caught.value.evidence
    assert "game.runnable.env" in caught.value.todo


def test_a_game_is_told_both_ways() -> None:
    """One variable per port, and all of them as JSON with sorted keys and no spaces."""
    assert port_variables(()) == {}
    told = port_variables((ExtraPort(inside=8085, outside=9000), ExtraPort(inside=3724, outside=41234)))
    text = told.pop("COWORLD_LOCAL_PORTS_JSON")
    assert text == '{"3724":{"host":"127.0.0.1","port":41234},"8085":{"host":"127.0.0.1","port":9000}}'
    assert told == {"COWORLD_LOCAL_PORT_8085": "127.0.0.1:9000", "COWORLD_LOCAL_PORT_3724": "127.0.0.1:41234"}
    assert json.loads(text)["3724"]["port"] == 41234


def test_free_ports_are_chosen_and_wished_ones_kept(free: int) -> None:
    """All different from each other and from what is promised."""
    wishes = (ExtraPort(inside=1), ExtraPort(inside=2, outside=free), ExtraPort(inside=3))
    first, second, third = choose_outside(wishes, {4711})
    assert second == wishes[1]
    assert (first.inside, third.inside) == (1, 3)
    assert len({first.outside, third.outside, free, 4711, None}) == 5
    assert ports.obstacle(first.outside or 0) is None


def test_a_port_that_is_drawn_twice_is_used_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may well be asked twice."""
    draws = iter([11000, 11000, 11001, 11001, 11002])
    monkeypatch.setattr(extra_ports, "_recent", deque())
    monkeypatch.setattr(ports, "claim", lambda: next(draws))
    two = choose_outside((ExtraPort(inside=1), ExtraPort(inside=2)), ())
    assert [port.outside for port in two] == [11000, 11001]
    # Nor by an episode that begins before the other one's game listens.
    assert choose_outside((ExtraPort(inside=1),), ())[0].outside == 11002


def test_when_no_port_is_free_that_is_the_machines_fault() -> None:
    """After as many draws as the contract allows."""
    everything = range(65536)
    with pytest.raises(MachineFault, match="no free TCP port") as caught:
        choose_outside((ExtraPort(inside=1),), everything)
    assert "100 draws" in caught.value.evidence


def test_a_wished_port_in_use_is_the_machines_fault(used: int) -> None:
    """With the port and how to find out who has it."""
    with pytest.raises(MachineFault, match="extra port 3724 is not free") as caught:
        choose_outside((ExtraPort(inside=3724, outside=used),), ())
    assert str(used) in caught.value.evidence
    assert str(used) in caught.value.todo


def test_the_games_main_port_is_no_extra_port(free: int) -> None:
    """A wish for it is refused with what to write."""
    with pytest.raises(StartFailed, match="in use by this run") as caught:
        choose_outside((ExtraPort(inside=3724, outside=free),), {free})
    assert "3724 alone" in caught.value.todo


def test_without_a_network_of_its_own_outside_is_inside(free: int) -> None:
    """Claimed until it is released, and told as it is."""
    assert same_outside((ExtraPort(inside=free),)) == (ExtraPort(inside=free, outside=free),)
    with pytest.raises(MachineFault, match="not free"):
        same_outside((ExtraPort(inside=free, outside=free),))
    ports.release(free)
    assert same_outside((ExtraPort(inside=free, outside=free),)) == (ExtraPort(inside=free, outside=free),)


def test_without_a_network_of_its_own_nothing_is_mapped(free: int, used: int) -> None:
    """A wish for another port cannot be kept, and what was claimed before is given back."""
    for wish, error in (
        (ExtraPort(inside=used, outside=free), StartFailed),
        (ExtraPort(inside=used), MachineFault),
    ):
        with pytest.raises(error) as caught:
            same_outside((ExtraPort(inside=free), wish))
        assert caught.value.todo
        assert ports.claim_this(free) is None
        ports.release(free)


def test_a_port_that_may_not_be_listened_at_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Permission is another thing than a taken port."""

    def refuse(port: int) -> OSError:
        del port
        return PermissionError(13, os.strerror(13))

    monkeypatch.setattr(ports, "claim_this", refuse)
    with pytest.raises(MachineFault, match="cannot listen at its extra port 80") as caught:
        same_outside((ExtraPort(inside=80),))
    assert "Permission denied" in caught.value.evidence
