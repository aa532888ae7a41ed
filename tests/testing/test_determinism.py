"""Trio's scheduler as a function of a seed, and as it was afterwards."""

from __future__ import annotations

import pytest
import trio
from trio._core import _run

from coworld_actors.testing import deterministic


async def order_of_tasks() -> list[int]:
    """In which order eight tasks that could all run are run, ten times over."""
    order: list[int] = []

    async def task(number: int) -> None:
        for _ in range(10):
            order.append(number)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(task, number)
    return order


def test_a_seed_is_an_order():
    """The same one twice; other seeds have others."""
    orders = []
    for seed in (1, 1, 2, "text", "text"):
        with deterministic(seed):
            orders.append(tuple(trio.run(order_of_tasks)))
    assert orders[0] == orders[1]
    assert orders[3] == orders[4]
    assert len(set(orders)) == 3


def test_everything_is_put_back(monkeypatch):
    """Also when the block raises."""
    monkeypatch.setattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", False)
    state = _run._r.getstate()

    def fail() -> None:
        with deterministic(1):
            assert _run._ALLOW_DETERMINISTIC_SCHEDULING
            trio.run(order_of_tasks)
            {}["nothing"]

    with pytest.raises(KeyError):
        fail()
    assert _run._r.getstate() == state
    assert not _run._ALLOW_DETERMINISTIC_SCHEDULING
