"""Events as values: how they are called on the wire."""

from __future__ import annotations

import msgspec
import pytest

from coworld_actors.actors.events import ActorStarted, Event


class Told(Event, frozen=True):
    number: int


class ToldAgainLater(Told, frozen=True):
    pass


@pytest.mark.parametrize(
    ("event", "tag"),
    [(Told(number=1), "told"), (ToldAgainLater(number=1), "told_again_later"), (ActorStarted(), "actor_started")],
)
def test_a_tag_is_the_class_name_in_snake_case(event, tag):
    """Also for classes of other packages and for subclasses of subclasses."""
    assert msgspec.json.decode(msgspec.json.encode(event))["type"] == tag
