"""Several processes that play: a table whose episodes are spread over workers, each supervised and started again when it dies.

The tree, in a system of its own:

    worker-1 ...    a `Keeper`, permanent, with back-off: it owns one process, and its life is that process's
    alone-1 ...     the same, from the first episode that has to be played alone

An episode is handed to the worker that has the fewest. When a worker dies, or gives no sign of life and is killed, everything
that it played is `WorkerLost`: nobody knows whose doing it was, so whoever retries asks for `alone`.

What is left behind by a worker is killed by its mark; when this process is killed, its janitor does the same to all workers.
"""

from __future__ import annotations

import math
import os
import sys
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import final

import trio

from coworld_actors.actors import ActorError, ChildSpec, StartFailed, SupervisorRef, open_system
from coworld_actors.actors.restarts import Backoff, RestartPolicy, StopOrder
from coworld_actors.actors.specs import SupervisorSpec
from coworld_actors.batch.local import CALLED_OFF, MakeSpec, WorkerLost
from coworld_actors.batch.workers.keeper import CallOff, Flight, Keeper, Launch, Orders, Post
from coworld_actors.batch.workers.wire import Hello, World, frame, play_of
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.manifest.seats import EpisodePlan
from coworld_actors.runtime.admission import check_parallel
from coworld_actors.runtime.runtime import RuntimeClosed
from coworld_drivers.environment import child_mark
from coworld_drivers.images import ImageMap
from coworld_drivers.lifeline import Lifeline
from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused
from coworld_protocol.manifest import Manifest

__all__ = ["SILENCE_SECONDS", "WorkerTable", "open_workers", "workers_for"]

SILENCE_SECONDS = 30.0
"""Without a sign of life for so long, a worker hangs. A loop with hundreds of busy episodes is seconds late, not half a minute."""

BEAT_SECONDS = 0.25
"""Between signs of life; so fresh is what is known about a worker's lateness."""

START_ATTEMPTS = 3
"""Starts in a row that every worker fails with before there is no hope."""

_MARGIN = 10.0
"""Seconds beyond a worker's own deadline for its keeper to see it end."""

_RESTARTS = RestartPolicy(
    # No limit: an episode that kills its worker is blamed by whoever retries it, and the others have to be played.
    max_restarts=1_000_000,
    within=1.0,
    backoff=Backoff(first=0.05, factor=2.0, maximum=2.0, reset_after=5.0),
)


def workers_for(parallel: int) -> int:
    """How many workers are worth having for so many episodes at once: one for each core that we may use, no more than episodes."""
    return max(1, min(len(os.sched_getaffinity(0)), check_parallel(parallel)))


@asynccontextmanager
async def open_workers(
    images: ImageMap,
    spec: MakeSpec,
    *,
    driver: str = "inproc",
    workers: int,
    stop_deadline: float = 30.0,
    silence: float = SILENCE_SECONDS,
    note: Callable[[str], None] = lambda _: None,
) -> AsyncGenerator[WorkerTable]:
    """A table of so many worker processes, for the time of a block. Nothing of it outlives the block, or this process.

    Args:
        images: what image names mean; the workers get a copy.
        spec: makes the specs, as for `LocalTable`.
        driver: `inproc`, `process`, or `module:function`, which is called with the image map and returns a driver.
        workers: how many.
        stop_deadline: seconds that episodes have to end in order when the block is left; then they are killed.
        silence: seconds without a sign of life after which a worker is killed.
        note: told what happens to workers, and what they write to their standard output and error; must not raise.

    Raises:
        Refused: no such driver, or a number that is none.
        PreconditionMissing: the workers cannot be started.
    """
    count = check_parallel(workers)
    for name, value in (("stop_deadline", stop_deadline), ("silence", silence)):
        if not 0 < value < math.inf:
            raise Refused(f"{name}={value!r} is no time for a worker", todo="give seconds, more than 0")
    mark = child_mark(os.environ, uuid.uuid4().hex)
    lifeline = Lifeline(mark)
    try:
        async with open_system("workers", shutdown_deadline=stop_deadline + 2 * _MARGIN) as system:
            supervisor = await system.start_supervisor(
                "workers", SupervisorSpec(restarts=_RESTARTS, stop_order=StopOrder.TOGETHER)
            )
            orders = Orders(
                hello=_hello(driver, images, stop_deadline),
                lifeline=lifeline,
                mark=mark,
                environ=os.environ,
                silence=silence,
                stop_deadline=stop_deadline,
                note=note,
                changed=lambda: table._changed(),  # noqa: PLW0108, SLF001 - it is made from these orders
            )
            table = WorkerTable(supervisor, orders, spec, count)
            await table._open()  # noqa: SLF001 - of this module
            try:
                yield table
            finally:
                table._close()  # noqa: SLF001 - of this module
    finally:
        # Restores: the janitor is gone too. Bounded inside.
        await lifeline.aclose()


def _hello(driver: str, images: ImageMap, stop_deadline: float) -> Callable[[str], bytes]:
    def make(name: str) -> bytes:
        return frame(
            Hello(
                name=name,
                driver=driver,
                images=dict(images.entries),
                local_file=images.local_file,
                path=tuple(sys.path),
                beat=BEAT_SECONDS,
                stop_deadline=stop_deadline,
            )
        )

    return make


@final
class WorkerTable:
    """Plays in worker processes; made by `open_workers`."""

    def __init__(self, supervisor: SupervisorRef, orders: Orders, spec: MakeSpec, workers: int) -> None:
        self._supervisor = supervisor
        self._orders = orders
        self._spec = spec
        self._posts = [Post(f"worker-{number + 1}") for number in range(workers)]
        self._alone: list[Post] = []
        self._spare: list[Post] = []
        # As many episodes alone at once as there are workers: they take the machine's cores from the others.
        self._lanes = trio.CapacityLimiter(workers)
        self._flights: dict[str, Flight] = {}
        self._worlds: dict[int, tuple[Manifest, int, bytes]] = {}
        self._news = trio.Event()
        self._closed = False

    async def play(
        self,
        id: str,  # noqa: A002 - the word of the spec
        plan: EpisodePlan,
        directory: Path,
        *,
        playing: Callable[[], None],
        alone: bool = False,
    ) -> EpisodeRecord:
        """Play one episode; see `Table.play`. An episode whose worker died before it saw the episode goes to another one."""
        spec = self._spec(id, plan, directory)
        if id in self._flights:
            raise Refused(
                f"an episode with the id {id!r} has not ended yet", todo="give every episode an id of its own"
            )
        world, manifest = self._world_of(plan.manifest)
        play = play_of(spec, world)
        data = frame(play)
        while True:
            flight = self._flights[id] = Flight(play, manifest, playing)
            try:
                if alone:
                    async with self._lanes, self._lane() as post:
                        await self._fly(post, flight, data)
                else:
                    await self._fly(await self._least_loaded(), flight, data)
            finally:
                del self._flights[id]
            if flight.error is not None:
                raise flight.error
            if flight.record is not None:
                return flight.record
            assert flight.unseen

    def cancel_all(self, reason: str) -> None:
        """Call off in order whatever is being played; their records will say `cancelled`."""
        for post in (*self._posts, *self._alone):
            if post.ref is not None and post.flights:
                with suppress(ActorError):
                    post.ref.tell_nowait(CallOff("", reason))

    def worst_lag(self, since: float = -math.inf, until: float = math.inf) -> float:
        """How late the event loop of any worker was at the worst, in seconds, between two moments of trio's clock.

        A worker tells every quarter of a second, so a stall just before `until` may not be known yet.
        """
        return max(
            (
                lag
                for post in (*self._posts, *self._alone)
                for at, lag in post.lags
                if since <= at <= until + BEAT_SECONDS
            ),
            default=0.0,
        )

    def pids(self) -> list[int]:
        """The processes of the workers that are ready."""
        return [post.pid for post in (*self._posts, *self._alone) if post.ready and post.pid is not None]

    # Who plays it.

    async def _open(self) -> None:
        failures: list[CoworldError] = []

        async def start(post: Post) -> None:
            try:
                await self._start(post)
            except CoworldError as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            for post in self._posts:
                nursery.start_soon(start, post)
        if failures:
            raise failures[0]

    async def _start(self, post: Post) -> None:
        try:
            post.ref = await self._supervisor.start_actor(
                ChildSpec(
                    name=post.name,
                    start=lambda: Keeper(post, self._orders),
                    shutdown=self._orders.stop_deadline + _MARGIN,
                )
            )
        except StartFailed as error:
            cause = error.__cause__
            raise cause if isinstance(cause, CoworldError) else error from None

    async def _least_loaded(self) -> Post:
        while True:
            self._refuse_when_hopeless(self._posts)
            ready = [post for post in self._posts if post.ready]
            if ready:
                return min(ready, key=lambda post: len(post.flights))
            await self._news.wait()

    @asynccontextmanager
    async def _lane(self) -> AsyncGenerator[Post]:
        """A worker that plays nothing else."""
        if self._spare:
            post = self._spare.pop()
        else:
            post = Post(f"alone-{len(self._alone) + 1}")
            self._alone.append(post)
        try:
            if post.ref is None:
                await self._start(post)
            while not post.ready:
                self._refuse_when_hopeless([post])
                await self._news.wait()
            yield post
        finally:
            self._spare.append(post)

    def _refuse_when_hopeless(self, posts: list[Post]) -> None:
        if self._closed:
            raise RuntimeClosed("the workers are being stopped and take no more episodes")
        if all(post.failed >= START_ATTEMPTS for post in posts):
            raise PreconditionMissing(
                "no worker process can be started any more",
                evidence="; ".join(dict.fromkeys(str(post.failure) for post in posts if post.failure is not None)),
                todo="look at what has changed on this machine, and take the batch up again",
            )

    async def _fly(self, post: Post, flight: Flight, data: bytes) -> None:
        """Hand an episode to a worker and wait for its end."""
        assert post.ref is not None
        id = flight.play.id  # noqa: A001 - the word of the spec
        post.flights[id] = flight
        try:
            await post.ref.tell(Launch(flight, data))
            await flight.over.wait()
        except ActorError:
            flight.land(None, unseen=True)
        except trio.Cancelled:
            if not flight.launched:
                raise
            with suppress(ActorError):
                post.ref.tell_nowait(CallOff(id, CALLED_OFF))
            # Restores: what this call has started is over when it returns.
            with trio.move_on_after(self._orders.stop_deadline, shield=True):
                await flight.over.wait()
            raise
        finally:
            flight.land(None, WorkerLost("it was not over in time after it had been called off"))
            del post.flights[id]

    def _world_of(self, manifest: Manifest) -> tuple[int, bytes]:
        """The number of a manifest, and the message that makes it known."""
        known = self._worlds.get(id(manifest))
        if known is None:
            number = len(self._worlds)
            # Held here, so that nothing else can have its id.
            known = self._worlds[id(manifest)] = (manifest, number, frame(World(number=number, manifest=manifest)))
        return known[1:]

    def _changed(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def _close(self) -> None:
        self._closed = True
        self._changed()
