"""The game that all rivals play."""

from __future__ import annotations

import json

import msgspec
import pytest

from coworld_bench.rivals.job import Final, Job, Move, Observation, Table, answer


def test_an_observation_is_as_long_as_asked_for() -> None:
    """Everybody sends the same bytes: size is what is compared, too."""
    table = Table(Job(size=2048))
    assert abs(len(table.observation()) - 2048) <= 4
    assert msgspec.json.decode(table.observation(), type=Observation).tick == 0


def test_the_table_waits_for_all_seats_and_all_answers() -> None:
    """The first observation is due with the last seat, each further one with the last answer."""
    table = Table(Job(seats=2))
    assert not table.sit("a")
    assert table.sit("b")
    assert not table.answered()
    assert table.answered()
    assert table.tick == 1
    assert not table.answered()
    table.leave("a")
    assert table.sit("c")
    assert not table.answered()
    assert table.answered()


def test_a_game_ends_with_its_time_and_says_how_many_ticks(capsys) -> None:
    """Ticks of the warm-up do not count; the last message is the final one."""
    table = Table(Job(seats=1, warmup=0.01, seconds=0.02))
    table.sit("a")
    message: bytes | None = table.observation()
    while not table.done:
        assert message is not None
        move = answer(message)
        assert move is not None
        message = table.moved(move)
    assert message is not None
    assert answer(message) is None
    said = json.loads(capsys.readouterr().out)
    assert 0 < said["ticks"] < table.tick
    assert said["seconds"] >= 0.02


def test_a_move_that_is_none_is_refused() -> None:
    """Every rival decodes what players say; nobody saves that."""
    table = Table(Job())
    table.sit("a")
    with pytest.raises(msgspec.ValidationError):
        table.moved(b'{"jump": 1}')
    assert msgspec.json.decode(answer(msgspec.json.encode(Observation(tick=7, pad=""))) or b"", type=Move).tick == 7
    assert answer(msgspec.json.encode(Final(ticks=1))) is None
