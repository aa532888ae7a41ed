"""Drivers by the names that the command line has for them."""

from __future__ import annotations

import pytest

from coworld_actors.runtime.driver_choice import choose_driver
from coworld_actors.runtime.place import Place
from coworld_drivers.images import ImageMap


@pytest.mark.parametrize("name", ["process", "inproc"])
@pytest.mark.parametrize("warm", [True, False])
def test_a_name_is_a_driver(name: str, warm: bool) -> None:
    """Which says the same name."""
    assert choose_driver(Place(driver=name), ImageMap({}), lambda _: None, warm=warm).name == name
