"""Specifications are checked where they are constructed."""

from __future__ import annotations

import math

import pytest

from coworld_actors.actors import Actor, AutoShutdown, ChildSpec, Restart, SpecRefused, SupervisorSpec


class Idle(Actor[int]):
    pass


def test_a_significant_child_cannot_be_permanent():
    """Its end would never be final."""
    with pytest.raises(SpecRefused, match="significant and permanent"):
        ChildSpec(name="game", start=Idle, significant=True)


def test_a_significant_child_needs_a_supervisor_that_shuts_down():
    """`auto_shutdown=never` would ignore it."""
    game = ChildSpec(name="game", start=Idle, significant=True, restart=Restart.TEMPORARY)
    with pytest.raises(SpecRefused, match="auto_shutdown is 'never'"):
        SupervisorSpec(children=(game,))
    assert SupervisorSpec(children=(game,), auto_shutdown=AutoShutdown.ANY_SIGNIFICANT).children == (game,)


def test_siblings_need_names_of_their_own():
    """Two children of one name are refused."""
    with pytest.raises(SpecRefused, match="two children are named 'a'"):
        SupervisorSpec(children=(ChildSpec(name="a", start=Idle), ChildSpec(name="a", start=Idle)))


@pytest.mark.parametrize("name", ["", "a/b"])
def test_a_name_is_one_part_of_a_path(name):
    """Empty names and slashes are refused."""
    with pytest.raises(SpecRefused, match="cannot be a child's name"):
        ChildSpec(name=name, start=Idle)


@pytest.mark.parametrize("shutdown", [-1.0, math.nan])
def test_a_grace_is_a_time(shutdown):
    """Negative numbers and NaN are refused."""
    with pytest.raises(SpecRefused, match="shutdown"):
        ChildSpec(name="a", start=Idle, shutdown=shutdown)


def test_an_endless_grace_is_allowed():
    """OTP's `infinity`."""
    assert ChildSpec(name="a", start=Idle, shutdown=math.inf).shutdown == math.inf
