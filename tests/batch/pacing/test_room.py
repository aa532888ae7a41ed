"""How many episodes fit: open files, memory and processes, made up and of this machine."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from coworld_actors.batch.pacing.room import Limit, Limits, Room, limits_here, needs_of, require_room, room
from coworld_protocol.errors import Refused

PLENTY = Limits(
    soft_files=10**9,
    hard_files=10**9,
    open_files=10,
    memory=(Limit(2**50, "there is much memory"),),
    processes=(Limit(10**9, "there are many processes"),),
)


def test_open_files_bound_it() -> None:
    """So many as their files fit into what is allowed, less what is open and kept for ourselves."""
    found = room("process", 2, limits=PLENTY._replace(soft_files=1024, hard_files=1024))
    each = needs_of("process", 2).descriptors
    assert 1024 - found.most * each >= 10
    assert 30 <= found.most <= 1024 // each
    assert "1,024 open files" in found.because
    assert f"takes {each} of them" in found.because
    assert not found.notes


def test_the_soft_limit_is_raised_as_far_as_it_helps() -> None:
    """For a hundred episodes no more is allowed than a hundred take, and the room says so."""
    limits = PLENTY._replace(soft_files=1024, hard_files=100_000)
    found = room("process", 2, wanted=100, limits=limits)
    assert found.most >= 100
    [note] = found.notes
    assert "from 1,024 to " in note
    assert int(note.rpartition(" ")[2].replace(",", "")) < 4000
    assert not room("process", 2, wanted=10, limits=limits).notes


def test_the_hard_limit_is_the_end() -> None:
    """More than the hard limit cannot be had, and the reason names it."""
    found = room("process", 2, wanted=1000, limits=PLENTY._replace(soft_files=1024, hard_files=2048))
    assert 60 <= found.most < 100
    assert "at most 2,048" in found.because


def test_memory_bounds_it() -> None:
    """The tightest memory of all groups counts, with its own sentence."""
    memory = (Limit(2**40, "the machine has much"), Limit(2**30, "our group has a gigabyte"))
    found = room("process", 8, limits=PLENTY._replace(memory=memory))
    assert 5 <= found.most <= 2**30 // needs_of("process", 8).memory
    assert found.because.startswith("our group has a gigabyte, and an episode takes ")


def test_processes_bound_it() -> None:
    """A game and its players are a process each."""
    found = room("process", 3, limits=PLENTY._replace(processes=(Limit(100, "so many processes"),)))
    assert 15 <= found.most <= 25
    assert found.because == "so many processes, and an episode is 4 of them"


def test_there_is_always_room_for_one() -> None:
    """A machine with nothing left may try one at a time."""
    nothing = Limits(
        soft_files=20, hard_files=20, open_files=10, memory=(Limit(0, "none"),), processes=(Limit(0, "none"),)
    )
    assert room("process", 64, limits=nothing).most == 1


def test_roles_that_are_tasks_need_no_processes() -> None:
    """A thousand episodes at once fit where a thousand processes would not."""
    tight = PLENTY._replace(processes=(Limit(100, "few"),), soft_files=4096, hard_files=4096)
    assert room("inproc", 8, limits=tight).most >= 1000
    assert room("process", 8, limits=tight).most < 12


def test_the_tap_takes_files_of_its_own() -> None:
    """Two more connections for each seat, and the pipes of their ends."""
    assert needs_of("process", 8, tap=True).descriptors > needs_of("process", 8).descriptors


def test_an_unknown_driver_is_taken_for_one_with_processes() -> None:
    """Whatever a command-line tool starts takes at least as much as a local process."""
    assert needs_of("kubectl", 2) == needs_of("process", 2)


def test_a_container_takes_more_than_a_process() -> None:
    """Its client and what the engine keeps beside it take memory and tasks; open files of ours are as many."""
    container, process = needs_of("docker", 8, tap=True), needs_of("process", 8, tap=True)
    assert container.descriptors == process.descriptors
    assert container.memory == 9 * 16 * 2**20 > process.memory
    assert container.processes == 9 * 8 > process.processes


def test_games_in_containers_have_a_number_of_their_own() -> None:
    """However much there is of everything, the network of a run's games has no more ports."""
    found = room("docker", 2, limits=PLENTY)
    assert found.most == 1000
    assert "1,000 games" in found.because
    assert room("process", 2, limits=PLENTY).most > 1000


def test_more_than_there_is_room_for_is_refused() -> None:
    """The reason and the number that fits are in the sentence."""
    there = Room(most=40, because="there are few files")
    require_room(40, there)
    with pytest.raises(Refused) as caught:
        require_room(41, there)
    assert "--parallel 41" in caught.value.what
    assert "few files" in caught.value.what
    assert "--parallel 40" in caught.value.todo


def test_this_machine_has_room() -> None:
    """Its limits are known, and there is room for at least one duel."""
    here = limits_here()
    assert here.open_files > 2
    assert here.memory
    assert here.processes
    assert room("process", 2, limits=here).most >= 1


PROGRAM = """
import json, resource
from coworld_actors.batch.pacing.room import room
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 2048))
few = room("process", 2, wanted=2)
before = resource.getrlimit(resource.RLIMIT_NOFILE)
many = room("process", 2, wanted=30)
print(json.dumps([before, list(few.notes), many.most, list(many.notes), resource.getrlimit(resource.RLIMIT_NOFILE)]))
"""


def test_a_process_raises_its_own_limit() -> None:
    """For real, in a process of its own: not for two episodes, for thirty it does, and only as far as it has to."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, few, most, many, after = json.loads(done.stdout)
    assert before == [256, 2048]
    assert few == []
    assert most >= 30
    assert len(many) == 1
    assert 30 * needs_of("process", 2).descriptors < after[0] < 2048
    assert after[1] == 2048
