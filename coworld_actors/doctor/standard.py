"""The checks of `coworld-actors doctor`, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from coworld_actors.doctor.cluster import check_cluster
from coworld_actors.doctor.desk import check_browser, check_terminal
from coworld_actors.doctor.engine import check_engine
from coworld_actors.doctor.finding import Check
from coworld_actors.doctor.leftovers import check_remnants
from coworld_actors.doctor.places import check_disk, check_shared_memory
from coworld_actors.doctor.room import check_room
from coworld_actors.doctor.system import check_clock, check_ports, check_process, check_python

__all__ = ["CHECKS"]

CHECKS: Final[Mapping[str, Check]] = {
    "python": check_python,
    "processes": check_process,
    "room": check_room,
    "ports": check_ports,
    "disk": check_disk,
    "shared memory": check_shared_memory,
    "clock": check_clock,
    "docker": check_engine,
    "kubectl": check_cluster,
    "leftovers": check_remnants,
    "terminal": check_terminal,
    "browser": check_browser,
}
"""Each by the name under which its own failure is told."""
