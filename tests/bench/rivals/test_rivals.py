"""Every rival does what it is compared for, in a process of its own."""

from __future__ import annotations

import pytest

from coworld_bench.contestants import Contestant, rival_command
from coworld_bench.load import run_load
from coworld_bench.rivals import RIVALS, Mode

CASES = [(name, mode) for name, rival in RIVALS.items() for mode in rival.modes if mode in {"echo", "ticks"}]


@pytest.mark.parametrize(("name", "mode"), CASES, ids=lambda value: value)
def test_a_rival_serves_many_connections(name: str, mode: Mode) -> None:
    """Each echoes at its whole length, or ticks in lockstep and begins anew when others take the seats."""
    rival = RIVALS[name]
    assert not rival.missing
    server = Contestant(rival_command(rival, mode, seats=3))
    try:
        port = server.port()
        for _ in range(2):
            load = run_load(
                "raw" if rival.raw else "ticks" if mode == "ticks" else "echo",
                port,
                connections=3,
                size=5000,
                seconds=0.1,
                warmup=0.05,
            )
            assert load.most >= 1
            if mode == "ticks":
                assert load.most - load.least <= 1
    finally:
        server.close()


def test_names_and_titles_are_unique() -> None:
    """Nobody is mistaken for somebody else."""
    assert all(name == rival.name for name, rival in RIVALS.items())
    assert len({rival.title for rival in RIVALS.values()}) == len(RIVALS)
