"""The networks of a run: one that its games are published from, one for each episode's seats; pooled, and removed at the end."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from ipaddress import IPv4Network

import msgspec
import trio

from coworld_drivers.docker_capacity import subnets_in_use
from coworld_drivers.docker_client import Docker, DockerRefused, EngineGone, Trouble
from coworld_drivers.docker_network_kinds import Kind, Network, here, options_of, prefix_for, room_of
from coworld_drivers.docker_subnets import FRONT_PREFIXES, FRONT_SHARE, VARIABLE, Subnets, host_routes, ranges_of
from coworld_drivers.labels import as_options, name_prefix, of_this_run
from coworld_drivers.sharing import Shared

__all__ = ["Network", "Networks"]

CLOSE_SECONDS = 20.0
"""For the removal of everything, and `EACH_SECONDS` more for each network."""

EACH_SECONDS = 0.5
"""An engine removes one network at a time: 0.1 s, on two busy processors."""

SETTLE_SECONDS = 3.0
"""How long a creation whose client was killed may still be under way in the engine."""

_PAUSE = 0.2
_FRESH_SECONDS = 2.0
_MOST_OVERLAPS = 50
_MOST_LOOKS = 3


class _Made(msgspec.Struct, kw_only=True):
    network: Network
    kind: Kind
    room: int


class Networks:
    """The networks of one run on one engine.

    Args:
        docker: the engine.
        run: the run's id; names begin with it.
        labels: of every network.
        environ: where `COWORLD_ACTORS_SUBNETS` is looked for.

    Raises:
        Refused: `COWORLD_ACTORS_SUBNETS` is not what it should be.
    """

    def __init__(
        self, docker: Docker, *, run: str, labels: Mapping[str, str], environ: Mapping[str, str] = os.environ
    ) -> None:
        self._docker = docker
        self._run = run
        self._prefix = name_prefix(run)
        self._labels = dict(labels)
        self._subnets = Subnets(ranges_of(environ))
        self._count = 0
        self._looks = 0
        self._looking: Shared[None] = Shared()
        self._fronts: dict[Kind, tuple[Network, float]] = {}
        self._finding: dict[Kind, Shared[Network]] = {Kind.FRONT: Shared(), Kind.FRONT_OUTSIDE: Shared()}
        self._pool: list[_Made] = []
        self._taken: dict[str, _Made] = {}
        # Names of which the engine may yet make a network, and since when nobody waits for its answer.
        self._unsure: dict[str, float] = {}
        # Names of which the engine has made one.
        self._made: set[str] = set()

    async def front(self, *, outside: bool) -> Network:
        """The network that games are published from; made when it is first asked for.

        Args:
            outside: whether games may reach what is outside this machine.

        Raises:
            DockerRefused: there is none, with the reason.
        """
        kind = Kind.FRONT_OUTSIDE if outside else Kind.FRONT
        return await self._finding[kind].of(lambda: self._front(kind))

    async def _front(self, kind: Kind) -> Network:
        if kind in self._fronts:
            network, seen = self._fronts[kind]
            # `docker network prune` takes it away in a moment in which no game runs.
            fresh = trio.current_time() < seen + _FRESH_SECONDS
            if fresh or await self._attached(network) is not None:
                self._fronts[kind] = (network, seen if fresh else trio.current_time())
                return network
            self._subnets.release(network.subnet)
        network = await self._create(kind, FRONT_PREFIXES, share=FRONT_SHARE)
        self._fronts[kind] = (network, trio.current_time())
        return network

    async def take(self, seats: int, *, doorway: bool, outside: bool) -> Network:
        """A network for one episode: one that was given back, or a new one.

        Args:
            seats: how many players it is for.
            doorway: whether this machine is to have an address in it.
            outside: whether its roles may reach what is outside this machine.

        Raises:
            DockerRefused: there is none, with the reason.
        """
        kind = Kind.OUTSIDE if outside else Kind.DOORWAY if doorway else Kind.ISOLATED
        made = await self._pooled(kind, seats)
        if made is None:
            network = await self._create(kind, (prefix_for(kind, seats),))
            made = _Made(network=network, kind=kind, room=room_of(kind, network.subnet))
        self._taken[made.network.name] = made
        return made.network

    def give_back(self, network: Network) -> None:
        """An episode is over, and its containers are gone: the network is for the next one."""
        made = self._taken.pop(network.name, None)
        if made is not None:
            self._pool.append(made)

    async def _pooled(self, kind: Kind, seats: int) -> _Made | None:
        aside: list[_Made] = []
        try:
            while len(aside) < _MOST_LOOKS:
                fitting = [made for made in self._pool if made.kind is kind and made.room >= seats]
                if not fitting:
                    return None
                made = min(fitting, key=lambda each: each.room)
                self._pool.remove(made)
                aside.append(made)
                attached = await self._attached(made.network)
                if not attached:
                    aside.remove(made)
                if attached == 0:
                    return made
                if attached is None:
                    # Somebody else has removed it, as `docker network prune` does.
                    self._subnets.release(made.network.subnet)
            return None
        finally:
            # What a container is still in, or what was being looked at when this was cancelled, is for a later moment.
            self._pool += aside

    async def _attached(self, network: Network) -> int | None:
        """How many running containers are in it; None when it is gone."""
        try:
            done = await self._docker.ask(
                *("network", "inspect", "--format", "{{len .Containers}}", network.name),
                what=f"the network {network.name} cannot be looked at",
            )
            return int(done.text)
        except DockerRefused as refused:
            if refused.trouble is Trouble.NOT_FOUND:
                return None
            raise
        except ValueError as error:
            what = "what the docker client says of a network cannot be read"
            raise EngineGone(what, Trouble.OTHER, evidence=str(error), todo="run `docker network ls`") from error

    async def _create(self, kind: Kind, prefixes: tuple[int, ...], *, share: int = 0) -> Network:
        give_up = trio.current_time() + self._docker.patience
        overlaps = 0
        while True:
            subnet, looks = await self._next(prefixes, share)
            try:
                name = await self._attempt(kind, subnet)
            except DockerRefused as refused:
                if refused.trouble is Trouble.OVERLAP and overlaps < _MOST_OVERLAPS:
                    # Somebody was faster. What one look tells is enough for all who chose before it.
                    overlaps += 1
                    if looks == self._looks:
                        await self._looking.of(self._look_around)
                    self._subnets.refuse(subnet)
                    continue
                # What the engine may yet make keeps its subnet: another try has another name and another subnet.
                again = refused.trouble in {Trouble.BUSY, Trouble.ENGINE_AWAY}
                if not again or trio.current_time() + _PAUSE > give_up:
                    raise _explained(refused) from refused
                await trio.sleep(_PAUSE)
                continue
            return Network(name=name, subnet=subnet, gateway=here(kind, subnet))

    async def _attempt(self, kind: Kind, subnet: IPv4Network) -> str:
        self._count += 1
        name = f"{self._prefix}{kind.word}-{self._count}"
        self._unsure[name] = trio.current_time()
        sure = False
        try:
            await self._docker.ask(
                *("network", "create", *options_of(kind, subnet), *as_options(self._labels), name),
                what=f"the network {name} cannot be made",
                again=lambda _: False,
            )
            sure = True
            self._made.add(name)
        except DockerRefused as refused:
            sure = not isinstance(refused, EngineGone) and refused.trouble is not Trouble.BUSY
            raise
        finally:
            if sure:
                del self._unsure[name]
            else:
                self._unsure[name] = trio.current_time()
        return name

    async def _next(self, prefixes: tuple[int, ...], share: int) -> tuple[IPv4Network, int]:
        for again in (False, True):
            if again or not self._looks:
                await self._looking.of(self._look_around)
            subnet = self._subnets.take(prefixes, share=share)
            if subnet is not None:
                return subnet, self._looks
        raise DockerRefused(
            f"no subnet of {1 << (32 - prefixes[-1])} addresses is free for a network",
            Trouble.OVERLAP,
            evidence=f"{', '.join(str(each.network) for each in self._subnets.ranges)}: this run has "
            f"{self._subnets.held} subnets of it, the rest is other networks', or a route leads there",
            todo="run fewer episodes at a time, remove networks that nobody needs (`coworld-actors gc`), or name ranges that "
            f"are free in {VARIABLE}, separated by commas; one that you name may lie within a wider route",
        )

    async def _look_around(self) -> None:
        self._subnets.learn(await subnets_in_use(self._docker), host_routes())
        self._looks += 1

    async def aclose(self) -> None:
        """Remove all networks, also one whose creation nobody waited for.

        Takes `CLOSE_SECONDS` and `EACH_SECONDS` for each network at most.

        Raises:
            DockerRefused: some may be left; they carry the run's labels.
            MachineFault: the client cannot be started any more.
        """
        if not self._count:
            return
        complaint = ""
        seconds = CLOSE_SECONDS + EACH_SECONDS * self._count
        with trio.move_on_after(seconds) as limit:
            # The rule: all that was ever made is there, and everything is known; then one call is enough.
            gone = bool(self._made) and await self._remove(self._made, seconds)
            while self._unsure or not gone:
                done = await self._docker.client.call("network", "ls", *self._of_this_run(), timeout=seconds)
                left = [word for word in done.text.split() if word.startswith(self._prefix)] if done.ok else []
                if left:
                    done = await self._docker.client.call("network", "rm", *left, timeout=seconds)
                    for name in left if done.ok else ():
                        self._unsure.pop(name, None)
                complaint = "" if done.ok else done.complaint
                now = trio.current_time()
                if done.ok and not left and all(now > since + SETTLE_SECONDS for since in self._unsure.values()):
                    break
                if not (done.ok and left):
                    await trio.sleep(_PAUSE)
        self._pool.clear()
        self._taken.clear()
        self._fronts.clear()
        if limit.cancelled_caught:
            raise DockerRefused(
                f"networks of this run, {self._prefix}*, are not all removed",
                Trouble.BUSY,
                evidence=complaint,
                todo="run `coworld-actors gc` when their containers are gone",
            )

    async def _remove(self, names: Collection[str], seconds: float) -> bool:
        done = await self._docker.client.call("network", "rm", *sorted(names), timeout=seconds)
        return done.ok

    def _of_this_run(self) -> list[str]:
        return ["--format", "{{.Name}}", *of_this_run(self._run)]


def _explained(refused: DockerRefused) -> DockerRefused:
    if "inter-container" in refused.evidence or "br_netfilter" in refused.evidence:
        todo = "load the kernel's module br_netfilter on the engine's machine: `modprobe br_netfilter`"
        return DockerRefused(refused.what, refused.trouble, evidence=refused.evidence, todo=todo)
    return refused
