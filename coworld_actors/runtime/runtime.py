"""A runtime: one driver and one tree of actors, in which episodes are played as their turn comes, for the time of a block.

    async with open_runtime(driver) as runtime:
        verdict = await runtime.run_episode(EpisodeSpec(plan=plan, directory=directory))

It is made to be embedded: it installs no signal handler and configures no logging, an episode that goes wrong is a value and
never takes the host along, and when the block is left - by return, exception or cancellation - everything that it started is
stopped in order within a deadline; what did not stop in time is killed and named.
"""

from __future__ import annotations

import math
import random as random_module
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol, final

import msgspec
import trio

from coworld_actors.actors import ActorRef, ActorSystem, ChildInfo, DeadLetterReason, Event, Record, open_system
from coworld_actors.actors.errors import leaves
from coworld_actors.actors.events import EventStreamStatistics, Subscription
from coworld_actors.episode.conductor import run_episode
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.episode.launches import wanted
from coworld_actors.episode.record import EpisodeRecord, unplayed
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.verdict import Verdict
from coworld_actors.runtime.admission import Admission, Gate
from coworld_actors.runtime.events import (
    AdmissionChanged,
    EpisodeAdmitted,
    EpisodeClosed,
    EpisodeQueued,
    RuntimeStopped,
    RuntimeStopping,
    StopReport,
)
from coworld_actors.runtime.handle import EpisodeHandle, EpisodeState, EpisodeStatus
from coworld_actors.runtime.watchdog import LoopStatistics, Watchdog
from coworld_drivers.driver import Driver
from coworld_protocol.errors import CoworldError, Refused, alone

__all__ = ["Attachment", "OpenDriver", "Runtime", "RuntimeClosed", "RuntimeStatistics", "open_runtime"]

KILL_SECONDS = 5.0
"""How long what has been killed may take to be gone, before its tasks are cancelled as well."""


class RuntimeClosed(CoworldError):
    """The runtime is stopping or has stopped; the episode was not accepted, or it was killed."""

    exit_code = 3


class OpenDriver(Driver, AbstractAsyncContextManager["Driver"], Protocol):
    """A driver that is entered for the time of a run."""


Attachment = Callable[["Runtime"], AbstractAsyncContextManager[object]]
"""Something beside the episodes - a control socket, metrics - that is there from a runtime's opening until after its stop."""


class RuntimeStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of one moment.

    Attributes:
        name: the runtime's.
        seconds: since it was opened.
        parallel: episodes that may run at once.
        paused: whether new ones wait in any case.
        outside: callers that wait for room in the queue.
        queued: accepted episodes that wait for their turn.
        running: those that run.
        accepted: how many were ever accepted.
        outcomes: how many of them are over, by outcome; see `EpisodeClosed`.
        actors: actors and supervisors alive.
        dead_letters: messages that were accepted and not handled, by reason.
        events: the stream's own counters.
        loop: how long the event loop makes its callers wait; None without a watchdog.
    """

    name: str
    seconds: float
    parallel: int
    paused: bool
    outside: int
    queued: int
    running: int
    accepted: int
    outcomes: Mapping[str, int]
    actors: int
    dead_letters: Mapping[DeadLetterReason, int]
    events: EventStreamStatistics
    loop: LoopStatistics | None


@final
class Runtime:
    """What an open runtime offers; made by `open_runtime`, and to be used within its own trio run.

    Attributes:
        name: for sentences and events.
        system: the tree of actors.
        attached: what the attachments gave, in their order: the path of a control socket, the number of a port.
        propagators: each is called once for every accepted episode, in the context of whoever calls `start_episode`, and gives
            variables for its roles, `TRACEPARENT` for example. Earlier ones win, and the spec's own `role_env` wins over all.
    """

    def __init__(
        self,
        name: str,
        driver: Driver,
        system: ActorSystem,
        admission: Admission,
        *,
        stop_deadline: float,
        watchdog: Watchdog | None,
    ) -> None:
        self.name = name
        self.system = system
        self.propagators: list[Callable[[EpisodeSpec], Mapping[str, str]]] = []
        self.attached: list[object] = []
        self._driver = driver
        self._stop_deadline = stop_deadline
        self._watchdog = watchdog
        self._gate = Gate(admission)
        self._live: dict[str, EpisodeHandle] = {}
        self._claims: dict[str, Path] = {}
        self._outcomes: Counter[str] = Counter()
        self._accepted = 0
        self._opened = trio.current_time()
        self._stopping = Interrupt()
        self._episode_over = trio.Event()
        self._done = trio.Event()
        self._nursery: trio.Nursery | None = None
        system.events.subscribe(self._on_record)

    # Episodes.

    async def run_episode(self, spec: EpisodeSpec) -> Verdict:
        """Play an episode when its turn comes, and wait for its end.

        Cancelling this call calls the episode off and waits for its orderly end. For scores, seats and files use
        `start_episode`, and the record that its `wait` returns.

        Raises:
            RuntimeFull, RuntimeClosed: it was not accepted.
            Refused, PreconditionMissing, InternalFault: as `EpisodeHandle.wait`.
        """
        handle = await self.start_episode(spec)
        try:
            record = await handle.wait()
        except trio.Cancelled:
            handle.cancel("whoever asked for the episode was cancelled")
            # Restores: what this call has started is over when it returns.
            with trio.move_on_after(self._stop_deadline, shield=True):
                await handle.settled()
            raise
        return record.verdict

    async def start_episode(self, spec: EpisodeSpec) -> EpisodeHandle:
        """Accept an episode, to be played when its turn comes. From then on it belongs to the runtime, not to the caller.

        Waits for nothing but room in the queue, and only if the admission says so.

        Raises:
            Refused: an episode with this id or in this directory has not ended yet.
            RuntimeFull: there is no room, and the admission says not to wait.
            RuntimeClosed: the runtime is stopping.
        """
        self._claim(spec)
        try:
            handle = EpisodeHandle(spec)
            await self._enter(handle)
            self._propagate(handle)
        except BaseException:
            # Restores: what was not accepted claims nothing.
            del self._claims[spec.id]
            raise
        self._accepted += 1
        self._live[spec.id] = handle
        self._publish(handle, EpisodeQueued(ahead=len(self._live) - 1))
        assert self._nursery is not None
        self._nursery.start_soon(self._play, handle, name=f"episode {spec.id}")
        return handle

    def _propagate(self, handle: EpisodeHandle) -> None:
        """Once for each accepted episode: what a propagator opens here, a span for example, ends with the `EpisodeClosed`."""
        try:
            for propagate in self.propagators:
                spec = handle.spec
                handle.spec = msgspec.structs.replace(spec, role_env={**propagate(spec), **spec.role_env})
        except BaseException:
            # Restores: what was not accepted has no place.
            self._gate.dismiss(handle)
            raise

    def _claim(self, spec: EpisodeSpec) -> None:
        directory = spec.directory.absolute()
        if spec.id in self._claims:
            raise Refused(
                f"an episode with the id {spec.id!r} has not ended yet", todo="leave the id out, or take another"
            )
        for other, place in self._claims.items():
            if place == directory:
                raise Refused(
                    f"episode {other!r} has this directory", todo="give every episode a new one", where=str(directory)
                )
        self._claims[spec.id] = directory

    async def _enter(self, handle: EpisodeHandle) -> None:
        with self._stopping.scope():
            await self._gate.accept(handle)
            if not self._stopping.raised:
                return
            self._gate.dismiss(handle)
        raise RuntimeClosed(f"runtime {self.name} is stopping and takes no more episodes")

    async def _play(self, handle: EpisodeHandle) -> None:
        """One episode from its acceptance to its end. Whatever it raises is its own end and nobody else's."""
        waited = 0.0
        record: EpisodeRecord | None = None
        error: Exception | None = None
        try:
            with handle.interrupt.scope():
                await self._gate.sit(handle)
                waited = handle.admitted()
            if handle.state is EpisodeState.QUEUED:
                waited = handle.status().seconds
                record = unplayed(handle.spec, self._driver.name, handle.interrupt.reason)
            else:
                self._publish(handle, EpisodeAdmitted(waited=waited))
                await self._driver.check(wanted(handle.spec))
                record = await run_episode(self.system, self._driver, handle.spec, interrupt=handle.interrupt)
        except Exception as failure:  # noqa: BLE001 - see above
            error = alone(failure)
        except BaseException as failure:  # noqa: BLE001 - see above
            error = RuntimeClosed(f"episode {handle.id} was killed: the runtime's stop had used up its time")
            for leaf in leaves(failure):
                if isinstance(leaf, KeyboardInterrupt | SystemExit):
                    self.system.interrupt(leaf)
        self._gate.dismiss(handle)
        self._settle(handle, record, error, waited)

    def _settle(
        self, handle: EpisodeHandle, record: EpisodeRecord | None, error: Exception | None, waited: float
    ) -> None:
        closed = _closed(handle, record, error, waited, self._driver.name)
        self._outcomes[closed.outcome] += 1
        self._publish(handle, closed)
        del self._live[handle.id], self._claims[handle.id]
        handle.settle(record, error)
        self._episode_over.set()
        self._episode_over = trio.Event()

    def episode(self, id: str) -> EpisodeHandle | None:  # noqa: A002 - the word of the spec
        """The episode with this id, if it has not ended."""
        return self._live.get(id)

    def episodes(self) -> list[EpisodeStatus]:
        """All accepted episodes that have not ended, in the order of their acceptance."""
        return [handle.status() for handle in self._live.values()]

    # Admission.

    def set_parallel(self, parallel: int) -> None:
        """Change how many episodes run at once. Those that run are not disturbed.

        Raises:
            Refused: not an integer of at least 1.
        """
        self._gate.set_parallel(parallel)
        self._admission_changed()

    def pause(self) -> None:
        """Begin no further episode until `resume`; those that run go on, and the queue fills."""
        self._gate.pause()
        self._admission_changed()

    def resume(self) -> None:
        """Begin those that wait."""
        self._gate.resume()
        self._admission_changed()

    def _admission_changed(self) -> None:
        self.system.events.publish(AdmissionChanged(parallel=self._gate.parallel, paused=self._gate.paused))

    # Seeing inside.

    def events(self, capacity: int = 1024) -> Subscription:
        """Everything that happens from now on: `async for record in runtime.events()`. Ends with the runtime.

        Args:
            capacity: records that wait for the reader; a slow one loses the oldest, and `dropped` counts them.
        """
        return self.system.events.open(capacity)

    def tree(self) -> list[ChildInfo]:
        """All actors and supervisors that live, nested, in start order."""
        return self.system.tree()

    def statistics(self) -> RuntimeStatistics:
        """Counters of this moment."""
        return RuntimeStatistics(
            name=self.name,
            seconds=trio.current_time() - self._opened,
            parallel=self._gate.parallel,
            paused=self._gate.paused,
            outside=self._gate.outside,
            queued=len(self._live) - self._gate.running,
            running=self._gate.running,
            accepted=self._accepted,
            outcomes=dict(self._outcomes),
            actors=len(self.system.registry),
            dead_letters=dict(self.system.dead_letters.by_reason),
            events=self.system.events.statistics(),
            loop=self._watchdog.statistics() if self._watchdog is not None else None,
        )

    def __repr__(self) -> str:
        return f"<Runtime {self.name}: {self._gate.running} running, {len(self._live)} accepted>"

    # The end.

    async def stop(self, *, drain: bool = False, deadline: float = math.inf) -> StopReport:
        """Accept nothing more, and end what was accepted. Leaving the runtime's block is `stop()`.

        Cancelled, it leaves the rest to the block's end. A second call does not undo the first: without `drain` it calls off
        what the first one would have played.

        Args:
            drain: play what was accepted; a paused runtime is resumed for that.
            deadline: seconds for the draining; what is not over by then is called off.

        Returns:
            What became of it. Episodes that were called off have the runtime's `stop_deadline` to end in order; then their roles
            and actors are killed, and named here.
        """
        began, over = trio.current_time(), self._outcomes.total()
        self._stopping.throw("the runtime is stopping")
        self.system.events.publish(RuntimeStopping(drain=drain, accepted=len(self._live)))
        if drain:
            self.resume()
            with trio.move_on_after(deadline):
                await self._until_idle()
        cancelled = tuple(handle.id for handle in self._live.values())
        for handle in self._live.values():
            handle.interrupt.throw("the runtime was stopped")
        with trio.move_on_after(self._stop_deadline):
            await self._until_idle()
        killed = await self._kill()
        finished = self._outcomes.total() - over - len(cancelled)
        report = StopReport(seconds=trio.current_time() - began, finished=finished, cancelled=cancelled, killed=killed)
        self.system.events.publish(RuntimeStopped(report=report))
        return report

    async def _until_idle(self) -> None:
        while self._live:
            await self._episode_over.wait()

    async def _kill(self) -> tuple[str, ...]:
        """Kill what still lives; returns whose ends that were."""
        if not self._live:
            return ()
        registry = self.system.registry
        killed = tuple(path for path in registry if isinstance(registry[path], ActorRef))
        self._driver.kill_all()
        with trio.move_on_after(KILL_SECONDS):
            await self._until_idle()
        if self._live and self._nursery is not None:
            self._nursery.cancel_scope.cancel(reason="the runtime's stop had used up its time")
            with trio.move_on_after(KILL_SECONDS):
                await self.system.root.kill()
        return killed

    def _publish(self, handle: EpisodeHandle, event: Event) -> None:
        self.system.events.publish(event, scope=handle.id)

    def _on_record(self, record: Record) -> None:
        handle = self._live.get(record.scope)
        if handle is not None:
            handle.take(record)

    async def _hold(self, task_status: trio.TaskStatus[None]) -> None:
        """Keep the episodes' nursery open, out of reach of the host's cancellation: `close` ends it, within its deadlines."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await self._done.wait()

    async def _close(self) -> None:
        # Restores: no episode outlives the block. The bound is that of `stop`, with room for its own kills.
        with trio.move_on_after(self._stop_deadline + 3 * KILL_SECONDS, shield=True):
            if self._live or not self._stopping.raised:
                await self.stop()
        self._done.set()
        if self._live and self._nursery is not None:
            self._nursery.cancel_scope.cancel(reason="the runtime is closed")


def _closed(
    handle: EpisodeHandle, record: EpisodeRecord | None, error: Exception | None, waited: float, driver: str
) -> EpisodeClosed:
    plan = handle.spec.plan
    verdict = record.verdict if record is not None else None
    return EpisodeClosed(
        coworld=plan.manifest.game.name,
        version=plan.manifest.game.version,
        variant=plan.variant_id,
        driver=driver,
        seats=len(plan.seats),
        outcome=verdict.reason if verdict else _snake(type(error).__name__),
        good=verdict.good if verdict else False,
        blame=verdict.blame if verdict else "",
        failed_seats=verdict.failed_seats if verdict else (),
        waited=waited,
        seconds=handle.status().seconds - waited,
        message=verdict.message if verdict else str(error),
        directory=record.directory if record is not None else "",
    )


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


@asynccontextmanager
async def open_runtime(
    driver: OpenDriver,
    *,
    name: str = "runtime",
    admission: Admission | None = None,
    stop_deadline: float = 30.0,
    blocked_after: float = 1.0,
    attach: Sequence[Attachment] = (),
    random: random_module.Random | None = None,
) -> AsyncGenerator[Runtime]:
    """Open a runtime for the time of a block. Nothing of it outlives the block.

    Args:
        driver: where the roles run; entered and left by the runtime.
        name: for sentences, events and the control socket; several runtimes of a process need names of their own.
        admission: how many episodes at once, how many in the queue.
        stop_deadline: seconds that episodes have to end in order when the runtime is stopped; then they are killed.
        blocked_after: seconds for which something has to block the event loop to be reported as `LoopBlocked`.
        attach: what else is there as long as the runtime is: control socket, metrics, traces.
        random: source of jitter; a seeded one makes runs repeatable.
    """
    async with driver, open_system(name, random=random, shutdown_deadline=KILL_SECONDS) as system:
        watchdog = Watchdog(system.events, blocked_after=blocked_after)
        runtime = Runtime(
            name, driver, system, admission or Admission(), stop_deadline=stop_deadline, watchdog=watchdog
        )
        left_by: BaseException | None = None
        async with trio.open_nursery() as nursery, AsyncExitStack() as attached:
            await nursery.start(runtime._hold)  # noqa: SLF001
            try:
                await attached.enter_async_context(watchdog)
                for attachment in attach:
                    runtime.attached.append(await attached.enter_async_context(attachment(runtime)))
                yield runtime
            except BaseException as error:  # noqa: BLE001
                # Restores: everything is stopped in order before anything leaves the block; raised below, bare, not in a group.
                left_by = error
            await runtime._close()  # noqa: SLF001
        if left_by is not None:
            raise left_by
