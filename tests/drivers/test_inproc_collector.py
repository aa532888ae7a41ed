"""The collector's thresholds, and that they come back."""

from __future__ import annotations

import gc

import pytest

from coworld_drivers.inproc_collector import patient_collector


@pytest.fixture(autouse=True)
def thresholds():
    """The interpreter's own, before and after."""
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_it_looks_less_often_inside_and_as_before_outside():
    """However often it is entered."""
    with patient_collector():
        inside = gc.get_threshold()
        assert inside[0] > 10_000
        with patient_collector():
            assert gc.get_threshold() == inside
        assert gc.get_threshold() == inside
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("chosen", [(0, 10, 10), (10**6, 10, 10)])
def test_a_collector_that_is_off_or_more_patient_stays_so(chosen):
    """Whoever has tuned it knows better."""
    gc.set_threshold(*chosen)
    with patient_collector():
        assert gc.get_threshold() == chosen
    assert gc.get_threshold() == chosen


def test_what_somebody_changes_meanwhile_is_left_alone():
    """It is not ours to put back."""
    with patient_collector():
        gc.set_threshold(5000, 10, 10)
    assert gc.get_threshold() == (5000, 10, 10)
