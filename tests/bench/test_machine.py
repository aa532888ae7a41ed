"""What a benchmark ran on."""

from __future__ import annotations

import platform

import trio

from coworld_bench.machine import machine, version_of


def test_the_machine_has_python_and_versions() -> None:
    """Processor, system, Python and the versions that matter are named; what is not installed is left out."""
    found = machine("trio", "no-such-distribution")
    assert found["python"] == platform.python_version()
    assert found["trio"] == trio.__version__
    assert found["cpu"]
    assert "coworld-actors" in found
    assert "no-such-distribution" not in found


def test_a_missing_package_has_no_version() -> None:
    """Absence is an empty text, not an exception."""
    assert version_of("no-such-distribution") == ""
