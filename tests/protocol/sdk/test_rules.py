"""`coworld_protocol.sdk.rules`: the configuration that every game shares."""

from __future__ import annotations

import msgspec
import pytest

from coworld_protocol.sdk.rules import GameConfig, Replay, player_names


def test_names_are_filled_up():
    """Seats without a name get one; names beyond the seats are dropped."""
    config = msgspec.json.decode(b'{"tokens": ["a", "b", "c"], "players": [{"name": "Ada"}]}', type=GameConfig)
    assert player_names(config) == ["Ada", "Seat 1", "Seat 2"]
    crowded = msgspec.json.decode(b'{"tokens": ["a"], "players": [{"name": "A"}, {"name": "B"}]}', type=GameConfig)
    assert player_names(crowded) == ["A"]


def test_the_defaults_are_the_documented_ones():
    """A configuration with nothing but tokens waits 180 s for seats and plays in lockstep."""
    config = msgspec.json.decode(b'{"tokens": ["a"]}', type=GameConfig)
    assert (config.player_connect_timeout_seconds, config.mode, config.tick_rate) == (180.0, "lockstep", 0.0)
    assert not config.admin


@pytest.mark.parametrize(
    "extra",
    ['"tick_rate": -1', '"tick_rate": 1001', '"tick_timeout_seconds": 0', '"mode": "x"', '"players": [{"name": ""}]'],
)
def test_values_out_of_range_are_refused(extra):
    """Each key has its range."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(f'{{"tokens": ["a"], {extra}}}', type=GameConfig)


def test_a_replay_keeps_its_parts_as_they_were_written():
    """Frames go through the replay file byte for byte."""
    data = b'{"type":"replay","start":{"a":1},"frames":[{"b":[1,2]},{"c":3.50}],"results":{"scores":[1]}}'
    assert msgspec.json.encode(msgspec.json.decode(data, type=Replay)) == data
