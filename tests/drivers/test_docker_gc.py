"""What dead runs leave on a real engine: removed by their janitor within seconds, or by whoever looks later; all else stays.

Other runs and other tests use the same engine, and each of them removes what the dead have left. So what is made here for looking
at has an owner that is nobody to them, and whom `is_alive` is told about; what they have made counts as alive.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from coworld_drivers import docker_gc
from coworld_drivers.docker_client import Docker, EngineGone
from coworld_drivers.docker_gc import (
    Kind,
    Leftover,
    Leftovers,
    Removal,
    find_leftovers,
    remove_leftovers,
    sweep_at_start,
    wills,
)
from coworld_drivers.labels import OWNER, RUN, VERSION, as_options, is_alive, name_prefix, owner_label
from tests.docker_engine import Engine

PROGRAM = Path(__file__).parent / "programs" / "engine_user.py"
PATIENCE = 60.0
SWEPT_SECONDS = 5.0
"""What is promised for the time between a runtime's death and the last of its containers."""


class Yard:
    """A part of the engine: what carries one label of this test alone."""

    def __init__(self, engine: Engine, image: str) -> None:
        self.engine = engine
        self.image = image
        self.run = uuid.uuid4().hex
        self.dead = f"{self.run}-dead"
        self.elsewhere = f"{self.run}-elsewhere"
        self._count = 0

    def is_alive(self, owner: str, *, engine_is_here: bool = False) -> bool | None:
        """For `docker_gc`: ours as we say, and everybody else's lives."""
        return {self.dead: False, self.elsewhere: None}.get(owner, True)

    def container(self, owner: str | None = None, *, running: bool = False, network: str = "none") -> str:
        name = self._name()
        command = (self.image, "sleep", "600")
        self.engine.run("create", "--network", network, "--name", name, *self._labels(owner), *command)
        if running:
            self.engine.run("start", name)
        return name

    def network(self, owner: str | None = None) -> str:
        name = self._name()
        while True:
            # Of our choice: the few subnets that a stock engine gives out are everybody's.
            subnet = f"10.213.{random.randrange(256)}.{8 * random.randrange(32)}/29"
            words = ("network", "create", "--internal", "--subnet", subnet, *self._labels(owner), name)
            done = self.engine.run(*words, check=False)
            if done.returncode == 0:
                return name
            assert "overlaps" in done.stderr

    def _name(self) -> str:
        self._count += 1
        return f"{name_prefix(self.run)}yard-{self._count}"

    def _labels(self, owner: str | None) -> tuple[str, ...]:
        labels = {"test": self.run}
        if owner is not None:
            labels |= {RUN: self.run, OWNER: owner, VERSION: "1"}
        return as_options(labels)

    def there(self, label: str = "") -> set[str]:
        """Names of what there is."""
        having = ("--filter", f"label={label or f'test={self.run}'}")
        containers = self.engine.run("ps", "--all", "--format", "{{.Names}}", *having).stdout.split()
        return {*containers, *self.engine.run("network", "ls", "--format", "{{.Name}}", *having).stdout.split()}

    def clean(self, label: str = "") -> None:
        having = ("--filter", f"label={label or f'test={self.run}'}")
        for listing, removal in (
            (("ps", "--all", "--quiet"), ("rm", "--force", "--volumes")),
            (("network", "ls", "--quiet"), ("network", "rm")),
        ):
            ids = self.engine.run(*listing, *having).stdout.split()
            if ids:
                self.engine.run(*removal, *ids, check=False)


@pytest.fixture
def yard(engine: Engine, python_image: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    yard = Yard(engine, python_image)
    monkeypatch.setattr(docker_gc, "is_alive", yard.is_alive)
    yield yard
    yard.clean()


@pytest.fixture
def docker(engine: Engine) -> Docker:
    return Docker(patience=5.0)


@contextmanager
def user(yard: Yard, count: int, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A run in a process of its own, and its janitor; nothing of it outlives the block."""
    command = [sys.executable, str(PROGRAM), yard.run, yard.image, str(count), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, json.loads(process.stdout.readline())["janitor"]
        finally:
            process.kill()
            yard.clean(f"{RUN}={yard.run}")


def test_a_killed_run_leaves_nothing(yard: Yard, running: Callable[[int], bool], gone: Callable[..., float]) -> None:
    """SIGKILL: containers whose process ignores SIGTERM are gone within 5 s, and so is their network; then the janitor goes."""
    with user(yard, 4) as (process, janitor):
        label = f"{RUN}={yard.run}"
        assert len(yard.there(label)) == 5
        process.kill()
        gone(lambda: not yard.there(label), SWEPT_SECONDS)
        gone(lambda: not running(janitor), PATIENCE)
        assert yard.there(label) == set()


@pytest.mark.parametrize("attempt", range(4))
def test_orders_under_way_leave_nothing(
    yard: Yard, attempt: int, running: Callable[[int], bool], gone: Callable[..., float]
) -> None:
    """SIGKILL while containers are being created and started: what appears after it goes too."""
    with user(yard, 1, "ordering") as (process, janitor):
        label = f"{RUN}={yard.run}"
        time.sleep(0.05 + 0.15 * attempt + random.uniform(0.0, 0.1))
        process.kill()
        gone(lambda: not yard.there(label), SWEPT_SECONDS)
        gone(lambda: not running(janitor), PATIENCE)
        assert yard.there(label) == set()


def test_an_end_in_good_order_removes_nothing(yard: Yard) -> None:
    """A run that says farewell has removed what it wanted removed."""
    with user(yard, 1, "leaving") as (process, _):
        assert process.wait(PATIENCE) == 0
        assert len(yard.there(f"{RUN}={yard.run}")) == 2


async def test_a_run_that_was_killed_with_its_janitor_is_found_by_the_next(
    yard: Yard, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With real owners: the dead one's is removed, containers before their network; ours and a stranger's stay."""
    monkeypatch.setattr(docker_gc, "is_alive", is_alive)
    living, stranger = yard.container(owner_label()), yard.container()
    with user(yard, 2, "abandoning") as (process, _):
        await trio.to_thread.run_sync(process.wait, PATIENCE)
        assert process.returncode == -signal.SIGKILL
        found = await find_leftovers(docker)
        mine = tuple(each for each in found.dead if each.run == yard.run)
        if mine:
            assert {each.kind for each in mine} <= set(Kind)
            assert all(is_alive(each.owner) is False for each in mine)
            removal = await remove_leftovers(docker, msgspec.structs.replace(found, dead=mine))
            assert removal == Removal(removed=mine)
        # Another run on this engine may have been quicker.
        assert not yard.there(f"{RUN}={yard.run}") - {living}
    yard_now = yard.there()
    assert stranger in yard_now


async def test_only_what_the_dead_own_is_removed(yard: Yard, docker: Docker) -> None:
    """Never a stranger's, a living one's, or another machine's, which is named."""
    dead = {
        yard.container(yard.dead),
        yard.container(yard.dead, running=True),
        yard.network(yard.dead),
    }
    living = {yard.container(owner_label()), yard.network(owner_label())}
    elsewhere = {yard.container(yard.elsewhere), yard.network(yard.elsewhere)}
    strange = {yard.container(), yard.network()}
    before = yard.there()
    assert before == dead | living | elsewhere | strange

    found = await find_leftovers(docker)
    assert {each.name for each in found.dead} == dead
    assert [each.kind for each in found.dead] == [Kind.CONTAINER, Kind.CONTAINER, Kind.NETWORK]
    assert {each.name for each in found.elsewhere} == elsewhere
    assert found.living >= len(living)
    assert yard.there() == before
    for each in found.dead:
        assert (each.run, each.owner) == (yard.run, yard.dead)
        assert each.created is not None
        assert abs(each.created - time.time()) < 600
    assert sorted(each.state for each in found.dead) == ["", "created", "running"]

    removal = await remove_leftovers(docker, found)
    assert removal == Removal(removed=found.dead)
    assert yard.there() == before - dead


async def test_one_label_is_not_enough(yard: Yard, docker: Docker) -> None:
    """Somebody else may use a word of ours."""
    yard.engine.run("create", "--label", f"test={yard.run}", "--label", f"{OWNER}={yard.dead}", yard.image, "sleep")
    assert (await find_leftovers(docker)).dead == ()


async def test_two_that_remove_at_once_both_succeed(yard: Yard, docker: Docker) -> None:
    """What the other has removed is gone, which is all that is wanted."""
    for _ in range(4):
        yard.container(yard.dead, running=True)
    yard.network(yard.dead)
    found = await find_leftovers(docker)
    removals: list[Removal] = []

    async def remove() -> None:
        removals.append(await remove_leftovers(docker, found))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(remove)
    assert removals == [Removal(removed=found.dead)] * 3
    assert await remove_leftovers(docker, found) == Removal(removed=found.dead)


async def test_what_cannot_be_removed_is_named_with_the_reason(yard: Yard, docker: Docker) -> None:
    """A network in which a stranger's container runs stays, and the stranger's container does."""
    name = yard.network(yard.dead)
    stranger = yard.container(running=True, network=name)
    dead = yard.container(yard.dead)
    found = await find_leftovers(docker)
    removal = await remove_leftovers(docker, found)
    assert {each.name for each in removal.removed} == {dead}
    (kept,) = removal.kept
    assert kept.leftover.name == name
    assert "active endpoints" in kept.reason
    assert {stranger, name} <= yard.there()


def scripted(tmp_path: Path, text: str) -> Docker:
    """A client that is a shell script."""
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return Docker({**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, patience=0.2)


def row(**changes: str) -> str:
    cells = {"id": "i1", "name": "coworld-r-1", "created": "2026-01-02 03:04:05 +0100 CET", "owner": "h:b:1:1"}
    cells |= {"run": "r", "version": "1", "episode": "e", "actor": "game", "state": "running", **changes}
    return json.dumps(list(cells.values()))


async def test_rows_are_read_whatever_they_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Names and times of any zone; a time that cannot be read is none; what lacks a label, or is called otherwise, is nothing."""
    monkeypatch.setattr(docker_gc, "is_alive", lambda owner, *, engine_is_here=False: owner != "dead" and None)
    lines = "\n".join(
        [
            row(owner="dead", name='coworld-r-a,"b', id="i1"),
            row(owner="dead", created="2026-01-02 03:04:05.123456789 +0000 UTC", id="i2"),
            row(owner="dead", created="yesterday", id="i3"),
            row(owner="dead", created="2026-99-02 03:04:05 +0000 UTC", id="i4"),
            row(owner="dead", version=""),
            row(owner="dead", name="of-an-image-with-our-labels"),
            row(owner=""),
            row(owner="other"),
        ]
    )
    docker = scripted(tmp_path, f'case "$1" in ps) cat <<"END"\n{lines}\nEND\n;; context) echo tcp://far:1;; esac')
    found = await find_leftovers(docker)
    assert [(each.id, each.created) for each in found.dead] == [
        ("i1", 1767319445.0),
        ("i2", 1767323045.0),
        ("i3", None),
        ("i4", None),
    ]
    first = found.dead[0]
    assert (first.name, first.episode, first.actor, first.state) == ('coworld-r-a,"b', "e", "game", "running")
    assert [each.owner for each in found.elsewhere] == ["other"]


@pytest.mark.parametrize(("host", "here"), [("unix:///run/docker.sock", True), ("ssh://far", False), ("", False)])
async def test_only_an_engine_of_this_machine_proves_another_boot_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str, here: bool
) -> None:
    """It is asked where the client goes only when there is somebody of whom nothing is known."""
    monkeypatch.setattr(docker_gc, "is_alive", lambda owner, *, engine_is_here=False: False if engine_is_here else None)
    docker = scripted(tmp_path, f"case \"$1\" in ps) echo '{row()}';; context) echo {host};; esac")
    found = await find_leftovers(docker)
    assert (len(found.dead), len(found.elsewhere)) == ((1, 0) if here else (0, 1))


async def test_an_answer_that_is_none_is_a_clear_error(tmp_path: Path) -> None:
    """Half a document, another word: nothing is removed because of it."""
    for said in (row()[:-9], "{}", "[1]", "hello"):
        with pytest.raises(EngineGone, match="cannot be read"):
            await find_leftovers(scripted(tmp_path, f"cat <<'END'\n{said}\nEND"))


AWAY = "echo 'Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?' >&2; exit 1"


async def test_an_engine_that_dies_in_between_is_one_clear_error(tmp_path: Path) -> None:
    """Whatever is gone by then."""
    leftover = Leftover(kind=Kind.CONTAINER, id="i1", name="n1", owner="h:b:1:1", run="r")
    docker = scripted(tmp_path, AWAY)
    with pytest.raises(EngineGone, match="containers cannot be listed") as caught:
        await remove_leftovers(docker, Leftovers(dead=(leftover,)))
    assert "start the engine" in caught.value.todo


async def test_a_listing_that_stumbles_is_repeated(tmp_path: Path) -> None:
    """Engines complain of a container that vanishes while they list it."""
    stumble = f"test -e {tmp_path}/again || {{ touch {tmp_path}/again; echo 'No such container: x' >&2; exit 1; }}"
    docker = scripted(tmp_path, stumble)
    assert await find_leftovers(docker) == Leftovers()
    assert (tmp_path / "again").exists()


async def test_the_sweep_before_a_run_is_quiet_when_there_is_nothing(yard: Yard, docker: Docker) -> None:
    """What lives, or is another machine's, is no news."""
    kept = {yard.container(owner_label()), yard.container(yard.elsewhere)}
    said: list[str] = []
    await sweep_at_start(docker, said.append)
    assert said == []
    assert yard.there() == kept


async def test_the_sweep_before_a_run_says_what_it_has_removed(yard: Yard, docker: Docker) -> None:
    """In one sentence."""
    yard.container(yard.dead, running=True)
    yard.container(yard.dead)
    yard.network(yard.dead)
    said: list[str] = []
    await sweep_at_start(docker, said.append)
    assert said == ["removed what dead runs had left: 2 containers, 1 network"]
    assert yard.there() == set()


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo half [", "cannot be read"),
        ("exec sleep 600", "more than 3 s"),
        ("exec /no/such/program", "/no/such/program"),
    ],
)
async def test_a_sweep_that_fails_keeps_no_run_from_starting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, says: str
) -> None:
    """It says so and returns, in time."""
    monkeypatch.setattr(docker_gc, "START_SECONDS", 3.0)
    said: list[str] = []
    with trio.fail_after(PATIENCE):
        await sweep_at_start(scripted(tmp_path, script), said.append)
    (sentence,) = said
    assert "could not be removed" in sentence
    assert says in sentence
    assert "coworld-actors gc" in sentence


async def test_a_sweep_leaves_it_to_the_run_to_say_that_no_engine_answers(tmp_path: Path) -> None:
    """Once is enough."""
    said: list[str] = []
    await sweep_at_start(scripted(tmp_path, AWAY), said.append)
    assert said == []


async def test_a_client_that_cannot_be_started_keeps_no_run_from_starting(tmp_path: Path) -> None:
    """It was there when the driver was made."""
    docker = scripted(tmp_path, "")
    (tmp_path / "docker").unlink()
    said: list[str] = []
    await sweep_at_start(docker, said.append)
    assert "could not be started" in said[0]


async def test_a_stubborn_leftover_is_told(tmp_path: Path) -> None:
    """The engine's own words."""
    dead = f"{owner_label().rsplit(':', 3)[0]}:1:{':'.join(owner_label().split(':')[4:])}"
    assert is_alive(dead) is False
    script = f'case "$1" in ps) echo \'{row(owner=dead)}\';; rm) echo "Error: i1: device is on fire" >&2; exit 1;; esac'
    said: list[str] = []
    await sweep_at_start(scripted(tmp_path, script), said.append)
    (sentence,) = said
    assert (
        "could not be removed: 1 container: Error: i1: device is on fire; `coworld-actors gc` tries again" in sentence
    )


def test_wills_are_the_run_s_alone(docker: Docker) -> None:
    """They list by the run's label, containers first, and their environment is the client's."""
    containers, networks = wills(docker, "r1")
    assert containers.list[1:3] == ("ps", "--all")
    assert networks.list[1:3] == ("network", "ls")
    for will in (containers, networks):
        assert will.list[-4:] == ("--filter", f"label={RUN}=r1", "--filter", "name=coworld-r1-")
        assert will.environ == docker.client.environ
        assert will.list[0] == will.remove[0] == docker.client.program
