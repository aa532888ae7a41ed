"""Notice that something blocks the event loop while it does, and say who and where.

A thread of its own asks the loop for a sign of life and takes the time until it comes. Nothing of this runs as a task, and only
real time counts, so a mock clock with autojump behaves as without. A loop that waits for the system is seen to be idle from
outside and is not woken.

What is no blocked loop: time in which this process did not run at all, because it was stopped, suspended or starved. The thread
sees that from its own waits: of one that took half an interval too long only the processor time counts that the loop's thread
has used meanwhile. That much it held the interpreter lock, in a long call into C, which is reported once the lock is free. A
call that holds the lock and sleeps cannot be told from a stopped process, and is not reported.
"""

from __future__ import annotations

import logging
import threading
import time
from types import FrameType, TracebackType
from typing import NamedTuple, Self, final

import msgspec
import trio

from coworld_actors.actors import Event, EventStream
from coworld_actors.actors.current import Place
from coworld_actors.runtime.loop_stack import Look, look, suspect
from coworld_protocol.errors import PreconditionMissing, Refused

__all__ = ["LoopBlocked", "LoopStatistics", "Watchdog"]

LOOKS = 4
"""Looks at the loop within `blocked_after`. A block is noticed for certain when it lasts 1 + 2 / LOOKS times that long."""
JOIN_SECONDS = 0.5
"""How long the loop waits for the thread at the end. It takes longer only while a log handler of the host's blocks it."""

_log = logging.getLogger("coworld_actors.watchdog")


class LoopBlocked(Event, frozen=True):
    """Something kept the event loop from everything else: every actor, every stream and every deadline had to wait.

    Published when it is over, and stamped with the actor on whose behalf it ran. The warning in the log comes while it lasts.

    Attributes:
        seconds: how long, from the first request for a sign of life that was late; the true time is up to a quarter of
            `blocked_after` longer.
        where: who and the line, such as `the handler of greeter in game.py:12 poll`.
        stack: as in a traceback, innermost call last; empty if it was over before it could be looked at.
    """

    seconds: float
    where: str
    stack: str


class LoopStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """How long the event loop makes its callers wait.

    Attributes:
        beats: signs of life; an idle loop gives one at each look.
        lag: seconds until the last of them came, or that the one now due is late.
        worst_lag: the longest so far.
        blocked: `LoopBlocked` events.
        starved: looks that came too late because the process did not run; they accuse nobody.
    """

    beats: int
    lag: float
    worst_lag: float
    blocked: int
    starved: int


class _Accusation(NamedTuple):
    event: LoopBlocked
    place: Place | None


class _Ping:
    """One request for a sign of life. Times are of the monotonic clock.

    Attributes:
        asked: when the loop was asked.
        answered: when it answered.
        excused: seconds since `asked` in which it could not.
        root: outermost frame of the task that was last seen to run.
        since: since when every look has seen that one.
        reported: somebody was accused.
        accusation: not published yet.
    """

    __slots__ = ("accusation", "answered", "asked", "excused", "reported", "root", "since")

    def __init__(self, asked: float, root: FrameType | None) -> None:
        self.asked = asked
        self.answered: float | None = None
        self.excused = 0.0
        self.root = root
        self.since = asked
        self.reported = False
        self.accusation: _Accusation | None = None

    def age(self, now: float) -> float:
        """Seconds that it took, or takes."""
        return max((now if self.answered is None else self.answered) - self.asked - self.excused, 0.0)


@final
class Watchdog:
    """Watches the event loop in which it is entered: `async with Watchdog(stream): ...`. To be entered once.

    Neither its thread nor anything else of it keeps the process alive. Any number of them may watch, in any number of threads.

    Args:
        stream: gets one `LoopBlocked` for each time that the loop was blocked.
        blocked_after: seconds, real ones, for which it has to be.

    Raises:
        Refused: `blocked_after` is not positive.
    """

    def __init__(self, stream: EventStream, *, blocked_after: float = 1.0) -> None:
        if not blocked_after > 0:
            raise Refused(
                f"the watchdog cannot report what blocks the event loop for {blocked_after} s",
                todo="give blocked_after a number of seconds above 0",
            )
        self._stream = stream
        self._blocked_after = blocked_after
        self._interval = blocked_after / LOOKS
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="coworld-actors watchdog", daemon=True)
        # Orders an answer and an accusation: whichever comes second sees the first. Never held across a call of a stranger.
        self._lock = threading.Lock()
        self._ping: _Ping | None = None
        self._beats = 0
        self._lag = 0.0
        self._worst_lag = 0.0
        self._blocked = 0
        self._starved = 0
        self._loop_thread = 0
        self._loop_clock = 0

    async def __aenter__(self) -> Self:
        """Begin to watch; no checkpoint.

        Raises:
            PreconditionMissing: the machine has no room for a thread.
        """
        self._token = trio.lowlevel.current_trio_token()
        root_task = trio.lowlevel.current_root_task()
        assert root_task is not None, "we are in one of its descendants"
        self._root_task = root_task
        self._loop_thread = threading.get_ident()
        self._loop_clock = time.pthread_getcpuclockid(self._loop_thread)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise PreconditionMissing(
                "the watchdog's thread could not be started", evidence=str(error), todo="raise ulimit -u or free memory"
            ) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Watch no longer; publishes what is left to publish. No checkpoint."""
        self._stop.set()
        # Not awaited, for the time is microseconds; and under a mock clock an awaited deadline would not be real time.
        self._thread.join(JOIN_SECONDS)
        ping, self._ping = self._ping, None
        if ping is not None:
            self._answer(ping)

    def statistics(self) -> LoopStatistics:
        """Of this moment; may be called from any thread."""
        ping = self._ping
        lag = self._lag if ping is None else max(self._lag, ping.age(time.monotonic()))
        return LoopStatistics(
            beats=self._beats,
            lag=lag,
            worst_lag=max(self._worst_lag, lag),
            blocked=self._blocked,
            starved=self._starved,
        )

    def _answer(self, ping: _Ping) -> None:
        """The loop's side: give the sign of life, and publish what was found while it did not come."""
        with self._lock:
            if ping.answered is None:
                ping.answered = time.monotonic()
            accusation, ping.accusation = ping.accusation, None
        if accusation is not None:
            self._blocked += 1
            path, incarnation, scope = accusation.place or ("", 0, "")
            event = msgspec.structs.replace(accusation.event, seconds=ping.age(ping.answered))
            self._stream.publish(event, actor=path, incarnation=incarnation, scope=scope)

    # What follows runs in the thread.

    def _watch(self) -> None:
        try:
            last = time.monotonic()
            burnt = time.clock_gettime(self._loop_clock)
            while not self._stop.wait(last + self._interval - time.monotonic()):
                now, burnt_before = time.monotonic(), burnt
                burnt = time.clock_gettime(self._loop_clock)
                self._look(last, now, burnt - burnt_before)
                # After the look: a log handler that made us wait is no reason to think that we were starved.
                last = time.monotonic()
        except trio.RunFinishedError:
            # The loop is over, and whoever entered us was never left.
            return

    def _look(self, last: float, now: float, burnt: float) -> None:
        """One look at the loop.

        Args:
            last: when the one before was over.
            now: this moment.
            burnt: processor seconds of the loop's thread since the one before.
        """
        due = last + self._interval
        late = now - due
        seen = look(self._loop_thread)
        ping = self._ping
        worked = 0.0
        if late > self._interval / 2:
            # What the loop's thread has not worked of the time in which we did not run, nobody has.
            worked = min(late, burnt)
            if ping is not None:
                ping.excused += late - worked
            if late - worked > self._interval / 2:
                self._starved += 1
        if ping is not None and ping.answered is not None:
            self._settle(ping)
            ping = self._ping = None
        held_lock = worked > self._interval / 2
        if ping is None:
            if held_lock:
                ping = self._ask(due, seen)
                ping.excused = late - worked
            elif seen.idle:
                self._observe(0.0)
                return
            else:
                self._ask(now, seen)
                return
        elif seen.root is not ping.root:
            ping.root, ping.since = seen.root, due if held_lock else now
        if seen.idle:
            if not held_lock:
                # Nothing keeps it from answering but the machine.
                self._starved += 1
                ping.excused += min(now - last, self._interval)
            return
        if not ping.reported and ping.age(now) >= self._blocked_after:
            where, stack, place = self._accuse(ping, seen, now, held_lock=held_lock)
            self._report(ping, where, stack, place)

    def _settle(self, ping: _Ping) -> None:
        """A sign of life has come since the last look."""
        lag = ping.age(time.monotonic())
        self._observe(lag)
        if not ping.reported and lag >= self._blocked_after:
            self._report(ping, "code that was over before it could be looked at", "", None)

    def _observe(self, lag: float) -> None:
        self._beats += 1
        self._lag = lag
        self._worst_lag = max(self._worst_lag, lag)

    def _ask(self, asked: float, seen: Look) -> _Ping:
        ping = self._ping = _Ping(asked, seen.root)
        self._token.run_sync_soon(self._answer, ping)
        return ping

    def _accuse(self, ping: _Ping, seen: Look, now: float, *, held_lock: bool) -> tuple[str, str, Place | None]:
        """Who runs, if it has run long enough to be the cause: in words, its stack, and the actor if it is of our stream."""
        found = suspect(seen, self._root_task)
        if now - ping.since < self._blocked_after / 2:
            return f"many tasks in turn, none of them for long; at last {found.where}", found.stack, None
        where = f"{found.where}, holding the interpreter lock" if held_lock else found.where
        if found.life is not None and found.life._cell.system.events is not self._stream:  # noqa: SLF001 - one house
            # Two systems may share a loop: another one's actor is named here, but its path means nothing on this stream.
            return f"{where} of another system", found.stack, None
        return where, found.stack, found.place

    def _report(self, ping: _Ping, where: str, stack: str, place: Place | None) -> None:
        ping.reported = True
        age = ping.age(time.monotonic())
        accusation = _Accusation(LoopBlocked(seconds=age, where=where, stack=stack), place)
        with self._lock:
            ping.accusation = accusation
            answered = ping.answered is not None
        if answered:
            self._token.run_sync_soon(self._answer, ping)
        _log.warning("the event loop has been blocked for %.2f s by %s%s", age, where, f"\n{stack}" if stack else "")
