"""The docker driver: a role is a container, made and watched through the `docker` program alone.

Four nets hold what a role leaves: the site that removes its containers, the driver that removes its networks, the janitor for when
the runtime itself is killed, and the sweep of the next run, or of `coworld-actors gc`, for when the whole machine was.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Self

import trio

from coworld_drivers import docker_gc, labels
from coworld_drivers.docker_client import Docker, EngineGone
from coworld_drivers.docker_disk import DiskWatch
from coworld_drivers.docker_engine import Engine, ask_engine, pin_engine
from coworld_drivers.docker_images import Images
from coworld_drivers.docker_networks import Networks
from coworld_drivers.docker_orphans import Orphans
from coworld_drivers.docker_site import CLOSE_SECONDS, DockerSite
from coworld_drivers.docker_usage import UsageWatches
from coworld_drivers.driver import MachineFault, Pull, Wanted
from coworld_drivers.environment import child_mark
from coworld_drivers.lifeline import Lifeline
from coworld_drivers.sharing import Shared
from coworld_protocol.errors import alone

__all__ = ["DockerDriver"]


class DockerDriver:
    """Runs roles as containers.

    It belongs to the process that makes it: a forked child is refused.

    Args:
        environ: our own environment; it says where `docker` and its engine are. Roles see nothing of it.
        close_grace: seconds between SIGTERM and SIGKILL for what still runs when a site is left.
        log: receives a sentence about what a user should know, such as a root that an image has to write to.
        trust: leave out what keeps roles from the machine, except limits on what they use.
        outside: let roles reach the world outside, such as a model's provider; `trust` implies it.
        pull: when to ask a registry for an image.
    """

    name = "docker"

    def __init__(
        self,
        *,
        environ: Mapping[str, str] = os.environ,
        close_grace: float = 2.0,
        log: Callable[[str], None] | None = None,
        trust: bool = False,
        outside: bool = False,
        pull: Pull = Pull.MISSING,
    ) -> None:
        self.run = uuid.uuid4().hex
        self.mark = child_mark(environ, self.run)
        self.close_grace = close_grace
        self.trust = trust
        self.outside = outside or trust
        self.docker = Docker(environ, mark=self.mark)
        self.labels = labels.of_run(self.run, self.mark)
        self.lifeline = Lifeline(self.mark, docker_gc.wills(self.docker, self.run), what="docker driver")
        self.images = Images(self.docker, pull=pull, log=self.note, environ=environ)
        self.networks = Networks(self.docker, run=self.run, labels=self.labels, environ=environ)
        self.orphans = Orphans(self.docker, self.run)
        self.usage = UsageWatches()
        self.disks = DiskWatch()
        self.writable_roots: set[str] = set()
        self._log = log
        self._engine: Engine | None = None
        self._asking: Shared[Engine] = Shared()
        self._announced = False
        self._count = 0
        self._killers: list[int] = []
        self._open: set[DockerSite] = set()
        self._nursery_manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None

    async def __aenter__(self) -> Self:
        self.lifeline.owner.require()
        manager = self._nursery_manager = trio.open_nursery()
        nursery = self._nursery = await manager.__aenter__()
        # Nothing is awaited here: a driver that is entered while everything is being cancelled is left in good order.
        nursery.start_soon(self.docker.serve)
        nursery.start_soon(self.usage.serve)
        nursery.start_soon(self.disks.serve)
        nursery.start_soon(docker_gc.sweep_at_start, self.docker, self.note)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._nursery is not None
        assert self._nursery_manager is not None
        try:
            # Restores: no container and no network of this run is left.
            await self._remove_all()
        finally:
            for killer in self._killers:
                # Restores: no zombie. It has all the containers at once to kill.
                with trio.move_on_after(CLOSE_SECONDS, shield=True):
                    await trio.to_thread.run_sync(os.waitpid, killer, 0, abandon_on_cancel=True)
            self.docker.close()
            self._nursery.cancel_scope.cancel(reason="the driver is left")
            try:
                # Restores: the janitor is gone too. Bounded inside.
                await self.lifeline.aclose()
            finally:
                await self._nursery_manager.__aexit__(None, None, None)

    async def _remove_all(self) -> None:
        """Remove every container and every network of the run; what cannot be is left to the janitor. Bounded."""
        reasons: dict[str, None] = {}
        for remove in (self.orphans.remove, self.networks.aclose):
            with trio.move_on_after(CLOSE_SECONDS, shield=True) as limit:
                try:
                    await remove()
                except MachineFault as refused:
                    reasons[f"{refused.what}: {refused.evidence}"] = None
                    if isinstance(refused, EngineGone):
                        # It has been waited for. The janitor waits longer, and keeps nobody.
                        break
            if limit.cancelled_caught:
                reasons[f"the engine took more than {CLOSE_SECONDS:g} s"] = None
        if reasons:
            self.lifeline.bequeath()
            self.note(
                f"not everything of this run could be removed: {'; '.join(reasons)}; "
                "that is tried for another minute, then `coworld-actors gc` does it"
            )

    async def check(self, launches: Sequence[Wanted]) -> None:
        """Check that every image is there, or can be pulled, and can be started.

        Raises:
            PreconditionMissing: with everything that is missing, not only the first; also when no engine answers.
        """
        # The janitor is told of the engine that is found now.
        await self.engine()
        await self.lifeline.ensure()
        try:
            async with trio.open_nursery() as both:
                # Every episode needs it, and it takes as long as a look at the images.
                both.start_soon(self._prepare_front)
                await self.images.check(launches)
        except ExceptionGroup as group:
            raise alone(group) from group

    async def _prepare_front(self) -> None:
        await self.networks.front(outside=self.outside)

    async def engine(self) -> Engine:
        """What the engine can do; asked once.

        Raises:
            EngineGone: none answers.
        """
        if self._engine is None:
            self._engine = await self._asking.of(self._meet)
        return self._engine

    async def _meet(self) -> Engine:
        await pin_engine(self.docker)
        return await ask_engine(self.docker)

    def _announce(self, engine: Engine) -> None:
        """Say once what roles are not kept from."""
        if not self._announced:
            self._announced = True
            for sentence in engine.shortcomings:
                self.note(f"warning: {sentence}")
            if self.trust:
                self.note(
                    "warning: --trust: roles run as the user of their image, with the engine's capabilities, may write to their "
                    "root, and reach the network outside"
                )
            elif self.outside:
                self.note("warning: players reach the network outside, which those that ask a model's provider need")

    def note(self, text: str) -> None:
        """Tell the run's log."""
        if self._log is not None:
            self._log(text)

    def kill_all(self) -> None:
        """Have every container of every site killed, by a client that nobody waits for.

        Raises:
            ForkedProcess: this is a forked child, and the containers are its parent's.
        """
        self.lifeline.owner.require()
        names = [handle.container for site in self._open for handle in site.running]
        if names:
            client = self.docker.client
            # Without the mark: the janitor must not end it.
            environ = {key: value for key, value in client.environ.items() if value != self.mark}
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            try:
                killer = os.posix_spawn(
                    client.program,
                    [client.program, "kill", *names],
                    environ,
                    file_actions=[(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)],
                    setsid=True,
                )
                self._killers.append(killer)
            finally:
                os.close(null)

    def number(self) -> int:
        """For sites: a number that no other container of this run has."""
        self._count += 1
        return self._count

    def open_site(
        self, episode: str, *, seats: int = 0, doorway: bool = False
    ) -> AbstractAsyncContextManager[DockerSite]:
        """A site for one episode, with a network of its own; leaving it removes whatever is there.

        An exception of the body leaves as it is, never wrapped in a group.

        Raises:
            DockerRefused: there can be no network.
            ForkedProcess: this is a forked child of the process that made the driver.
        """
        self.lifeline.owner.require()
        return self._site(episode, seats, doorway)

    @asynccontextmanager
    async def _site(self, episode: str, seats: int, doorway: bool) -> AsyncGenerator[DockerSite]:
        failure: BaseException | None = None
        # Before anything of it exists: what the engine is decides how it is confined.
        engine = await self.engine()
        await self.lifeline.ensure()
        self._announce(engine)
        front = await self.networks.front(outside=self.outside)
        async with trio.open_nursery() as nursery:
            site = DockerSite(self, episode, engine, nursery, front, seated=seats > 0)
            self._open.add(site)
            try:
                if seats:
                    # It takes as long as a game takes to start, which does not need it before its players come.
                    nursery.start_soon(site.take_network, seats, doorway)
                if doorway:
                    await site.network()
                yield site
            except BaseException as error:  # noqa: BLE001 - raised again below, outside the nursery that would wrap it
                failure = error
            # Restores: nothing that this site started is left. Bounded inside.
            await site.aclose()
            self._open.discard(site)
            if site.private is not None:
                self.networks.give_back(site.private)
        if failure is not None:
            raise failure
