"""Owners: what belongs to one process is refused to its forked children."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from coworld_drivers.forks import ForkedProcess, Owner
from coworld_protocol.errors import Refused


def test_the_process_that_made_it_may_use_it():
    """At home nothing is refused."""
    owner = Owner("runtime")
    assert owner.here
    assert owner.pid == os.getpid()
    owner.require()


def test_a_forked_child_is_refused_in_one_sentence():
    """A real child is told whose it is, where it was used and what to do, as input that cannot be used."""
    program = (
        "import os, sys\n"
        "from coworld_drivers.forks import ForkedProcess, Owner\n"
        "owner = Owner('runtime')\n"
        "if child := os.fork():\n"
        "    print(os.getpid(), child, flush=True)\n"
        "    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "try:\n"
        "    owner.require()\n"
        "except ForkedProcess as error:\n"
        "    assert not owner.here\n"
        "    print(*error.lines(), sep='\\n', file=sys.stderr)\n"
        "    os._exit(error.exit_code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    parent, child = done.stdout.split()
    assert done.stderr.splitlines() == [
        f"this runtime belongs to process {parent} and does not survive a fork",
        f"evidence: it was used in process {child}",
        "try: make a runtime in the child, or use the 'spawn' start method of multiprocessing",
    ]
    assert done.returncode == Refused.exit_code


def test_it_is_input_that_cannot_be_used():
    """Whoever catches refusals catches this one."""
    with pytest.raises(Refused):
        raise ForkedProcess("x")
