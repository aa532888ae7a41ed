"""Networks on a real engine: what can be reached from where, the pool, many at once, and that none is left."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from coworld_drivers import docker_networks
from coworld_drivers.docker_client import Docker, DockerRefused, EngineGone, Trouble
from coworld_drivers.docker_networks import Network, Networks
from coworld_drivers.docker_subnets import VARIABLE
from coworld_protocol.errors import Refused
from tests.docker_engine import Engine

PATIENCE = 60.0
PORT = 8080

DNS = ("--dns", "127.0.0.1", "--dns-opt", "timeout:1", "--dns-opt", "attempts:1")
"""Names of others are asked for where nobody answers, and not for the ten seconds that are usual."""

GREETER = f"""
import socket
server = socket.create_server(("0.0.0.0", {PORT}))
while True:
    peer, _ = server.accept()
    peer.sendall(b"hello")
    peer.close()
"""

# Tries everything at once; what does not answer is not waited for one after the other. A raw try asks for a device and for no
# routing, so that the kernel takes every address for a neighbour's.
PROBE = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def attempt(word):
    way, host, port = word
    try:
        if way == "name":
            return socket.getaddrinfo(host, None)[0][4][0]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as peer:
            peer.settimeout(4)
            if way == "raw":
                peer.setsockopt(socket.SOL_SOCKET, 25, b"eth0")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)
            peer.connect((host, port, 0, 2) if family == socket.AF_INET6 else (host, port))
            return "connected"
    except OSError:
        return None

words = json.load(sys.stdin)
with ThreadPoolExecutor(len(words)) as pool:
    print(json.dumps(list(pool.map(attempt, words))))
"""


class Bystander(NamedTuple):
    """A container of somebody else: its name, its address, and that of this machine in its network."""

    name: str
    address: str
    host: str


class Stage:
    """Containers of one test, and what they reach."""

    def __init__(self, engine: Engine, image: str, run: str) -> None:
        self.engine = engine
        self.image = image
        self.run = run
        self.strangers: list[str] = []
        self.labels = {"coworld.run": run, "coworld.test": "networks"}

    def networks(self, **environ: str) -> Networks:
        """The networks of this test, on the engine that everybody uses."""
        environ = {**os.environ, **environ}
        return Networks(Docker(environ), run=self.run, labels=self.labels, environ=environ)

    def left(self) -> list[str]:
        """Names of the networks that are there."""
        return self.engine.run(
            *("network", "ls", "--format", "{{.Name}}", "--filter", f"label=coworld.run={self.run}")
        ).stdout.split()

    def facts(self, network: Network) -> dict:
        """What the engine knows of a network."""
        return json.loads(self.engine.run("network", "inspect", network.name).stdout)[0]

    def game(self, name: str, front: Network, seats: Network) -> tuple[str, int]:
        """Start a game in both networks: its name, and the port of 127.0.0.1 that leads to it once it listens."""
        full = self._create(
            name, "--network", front.name, "--publish", f"127.0.0.1::{PORT}", command=("python3", "-c", GREETER)
        )
        self.engine.run("network", "connect", "--ip", seats.address(0), seats.name, full)
        self.engine.run("start", full)
        port = int(self.engine.run("port", full, f"{PORT}/tcp").stdout.split()[0].rpartition(":")[2])
        deadline = time.monotonic() + PATIENCE
        while not greeted("127.0.0.1", port):
            assert time.monotonic() < deadline, self.engine.run("logs", full).stderr
            time.sleep(0.05)
        return full, port

    def player(self, name: str, seats: Network, slot: int = 0) -> str:
        """Start a container that waits, with the rights that a player has."""
        full = self._create(
            name,
            "--network",
            seats.name,
            "--ip",
            seats.address(1 + slot),
            *DNS,
            command=("sleep", "600"),
        )
        self.engine.run("start", full)
        return full

    def bystander(self, name: str) -> Bystander:
        """Start a greeter that is not ours, in an ordinary network of its own from the engine's pool."""
        labels = [word for key, value in self.labels.items() for word in ("--label", f"{key}={value}")]
        full = f"strangers-{self.run[:12]}"
        self.engine.run("network", "create", *labels, full)
        self.strangers.append(full)
        container = self._create(name, "--network", full, command=("python3", "-c", GREETER))
        self.engine.run("start", container)
        form = f'{{{{with index .NetworkSettings.Networks "{full}"}}}}{{{{.IPAddress}}}} {{{{.Gateway}}}}{{{{end}}}}'
        found = Bystander(container, *self.engine.run("inspect", "--format", form, container).stdout.split())
        deadline = time.monotonic() + PATIENCE
        while not greeted(found.address, PORT):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return found

    def _create(self, name: str, *options: str, command: tuple[str, ...]) -> str:
        full = f"coworld-{self.run[:12]}-{name}"
        labels = [word for key, value in self.labels.items() for word in ("--label", f"{key}={value}")]
        rights = ("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "12345:12345", "--init")
        self.engine.run("create", "--name", full, *labels, *rights, *options, self.image, *command)
        return full

    def reach(self, container: str, *words: tuple[str, str, int]) -> dict[tuple[str, str, int], str | None]:
        """What a container reaches: (way, host, port) and what came of it, None for nothing."""
        done = self.engine.run(
            "exec",
            "--interactive",
            container,
            "python3",
            "-c",
            PROBE,
            stdin=json.dumps(words).encode(),
            timeout=PATIENCE,
        )
        return dict(zip(words, json.loads(done.stdout), strict=True))

    def address(self, container: str, network: Network) -> str:
        """The address of a container in a network."""
        form = f'{{{{(index .NetworkSettings.Networks "{network.name}").IPAddress}}}}'
        return self.engine.run("inspect", "--format", form, container).stdout.strip()

    def remove_containers(self) -> None:
        """Remove what this test started, and the networks that are not ours."""
        ids = self.engine.run("ps", "--all", "--quiet", "--filter", f"label=coworld.run={self.run}").stdout.split()
        if ids:
            self.engine.run("rm", "--force", "--volumes", *ids)
        if self.strangers:
            self.engine.run("network", "rm", *self.strangers)
            self.strangers.clear()


def greeted(host: str, port: int) -> bool:
    """Whether a greeter answers; a port of the engine's that leads nowhere yet takes connections, too."""
    try:
        with socket.create_connection((host, port), timeout=5) as peer:
            return peer.recv(5) == b"hello"
    except OSError:
        return False


@contextmanager
def listener(host: str, port: int = 0) -> Iterator[int]:
    """A server of this machine that takes connections: its port."""
    with socket.create_server((host, port)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def stage(engine: Engine, python_image: str) -> Iterator[Stage]:
    """A stage; when the test is done nothing of it may be left but containers, which are removed with their networks."""
    stage = Stage(engine, python_image, uuid.uuid4().hex)
    yield stage
    stage.remove_containers()
    left = stage.left()
    if left:
        engine.run("network", "rm", *left)
    assert left == []


async def test_players_reach_their_game_and_nothing_else(stage):
    """Not another episode's game, no address of this machine, no other network, no name; each of them answers to somebody else."""
    networks = stage.networks()
    front = await networks.front(outside=False)
    ours = await networks.take(1, doorway=False, outside=False)
    theirs = await networks.take(1, doorway=False, outside=False)
    assert ours.gateway is theirs.gateway is None
    game, port = stage.game("game-a", front, ours)
    other, other_port = stage.game("game-b", front, theirs)
    player = stage.player("player-a", ours)
    stage.player("player-b", theirs)
    bystander = stage.bystander("bystander")

    assert greeted("127.0.0.1", port)
    assert greeted("127.0.0.1", other_port)
    with listener("0.0.0.0") as local:
        assert list(stage.reach(bystander.name, ("tcp", bystander.host, local)).values()) == ["connected"]
        assert front.gateway is not None
        here = [str(front.gateway), bystander.host, str(ours.subnet.network_address + 1), *own_addresses()]
        others = [theirs.address(0), theirs.address(1), stage.address(other, front), bystander.address]
        wanted = [("tcp", host, local) for host in here] + [("raw", host, local) for host in here]
        wanted += [("tcp", host, port) for host in here] + [("tcp", host, other_port) for host in here]
        wanted += [("tcp", host, PORT) for host in others] + [("raw", host, PORT) for host in others]
        wanted += [("tcp", link_local(ours, stage), local), ("tcp", "198.51.100.1", 80)]
        wanted += [
            ("name", name, 0)
            for name in ("example.com", other, bystander.name, socket.gethostname(), "localhost.example")
        ]
        assert {word for word, found in stage.reach(player, *wanted).items() if found is not None} == set()
    well = stage.reach(player, ("tcp", ours.address(0), PORT), ("raw", ours.address(0), PORT), ("name", game, 0))
    assert list(well.values()) == ["connected", "connected", ours.address(0)]
    stage.remove_containers()
    await networks.aclose()


def own_addresses() -> list[str]:
    """An address by which this machine is known outside, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        try:
            peer.connect(("198.51.100.1", 9))
        except OSError:
            return []
        return [peer.getsockname()[0]]


def link_local(network: Network, stage: Stage) -> str:
    """The address that the kernel gives every bridge by itself."""
    bridge = "br-" + stage.facts(network)["Id"][:12]
    octets = [int(part, 16) for part in (Path("/sys/class/net") / bridge / "address").read_text().strip().split(":")]
    octets[0] ^= 2
    return "fe80::{:x}:{:x}:{:x}:{:x}".format(
        *(
            high << 8 | low
            for high, low in ((octets[0], octets[1]), (octets[2], 0xFF), (0xFE, octets[3]), (octets[4], octets[5]))
        )
    )


async def test_games_do_not_reach_each_other(stage):
    """Neither in the front network nor by each other's published ports; and nothing is outside for them."""
    networks = stage.networks()
    front = await networks.front(outside=False)
    one, two = [await networks.take(2, doorway=False, outside=False) for _ in range(2)]
    game, port = stage.game("game-a", front, one)
    other, other_port = stage.game("game-b", front, two)
    bystander = stage.bystander("bystander")
    targets = [
        (stage.address(other, front), PORT),
        (two.address(0), PORT),
        (bystander.address, PORT),
        ("198.51.100.1", 80),
    ]
    targets += [(host, at) for host in (str(front.gateway), *own_addresses()) for at in (other_port, port)]
    words = [(way, host, at) for host, at in targets for way in ("tcp", "raw")]
    assert {word for word, found in stage.reach(game, *words).items() if found is not None} == set()
    with listener(bystander.host) as local:
        words = [("tcp", bystander.host, local), ("tcp", stage.address(game, front), PORT)]
        assert list(stage.reach(game, *words).values()) == [None, "connected"]
    stage.remove_containers()
    await networks.aclose()


async def test_a_doorway_leads_to_this_machine_and_not_beyond(stage):
    """Players reach what listens at the gateway's address; not what listens at 127.0.0.1, and no other network or episode.

    Other addresses of this machine are out of reach of who connects as usual.
    """
    networks = stage.networks()
    front = await networks.front(outside=False)
    seats = await networks.take(1, doorway=True, outside=False)
    theirs = await networks.take(1, doorway=True, outside=False)
    assert seats.gateway is not None
    assert front.gateway is not None
    assert theirs.gateway is not None
    player = stage.player("player", seats)
    stage.game("game", front, theirs)
    with (
        listener(str(seats.gateway)) as port,
        listener(str(front.gateway)) as elsewhere,
        listener("127.0.0.1") as inner,
    ):
        found = stage.reach(
            player,
            ("tcp", str(seats.gateway), port),
            ("tcp", str(front.gateway), elsewhere),
            ("tcp", str(seats.gateway), inner),
            ("raw", str(seats.gateway), inner),
            ("raw", theirs.address(0), PORT),
            ("tcp", str(theirs.gateway), port),
            ("tcp", theirs.address(0), PORT),
            ("tcp", "198.51.100.1", 80),
            *(("tcp", host, elsewhere) for host in own_addresses()),
            ("name", "example.com", 0),
        )
    assert list(found.values()) == ["connected", *[None] * (len(found) - 1)]
    stage.remove_containers()
    await networks.aclose()


async def test_outside_leads_on_and_episodes_stay_apart(stage):
    """With `outside` the default route is a real one, published ports work, and another episode is as far away as ever."""
    networks = stage.networks()
    front = await networks.front(outside=True)
    assert front != await networks.front(outside=False)
    seats, theirs = [await networks.take(1, doorway=False, outside=True) for _ in range(2)]
    game, port = stage.game("game-a", front, seats)
    other, _ = stage.game("game-b", front, theirs)
    player = stage.player("player", seats)
    bystander = stage.bystander("bystander")
    assert greeted("127.0.0.1", port)
    assert seats.gateway is not None
    assert front.gateway is not None
    for member, gateway in ((player, seats.gateway), (game, front.gateway)):
        routes = stage.engine.run("exec", member, "cat", "/proc/net/route").stdout.splitlines()[1:]
        default = next(line.split() for line in routes if line.split()[1] == "00000000")
        assert IPv4Address(bytes.fromhex(default[2])[::-1]) == gateway
        with listener(bystander.host) as elsewhere:
            found = stage.reach(
                member,
                ("tcp", bystander.host, elsewhere),
                ("tcp", seats.address(0), PORT),
                ("tcp", theirs.address(0), PORT),
                ("tcp", stage.address(other, front), PORT),
            )
        assert list(found.values()) == ["connected", "connected", None, None]
    for network in (front, seats):
        assert stage.facts(network)["Options"]["com.docker.network.bridge.enable_ip_masquerade"] == "true"
        assert stage.facts(network)["Internal"] is False
    stage.remove_containers()
    await networks.aclose()


async def test_every_network_has_our_name_and_labels(stage):
    """Names begin with the run's, labels are those of the run."""
    networks = stage.networks()
    made = [
        await networks.front(outside=False),
        await networks.take(2, doorway=False, outside=False),
        await networks.take(2, doorway=True, outside=False),
    ]
    assert sorted(stage.left()) == sorted(network.name for network in made)
    for network, kind in zip(made, ("front", "seats", "seats"), strict=True):
        assert network.name.startswith(f"coworld-{stage.run[:12]}-{kind}")
        assert stage.facts(network)["Labels"] == stage.labels
        assert stage.facts(network)["Internal"] is (kind == "seats")
        assert stage.facts(network)["IPAM"]["Config"][0]["Subnet"] == str(network.subnet)
    await networks.aclose()


async def test_the_pool_hands_out_what_fits_and_is_empty(stage):
    """A network that was given back serves the next episode of its kind and size, unless a container is in it, or it is gone."""
    networks = stage.networks()
    small = await networks.take(2, doorway=False, outside=False)
    networks.give_back(small)
    assert await networks.take(12, doorway=False, outside=False) == small
    networks.give_back(small)
    large = await networks.take(13, doorway=False, outside=False)
    door = await networks.take(2, doorway=True, outside=False)
    out = await networks.take(2, doorway=False, outside=True)
    assert len({each.name for each in (small, large, door, out)}) == 4
    for each in (large, small, small):
        networks.give_back(each)
    assert await networks.take(2, doorway=False, outside=False) == small, "the smallest that fits"
    networks.give_back(small)

    player = stage.player("late", small)
    assert await networks.take(2, doorway=False, outside=False) == large
    third = await networks.take(2, doorway=False, outside=False)
    assert third not in (small, large)
    stage.engine.run("rm", "--force", player)
    assert await networks.take(2, doorway=False, outside=False) == small, "once its last container is gone"

    networks.give_back(third)
    stage.engine.run("network", "rm", third.name)
    fourth = await networks.take(2, doorway=False, outside=False)
    assert fourth.name in stage.left()
    assert fourth.name != third.name
    await networks.aclose()


async def test_many_wish_for_the_front_at_once(stage, monkeypatch):
    """There is one, however many ask; when somebody has removed it there is another."""
    networks = stage.networks()
    found: set[Network] = set()

    async def one() -> None:
        found.add(await networks.front(outside=False))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(one)
    assert len(found) == 1
    assert stage.left() == [found.pop().name]
    monkeypatch.setattr(docker_networks, "_FRESH_SECONDS", 0.0)
    first = await networks.front(outside=False)
    assert first == await networks.front(outside=False)
    stage.engine.run("network", "rm", first.name)
    assert [(await networks.front(outside=False)).name] == stage.left() != [first.name]
    await networks.aclose()


async def test_sixty_four_episodes_at_once(stage):
    """64 concurrent wishes have 64 networks beside each other, twice what an engine's own pools have; all are removed."""
    networks = stage.networks()
    taken: list[Network] = []

    async def one() -> None:
        taken.append(await networks.take(8, doorway=False, outside=False))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: networks.front(outside=False))
        for _ in range(64):
            nursery.start_soon(one)
    assert sorted([each.name for each in taken]) == sorted(name for name in stage.left() if "seats" in name)
    assert len(taken) == 64
    assert not any(one.subnet.overlaps(two.subnet) for one, two in combinations(taken, 2))
    await networks.aclose()
    assert stage.left() == []


def spare_range(engine: Engine, prefix: int) -> IPv4Network:
    """A range that no network of the engine has a part of; 64 of them are far from the default ones."""
    used = engine.run("network", "ls", "--quiet").stdout.split()
    form = "{{range .IPAM.Config}}{{.Subnet}} {{end}}"
    taken = [
        IPv4Network(word)
        for word in engine.run("network", "inspect", "--format", form, *used).stdout.split()
        if "." in word
    ]
    free = IPv4Network("192.168.0.0/16").subnets(new_prefix=prefix)
    start = uuid.uuid4().int % 32
    return next(
        each for at, each in enumerate(free) if at >= start and not any(each.overlaps(other) for other in taken)
    )


async def test_the_engine_is_the_arbiter(stage):
    """What somebody else took after we had looked is stepped over; when nothing is left the refusal says what to do."""
    room = spare_range(stage.engine, 26)
    networks = stage.networks(**{VARIABLE: str(room)})
    first = await networks.take(2, doorway=False, outside=False)
    slots = list(room.subnets(new_prefix=28))
    at = slots.index(first.subnet)
    # The next two in whatever order they are tried.
    for number in (1, 2):
        name = f"coworld-{stage.run[:12]}-stranger-{number}"
        subnet = str(slots[(at + number) % 4])
        stage.engine.run("network", "create", "--label", f"coworld.run={stage.run}", "--subnet", subnet, name)
    last = await networks.take(2, doorway=False, outside=False)
    assert last.subnet == slots[(at + 3) % 4]
    with pytest.raises(DockerRefused) as caught:
        await networks.take(2, doorway=False, outside=False)
    told = "\n".join(caught.value.lines())
    assert "no subnet of 16 addresses is free" in told
    assert str(room) in told
    assert VARIABLE in told
    assert caught.value.trouble is Trouble.OVERLAP
    for number in (1, 2):
        stage.engine.run("network", "rm", f"coworld-{stage.run[:12]}-stranger-{number}")
    again = await networks.take(2, doorway=False, outside=False)
    assert again.subnet in slots
    await networks.aclose()


async def test_runs_beside_each_other_share_a_range(stage):
    """Two runs that take from one range at the same moment end with networks of their own, up to the last one."""
    room = spare_range(stage.engine, 25)
    runs = [stage.networks(**{VARIABLE: str(room)}) for _ in range(2)]
    runs[1]._prefix += "b-"
    taken: list[Network] = []

    async def one(networks: Networks) -> None:
        taken.append(await networks.take(2, doorway=False, outside=False))

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(one, runs[number % 2])
    assert sorted(each.subnet for each in taken) == list(room.subnets(new_prefix=28))
    for networks in runs:
        await networks.aclose()


def test_a_range_that_is_none_is_refused(stage):
    """What the variable says is checked before anything is asked of the engine."""
    with pytest.raises(Refused, match=VARIABLE):
        stage.networks(**{VARIABLE: "10.0.0.0/33"})


@pytest.fixture
def scripted(tmp_path, stage):
    """A `docker` of our own before the real one on PATH: the body of a shell script, in which $REAL is the real one."""

    def make(body: str) -> dict[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir()
        place = folder / "docker"
        place.write_text(f"#!/bin/sh\nREAL='{stage.engine.program}'\nSIDE='{tmp_path}'\n{body}\n")
        place.chmod(place.stat().st_mode | stat.S_IXUSR)
        return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}

    return make


async def test_a_creation_that_outlives_its_client_is_removed(stage, scripted, tmp_path):
    """The client is killed while the engine is at work, and the network is there only later: it is found and removed."""
    environ = scripted(
        'if [ "$2" = create ]; then setsid sh -c \'sleep 1; "$@" >/dev/null 2>&1; touch "$0"\' "$SIDE/made" "$REAL" "$@" & '
        'touch "$SIDE/begun"; sleep 600; fi; exec "$REAL" "$@"'
    )
    networks = stage.networks(**environ)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: networks.take(2, doorway=False, outside=False))
        with trio.fail_after(PATIENCE):
            while not (tmp_path / "begun").exists():
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    await networks.aclose()
    with trio.fail_after(PATIENCE):
        while not (tmp_path / "made").exists():
            await trio.sleep(0.01)
    assert stage.left() == []


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.05, 0.1, 0.2])
async def test_a_wish_cancelled_at_any_moment_leaves_nothing(stage, seconds):
    """Wherever eight wishes are cut off, closing removes what came of them."""
    networks = stage.networks()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: networks.front(outside=False))
            for _ in range(8):
                nursery.start_soon(lambda: networks.take(2, doorway=False, outside=False))
    await networks.aclose()
    assert stage.left() == []


async def test_an_engine_that_is_busy_is_asked_again_with_another_name(stage, scripted):
    """A creation whose end is not known is not repeated under its name; what it may have made is removed as well."""
    environ = scripted(
        'if [ "$2" = create ] && ! [ -e "$SIDE/failed" ]; then touch "$SIDE/failed"; "$REAL" "$@" >/dev/null; '
        'echo "error during connect: unexpected EOF" >&2; exit 1; fi; exec "$REAL" "$@"'
    )
    networks = stage.networks(**environ)
    network = await networks.take(2, doorway=False, outside=False)
    assert len(stage.left()) == 2
    assert network.name in stage.left()
    await networks.aclose()
    assert stage.left() == []


async def test_an_engine_that_is_away_is_waited_for_once(stage):
    """Twenty that want a front and twenty that want seats are told together, each after one engine's patience."""
    environ = {**os.environ, "DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    networks = Networks(Docker(environ, patience=0.5), run=stage.run, labels=stage.labels, environ=environ)
    gone = 0

    async def one(front: bool) -> None:
        nonlocal gone
        with pytest.raises(EngineGone):
            await (networks.front(outside=False) if front else networks.take(2, doorway=False, outside=False))
        gone += 1

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(one, number % 2 == 0)
    assert gone == 40
    await networks.aclose()


async def test_a_kernel_without_bridge_netfilter_is_explained(stage, scripted):
    """Where an engine cannot keep games apart, the refusal names the module."""
    environ = scripted(
        'if [ "$2" = create ]; then echo "Error response from daemon: cannot restrict inter-container communication: please '
        'ensure that br_netfilter kernel module is loaded" >&2; exit 1; fi; exec "$REAL" "$@"'
    )
    networks = stage.networks(**environ)
    with pytest.raises(DockerRefused) as caught:
        await networks.front(outside=False)
    assert "modprobe br_netfilter" in caught.value.todo
    await networks.aclose()


async def test_closing_waits_for_the_last_container(stage):
    """A network whose container is only just going is removed when it is gone."""
    networks = stage.networks()
    seats = await networks.take(2, doorway=False, outside=False)
    player = stage.player("late", seats)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(networks.aclose)
        await trio.sleep(0.5)
        assert seats.name in stage.left()
        await trio.to_thread.run_sync(lambda: stage.engine.run("rm", "--force", player))
    assert stage.left() == []


async def test_closing_is_bounded(stage, monkeypatch):
    """A container that stays keeps its network: closing says so in its time, and removes all others."""
    networks = stage.networks()
    seats = await networks.take(2, doorway=False, outside=False)
    await networks.take(2, doorway=False, outside=False)
    stage.player("stays", seats)
    monkeypatch.setattr(docker_networks, "CLOSE_SECONDS", 2.0)
    with trio.fail_after(PATIENCE), pytest.raises(DockerRefused) as caught:
        await networks.aclose()
    assert seats.name in caught.value.evidence or "active endpoints" in caught.value.evidence
    assert "coworld-actors gc" in caught.value.todo
    assert stage.left() == [seats.name]
    stage.remove_containers()
    monkeypatch.undo()
    await networks.aclose()


async def test_closing_what_was_never_used_asks_nothing(stage, scripted, tmp_path):
    """Without a network the engine is not called."""
    networks = stage.networks(**scripted('touch "$SIDE/called"; exec "$REAL" "$@"'))
    await networks.aclose()
    assert not (tmp_path / "called").exists()
