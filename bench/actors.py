"""What does a message cost, and an actor, and a crash? The actor core beside its rivals, in one run.

    python bench/actors.py [--quick] [--json] [--no-gate]

Rounds are interleaved, so that a slow minute of the machine touches every rival; a ratio is one of medians. Ours are measured
through the public API, in an open system with a subscriber on its event stream, with the default mailbox. A burst is over when its
last message has been handled, for everybody alike. Memory is measured in processes of their own.

Seconds are those of the processor, so that other programs on the machine do not count. Whoever never waits gets the rates of an
idle machine; pykka, whose two threads wait for each other, gets better ones than it would have by the clock on the wall.

Exits with 1 when a goal is missed, unless told by --no-gate only to print.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pykka
import trio
import trio.testing

from coworld_actors.actors import Actor, ChildSpec, Request, RestartPolicy, SupervisorSpec, open_system
from coworld_bench.machine import machine

BURST = 100
CAPACITY = 1024
"""Of our default mailbox, and so of the channel that is told beside it."""
MEGABYTE = 1e6
PAGE = os.sysconf("SC_PAGE_SIZE")


class Note(msgspec.Struct, frozen=True):
    number: int


class Question(Request[int], frozen=True):
    number: int


class Gate:
    """Where a sender waits until none of its messages is `left` to be handled. Whoever handles the last one opens it."""

    def __init__(self) -> None:
        self.left = 0
        self._waiter: trio.lowlevel.Task | None = None

    def open(self) -> None:
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            trio.lowlevel.reschedule(waiter)

    async def wait(self) -> None:
        if self.left:
            self._waiter = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(_let_go)


def _let_go(_: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.SUCCEEDED


# Tell: bursts of notes to one receiver, which counts them.


class Counter(Gate, Actor[Note]):
    async def handle(self, message: Note) -> None:  # noqa: ARG002
        self.left -= 1
        if not self.left:
            self.open()


async def tell_ours(bursts: int) -> float:
    gate = Counter()
    async with open_system() as system:
        system.events.subscribe(_see)
        ref = await system.start_actor(ChildSpec(name="counter", start=lambda: gate))
        note = Note(1)
        began = time.process_time()
        for _ in range(bursts):
            gate.left = BURST
            for _ in range(BURST):
                await ref.tell(note)
            await gate.wait()
        return bursts * BURST / (time.process_time() - began)


async def tell_channel(bursts: int) -> float:
    gate = Gate()
    sender, receiver = trio.open_memory_channel[Note](CAPACITY)

    async def read() -> None:
        while True:
            await receiver.receive()
            gate.left -= 1
            if not gate.left:
                gate.open()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        note = Note(1)
        began = time.process_time()
        for _ in range(bursts):
            gate.left = BURST
            for _ in range(BURST):
                await sender.send(note)
            await gate.wait()
        rate = bursts * BURST / (time.process_time() - began)
        nursery.cancel_scope.cancel()
    return rate


async def tell_deque(bursts: int) -> float:
    """A list of messages and one reschedule: no account, no bound, no types, no supervision, no coroutine per message."""
    gate = Gate()
    queue: deque[Note] = deque()
    asleep: list[trio.lowlevel.Task] = []

    async def read() -> None:
        while True:
            while queue:
                queue.popleft()
                gate.left -= 1
                if not gate.left:
                    gate.open()
            asleep.append(trio.lowlevel.current_task())
            await trio.lowlevel.wait_task_rescheduled(_let_go)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        note = Note(1)
        began = time.process_time()
        for _ in range(bursts):
            gate.left = BURST
            for _ in range(BURST):
                queue.append(note)
                if asleep:
                    trio.lowlevel.reschedule(asleep.pop())
            await gate.wait()
        rate = bursts * BURST / (time.process_time() - began)
        nursery.cancel_scope.cancel()
    return rate


class PykkaCounter(pykka.ThreadingActor):
    def __init__(self, done: threading.Event) -> None:
        super().__init__()
        self.done = done
        self.left = BURST

    def on_receive(self, message: Note | Question) -> int | None:
        if isinstance(message, Question):
            return message.number
        self.left -= 1
        if not self.left:
            self.left = BURST
            self.done.set()
        return None


def tell_pykka(bursts: int) -> float:
    done = threading.Event()
    ref = PykkaCounter.start(done)
    note = Note(1)
    began = time.process_time()
    for _ in range(bursts):
        done.clear()
        for _ in range(BURST):
            ref.tell(note)
        done.wait()
    rate = bursts * BURST / (time.process_time() - began)
    ref.stop()
    return rate


# Ask: one asker, one receiver, a number there and back.


class Echo(Actor[Question]):
    async def handle(self, message: Question) -> int:
        return message.number


async def ask_ours(rounds: int) -> float:
    async with open_system() as system:
        system.events.subscribe(_see)
        ref = await system.start_actor(ChildSpec(name="echo", start=Echo))
        question = Question(1)
        began = time.process_time()
        for _ in range(rounds):
            await ref.ask(question, deadline=30)
        return rounds / (time.process_time() - began)


async def _ask_channels(rounds: int, capacity: int) -> float:
    questions, asked = trio.open_memory_channel[Question](capacity)
    answers, answered = trio.open_memory_channel[int](capacity)

    async def serve() -> None:
        while True:
            question = await asked.receive()
            await answers.send(question.number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        question = Question(1)
        began = time.process_time()
        for _ in range(rounds):
            await questions.send(question)
            await answered.receive()
        rate = rounds / (time.process_time() - began)
        nursery.cancel_scope.cancel()
    return rate


async def ask_channels(rounds: int) -> float:
    """Unbuffered, as trio's documentation recommends."""
    return await _ask_channels(rounds, 0)


async def ask_buffered_channels(rounds: int) -> float:
    return await _ask_channels(rounds, 1)


async def ask_slot(rounds: int) -> float:
    """A deque, a slot for the reply, and two reschedules: no deadline, no account, no supervision."""
    queue: deque[Question] = deque()
    slot: list[int] = []
    server: list[trio.lowlevel.Task] = []
    asker = trio.lowlevel.current_task()

    async def serve() -> None:
        server.append(trio.lowlevel.current_task())
        while True:
            while queue:
                slot.append(queue.popleft().number)
                trio.lowlevel.reschedule(asker)
            await trio.lowlevel.wait_task_rescheduled(_let_go)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        while not server:
            await trio.lowlevel.checkpoint()
        question = Question(1)
        began = time.process_time()
        for _ in range(rounds):
            queue.append(question)
            trio.lowlevel.reschedule(server[0])
            await trio.lowlevel.wait_task_rescheduled(_let_go)
            slot.pop()
        rate = rounds / (time.process_time() - began)
        nursery.cancel_scope.cancel()
    return rate


def ask_pykka(rounds: int) -> float:
    ref = PykkaCounter.start(threading.Event())
    question = Question(1)
    began = time.process_time()
    for _ in range(rounds):
        ref.ask(question)
    rate = rounds / (time.process_time() - began)
    ref.stop()
    return rate


# Lives: actors that start and stop one after the other, rest, or crash.


class Idle(Actor[Note]):
    pass


class Fragile(Actor[Note]):
    async def handle(self, message: Note) -> None:
        raise ValueError(message.number)


async def start_and_stop(count: int) -> float:
    async with open_system() as system:
        system.events.subscribe(_see)
        house = await system.start_supervisor("house")
        began = time.process_time()
        for number in range(count):
            ref = await house.start_actor(ChildSpec(name=f"actor-{number}", start=Idle))
            await ref.stop()
        return count / (time.process_time() - began)


async def rest(count: int) -> dict[str, float]:
    """Have `count` actors rest at the same time; what they take and how fast they come and go."""
    async with open_system(shutdown_deadline=600) as system:
        system.events.subscribe(_see)
        house = await system.start_supervisor("house")
        await house.start_actor(ChildSpec(name="first", start=Idle))
        before = _resident()
        began = time.process_time()
        for number in range(count):
            await house.start_actor(ChildSpec(name=f"actor-{number}", start=Idle))
        started = time.process_time()
        grown = _resident() - before
        resting = sum(info.state == "running" for info in house.children())
        stopping = time.process_time()
        await house.stop()
        stopped = time.process_time()
    if resting != count + 1:
        raise RuntimeError(f"{resting - 1} of {count} actors rest")
    return {
        "count": count,
        "megabytes": grown / MEGABYTE,
        "bytes_each": grown / count,
        "starts_per_second": count / (started - began),
        "stops_per_second": count / (stopped - stopping),
    }


async def crash(count: int) -> dict[str, Any]:
    """Crash one actor over and over; resident memory at ten moments. The first tenth is there to warm up."""
    restarts = RestartPolicy(max_restarts=1_000_000_000, within=0.001)
    samples: list[float] = []
    async with open_system() as system:
        system.events.subscribe(_see)
        house = await system.start_supervisor("house", SupervisorSpec(restarts=restarts))
        ref = await house.start_actor(ChildSpec(name="fragile", start=Fragile))
        note = Note(1)
        began = time.process_time()
        for _ in range(10):
            for _ in range(count // 10):
                await ref.tell(note)
            await trio.testing.wait_all_tasks_blocked()
            samples.append(_resident() / MEGABYTE)
        took = time.process_time() - began
        restarted = house.statistics().restarts
    if restarted < count - 1:
        raise RuntimeError(f"{restarted} of {count} crashes were answered by a restart")
    return {
        "count": restarted,
        "restarts_per_second": count / took,
        "megabytes": samples,
        "growth": samples[-1] - samples[0],
    }


def _see(_: object) -> None:
    """Somebody listens, so every event is made and delivered."""


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


# One run.


class Rival(NamedTuple):
    """Attributes:
    title: what it is called in the table.
    measure: takes a number of bursts or round trips, gives messages or round trips per second.
    size: that number, for about a tenth of a second.
    goal: how many times ours has to be as fast; 0 if it is there to be looked at.
    """

    title: str
    measure: Callable[[int], float]
    size: int
    goal: float = 0.0


def _under_trio(measure: Callable[[int], Any]) -> Callable[[int], float]:
    return lambda size: trio.run(measure, size)


RACES: dict[str, tuple[Rival, ...]] = {
    f"tell, bursts of {BURST}, messages/s": (
        Rival("ours", _under_trio(tell_ours), 3000),
        Rival("trio channel, await send / receive", _under_trio(tell_channel), 200, goal=15.0),
        Rival("pykka", tell_pykka, 600, goal=4.0),
        Rival("bare deque and reschedule", _under_trio(tell_deque), 9000),
    ),
    "ask, one asker, round trips/s": (
        Rival("ours", _under_trio(ask_ours), 18_000),
        Rival("pair of trio channels", _under_trio(ask_channels), 9_000, goal=1.8),
        Rival("pair of trio channels, buffer of 1", _under_trio(ask_buffered_channels), 10_000),
        Rival("pykka", ask_pykka, 3_000, goal=2.2),
        Rival("bare deque, slot and reschedule", _under_trio(ask_slot), 18_000),
    ),
    "start and stop one actor, lives/s": (Rival("ours", _under_trio(start_and_stop), 800),),
}

MEGABYTES_GOAL = 400.0
"""For `RESTING` actors."""
RESTING = 100_000
CRASHES = 1_000_000
GROWTH_GOAL = 4.0
"""Megabytes between the first and the last sample: what an allocator's moods may be, and 4 bytes per crash at most."""


def race(rivals: tuple[Rival, ...], rounds: int, scale: float) -> list[list[float]]:
    results: list[list[float]] = [[] for _ in rivals]
    for place in range(rounds + 1):
        for rival, result in zip(rivals, results, strict=True):
            rate = rival.measure(max(1, int(rival.size * scale)))
            # The first round warms up.
            if place:
                result.append(rate)
    return results


def in_a_process(what: str, count: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", what, "--count", str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure(*, quick: bool) -> dict[str, Any]:
    rounds, scale = (5, 0.5) if quick else (15, 1.0)
    races = {title: race(rivals, rounds, scale) for title, rivals in RACES.items()}
    return {
        "machine": machine("pykka"),
        "rounds": rounds,
        "races": {
            title: {rival.title: _summary(result) for rival, result in zip(RACES[title], results, strict=True)}
            for title, results in races.items()
        },
        "resting": in_a_process("rest", RESTING // 5 if quick else RESTING),
        "crashes": in_a_process("crash", CRASHES // 50 if quick else CRASHES),
    }


def _summary(rates: list[float]) -> dict[str, float]:
    return {"median": statistics.median(rates), "min": min(rates), "max": max(rates)}


class Verdict(NamedTuple):
    met: bool
    sentence: str


def judge(found: dict[str, Any]) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for title, rivals in RACES.items():
        medians = {rival.title: found["races"][title][rival.title]["median"] for rival in rivals}
        for rival in rivals:
            if rival.goal:
                ratio = medians["ours"] / medians[rival.title]
                what = title.partition(",")[0]
                verdicts.append(
                    Verdict(ratio >= rival.goal, f"{what}: {ratio:.2f} x {rival.title}, goal {rival.goal:g} x")
                )
    resting, crashes = found["resting"], found["crashes"]
    megabytes = resting["bytes_each"] * RESTING / MEGABYTE
    counted = "" if resting["count"] == RESTING else f", from {resting['count']:,}"
    verdicts.append(
        Verdict(
            megabytes < MEGABYTES_GOAL,
            f"{RESTING:,} resting actors take {megabytes:.0f} MB{counted}, goal below {MEGABYTES_GOAL:.0f} MB",
        )
    )
    verdicts.append(
        Verdict(
            crashes["growth"] < GROWTH_GOAL,
            f"{crashes['count']:,} crashes and restarts: memory grew by {crashes['growth']:.1f} MB after the first tenth, "
            f"goal below {GROWTH_GOAL:g} MB",
        )
    )
    return verdicts


def table(found: dict[str, Any], verdicts: list[Verdict]) -> str:
    lines = [f"{key}: {value}" for key, value in found["machine"].items()]
    for title, rivals in RACES.items():
        results = found["races"][title]
        ours = results["ours"]["median"]
        lines += ["", f"{title:52}{'median':>12}{'min':>12}{'max':>12}{'ours is':>10}"]
        for rival in rivals:
            figures = results[rival.title]
            cells = "".join(f"{figures[key]:>12,.0f}" for key in ("median", "min", "max"))
            ratio = "" if rival.title == "ours" else f"{ours / figures['median']:.2f} x"
            lines.append(f"  {rival.title:50}{cells}{ratio:>10}")
    resting, crashes = found["resting"], found["crashes"]
    each = f"{resting['megabytes']:.0f} MB, {resting['bytes_each']:,.0f} bytes each"
    pace = f"{resting['starts_per_second']:,.0f} starts/s, {resting['stops_per_second']:,.0f} ordered stops/s"
    samples = " ".join(f"{sample:.1f}" for sample in crashes["megabytes"])
    lines += ["", f"{resting['count']:,} resting actors: {each}, {pace}"]
    lines += [
        f"{crashes['count']:,} crashes: {crashes['restarts_per_second']:,.0f} restarts/s, resident MB {samples}",
        "",
    ]
    lines += [f"{'met   ' if verdict.met else 'MISSED'}  {verdict.sentence}" for verdict in verdicts]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, actors and crashes: under half a minute")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-gate", action="store_true", help="exit with 0 also when a goal is missed")
    parser.add_argument("--child", choices=("rest", "crash"), help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=1000, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(trio.run(rest if options.child == "rest" else crash, options.count)))
        return
    found = measure(quick=options.quick)
    verdicts = judge(found)
    if options.json:
        print(json.dumps({**found, "goals": [verdict._asdict() for verdict in verdicts]}, indent=2))
    else:
        print(table(found, verdicts))
    if not options.no_gate and not all(verdict.met for verdict in verdicts):
        sys.exit(1)


if __name__ == "__main__":
    main()
