"""For people who test their own actors, roles and drivers; nothing of the product imports it, and it does not import pytest.

fake_driver, fake_roles   a driver whose roles are coroutines of this process
probe                     an actor that keeps what it gets
event_log                 a recorder of a system's events
faults                    who goes wrong, where and how, as a value
determinism               the same run twice
fixtures                  the same for pytest: `pytest_plugins = ["coworld_actors.testing.fixtures"]`
"""

from __future__ import annotations

from coworld_actors.testing.determinism import deterministic
from coworld_actors.testing.event_log import EventLog
from coworld_actors.testing.fake_driver import FakeDriver, FakeSite
from coworld_actors.testing.fake_handle import FakeHandle, Step, What
from coworld_actors.testing.fake_roles import (
    EndedAs,
    FakeRole,
    RoleRun,
    exits,
    hangs,
    ignores_stop,
    in_turn,
    killed_by,
    lost,
    out_of_memory,
    plays,
    refuses_to_start,
    serves,
)
from coworld_actors.testing.faults import Fault, FaultKind, FaultPlan, FaultPoint, InjectedFault
from coworld_actors.testing.probe import Probe

__all__ = [
    "EndedAs",
    "EventLog",
    "FakeDriver",
    "FakeHandle",
    "FakeRole",
    "FakeSite",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "FaultPoint",
    "InjectedFault",
    "Probe",
    "RoleRun",
    "Step",
    "What",
    "deterministic",
    "exits",
    "hangs",
    "ignores_stop",
    "in_turn",
    "killed_by",
    "lost",
    "out_of_memory",
    "plays",
    "refuses_to_start",
    "serves",
]
