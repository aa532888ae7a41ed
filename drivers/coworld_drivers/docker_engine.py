"""What an engine is and can do, from one `docker info`, and how far it lets us keep roles from the machine."""

from __future__ import annotations

import os

import msgspec

from coworld_drivers.docker_client import LOCAL, Docker, DockerRefused, Trouble
from coworld_drivers.docker_create import Confinement
from coworld_protocol.errors import PreconditionMissing

__all__ = ["OLDEST", "Engine", "ask_engine", "pin_engine"]

OLDEST = (20, 10)
"""The first engine whose client knows `--pull` for `create`."""


class Engine(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """An engine, in its own words.

    Attributes:
        server_version: such as `20.10.24+dfsg1`.
        os_type: `linux` or `windows`.
        architecture: as the kernel says it: `x86_64`, `aarch64`.
        ncpu: processors of its machine.
        mem_total: bytes of its machine.
        memory_limit: whether it can limit memory.
        swap_limit: whether it can limit swap.
        pids_limit: whether it can limit processes.
        cpu_cfs_quota: whether it can limit processors.
        security_options: such as `name=rootless`.
        cgroup_version: `1` or `2`; empty when it does not say.
        docker_root_dir: where it keeps its data, on its machine.
        driver: how it stores layers.
    """

    server_version: str = ""
    os_type: str = msgspec.field(default="", name="OSType")
    architecture: str = ""
    ncpu: int = msgspec.field(default=0, name="NCPU")
    mem_total: int = 0
    memory_limit: bool = False
    swap_limit: bool = False
    pids_limit: bool = False
    cpu_cfs_quota: bool = False
    security_options: tuple[str, ...] | None = None
    cgroup_version: str = ""
    docker_root_dir: str = ""
    driver: str = ""

    @property
    def rootless(self) -> bool:
        """Whether it runs as an ordinary user, whose files belong to the root of its containers."""
        return self._has("rootless")

    @property
    def version(self) -> tuple[int, ...]:
        """The first two numbers of its version; empty when there are none."""
        numbers = self.server_version.split(".")[:2]
        return tuple(int(number) for number in numbers) if all(number.isdigit() for number in numbers) else ()

    @property
    def shortcomings(self) -> tuple[str, ...]:
        """What it cannot do for us, a sentence each."""
        found: list[str] = []
        if self.version and self.version < OLDEST:
            found.append(f"this engine is version {self.server_version}; nothing older than 20.10 was tried")
        lacking = {
            "memory": self.memory_limit,
            "processors": self.cpu_cfs_quota,
            "processes": self.pids_limit,
        }
        if missing := [name for name, there in lacking.items() if not there]:
            found.append(f"this engine cannot limit {', '.join(missing)} of a role")
        if self._has("selinux"):
            found.append("SELinux does not confine roles: they could not use their directories")
        return tuple(found)

    def confinement(self, *, trust: bool, writable_root: bool) -> Confinement:
        """How far a role is kept from the machine.

        Args:
            trust: only limits on what it uses are kept.
            writable_root: it may write to the file system of its image.
        """
        return Confinement(
            user="" if trust else "0:0" if self.rootless else f"{os.getuid()}:{os.getgid()}",
            # Where the engine maps users, ours would be somebody else's, and could not read what is ours.
            user_namespace="host" if not trust and self._has("userns") else "",
            capabilities=trust,
            writable_root=trust or writable_root,
            memory=self.memory_limit,
            swap=self.swap_limit,
            pids=self.pids_limit,
            cpus=float(self.ncpu) if self.cpu_cfs_quota else 0.0,
            # Labelling what is mounted would change the caller's files.
            labelled=self._has("selinux"),
        )

    def _has(self, option: str) -> bool:
        return any(f"name={option}" in each.split(",") for each in self.security_options or ())


async def pin_engine(docker: Docker) -> None:
    """Stay with the engine that the client's settings name now: they may change while roles run.

    Raises:
        PreconditionMissing: it is not one of this machine, whose directories roles are given and on whose ports games are reached.
    """
    endpoint = await docker.endpoint()
    if not endpoint:
        # A client that cannot say this has more to complain about.
        return
    if not endpoint.startswith(LOCAL):
        raise PreconditionMissing(
            "the docker driver needs an engine of this machine: roles use its directories and ports",
            evidence=f"the docker client's engine is {endpoint.partition('://')[0]}://...",
            todo="unset DOCKER_HOST or DOCKER_CONTEXT, or `docker context use default`; or run there where the engine is",
        )
    docker.pin(endpoint)


async def ask_engine(docker: Docker) -> Engine:
    """Ask what the engine is.

    Raises:
        EngineGone: none answers.
        PreconditionMissing: its containers are not Linux's.
    """
    done = await docker.ask("info", "--format", "{{json .}}", what="the docker engine does not answer", patience=3.0)
    try:
        engine = msgspec.json.decode(done.stdout, type=Engine, strict=False)
    except msgspec.DecodeError as error:
        raise DockerRefused(
            "what the docker client says of its engine cannot be read", Trouble.OTHER, evidence=str(error)
        ) from error
    if engine.os_type and engine.os_type != "linux":
        raise PreconditionMissing(
            f"this engine runs {engine.os_type} containers, and Coworld images are made for Linux",
            todo="switch it to Linux containers, or set DOCKER_HOST to another engine",
        )
    if not engine.server_version:
        raise DockerRefused("the docker engine does not answer", Trouble.ENGINE_AWAY, evidence=done.complaint)
    return engine
