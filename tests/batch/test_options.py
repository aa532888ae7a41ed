"""What a batch was asked for: told apart field by field, and read back as it was written."""

from __future__ import annotations

import msgspec
import pytest

from coworld_actors.batch import options as module
from coworld_actors.batch.options import BatchKind, BatchOptions, Bounds, differences
from coworld_actors.batch.schedule import Seating

BEFORE = BatchOptions(manifest="/world/coworld_manifest.json", directory="/work", players=("a", "b"), rounds=10)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 7}, "--seed was 42 and is 7"),
        ({"players": ("b",)}, "the players was a b and is b"),
        ({"variants": ("duel",)}, "--variant was not given and is duel"),
        ({"seating": Seating.SHUFFLE}, "--seating was rotate and is shuffle"),
        ({"reports": True}, "--reports was off and is on"),
        ({"seed_key": "map.seed"}, "--seed-key was not given and is map.seed"),
        ({"images": {"bot:1": "/bot"}}, "--image was not given and is bot:1=/bot"),
        ({"kind": BatchKind.COMPARE}, "the command was run and is compare"),
        ({"bounds": Bounds(nelo1=5)}, "not given and is nelo0 0, nelo1 5, alpha 0.05, beta 0.05"),
    ],
)
def test_a_difference_is_said_as_the_user_would_say_it(changes: dict[str, object], words: str) -> None:
    """By the option's name, with both values."""
    (found,) = differences(BEFORE, msgspec.structs.replace(BEFORE, **changes))
    assert words in found


def test_equal_ones_do_not_differ() -> None:
    """Nor do they after a way through JSON."""
    again = msgspec.json.decode(msgspec.json.encode(BEFORE), type=BatchOptions)
    assert differences(BEFORE, again) == []


def test_every_field_has_a_word_for_it() -> None:
    """A difference in a field that nobody thought of would be an error of its own."""
    assert set(module._WORDS) == set(BatchOptions.__struct_fields__)


@pytest.mark.parametrize(("changes", "taps"), [({}, False), ({"tap": True}, True), ({"record": "all.cwt"}, True)])
def test_what_needs_a_tap_has_one(changes: dict[str, object], taps: bool) -> None:
    """A recording is the tap's."""
    assert msgspec.structs.replace(BEFORE, **changes).taps is taps
