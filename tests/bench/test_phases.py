"""One episode as a user starts it."""

from __future__ import annotations

from coworld_bench.phases import ROWS, play_variant


def test_an_episode_tells_where_its_time_went() -> None:
    """Every row has a value, and the parts are no longer than the whole."""
    found = play_variant("duel")
    assert list(found) == list(ROWS)
    assert all(value > 0 for value in found.values())
    assert found["around"] + found["seating"] < found["whole"]
