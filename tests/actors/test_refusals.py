"""What a specification refuses, in general; each field's own refusals are with its Struct."""

from __future__ import annotations

import math

import pytest

from coworld_actors.actors.errors import SpecRefused
from coworld_actors.actors.refusals import refuse_other_kind, refuse_other_number
from coworld_actors.actors.restarts import Restart


def test_the_right_kind_passes():
    """A member of an enum, an instance of a class or of a subclass of it."""
    refuse_other_kind("it", "field", Restart.PERMANENT, Restart)
    refuse_other_kind("it", "field", True, int)


def test_a_members_text_is_told_its_member():
    """A StrEnum's member equals its text, but `is` does not."""
    with pytest.raises(SpecRefused, match=r"it has field='transient', of type str; use Restart\.TRANSIENT$"):
        refuse_other_kind("it", "field", "transient", Restart)


@pytest.mark.parametrize("value", [0, 0.0, 7, 1e300])
def test_numbers_pass(value):
    """Whole ones and others."""
    refuse_other_number("it", "field", value)


@pytest.mark.parametrize("value", [-1, -0.5, math.nan, math.inf, True, "1", None])
def test_what_is_no_finite_number_is_refused(value):
    """NaN compares with nothing and would slip through a comparison the other way round."""
    with pytest.raises(SpecRefused, match=r"it has field=.*; use a finite number of at least 0"):
        refuse_other_number("it", "field", value)


def test_infinity_passes_where_it_means_something():
    """And its opposite never does."""
    refuse_other_number("it", "field", math.inf, endless=True)
    with pytest.raises(SpecRefused, match="use a number of at least 0"):
        refuse_other_number("it", "field", -math.inf, endless=True)
