"""From what a batch is asked for to what is played: everything is looked at before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coworld_actors.batch.options import BatchKind, BatchOptions, Bounds
from coworld_actors.batch.preparation import Prepared, check_machine, prepare_batch
from coworld_actors.batch.schedule import Seating
from coworld_actors.episode.spec import TapSpec
from coworld_protocol.errors import PreconditionMissing, Refused
from tests.coworlds import quick_manifest, write_coworld


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    """Of the quick game, with three players."""
    return str(write_coworld(tmp_path / "c", quick_manifest(values={"a": 3, "b": 2, "c": 1})))


def prepared(manifest: str, **more: Any) -> Prepared:
    return prepare_batch(BatchOptions(manifest=manifest, directory=str(Path.cwd()), **more))


def seatings(made: Prepared) -> list[tuple[int, ...]]:
    return [each.seats for each in made.schedule.episodes]


def test_without_players_the_manifests_own_are_seated(manifest: str) -> None:
    """Those of the fixture, with their shares of its seats."""
    made = prepared(manifest, rounds=2)
    assert made.schedule.entrants == ("a", "b")
    assert seatings(made) == [(0, 1), (1, 0)]
    assert (made.head.episodes, made.head.seed_key) == (2, "seed")


def test_a_round_robin_plays_every_choice(manifest: str) -> None:
    """Three players on two seats are three pairs; shares have no meaning then."""
    made = prepared(manifest, players=("a", "b", "c"), round_robin=True, rounds=1)
    assert seatings(made) == [(0, 1), (0, 2), (1, 2)]
    with pytest.raises(Refused, match="--round-robin and share="):
        prepared(manifest, players=("a,share=2", "b", "c"), round_robin=True)


def test_a_pickup_plays_every_number_of_seats(manifest: str) -> None:
    """The candidate on both, on one, on none; the pool takes turns."""
    made = prepared(manifest, kind=BatchKind.PICKUP, players=("a",), pool=("b", "c"), rounds=2, seating=Seating.FIXED)
    assert seatings(made) == [(0, 0), (0, 1), (1, 2), (0, 0), (0, 2), (2, 1)]


def test_the_same_wishes_are_the_same_schedule(manifest: str) -> None:
    """Which a batch that is taken up again is held to."""
    heads = [prepared(manifest, rounds=4, seed=seed).head for seed in (1, 1, 2)]
    assert heads[0].schedule == heads[1].schedule != heads[2].schedule
    assert heads[0].manifest == heads[2].manifest
    assert heads[0].id != heads[1].id


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seating": Seating.FIXED}, "swaps the seats"),
        ({"variants": ("default", "wide")}, "same number of seats"),
        ({"overrides": ("players=[{}]",)}, "two seats at least"),
    ],
)
def test_a_comparison_needs_seats_to_swap(manifest: str, changes: dict[str, Any], words: str) -> None:
    """And blocks that are alike."""
    with pytest.raises(Refused, match=words):
        prepared(manifest, kind=BatchKind.COMPARE, players=("a", "b"), blocks=True, bounds=Bounds(), **changes)


async def test_what_a_later_episode_needs_is_looked_for_first(tmp_path: Path) -> None:
    """A batch does not find out in its third pairing that a player cannot be started."""
    broken = quick_manifest(values={"a": 3, "b": 2, "c": 1})
    broken["player"][2]["image"] = "missing:1"
    manifest = str(write_coworld(tmp_path / "c", broken))
    await check_machine(prepared(manifest, players=("a", "b")), {})
    with pytest.raises(PreconditionMissing, match="missing:1"):
        await check_machine(prepared(manifest, players=("a", "b", "c"), round_robin=True), {})


def test_every_episode_has_its_own_recording(manifest: str, tmp_path: Path) -> None:
    """In its directory; the other wishes are the same for all."""
    made = prepared(manifest, record="all.cwt", timeout=7.0, reports=False)
    make = made.spec_maker({"K": "v"})
    spec = make("e", made.plans.plan(made.schedule.episodes[0]), tmp_path / "e")
    assert spec.tap == TapSpec(recording=tmp_path / "e/all.cwt")
    assert (spec.limits.timeout, spec.reports, spec.secret_env) == (7.0, False, {"K": "v"})
    assert prepared(manifest).spec_maker({})("e", spec.plan, tmp_path / "e").tap is None
