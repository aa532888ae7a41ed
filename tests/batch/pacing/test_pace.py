"""Places and starts: who gets one, in which order, and what is learnt from those that are left."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from coworld_actors.batch.pacing.pace import START_FACTOR, Pace, Place, StartGate
from coworld_actors.batch.pacing.room import Room
from coworld_actors.batch.pacing.strain import CROWD_LIMIT, Strain
from coworld_actors.batch.records import Status
from coworld_protocol.errors import Refused

ROOM = Room(most=1000, because="a test")
QUIET = Strain(seconds=1.0, crowd=0.9)
CHOKING = Strain(seconds=1.0, crowd=CROWD_LIMIT + 1)


class Said:
    """A gauge that says what it is told to."""

    def __init__(self, strain: Strain = QUIET) -> None:
        self.strain = strain

    def between(self, begin: float, end: float) -> Strain:
        assert begin <= end
        return self.strain


class Work:
    """A machine with so much room, on a mock clock: episodes share it, and starts take their time.

    Args:
        pace: gives the places.
        gauge: is told how crowded it is.
        knee: episodes that go at full speed at once.
        seconds: that one takes then.
        starts: seconds of them for the start-up.
    """

    def __init__(self, pace: Pace, gauge: Said, *, knee: float, seconds: float, starts: float = 0.0) -> None:
        self.pace = pace
        self.gauge = gauge
        self.knee = knee
        self.seconds = seconds
        self.starts = starts
        self.most = 0
        self.done = 0
        self.levels: list[tuple[float, int]] = []

    async def play(self, until: float) -> None:
        """Episodes one after the other, as a batch does it: one of them waits for a place."""
        async with trio.open_nursery() as nursery:
            while trio.current_time() < until:
                seated = trio.Event()
                nursery.start_soon(self._episode, seated)
                await seated.wait()

    async def _episode(self, seated: trio.Event) -> None:
        async with self.pace.place() as place:
            seated.set()
            self.most = max(self.most, self.pace.running)
            await self._work(self.starts)
            place.playing()
            await self._work(self.seconds - self.starts)
            self.done += 1
            self.gauge.strain = Strain(seconds=1.0, crowd=self.pace.running / self.knee)
            place.over(Status.GOOD, self.gauge.strain)

    async def _work(self, seconds: float) -> None:
        # In steps, for the machine's share changes while it goes on.
        while seconds > 0:
            step = min(seconds, self.seconds / 10)
            await trio.sleep(step * max(self.pace.running / self.knee, 1.0))
            seconds -= step


def auto(gauge: Said, processors: int = 2, **more: object) -> Pace:
    return Pace(None, Room(most=int(str(more.pop("most", 1000))), because="a test"), gauge, processors=processors)


async def take(pace: Pace, taken: list[int], number: int, leave: trio.Event) -> None:
    async with pace.place() as place:
        place.playing()
        taken.append(number)
        await leave.wait()


async def test_no_more_than_asked_for_run_at_once() -> None:
    """The third of two waits until one has left."""
    pace, leave = Pace(2, ROOM), trio.Event()
    taken: list[int] = []
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(take, pace, taken, number, leave)
        await wait_all_tasks_blocked()
        assert (pace.running, pace.waiting, len(taken)) == (2, 1, 2)
        leave.set()
    assert (pace.running, pace.waiting, pace.starting, len(taken)) == (0, 0, 0, 3)


async def test_places_go_by_order_of_arrival() -> None:
    """First come, first served, however many leave at once."""
    pace, leave = Pace(1, ROOM), trio.Event()
    taken: list[int] = []
    async with trio.open_nursery() as nursery:
        async with pace.place():
            for number in range(20):
                nursery.start_soon(take, pace, taken, number, leave)
                await wait_all_tasks_blocked()
            assert taken == []
        leave.set()
    assert taken == list(range(20))


async def test_who_is_cancelled_in_the_line_leaves_it() -> None:
    """Those behind move up, and no place is lost."""
    pace, leave = Pace(1, ROOM), trio.Event()
    taken: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, pace, taken, 0, leave)
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as impatient:
            impatient.start_soon(take, pace, taken, 1, leave)
            await wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
        nursery.start_soon(take, pace, taken, 2, leave)
        await wait_all_tasks_blocked()
        assert pace.waiting == 1
        leave.set()
    assert taken == [0, 2]


async def test_who_is_cancelled_with_a_place_just_given_gives_it_back() -> None:
    """A place that is given in the moment of the cancellation goes to the next one."""
    pace, leave = Pace(1, ROOM), trio.Event()
    taken: list[int] = []
    async with trio.open_nursery() as nursery:
        first = trio.Event()
        nursery.start_soon(take, pace, taken, 0, first)
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as impatient:
            impatient.start_soon(take, pace, taken, 1, leave)
            await wait_all_tasks_blocked()
            nursery.start_soon(take, pace, taken, 2, leave)
            await wait_all_tasks_blocked()
            first.set()
            impatient.cancel_scope.cancel()
        await wait_all_tasks_blocked()
        assert taken[-1] == 2
        leave.set()
    assert (pace.running, pace.starting, pace.waiting) == (0, 0, 0)


async def test_a_crash_gives_the_place_back() -> None:
    """Whatever is raised inside leaves as it is, and the place and its start-up are free again."""
    pace = Pace(1, ROOM)

    async def crash() -> None:
        async with pace.place():
            assert (pace.running, pace.starting) == (1, 1)
            raise KeyError

    with pytest.raises(KeyError):
        await crash()
    assert (pace.running, pace.starting) == (0, 0)


async def test_starts_are_limited_and_not_places() -> None:
    """Of ten that may run only a few start at once; each that has got through lets in another one."""
    pace = Pace(10, ROOM, processors=1)
    places: list[Place] = []

    async def start() -> None:
        async with pace.place() as place:
            places.append(place)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(start)
        await wait_all_tasks_blocked()
        assert len(places) == pace.starting == START_FACTOR
        places[0].playing()
        places[0].playing()
        await wait_all_tasks_blocked()
        assert (len(places), pace.starting, pace.running) == (START_FACTOR + 1, START_FACTOR, START_FACTOR + 1)
        nursery.cancel_scope.cancel()
    assert (pace.running, pace.starting) == (0, 0)


class TestStartGate:
    """How many start-ups at once, from how long they take."""

    @staticmethod
    def gate(*, usual: float = 1.0) -> StartGate:
        gate = StartGate(2)
        for _ in range(5):
            gate.started(usual, full=True)
        return gate

    def test_the_first_ones_change_nothing(self) -> None:
        """They show what is usual."""
        assert self.gate(usual=30.0).limit == 2 * START_FACTOR

    def test_swollen_starts_halve_it(self) -> None:
        """Four times as long is too many at once, down to one for each core."""
        gate = self.gate()
        for _ in range(5):
            gate.started(4.5, full=True)
        assert gate.limit == START_FACTOR
        for _ in range(50):
            gate.started(9.0, full=True)
        assert gate.limit == 2

    def test_one_slow_start_is_none(self) -> None:
        """The middle one counts."""
        gate = self.gate()
        for seconds in (1.0, 50.0, 1.1, 60.0, 0.9):
            gate.started(seconds, full=True)
        assert gate.limit >= 2 * START_FACTOR

    def test_calm_starts_raise_it_where_it_was_reached(self) -> None:
        """Starts that wait for a network and not for a core may be many; without need it stays."""
        gate = self.gate()
        for _ in range(50):
            gate.started(1.2, full=False)
        assert gate.limit == 2 * START_FACTOR
        for _ in range(50):
            gate.started(1.2, full=True)
        assert gate.limit == 2 * START_FACTOR + 10


def test_more_than_there_is_room_for_is_refused() -> None:
    """By the constructor and by a later wish alike, and the number stays."""
    with pytest.raises(Refused, match="a test"):
        Pace(1001, ROOM)
    pace = Pace(3, ROOM)
    with pytest.raises(Refused, match="a test"):
        pace.set_parallel(1001)
    with pytest.raises(Refused):
        pace.set_parallel(0)
    assert pace.parallel == 3


async def test_somebody_may_take_it_in_hand_and_give_it_back() -> None:
    """A number that is set holds until None is, and auto begins from it."""
    changes: list[tuple[int, str]] = []
    pace = Pace(None, ROOM, processors=4, on_change=lambda parallel, because: changes.append((parallel, because)))
    assert (pace.parallel, pace.auto) == (4, True)
    pace.set_parallel(9)
    assert (pace.parallel, pace.auto) == (9, False)
    pace.set_parallel(None)
    assert (pace.parallel, pace.auto) == (9, True)
    assert [parallel for parallel, _ in changes] == [9]


async def test_a_larger_number_seats_those_who_wait() -> None:
    """Nobody has to leave first."""
    pace, leave = Pace(1, ROOM), trio.Event()
    taken: list[int] = []
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(take, pace, taken, number, leave)
        await wait_all_tasks_blocked()
        pace.set_parallel(3)
        await wait_all_tasks_blocked()
        assert len(taken) == 3
        pace.set_parallel(1)
        assert pace.running == 3
        leave.set()


async def test_busy_work_stays_near_the_cores(autojump_clock: MockClock) -> None:
    """Where an episode keeps a core busy, four cores are played on by about four episodes."""
    gauge = Said()
    work = Work(auto(gauge, 4), gauge, knee=4, seconds=1.0, starts=0.2)
    await work.play(200)
    assert 3 <= work.pace.parallel <= 8


async def test_sleeping_work_climbs(autojump_clock: MockClock) -> None:
    """Where two hundred would fit, two become a hundred and more."""
    gauge = Said()
    work = Work(auto(gauge), gauge, knee=200, seconds=5.0, starts=0.1)
    await work.play(250)
    assert work.pace.parallel >= 100


async def test_one_worker_gains_nothing_from_more(autojump_clock: MockClock) -> None:
    """Episodes that share one process are played about one at a time."""
    gauge = Said()
    work = Work(Pace(None, ROOM, gauge, start=1, processors=1), gauge, knee=1, seconds=0.1)
    await work.play(200)
    assert work.pace.parallel <= 3


async def test_choking_takes_places_away(autojump_clock: MockClock) -> None:
    """The first episode that ends on a choking machine brings the number down, with the evidence as the reason."""
    changes: list[tuple[int, str]] = []
    gauge = Said(CHOKING)
    pace = Pace(
        None,
        ROOM,
        gauge,
        start=10,
        processors=10,
        on_change=lambda parallel, because: changes.append((parallel, because)),
    )
    leave = trio.Event()

    async def episode() -> None:
        async with pace.place() as place:
            place.playing()
            await leave.wait()
            place.over(Status.INVALID, CHOKING)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(episode)
        await wait_all_tasks_blocked()
        leave.set()
    assert changes[0][0] == pace.parallel == 7
    assert "tasks wanted each core" in changes[0][1]
    assert len(changes) == 1


async def test_what_could_not_be_played_teaches_nothing(autojump_clock: MockClock) -> None:
    """A full disk ends episodes quickly, and that is no reason to start more of them."""
    gauge = Said()
    pace = auto(gauge)
    for _ in range(100):
        async with pace.place() as place:
            await trio.sleep(0.1)
            place.over(Status.INFRASTRUCTURE, QUIET)
    assert pace.parallel == 2


async def test_memory_ends_the_climb(autojump_clock: MockClock) -> None:
    """What the episodes that run have taken tells how many more there is memory for."""
    gauge = Said()
    work = Work(auto(gauge), gauge, knee=1000, seconds=5.0)
    gibibyte = 2**30

    def said(begin: float, end: float) -> Strain:
        return Strain(seconds=end - begin, crowd=0.1, available=20 * gibibyte - work.pace.running * gibibyte)

    gauge.between = said  # type: ignore[method-assign]
    await work.play(300)
    assert 8 <= work.most <= 20


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_of_cancellations_keeps_the_books(seed: int, autojump_clock: MockClock) -> None:
    """Whatever is cancelled when, nobody is forgotten, nothing runs twice, and in the end every place is free."""
    chance = random.Random(seed)
    pace = Pace(3, ROOM, processors=1)
    finished: list[int] = []
    most = 0

    async def episode(number: int) -> None:
        nonlocal most
        with trio.move_on_after(chance.uniform(0, 20)):
            async with pace.place() as place:
                most = max(most, pace.running)
                await trio.sleep(chance.uniform(0, 2))
                if chance.random() < 0.7:
                    place.playing()
                await trio.sleep(chance.uniform(0, 2))
            finished.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(episode, number)
            await trio.sleep(chance.uniform(0, 0.3))
    assert finished
    assert len(set(finished)) == len(finished)
    assert most == 3
    assert (pace.running, pace.starting, pace.waiting) == (0, 0, 0)
