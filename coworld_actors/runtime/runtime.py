"""What an open runtime does: episodes accepted, played in their turn, called off, stopped. `opening` opens and leaves it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import final

import msgspec
import trio

from coworld_actors.actors import ActorRef, ActorSystem, ChildInfo, Event, Record
from coworld_actors.actors.stream import Subscription
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
    EpisodeQueued,
    RuntimeStopped,
    RuntimeStopping,
    StopReport,
)
from coworld_actors.runtime.handle import EpisodeHandle, EpisodeState, EpisodeStatus
from coworld_actors.runtime.statistics import RuntimeStatistics
from coworld_actors.runtime.watchdog import Watchdog
from coworld_drivers.driver import Driver
from coworld_protocol.errors import CoworldError, Refused, alone, leaves

__all__ = ["KILL_SECONDS", "Runtime", "RuntimeClosed"]

KILL_SECONDS = 5.0
"""How long what has been killed may take to be gone, before its tasks are cancelled as well."""
OVERDUE = "the runtime's stop had used up its time"


class RuntimeClosed(CoworldError):
    """The runtime is stopping or has stopped; the episode was not accepted, or it was killed."""

    exit_code = 3


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
        nursery: trio.Nursery,
        *,
        stop_deadline: float,
        watchdog: Watchdog,
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
        self._stopped = False
        self._overdue = Interrupt()
        self._episode_over = trio.Event()
        self._nursery = nursery
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
            with self._overdue.scope() as time_left:
                # Out of reach of the host's cancellation, which is answered in order by `_close`. That is what ends this shield.
                time_left.shield = True
                with handle.interrupt.scope() as beforehand:
                    await self._gate.sit(handle)
                    waited = handle.admitted()
                    self._publish(handle, EpisodeAdmitted(waited=waited))
                    await self._driver.check(wanted(handle.spec))
                if beforehand.cancelled_caught:
                    if handle.state is EpisodeState.QUEUED:
                        waited = handle.status().seconds
                    record = unplayed(handle.spec, self._driver.name, handle.interrupt.reason)
                else:
                    record = await run_episode(
                        self.system, self._driver, handle.spec, interrupt=handle.interrupt, on_pages=handle.show
                    )
        except Exception as failure:  # noqa: BLE001 - see above
            error = alone(failure)
        except BaseException as failure:  # noqa: BLE001 - see above
            # KeyboardInterrupt or SystemExit: it is the host's, and leaves the runtime's block.
            error = RuntimeClosed(f"episode {handle.id} was ended by {type(failure).__name__}")
            for leaf in leaves(failure):
                if isinstance(leaf, KeyboardInterrupt | SystemExit):
                    self.system.interrupt(leaf)
        if record is None and self._overdue.raised:
            error = RuntimeClosed(f"episode {handle.id} was killed: {self._overdue.reason}")
        self._gate.dismiss(handle)
        self._settle(handle, record, error, waited)

    def _settle(
        self, handle: EpisodeHandle, record: EpisodeRecord | None, error: Exception | None, waited: float
    ) -> None:
        closed = handle.closing(record, error, waited, self._driver.name)
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
        """Begin no further episode until `resume`; those that run go on, and the queue fills.

        Raises:
            RuntimeClosed: the runtime is stopping, and paused it could never be done with a drain.
        """
        if self._stopping.raised:
            raise RuntimeClosed(
                f"runtime {self.name} is stopping and cannot be paused", todo="call episodes off instead"
            )
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
            loop=self._watchdog.statistics(),
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

        Raises:
            Refused: a `deadline` that is none.

        Returns:
            What became of it. Episodes that were called off have the runtime's `stop_deadline` to end in order; then their roles
            and actors are killed, and named here.
        """
        if not deadline >= 0:
            raise Refused(f"deadline={deadline!r} is no time for a drain", todo="give seconds, 0 or more")
        began = trio.current_time()
        accepted = tuple(self._live.values())
        self._stopping.throw("the runtime is stopping")
        self.system.events.publish(RuntimeStopping(drain=drain, accepted=len(accepted)))
        if drain:
            self.resume()
            with trio.move_on_after(deadline):
                await self._until_idle()
        for handle in self._live.values():
            handle.interrupt.throw("the runtime was stopped")
        with trio.move_on_after(self._stop_deadline):
            await self._until_idle()
        killed = await self._kill()
        cancelled = tuple(handle.id for handle in accepted if handle.interrupt.raised)
        report = StopReport(
            seconds=trio.current_time() - began,
            finished=len(accepted) - len(cancelled),
            cancelled=cancelled,
            killed=killed,
        )
        self._stopped = True
        self.system.events.publish(RuntimeStopped(report=report))
        return report

    async def _until_idle(self) -> None:
        while self._live:
            await self._episode_over.wait()

    async def _kill(self) -> tuple[str, ...]:
        """Kill the episodes that still live; returns whose ends that were."""
        if not self._live:
            return ()
        registry = self.system.registry
        living = [path for path in registry if isinstance(registry[path], ActorRef)]
        killed: list[str] = []
        for id in self._live:  # noqa: A001 - the word of the spec
            house = f"episode-{id}"
            killed += [path for path in living if path.startswith(f"{house}/")] or [house]
        self._driver.kill_all()
        with trio.move_on_after(KILL_SECONDS):
            await self._until_idle()
        if self._live:
            self._overdue.throw(OVERDUE)
            with trio.move_on_after(KILL_SECONDS):
                await self.system.root.kill()
                await self._until_idle()
        return tuple(killed)

    def _publish(self, handle: EpisodeHandle, event: Event) -> None:
        self.system.events.publish(event, scope=handle.id)

    def _on_record(self, record: Record) -> None:
        handle = self._live.get(record.scope)
        if handle is not None:
            handle.take(record)

    async def _close(self) -> None:
        try:
            # Restores: no episode outlives the block. The bound is that of `stop`, with room for its own kills.
            with trio.move_on_after(self._stop_deadline + 3 * KILL_SECONDS, shield=True):
                if not self._stopped:
                    await self.stop()
        finally:
            # A second KeyboardInterrupt passes every shield.
            if self._live:
                self._driver.kill_all()
                self._overdue.throw(OVERDUE)
