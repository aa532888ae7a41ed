"""`coworld_protocol.ws.spin`: the policy in simulated worlds, and the polling itself on a simulated clock and core."""

from __future__ import annotations

import itertools
import os
import random
import select
import socket
import threading
import time
from collections.abc import Callable

import pytest

from coworld_protocol.errors import Refused
from coworld_protocol.ws import inlet as inlet_module
from coworld_protocol.ws.inlet import Inlet
from coworld_protocol.ws.outlet import Outlet
from coworld_protocol.ws.spin import (
    BLOCK,
    FIRST_PAUSE,
    KEPT,
    LONG_SECONDS,
    LONGEST_PAUSE,
    MISSES,
    SPIN_SECONDS,
    Spinner,
    make_spinner,
    spin,
)

TRIAL = 4 * BLOCK


class Machine:
    """A machine in simulated time: an answer takes `answer()` seconds, waking this process up another `wake` seconds.

    Args:
        answer: seconds until the next answer is there.
        wake: seconds that going to sleep and being woken add.
        yields: seconds until `give_way` returns; on a shared core the others work during that time.
    """

    def __init__(self, answer: Callable[[], float], *, wake: float = 50e-6, yields: float = 0.5e-6) -> None:
        self.now = 0.0
        self.answer = answer
        self.wake = wake
        self.yields = yields
        self.polled = 0

    def give_way(self) -> None:
        self.now += self.yields

    def wait(self, spinner: Spinner) -> float:
        """One wait for an answer, as a connection does it; how long it took."""
        started = self.now
        there = started + self.answer()
        budget = spinner.budget()
        result, caught = None, False
        if budget:
            self.polled += 1
            result, caught = spin(
                lambda: True if self.now >= there else None, budget, clock=lambda: self.now, give_way=self.give_way
            )
        if result is None:
            self.now = max(self.now, there) + self.wake
        waited = self.now - started
        spinner.tell(waited, polled=budget > 0, caught=caught)
        return waited

    def waits(self, spinner: Spinner, count: int) -> list[float]:
        return [self.wait(spinner) for _ in range(count)]


def test_quick_answers_on_an_idle_core_are_polled_for():
    """After one trial polling stays on, and hardly any wait pays for waking up."""
    machine = Machine(lambda: 20e-6)
    spinner = Spinner()
    machine.waits(spinner, TRIAL)
    assert spinner.polling
    machine.polled = 0
    waits = machine.waits(spinner, 10 * (KEPT + TRIAL))
    assert machine.polled > 0.97 * len(waits)
    assert sum(wait < 30e-6 for wait in waits) == machine.polled


def test_the_first_waits_are_polled_already():
    """A short episode need not pay for a trial first."""
    machine = Machine(lambda: 20e-6)
    machine.waits(Spinner(), BLOCK)
    assert machine.polled == BLOCK


def test_answers_that_take_longer_than_polling_are_given_up_quickly():
    """A few misses in a row end it, and the trials that follow become rare."""
    machine = Machine(lambda: 700e-6)
    spinner = Spinner()
    machine.waits(spinner, MISSES)
    assert spinner.budget() == 0.0
    machine.waits(spinner, 200_000)
    assert machine.polled <= MISSES * (200_000 // LONGEST_PAUSE + 10)


def test_pauses_double_up_to_the_longest():
    """Each lost trial doubles the time until the next."""
    machine = Machine(lambda: 700e-6)
    spinner = Spinner()
    tried = []
    for wait in range(100_000):
        before = machine.polled
        machine.wait(spinner)
        if machine.polled > before:
            tried.append(wait)
    gaps = [later - earlier - 1 for earlier, later in itertools.pairwise(tried) if later > earlier + 1]
    assert gaps[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert max(gaps) == LONGEST_PAUSE


def test_one_core_for_all_is_noticed():
    """Pinned on one core, the others work while we give way: polling takes nothing off the wait and is left."""
    machine = Machine(lambda: 400e-6, wake=5e-6, yields=250e-6)
    spinner = Spinner()
    machine.waits(spinner, 50_000)
    assert machine.polled < 100
    assert not spinner.polling


def test_partners_on_the_same_core_are_no_crowd():
    """Where the others work for a while in each of our yields, and waking up costs more than that, polling stays on."""
    machine = Machine(lambda: 90e-6, wake=120e-6, yields=60e-6)
    spinner = Spinner()
    machine.waits(spinner, TRIAL)
    assert spinner.polling


def test_polling_that_catches_but_gains_nothing_is_left():
    """Answers are caught, yet the waits are as long as with sleeping: the trial is lost."""
    machine = Machine(lambda: 40e-6, wake=2e-6)
    spinner = Spinner()
    machine.waits(spinner, TRIAL)
    assert machine.polled == 2 * BLOCK
    assert not spinner.polling
    assert spinner.budget() == 0.0


def test_nobody_polls_while_somebody_thinks():
    """After a wait of more than two milliseconds the next is not polled; a quick answer brings polling back."""
    answers = iter([20e-6] * (TRIAL + 10) + [3 * LONG_SECONDS] * 5 + [20e-6] * 5)
    machine = Machine(lambda: next(answers))
    spinner = Spinner()
    machine.waits(spinner, TRIAL + 10)
    before = machine.polled
    machine.waits(spinner, 5)
    assert machine.polled == before + 1
    machine.wait(spinner)
    assert spinner.budget() > 0.0
    machine.waits(spinner, 4)
    assert machine.polled == before + 1 + 4


def test_a_game_with_long_ticks_is_polled_for_once():
    """At a tick of 50 ms only the very first wait is polled."""
    machine = Machine(lambda: 50e-3)
    machine.waits(Spinner(), 1000)
    assert machine.polled == 1


def test_a_machine_that_becomes_idle_is_found_out():
    """Polling that was given up on a loaded machine comes back once it gains something."""
    machine = Machine(lambda: 700e-6)
    spinner = Spinner()
    machine.waits(spinner, 2000)
    machine.answer = lambda: 20e-6
    machine.waits(spinner, LONGEST_PAUSE)
    assert spinner.polling


def test_a_machine_that_becomes_loaded_is_found_out():
    """A core that somebody else needs ends polling at once."""
    machine = Machine(lambda: 20e-6)
    spinner = Spinner()
    machine.waits(spinner, TRIAL)
    machine.yields = 2 * SPIN_SECONDS
    machine.polled = 0
    machine.waits(spinner, 1000)
    assert machine.polled < 40


def test_noisy_waits_are_told_apart_by_their_medians():
    """Some answers much later than most do not hide the gain."""
    draw = random.Random(1)
    machine = Machine(lambda: 900e-6 if draw.random() < 0.2 else draw.uniform(10e-6, 40e-6))
    spinner = Spinner()
    waits = machine.waits(spinner, 20_000)
    assert machine.polled > len(waits) // 2


@pytest.mark.parametrize(("mode", "polled"), [("off", 0), ("always", 100)])
def test_fixed_modes_do_not_adapt(mode, polled):
    """`off` never polls, `always` does although nothing is caught."""
    machine = Machine(lambda: 5e-3)
    machine.waits(Spinner(mode), 100)
    assert machine.polled == polled


def test_polling_ends_with_its_budget():
    """Nothing found: None, not caught, and no more time than allowed was used."""
    machine = Machine(lambda: 1.0)
    assert spin(lambda: None, SPIN_SECONDS, clock=lambda: machine.now, give_way=machine.give_way) == (None, False)
    assert SPIN_SECONDS <= machine.now < 1.1 * SPIN_SECONDS


def test_an_answer_found_on_a_crowded_core_is_not_caught():
    """When giving way took long the answer counts as a miss, and is still handed out."""
    machine = Machine(lambda: 0.0, yields=2 * SPIN_SECONDS)
    assert spin(lambda: b"x", SPIN_SECONDS, clock=lambda: machine.now, give_way=machine.give_way) == (b"x", False)


def test_polling_a_real_socket():
    """With the real clock and core: what is there is found, and what never comes ends in time."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        epoll = select.epoll()
        epoll.register(ours, select.EPOLLIN)
        started = time.perf_counter()
        assert spin(lambda: epoll.poll(0) or None, SPIN_SECONDS) == (None, False)
        assert time.perf_counter() - started < 1.0
        theirs.send(b"x")
        assert spin(lambda: epoll.poll(0) or None, SPIN_SECONDS)[0] == [(ours.fileno(), select.EPOLLIN)]
        epoll.close()


@pytest.mark.parametrize(
    ("wanted", "value", "budget"),
    [(None, "0", 0.0), (True, "0", 0.0), (False, "1", 0.0), (False, None, 0.0), (None, "auto", SPIN_SECONDS),
     (None, None, SPIN_SECONDS), (True, "", SPIN_SECONDS), (None, "1", SPIN_SECONDS)],
)  # fmt: skip
def test_caller_and_environment_decide_together(wanted, value, budget):
    """The caller may forbid polling, and so may whoever starts the process."""
    environ = {} if value is None else {"COWORLD_ACTORS_SPIN": value}
    assert make_spinner(wanted, environ).budget() == budget
    assert make_spinner(wanted, environ).polling == (wanted is not False and value == "1")


def test_an_unknown_switch_is_a_sentence():
    """A misspelt environment value is refused instead of guessed at."""
    with pytest.raises(Refused, match="COWORLD_ACTORS_SPIN is 'yes'"):
        make_spinner(environ={"COWORLD_ACTORS_SPIN": "yes"})


def test_the_switch_is_read_from_the_process(monkeypatch):
    """Without a mapping the process's environment counts."""
    monkeypatch.setitem(os.environ, "COWORLD_ACTORS_SPIN", "0")
    assert make_spinner().budget() == 0.0


@pytest.mark.parametrize(("mode", "naps"), [("off", False), ("auto", True), ("always", True)])
def test_a_nap_is_taken_unless_it_is_switched_off(mode, naps):
    """The switch that forbids polling forbids naps as well: then nothing ever holds up other tasks."""
    assert Spinner(mode).naps is naps


def test_nobody_naps_while_somebody_thinks():
    """After an answer that took long the next wait goes straight to sleep; a quick one brings the nap back."""
    spinner = Spinner("auto")
    spinner.tell(LONG_SECONDS * 2, polled=False, caught=False)
    assert not spinner.naps
    spinner.tell(LONG_SECONDS / 2, polled=False, caught=False)
    assert spinner.naps


async def test_a_nap_finds_the_answer_that_comes_meanwhile(monkeypatch):
    """What comes during a nap is taken without a turn of trio's loop."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        spinner = Spinner("always", seconds=0.0)
        taken: list[bytes] = []
        inlet = Inlet(ours, None, spinner, Outlet(ours, None), taken.append)
        inlet.expecting = True
        monkeypatch.setattr(inlet_module, "NAP_SECONDS", 30.0)
        answer = threading.Timer(0.05, theirs.send, [b"answer"])
        # Going to sleep in trio would raise here.
        inlet._ready = None
        answer.start()
        await inlet.read()
        answer.join()
        assert taken == [b"answer"]
