"""Where the containers of one episode run together.

A container is created with a name and labels of our choice, started, followed, asked how it ended, and removed; never `--rm`, for
what has removed itself cannot be asked. Unless it is trusted a role sees its own directory, its game, and, when it is a player, those that play with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from coworld_drivers import docker_connections, labels
from coworld_drivers.docker_client import DockerRefused, Trouble
from coworld_drivers.docker_create import (
    Confinement,
    Joined,
    Variables,
    bounded,
    container_uri,
    create_words,
    role_variables,
    variables,
)
from coworld_drivers.docker_engine import Engine
from coworld_drivers.docker_handle import Container, DockerHandle
from coworld_drivers.docker_networks import Network
from coworld_drivers.docker_state import state_of
from coworld_drivers.driver import (
    Address,
    Connections,
    Doorway,
    ExtraPort,
    Launch,
    MachineFault,
    Mount,
    StartFailed,
)
from coworld_drivers.extra_ports import choose_outside, port_variables
from coworld_drivers.logfiles import LogFiles
from coworld_drivers.output import open_logs
from coworld_protocol import contract
from coworld_protocol.contract import Role
from coworld_protocol.errors import InternalFault

if TYPE_CHECKING:
    from coworld_drivers.docker import DockerDriver

__all__ = ["CLOSE_SECONDS", "DockerSite"]

CLOSE_SECONDS = 40.0
"""For everything that a site or a driver has to remove when it is left; a removal was never seen to take more than 2 s."""

MAKING_LOOK = 0.2
"""Seconds between two looks at a container that is being made for a client that is gone."""


NO_SETTINGS = {"DOCKER_CONFIG": "/nonexistent/docker"}
"""For the client that makes containers: its own settings would give the user's proxies, with their passwords, to every role."""

ALREADY_JOINED = "already exists in network"
"""What an engine says of a second call of which the first was heard, and its answer lost."""


class DockerSite:
    """Where the containers of one episode run together; made by `DockerDriver.open_site`.

    Attributes:
        running: what runs.
        private: the network of its game and players; None until there is one.
    """

    def __init__(
        self,
        driver: DockerDriver,
        episode: str,
        engine: Engine,
        nursery: trio.Nursery,
        front: Network,
        *,
        seated: bool,
    ) -> None:
        self.episode = episode
        self.running: set[DockerHandle] = set()
        self._driver = driver
        self._engine = engine
        self._nursery = nursery
        self._front = front
        self.private: Network | None = None
        self._seated = seated
        self._networked = trio.Event()
        self._no_network: DockerRefused | None = None
        self._game: DockerHandle | None = None
        self._players: dict[str, str] = {}
        self._files = LogFiles()
        self._ports: tuple[ExtraPort, ...] = ()
        self._closed = False
        self._created: set[str] = set()
        self._removals: dict[str, trio.Event] = {}

    async def take_network(self, seats: int, doorway: bool) -> None:
        """Get a network for game and players; used by the driver, once."""
        try:
            taken = await self._driver.networks.take(seats, doorway=doorway, outside=self._driver.outside)
            if self._closed:
                self._driver.networks.give_back(taken)
            else:
                self.private = taken
        except DockerRefused as refused:
            self._no_network = refused
        finally:
            self._networked.set()

    async def network(self) -> Network:
        """The network of game and players, as soon as there is one.

        Raises:
            DockerRefused: there can be none.
        """
        await self._networked.wait()
        if self.private is None:
            raise self._no_network or InternalFault("the site was left before its network was there")
        return self.private

    def uri(self, path: Path, mounts: Sequence[Mount]) -> str:
        """The `file://` URI by which a container with these mounts finds `path`.

        Raises:
            InternalFault: no mount holds the path.
        """
        return container_uri(path, mounts)

    @property
    def insight(self) -> None:
        """None: a container is asked over the network."""
        return

    @property
    def doorway(self) -> Doorway | None:
        """This machine's address in the episode's network; None when the site was opened without."""
        gateway = self.private.gateway if self.private is not None else None
        return None if gateway is None else Doorway(bind=str(gateway), host=str(gateway))

    @property
    def sees_connections(self) -> bool:
        """Whether the engine runs on this machine, whose kernel knows who is connected to the game."""
        return self._game is not None and docker_connections.visible(self._game.pid)

    async def connected(self, address: Address) -> Connections:
        """The players that are connected to the game, by their addresses in the episode's network."""
        del address
        if self._game is None or self._game.status is not None:
            await trio.lowlevel.checkpoint()
            return Connections(complete=False)
        found = docker_connections.look(self._game.pid, contract.CONTAINER_PORT, self._players)
        for handle in self.running:
            if handle.name in found.names:
                handle.at_work()
        return found

    async def start(self, launch: Launch) -> DockerHandle:
        """Create and start a container.

        Raises:
            MachineFault: it cannot be started, and no role is to blame for that: no engine, no room, no log.
            StartFailed: its command cannot be executed; nothing is left of the attempt.
            ForkedProcess: this is a forked child of the process that opened the site.
        """
        driver = self._driver
        driver.lifeline.owner.require()
        self._refuse_when_closed(launch)
        await driver.lifeline.ensure()
        if self._seated and launch.role == Role.PLAYER:
            await self.network()
            if self._game is not None:
                self._game.at_work()
        resources = bounded(launch.resources, self._confinement())
        logs = open_logs(launch, self._files)
        try:
            container = await self._create(launch, writable_root=driver.trust or launch.image in driver.writable_roots)
            handle = DockerHandle(
                launch.name,
                driver.docker,
                container,
                logs,
                serves=contract.CONTAINER_PORT if launch.serves else None,
                join=self._join if self._hosts(launch) else None,
                meter=driver.usage.follow,
                read_only=lambda: self._learn_read_only(launch.image),
            )
        except BaseException:
            for log in logs:
                log.close()
            raise
        try:
            await handle.start()
            self._refuse_when_closed(launch)
        except BaseException:
            # Restores: a container that nobody follows does not exist. Bounded inside.
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await handle.abandon()
                await self._remove(handle.container)
            raise
        if self._hosts(launch):
            self._game = handle
        self.running.add(handle)
        if launch.home is not None and resources.disk is not None:
            hidden = [mount.path / name for mount in launch.mounts for name in mount.hides]
            driver.disks.watch(handle, launch.home, resources.disk, hidden)
        self._nursery.start_soon(self._follow, handle, name=f"container {launch.name}")
        return handle

    async def _join(self, name: str) -> str:
        """Put the game's container into the network of its players; returns its address there.

        Raises:
            DockerRefused: it cannot be done, and the container has not ended meanwhile.
        """
        private = await self.network()
        host = private.address(0)
        words = ("network", "connect", "--ip", host, private.name, name)
        try:
            await self._driver.docker.ask(*words, what="the game cannot be put into the network of its players")
        except DockerRefused as refused:
            if ALREADY_JOINED in refused.evidence:
                return host
            seen = await self._driver.docker.inspect(name)
            if seen is not None and not state_of(seen).over:
                raise
        return host

    async def _create(self, launch: Launch, *, writable_root: bool) -> Container:
        driver = self._driver
        number = driver.number()
        name = f"{labels.name_prefix(driver.run)}{number}-{launch.name}"[:120]
        ports = self._extra_ports(launch)
        own_home = not driver.trust
        vars_ = variables(
            role_variables(launch, port_variables(ports), own_home=own_home), launch.name, launch.secret_env.keys()
        )
        confinement = self._confinement(writable_root=writable_root)
        words = create_words(
            launch,
            name=name,
            image=driver.images.known(launch.image),
            labels={**driver.labels, **labels.of_role(self.episode, launch.role, launch.name)},
            joined=self._joined(launch),
            ports=ports,
            resources=bounded(launch.resources, confinement),
            confinement=confinement,
            variables=vars_,
        )
        self._created.add(name)
        with driver.orphans.making():
            await self._make(launch.name, name, words, vars_)
        again = None if writable_root else lambda: self._create(launch, writable_root=True)
        return Container(name=name, again=again)

    def _extra_ports(self, launch: Launch) -> tuple[ExtraPort, ...]:
        """Where a game's extra ports are; the same for every start in this episode (contract 2.8)."""
        if launch.extra_ports and not self._ports:
            self._ports = choose_outside(launch.extra_ports, taken=())
        return self._ports if launch.extra_ports else ()

    async def _make(self, role: str, name: str, words: Sequence[str], vars_: Variables) -> None:
        """Have the engine make a container, whatever happens to the clients that ask for it."""
        docker = self._driver.docker
        what = f"{role} could not be started: its container cannot be made"
        give_up = trio.current_time() + docker.patience
        while True:
            try:
                await docker.ask(*words, what=what, stdin=vars_.lines, env={**vars_.named, **NO_SETTINGS})
            except DockerRefused as refused:
                # The name is ours alone: an earlier try of the same call has taken it, although its answer was lost.
                if refused.trouble is not Trouble.CONFLICT or trio.current_time() > give_up:
                    raise
            else:
                return
            if await docker.inspect(name) is not None:
                return
            # Not made yet, and without the client that asked for it maybe never.
            await trio.sleep(MAKING_LOOK)

    def _confinement(self, *, writable_root: bool = False) -> Confinement:
        return self._engine.confinement(trust=self._driver.trust, writable_root=writable_root)

    def _joined(self, launch: Launch) -> Joined:
        outside = self._driver.outside
        if launch.serves:
            return Joined(network=self._front.name, publishes=True, names=outside)
        if launch.role == Role.PLAYER and self.private is not None:
            return Joined(network=self.private.name, ip=self._address_of(launch.name), names=outside)
        return Joined(network=self._front.name, names=True) if outside else Joined()

    def _hosts(self, launch: Launch) -> bool:
        """Whether the players of this episode connect to it."""
        return self._seated and launch.serves and launch.name == Role.GAME

    def _address_of(self, name: str) -> str:
        """The address of a player in the episode's network; players get theirs in the order in which they come."""
        assert self.private is not None
        address = next((ip for ip, known in self._players.items() if known == name), None)
        if address is None:
            address = self.private.address(1 + len(self._players))
            self._players[address] = name
        return address

    def _learn_read_only(self, image: str) -> None:
        if image not in self._driver.writable_roots:
            self._driver.writable_roots.add(image)
            self._driver.note(f"image {image} does not work with a root that it may not write: from now on it may")

    async def _follow(self, handle: DockerHandle) -> None:
        try:
            await handle.follow()
        finally:
            self.running.discard(handle)
            self._driver.disks.forget(handle)
            # Restores: a container that has ended takes no room.
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await self._remove(handle.container)

    async def _remove(self, name: str) -> None:
        """Remove a container; one that stays is left to the nets behind this one. Who comes second waits for the first."""
        if name in self._removals:
            await self._removals[name].wait()
            return
        over = self._removals[name] = trio.Event()
        try:
            with suppress(MachineFault):
                await self._driver.docker.remove(name)
                self._created.discard(name)
        finally:
            del self._removals[name]
            over.set()

    def _refuse_when_closed(self, launch: Launch) -> None:
        if self._closed:
            raise StartFailed(f"{launch.name} was not started: its episode is ending")

    async def aclose(self) -> None:
        """Stop and remove everything; used by the driver when the site is left."""
        self._closed = True
        if not self._driver.lifeline.owner.here:
            return
        limit = self._driver.close_grace + CLOSE_SECONDS / 2
        for handle in self.running:
            handle.limit(limit)
        with trio.move_on_after(limit, shield=True):
            async with trio.open_nursery() as nursery:
                for handle in tuple(self.running):
                    nursery.start_soon(handle.stop, self._driver.close_grace)
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            async with trio.open_nursery() as nursery:
                for name in tuple(self._created):
                    nursery.start_soon(self._remove, name)
