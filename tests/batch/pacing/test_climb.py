"""Finding the number of episodes at once, on made-up machines: where it settles, how soon, and what it makes of choking."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from coworld_actors.batch.pacing.climb import PATIENCE, SETTLE_SECONDS, Climb, Yield


class Pretended:
    """A machine that plays `knee` episodes at full speed; more of them share it, and are a little less than that in all.

    Args:
        knee: episodes for which there is room.
        seconds: that one takes at full speed.
        spread: standard deviation, as a share of that.
        chokes: more at once than this choke it.
        crowd: from the episodes that run to the tasks that want each core.
        seed: of chance.
    """

    def __init__(
        self,
        *,
        knee: float,
        seconds: float = 1.0,
        spread: float = 0.1,
        chokes: float = float("inf"),
        crowd: Callable[[int], float | None] | None = None,
        seed: int = 1,
    ) -> None:
        self.now = 0.0
        self.done = 0
        self.path: list[tuple[float, int]] = []
        self.knee = knee
        self._seconds = seconds
        self._spread = spread
        self.chokes = chokes
        self._crowd = crowd or self._shared
        self._random = random.Random(seed)
        self._left: dict[int, float] = {}
        self._names = itertools.count()

    def _shared(self, running: int) -> float:
        return running / self.knee

    def play(self, climb: Climb, seconds: float) -> None:
        """Play for so long."""
        until = self.now + seconds
        while self.now < until:
            while len(self._left) < climb.parallel:
                name = next(self._names)
                self._left[name] = self._seconds * max(self._random.gauss(1, self._spread), 0.05)
                climb.began(name, self.now, len(self._left))
            self._step(climb)

    def _step(self, climb: Climb) -> None:
        running = len(self._left)
        speed = min(1.0, (self.knee / running) ** 1.05)
        first = min(self._left, key=lambda name: self._left[name])
        passed = self._left[first] / speed
        self.now += passed
        for name in self._left:
            self._left[name] -= passed * speed
        del self._left[first]
        self.done += 1
        if running > self.chokes:
            changed = climb.choked(self.now, running - 1, "it chokes")
        else:
            changed = climb.ended(first, self.now, running - 1, self._crowd(running))
        climb.left(first, self.now, running - 1)
        if changed:
            self.path.append((self.now, climb.parallel))

    def levels(self, since: float) -> set[int]:
        """What was tried since then, and what stood at that time."""
        before = [level for at, level in self.path if at <= since][-1:]
        return {level for at, level in self.path if at > since} | set(before)


def unknown(running: int) -> None:
    """What a machine without pressure information and without a list of tasks says."""
    del running


SEEDS = range(1, 6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("spread", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("crowd", [None, unknown])
def test_work_for_the_cores_stays_near_them(seed: int, spread: float, crowd: Callable[[int], None] | None) -> None:
    """Where one episode keeps a core busy, a start with the cores ends near them."""
    machine = Pretended(knee=4, spread=spread, crowd=crowd, seed=seed)
    climb = Climb(4, 1000)
    machine.play(climb, 600)
    assert machine.levels(since=300) <= set(range(3, 11))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("spread", [0.0, 0.1, 0.5])
def test_sleeping_work_climbs_far_beyond_the_cores(seed: int, spread: float) -> None:
    """Episodes of five seconds that mostly sleep: from 2 to around the 60 that fit within two minutes."""
    machine = Pretended(knee=60, seconds=5.0, spread=spread, seed=seed)
    climb = Climb(2, 1000)
    machine.play(climb, 150)
    assert climb.parallel >= 40
    machine.play(climb, 450)
    assert min(machine.levels(since=300)) >= 40
    assert max(machine.levels(since=300)) <= 200


@pytest.mark.parametrize("seed", SEEDS)
def test_it_climbs_without_knowing_how_crowded_it_is(seed: int) -> None:
    """The rate alone finds the knee, only more slowly."""
    machine = Pretended(knee=60, seconds=5.0, spread=0.3, crowd=unknown, seed=seed)
    climb = Climb(2, 1000)
    machine.play(climb, 900)
    assert 35 <= climb.parallel <= 130


@pytest.mark.parametrize("seed", SEEDS)
def test_from_far_above_it_comes_down(seed: int) -> None:
    """A start with much too many falls while the machine chokes, and then steps down while nothing is lost by it."""
    machine = Pretended(knee=8, chokes=48, spread=0.2, seed=seed)
    climb = Climb(200, 1000)
    machine.play(climb, 120)
    assert climb.parallel <= 52
    machine.play(climb, 1500)
    assert 7 <= climb.parallel <= 30


@pytest.mark.parametrize("seed", SEEDS)
def test_fewer_at_once_are_kept_where_they_do_as_well(seed: int) -> None:
    """Without any choking, four times too many become fewer, at hardly any cost."""
    machine = Pretended(knee=8, spread=0.1, seed=seed)
    climb = Climb(32, 1000)
    machine.play(climb, 1500)
    assert climb.parallel <= 22
    assert machine.done >= 0.85 * 8 * machine.now


def test_a_change_of_the_work_is_followed() -> None:
    """Sleeping episodes after busy ones: the number climbs again, though it takes its time."""
    machine = Pretended(knee=2, spread=0.1)
    climb = Climb(2, 1000)
    machine.play(climb, 300)
    assert climb.parallel <= 4
    machine.knee = 40
    machine.play(climb, 2000)
    assert climb.parallel >= 8


def test_it_never_passes_its_bound() -> None:
    """However well it goes, there is no room for more."""
    machine = Pretended(knee=1000, seconds=5.0)
    climb = Climb(4, 30)
    machine.play(climb, 300)
    assert climb.parallel == 30
    assert machine.levels(since=0) <= set(range(1, 31))


def test_a_bound_that_comes_later_holds_the_next_steps() -> None:
    """Memory that turns out to be scarce ends the climb where it is."""
    machine = Pretended(knee=1000, seconds=5.0)
    climb = Climb(4, 1000)
    machine.play(climb, 40)
    climb.bound(climb.parallel)
    before = climb.parallel
    machine.play(climb, 200)
    assert climb.parallel == before


def test_what_starts_too_slowly_to_fill_a_level_does_not_raise_it() -> None:
    """If there are never as many as may be, more of them may be makes no difference."""
    climb = Climb(4, 1000)
    now = 0.0
    for number in range(400):
        # Two at once, whatever is allowed: a start takes half as long as an episode.
        climb.began(number, now, min(number + 1, 2))
        if number:
            climb.ended(number - 1, now + 0.5, 1, 0.1)
            climb.left(number - 1, now + 0.5, 1)
        now += 0.5
    assert climb.parallel == 4


class TestChoking:
    """What is made of the news that the machine chokes."""

    @staticmethod
    def full(parallel: int) -> Climb:
        climb = Climb(parallel, 1000)
        for number in range(parallel):
            climb.began(number, 0.0, number + 1)
        return climb

    def test_it_falls_at_once_and_by_a_share(self) -> None:
        """Ten, of which one has ended, become seven."""
        climb = self.full(10)
        assert climb.choked(1.0, 9, "too crowded")
        assert (climb.parallel, climb.because) == (7, "too crowded")

    def test_one_choking_is_one_fall(self) -> None:
        """Episodes that were started before the fall, and the average that still remembers it, make no second one."""
        climb = self.full(10)
        climb.choked(1.0, 9, "first")
        assert not climb.choked(1.1, 8, "the same")
        climb.left(0, 1.2, 7)
        assert not climb.choked(1.2 + SETTLE_SECONDS / 2, 6, "still the same")
        assert climb.parallel == 7
        assert climb.choked(1.3 + SETTLE_SECONDS, 6, "a new one")
        assert climb.parallel == 5

    def test_what_runs_counts_and_not_what_may(self) -> None:
        """A choke while few are running leaves a share of those."""
        climb = self.full(100)
        climb.choked(1.0, 9, "too crowded")
        assert climb.parallel == 7

    def test_it_never_falls_below_one(self) -> None:
        """One at a time is the least."""
        climb = self.full(1)
        assert not climb.choked(1.0, 0, "too crowded")
        assert climb.parallel == 1

    def test_it_recovers_when_others_have_gone(self) -> None:
        """What choked it while it stood still came from outside, and is forgotten soon."""
        machine = Pretended(knee=20, seconds=5.0)
        climb = Climb(20, 1000)
        machine.play(climb, 120)
        machine.chokes = 0
        machine.play(climb, 30)
        assert climb.parallel < 10
        machine.chokes = 1000
        machine.play(climb, 900)
        assert climb.parallel >= 14


def test_tries_in_vain_become_rare() -> None:
    """After many of them a level is left alone for `PATIENCE` cohorts at most."""
    machine = Pretended(knee=4, spread=0.05)
    climb = Climb(4, 1000)
    machine.play(climb, 1500)
    early = sum(at < 100 for at, _ in machine.path)
    late = sum(at > 1400 for at, _ in machine.path)
    assert early > late
    assert late <= 2 * (100 * 4 / 8) / PATIENCE + 2


def test_a_cancelled_episode_says_nothing() -> None:
    """What was called off counts neither as fast nor as slow, and a cohort of nothing but such ones decides nothing."""
    climb = Climb(2, 100)
    for number in range(50):
        climb.began(number, float(number), 1)
        climb.left(number, number + 0.5, 0)
    assert climb.parallel == 2


def test_two_measurements_of_a_level_are_surer_than_one() -> None:
    """The rate is their mean, and its error smaller than either's."""
    mixed = Yield(2.0, 0.1).mixed(Yield(4.0, 0.1))
    assert mixed.rate == 3.0
    assert mixed.error < 0.1
