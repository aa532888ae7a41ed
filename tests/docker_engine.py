"""A real Docker engine and images for it that need no registry: fixtures of the whole session, and what they are made with.

Images are called `coworld-test-NAME:<digest of what is in them>` and stay on the engine, so that the next session finds them.
`docker image ls 'coworld-test-*'` shows them; they may be removed at any time when no test runs.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from coworld_drivers import labels
from tests.docker_base import Interpreter, base_of

__all__ = ["ROOT", "Engine", "alone", "engine", "left_on_the_engine", "python_base", "python_image"]

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache"
ANSWER_SECONDS = 60
BUILD_SECONDS = 900


class Engine(NamedTuple):
    """An engine that answers.

    Attributes:
        program: the client's path.
        version: the engine's.
        os: such as `linux`.
        architecture: such as `amd64`.
    """

    program: str
    version: str
    os: str
    architecture: str

    def run(
        self,
        *args: str,
        timeout: float = ANSWER_SECONDS,
        check: bool = True,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Call the client; a call that fails fails the test with what it said, unless `check` is off."""
        done = subprocess.run(
            [self.program, *args],
            input=b"" if stdin is None else stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
            env=None if env is None else {**os.environ, **env},
        )
        told = subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )
        if check and told.returncode != 0:
            pytest.fail(
                f"docker {' '.join(args)} ended with {told.returncode}:\n{told.stdout}{told.stderr}", pytrace=False
            )
        return told

    def has(self, image: str) -> bool:
        """Whether an image is there."""
        return self.run("image", "inspect", "--format", "{{.Id}}", image, check=False).returncode == 0

    def build(self, tag: str, dockerfile: Path, context: Path, **arguments: str) -> None:
        """`docker build` without a network: with the builder that every engine has, unless the client brings its own."""
        words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        newer = self.has_buildx()
        classic = {} if newer else {"DOCKER_BUILDKIT": "0"}
        # The classic builder builds in containers, and leaves that of a step that fails.
        tidy = () if newer else ("--force-rm",)
        command = ("build", *tidy, "--network", "none", "--tag", tag, "--file", str(dockerfile), *words, str(context))
        self.run(*command, timeout=BUILD_SECONDS, env=classic)

    def load(self, tag: str, *, os: str = "linux", architecture: str = "amd64", **config: object) -> None:
        """Make an image without files, for any platform, with the `Config` of an image as docker writes it: `Cmd`, `Env`, ..."""
        empty = io.BytesIO()
        with tarfile.open(fileobj=empty, mode="w"):
            pass
        layer = empty.getvalue()
        image = {
            "os": os,
            "architecture": architecture,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
        files = {"layer.tar": layer, "config.json": json.dumps(image), "manifest.json": json.dumps(manifest)}
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, content in files.items():
                data = content if isinstance(content, bytes) else content.encode()
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        self.run("load", stdin=archive.getvalue())

    def has_buildx(self) -> bool:
        """Whether the client can use the newer builder."""
        return self.run("buildx", "version", check=False).returncode == 0


def left_on_the_engine(mark: str) -> list[str]:
    """Containers and networks of every run below this mark; none when there is no engine to ask."""
    program = shutil.which("docker")
    if program is None:
        return []
    found: list[str] = []
    for kind, name, command in (
        ("container", "{{.Names}}", ("container", "ls", "--all")),
        ("network", "{{.Name}}", ("network", "ls")),
    ):
        shape = f'{name} {{{{.Label "{labels.MARK}"}}}}'
        words = [program, *command, "--filter", f"label={labels.MARK}", "--format", shape]
        done = subprocess.run(words, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
        pairs = (line.split() for line in done.stdout.splitlines())
        found += [f"{kind} {pair[0]}" for pair in pairs if len(pair) == 2 and f"{pair[1]}.".startswith(f"{mark}.")]
    return found


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Let one session at a time make something; the kernel gives the lock back when a session dies."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine that the client on PATH reaches; without one the test fails where CI is set, and is skipped elsewhere."""
    found = _engine()
    if isinstance(found, Engine):
        return found
    if os.environ.get("CI"):
        pytest.fail(found, pytrace=False)
    pytest.skip(found)


@functools.cache
def _engine() -> Engine | str:
    program = shutil.which("docker")
    if program is None:
        return "needs a Docker engine, and there is no `docker` on PATH: apt-get install docker.io"
    try:
        done = subprocess.run(
            [program, "version", "--format", "{{json .Server}}"],
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"needs a Docker engine, and `docker version` says nothing for {ANSWER_SECONDS} s"
    if done.returncode != 0:
        return f"needs a Docker engine, and none answers: {done.stderr.strip()[-300:]}"
    said = json.loads(done.stdout)
    return Engine(program, said["Version"], said["Os"], said["Arch"])


@functools.cache
def python_base(engine: Engine, python: str = sys.executable) -> str:
    """The name of an image of an interpreter, imported unless it is there."""
    base = base_of(Interpreter.of(python))
    name = f"coworld-test-python:{base.digest}"
    with alone("docker-images"):
        if not engine.has(name):
            command = [engine.program, "import", *base.changes, "-", name]
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                try:
                    base.write(process.stdin)
                    process.stdin.close()
                except BrokenPipeError:
                    pass
                said = process.stdout.read().decode(errors="replace")
            if process.returncode != 0:
                pytest.fail(f"docker import ended with {process.returncode}: {said}", pytrace=False)
    return name


@pytest.fixture(scope="session")
def python_image(engine: Engine) -> str:
    """An image with this Python, its standard library, a shell and a few tools; no pip and no packages."""
    return python_base(engine)
