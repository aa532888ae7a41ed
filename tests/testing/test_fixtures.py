"""The fixtures, as a project of somebody else's uses them; and a package that needs no pytest without them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
OURS = f"{ROOT} {ROOT / 'drivers'} {ROOT / 'protocol'}"

TESTS = """
import pytest
import trio
from coworld_actors.actors import Actor, ChildSpec, events
from coworld_actors.testing import EventLog

pytest_plugins = ["coworld_actors.testing.fixtures"]


class Idle(Actor[int]):
    pass


@pytest.mark.trio
async def test_virtual_time(autojump_clock, actor_system, event_log):
    await actor_system.start_actor(ChildSpec(name="a", start=Idle))
    await trio.sleep(10_000)
    assert len(event_log.of(events.ActorStarted)) == 1
    assert actor_system.seed == 7106521602475165645


@pytest.mark.trio
async def test_left_running(actor_system):
    await actor_system.start_actor(ChildSpec(name="a", start=Idle))


def test_twice(deterministic):
    async def main():
        order = []

        async def task(number):
            order.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(task, number)
        return order

    orders = []
    for seed in (1, 1, 2):
        with deterministic(seed):
            orders.append(trio.run(main))
    assert orders[0] == orders[1] != orders[2]
"""


def test_a_strangers_project_uses_the_fixtures(tmp_path):
    """By one line in a test module, in pytest-trio's strict mode, with every warning an error."""
    # Registering from a test module is for the root of a project: that is what this directory is.
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["coworld_actors.testing.fixtures"]\n')
    (tmp_path / "test_it.py").write_text(TESTS.replace('pytest_plugins = ["coworld_actors.testing.fixtures"]', ""))
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {OURS}\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_package_needs_no_pytest():
    """Whoever runs a fake driver in a program of theirs has no pytest."""
    program = (
        "import sys\n"
        "sys.modules['pytest'] = None\n"
        "import coworld_actors.testing\n"
        "assert not [name for name in sys.modules if name.startswith(('_pytest', 'hypothesis'))]\n"
    )
    environment = {"PYTHONPATH": OURS.replace(" ", ":"), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
