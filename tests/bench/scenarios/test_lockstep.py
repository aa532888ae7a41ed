"""The lockstep scenario: games and players as processes."""

from __future__ import annotations

import msgspec
import pytest

from coworld_bench.plan import Plan
from coworld_bench.rivals import RIVALS
from coworld_bench.scenarios import lockstep
from coworld_bench.scenarios.lockstep import PAIRS, Pair, play


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_a_pair_plays_an_episode(pair: Pair, plan: Plan) -> None:
    """Game and players of each kind find each other, play and end."""
    assert not pair.missing
    assert play(plan, pair, 2, 200) > 0


def test_every_number_of_players_is_measured(plan: Plan, monkeypatch) -> None:
    """A full run looks at pinned processes first and then at those that the kernel places."""
    monkeypatch.setattr(lockstep, "CELLS", ((1, 200),))
    full = msgspec.structs.replace(plan, quick=False, names=frozenset({"sdk"}))
    assert [cell.title for cell in lockstep.run(full)] == ["1 player, 200 B", "1 player, 200 B, not pinned"]
    assert [cell.title for cell in lockstep.run(msgspec.structs.replace(full, quick=True))] == ["1 player, 200 B"]


def test_what_a_pair_needs_is_what_its_ends_need(monkeypatch) -> None:
    """A pair is as incomplete as the worse of its ends."""
    fastapi = next(pair for pair in PAIRS if pair.name == "fastapi")
    monkeypatch.setitem(
        RIVALS, "websockets", msgspec.structs.replace(RIVALS["websockets"], packages=("no-such-thing",))
    )
    assert fastapi.missing == "no-such-thing"
