"""A batch of the public reference's own game: it declares no seed, and that is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from coworld_actors.batch.plans import prepare
from coworld_actors.batch.schedule import Seating, make_schedule, shared_lineup
from coworld_actors.batch.specs import parse_spec
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.variants import config_validator
from coworld_drivers.images import ImageMap

pytestmark = pytest.mark.reference


@pytest.mark.parametrize("variant", [None, "default"])
def test_paint_arena_is_planned_without_a_seed(arena: Path, variant: str | None) -> None:
    """Both seats change hands, names reach the game, and nothing implies that an episode can be repeated."""
    loaded = load_manifest(arena)
    specs = [
        parse_spec(text, players=[each.id for each in loaded.manifest.player], images=[])
        for text in ("sweep-painter,name=A", 'cmd:"python painter.py"')
    ]
    plans = prepare(loaded, ImageMap({}), specs, variants=[variant], pins=["tick_rate=60"])
    assert (plans.names, plans.seed_key) == (("A", "painter.py"), None)
    assert plans.notes == (
        "the game takes no seed (its config_schema declares no integer that is called one): episodes are not repeatable",
    )
    schedule = make_schedule(
        seed=42,
        variants=plans.variants,
        entrants=plans.names,
        lineups=shared_lineup([spec.share for spec in specs], plans.names),
        seating=Seating.ROTATE,
        rounds=2,
        blocks=True,
    )
    plans.check_seeds(42, 43)
    validator = config_validator(loaded.manifest)
    names = []
    for scheduled in schedule.episodes:
        plan = plans.plan(scheduled)
        assert plan.game_config["tick_rate"] == 60
        assert validator.accepts({**plan.game_config, "tokens": ["a", "b"]})
        names.append([player["name"] for player in plan.game_config["players"]])
    assert names == [["A", "painter.py"], ["painter.py", "A"]] * 2
