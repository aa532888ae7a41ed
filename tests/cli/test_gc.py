"""`coworld-actors gc` as a user meets it: a process of its own, with a real engine, without one, and with one that lies.

The engine is shared: through a `docker` of the test's own the command sees only what the test has made.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coworld_drivers.labels import OWNER, as_options, as_owner, name_prefix, of_run, owner_label
from tests.docker_engine import Engine

COMMAND = [sys.executable, "-m", "coworld_actors", "gc"]
AWAY = "echo 'Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?' >&2; exit 1"


class Desk:
    """Where a user sits: a place for sockets, a TMPDIR, and a PATH of the test's own."""

    def __init__(self, home: Path, tmp_path: Path) -> None:
        self.sockets = home / "coworld-actors"
        self.temporary = tmp_path / "tmp"
        self.temporary.mkdir()
        self.bin = tmp_path / "bin"
        self.bin.mkdir()

    def script(self, text: str) -> None:
        """What `docker` does."""
        program = self.bin / "docker"
        program.write_text(f"#!/bin/sh\nPATH=/bin:/usr/bin\n{text}\n")
        program.chmod(0o755)

    def gc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "PATH": str(self.bin), "TMPDIR": str(self.temporary)}
        return subprocess.run(
            [*COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False, env=environ
        )

    def document(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        done = self.gc(*arguments, "--json")
        found: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == found["exit_code"] == code, done.stderr
        return found

    def dead_socket(self) -> Path:
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        path = self.sockets / "farm-1.sock"
        code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()"
        subprocess.run([sys.executable, "-c", code, path], check=True)
        return path

    def dead_scratch(self) -> Path:
        path = self.temporary / "coworld-scratch-build-1"
        path.mkdir()
        os.utime(path, (time.time() - 3600, time.time() - 3600))
        return path


@pytest.fixture
def desk(home: Path, tmp_path: Path) -> Desk:
    return Desk(home, tmp_path)


class Part:
    """A part of the engine: what carries one label of this test alone."""

    def __init__(self, engine: Engine, image: str) -> None:
        self.run = uuid.uuid4().hex
        self._engine = engine
        self._image = image

    def container(self, name: str, owner: str | None) -> str:
        name = f"{name_prefix(self.run)}{name}"
        words = ("create", "--network", "none", "--name", name, *self._labels(owner), self._image, "sleep", "600")
        self._engine.run(*words)
        return name

    def network(self, name: str, owner: str | None) -> str:
        name = f"{name_prefix(self.run)}{name}"
        while True:
            subnet = f"10.214.{random.randrange(256)}.{8 * random.randrange(32)}/29"
            words = ("network", "create", "--internal", "--subnet", subnet, *self._labels(owner), name)
            done = self._engine.run(*words, check=False)
            if done.returncode == 0:
                return name
            assert "overlaps" in done.stderr

    def _labels(self, owner: str | None) -> tuple[str, ...]:
        return as_options({"test": self.run, **({} if owner is None else {**of_run(self.run), OWNER: owner})})

    def there(self) -> set[str]:
        having = ("--filter", f"label=test={self.run}")
        containers = self._engine.run("ps", "--all", "--format", "{{.Names}}", *having).stdout.split()
        return {*containers, *self._engine.run("network", "ls", "--format", "{{.Name}}", *having).stdout.split()}

    def clean(self) -> None:
        for name in self.there():
            self._engine.run("rm", "--force", "--volumes", name, check=False)
            self._engine.run("network", "rm", name, check=False)


@pytest.fixture
def part(engine: Engine, python_image: str, desk: Desk) -> Iterator[Part]:
    part = Part(engine, python_image)
    docker = shlex.quote(engine.program)
    only = f"--filter label=test={part.run}"
    desk.script(f'case "$1 $2" in "ps --all"|"network ls") exec {docker} "$@" {only};; *) exec {docker} "$@";; esac')
    yield part
    part.clean()


def changed(**parts: str) -> str:
    """An owner like this process, but for some parts of it."""
    owner = as_owner(owner_label())
    assert owner is not None
    values = {"host": owner.host, "start": str(owner.start), **parts}
    return ":".join([values["host"], owner.boot, str(owner.pid), values["start"], owner.namespace, owner.installation])


DEAD = changed(start="1")
ELSEWHERE = changed(host="another.example")


def test_the_dead_ones_things_go_and_all_others_stay(desk: Desk, part: Part) -> None:
    """First only shown, then removed, then there is nothing more; a stranger's, a living one's and another host's stay."""
    # Quickly done: any run that starts on this engine meanwhile removes what is a dead one's, too.
    network = part.network("n-dead", DEAD)
    kept = {
        part.container("c-living", owner_label()),
        part.network("n-living", owner_label()),
        part.container("c-elsewhere", ELSEWHERE),
        part.container("c-stranger", None),
        part.network("n-stranger", None),
    }
    container = part.container("c-dead", DEAD)
    socket, scratch = desk.dead_socket(), desk.dead_scratch()
    names = {container, network, str(socket), str(scratch)}

    shown = desk.gc("--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert part.there() >= kept
    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["what", "name", "owner", "age", "would", "be"]
    assert all(any(name in line for line in lines) for name in names | {f"{name_prefix(part.run)}c-elsewhere"})
    (there,) = [line for line in lines if container in line]
    assert f"process {os.getpid()} of " in there
    assert there.endswith("removed")
    (far,) = [line for line in lines if "c-elsewhere" in line]
    assert "process" in far
    assert "left alone" in far
    assert "by hand" in shown.stderr
    assert not any("living" in line or "stranger" in line for line in lines)

    listed = desk.document("--dry-run")
    assert {each["name"] for each in listed["would_remove"]} == names
    assert listed["removed"] == listed["kept"] == []
    assert (listed["dry_run"], listed["living"]) == (True, 2)
    assert [each["name"] for each in listed["elsewhere"]] == [f"{name_prefix(part.run)}c-elsewhere"]
    assert socket.exists()
    assert scratch.exists()

    done = desk.document()
    assert {each["name"] for each in done["removed"]} == names
    (about,) = [each for each in done["removed"] if each["name"] == container]
    assert (about["kind"], about["owner"], about["run"]) == ("container", DEAD, part.run)
    assert about["reason"] == ""
    assert abs(about["created"] - time.time()) < 600
    assert part.there() == kept
    assert not socket.exists()
    assert not scratch.exists()

    again = desk.gc()
    assert again.returncode == 0
    assert "nothing to remove" in again.stdout
    assert part.there() == kept


def test_without_a_client_the_rest_is_done(desk: Desk) -> None:
    """It says that containers were not looked at, and why."""
    socket = desk.dead_socket()
    done = desk.gc()
    assert done.returncode == 0
    assert str(socket) in done.stdout
    assert "containers and networks were not looked at" in done.stderr
    assert "not on PATH" in done.stderr
    assert not socket.exists()
    nothing = desk.document()
    assert "not on PATH" in nothing["not_looked_at"]
    assert nothing["removed"] == []
    assert desk.gc().stdout == "nothing to remove\n"


@pytest.mark.parametrize(
    ("script", "says"), [(AWAY, "Cannot connect"), ("echo half [", "cannot be read"), ("exit 1", "cannot be listed")]
)
def test_without_an_engine_the_rest_is_done(desk: Desk, script: str, says: str) -> None:
    """One that is away, or whose answers are none."""
    scratch = desk.dead_scratch()
    desk.script(script)
    done = desk.gc("--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert says in found["not_looked_at"]
    assert [each["name"] for each in found["removed"]] == [str(scratch)]
    assert says in done.stderr
    assert not scratch.exists()


LISTED = json.dumps(["i1", "coworld-r-\x1b1", "2026-01-02 03:04:05 +0000 UTC", DEAD, "r", "1", "", "", "running"])


@pytest.mark.parametrize(
    ("removal", "reason"),
    [("echo 'Error: i1: device is on fire' >&2; exit 1", "on fire"), (f"touch $0.away; {AWAY}", "Cannot connect")],
)
def test_what_could_not_be_removed_is_an_error(desk: Desk, removal: str, reason: str) -> None:
    """Exit code 1 and the engine's words, also when the engine dies in the middle."""
    listing = f"cat <<'END'\n{LISTED}\nEND"
    desk.script(f'test ! -e $0.away || {{ {AWAY}; }}\ncase "$1" in\nps) {listing}\n;;\nrm) {removal};;\nesac')
    found = desk.document(code=1)
    (kept,) = found["kept"]
    assert kept["id"] == "i1"
    assert reason in kept["reason"]
    assert found["error"]["type"] == "NotRemoved"
    (desk.bin / "docker.away").unlink(missing_ok=True)
    done = desk.gc()
    assert done.returncode == 1
    assert "1 of 1 could not be removed" in done.stderr
    assert "not removed: " in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_a_result_is_never_removed(desk: Desk) -> None:
    """Directories of episodes are the user's, wherever they are."""
    results = [desk.temporary / "coworld-scratch", desk.temporary / "run", Path(tempfile.mkdtemp(dir=desk.temporary))]
    for directory in results:
        directory.mkdir(exist_ok=True)
        (directory / "episode.json").write_text("{}")
        os.utime(directory, (1, 1))
    assert desk.gc().stdout == "nothing to remove\n"
    assert all((directory / "episode.json").exists() for directory in results)


def test_a_word_too_many_is_refused(desk: Desk) -> None:
    """There is nothing to name."""
    assert desk.document("everything", code=2)["error"]["type"] == "Refused"
