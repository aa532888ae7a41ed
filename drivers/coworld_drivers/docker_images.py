"""The images of a run: each one looked at once, fetched where that is wanted, and refused with the reason where it cannot be run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trio

from coworld_drivers.docker_client import Docker, DockerRefused, EngineGone, Trouble
from coworld_drivers.docker_pull import PULL_SECONDS, pull
from coworld_drivers.driver import Pull, Wanted
from coworld_protocol.contract import HOSTED_IMAGE_ID
from coworld_protocol.errors import PreconditionMissing

__all__ = ["ImageFacts", "Images"]

_T = TypeVar("_T")

PULLS = 3
"""Images that are fetched at a time; the engine fetches three layers of each at a time."""

_EMULATORS = Path("/proc/sys/fs/binfmt_misc")
_EMULATOR_OF = {"amd64": "qemu-x86_64", "386": "qemu-i386", "arm64": "qemu-aarch64", "arm": "qemu-arm"}
"""The names under which the emulators of an architecture are registered with the kernel; of others `qemu-ARCHITECTURE`."""

_ALSO_RUNS = {"amd64": {"386"}, "arm64": {"arm"}}
"""What the processors of an architecture run besides their own; whether one of them does is for the engine to find out."""


class ImageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine knows of an image.

    Attributes:
        id: its content's name; `docker create` takes it in place of the reference, which somebody may give to another image.
        os: such as `linux`; empty when it does not say.
        architecture: such as `amd64`; empty when it does not say.
        user: that its processes run as; empty means root.
        entrypoint: the first words of what it runs.
        cmd: the words after them, when nothing else is asked for.
        workdir: where its processes start.
        env: its variables.
        volumes: places for which the engine makes a volume with each container.
    """

    id: str
    os: str = ""
    architecture: str = ""
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    workdir: str = "/"
    env: Mapping[str, str] = {}
    volumes: tuple[str, ...] = ()


class _Config(msgspec.Struct, rename="pascal"):
    user: str = ""
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    working_dir: str = ""
    env: tuple[str, ...] | None = None
    volumes: dict[str, Any] | None = None


class _Inspected(msgspec.Struct, rename="pascal"):
    id: str
    os: str = ""
    architecture: str = ""
    config: _Config | None = None


class _Server(msgspec.Struct, rename="pascal"):
    os: str = ""
    arch: str = ""
    kernel_version: str = ""


class Images:
    """The images that a run needs.

    Args:
        docker: the engine that is to have them.
        pull: when to ask a registry.
        log: receives sentences: how far a pull is, what may not work.
        pull_seconds: for the pull of one image.
        environ: our own environment; DOCKER_DEFAULT_PLATFORM in it leaves questions of architecture to the engine.
    """

    def __init__(
        self,
        docker: Docker,
        *,
        pull: Pull = Pull.MISSING,
        log: Callable[[str], None] | None = None,
        pull_seconds: float = PULL_SECONDS,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._docker = docker
        self._pull = pull
        self._log = log or _nobody
        self._pull_seconds = pull_seconds
        self._platform = environ.get("DOCKER_DEFAULT_PLATFORM", "")
        self._facts: dict[str, ImageFacts] = {}
        self._looking: dict[str, trio.Lock] = {}
        self._pulling = trio.CapacityLimiter(PULLS)
        self._server: _Server | None = None
        self._asking = trio.Lock()

    def facts(self, image: str) -> ImageFacts | None:
        """What the engine said of an image that `check` has found good; None for any other."""
        return self._facts.get(image)

    def known(self, image: str) -> str:
        """The content that `image` had when it was looked at; the name itself when it was not."""
        facts = self.facts(image)
        return image if facts is None else facts.id

    async def check(self, wanted: Sequence[Wanted]) -> None:
        """Look at every image that was not found good before, and fetch what is to be fetched.

        Raises:
            EngineGone: no engine answers.
            PreconditionMissing: with everything that is missing, not only the first.
        """
        roles: dict[str, dict[str, None]] = {}
        for image, _, role in wanted:
            roles.setdefault(image, {})[role] = None
        refused: dict[str, PreconditionMissing] = {}

        gone: list[EngineGone] = []

        async def look(image: str, who: str) -> None:
            try:
                await self._look_once(image, who)
            except EngineGone as error:
                # One answer is enough to know that there is nobody to ask.
                gone.append(error)
                nursery.cancel_scope.cancel(reason="the engine is gone")
            except PreconditionMissing as error:
                refused[image] = error

        async with trio.open_nursery() as nursery:
            for image, names in roles.items():
                who = ", ".join(filter(None, names))
                nursery.start_soon(look, image, f" (for {who})" if who else "")
        if gone:
            raise gone[0]
        errors = [refused[image] for image in roles if image in refused]
        errors += self._without_command([item for item in wanted if item.image not in refused])
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise PreconditionMissing(
                f"{len(errors)} things this run needs are missing: " + "; ".join(error.what for error in errors),
                evidence="; ".join(dict.fromkeys(error.evidence for error in errors if error.evidence)),
                todo="; ".join(dict.fromkeys(error.todo for error in errors if error.todo)),
            )

    def _without_command(self, wanted: Sequence[Wanted]) -> list[PreconditionMissing]:
        roles: dict[str, dict[str, None]] = {}
        for image, run, role in wanted:
            facts = self._facts[image]
            if not (run or facts.entrypoint or facts.cmd):
                roles.setdefault(image, {})[role] = None
        return [
            PreconditionMissing(
                f"image {image!r} (for {', '.join(filter(None, names))}) has nothing to run: the manifest gives no `run`, "
                "and the image has neither an entry point nor a command",
                todo="add `run` to the manifest's entry, or CMD to the image's Dockerfile",
            )
            for image, names in roles.items()
        ]

    async def _look_once(self, image: str, who: str) -> None:
        async with self._looking.setdefault(image, trio.Lock()):
            if image not in self._facts:
                facts = await self._look(image, who)
                await self._check_platform(image, who, facts)
                self._facts[image] = facts

    async def _look(self, image: str, who: str) -> ImageFacts:
        if HOSTED_IMAGE_ID.fullmatch(image):
            raise PreconditionMissing(
                f"{image!r}{who} is the id of an image that a service hosts, and no engine knows it by that",
                todo="name the image by the reference that it was pushed or built under",
            )
        # What starts with a dash would be an option.
        if not image or image.startswith("-") or not image.isprintable():
            raise PreconditionMissing(
                f"image {image!r}{who} is no reference to an image", todo="correct the manifest's `image`"
            )
        found = None
        if self._pull is not Pull.ALWAYS or image.startswith("sha256:"):
            found = await self._inspect(image, who)
        if found is None and self._pull is not Pull.NEVER and not image.startswith("sha256:"):
            async with self._pulling:
                await self._fetch(image, who)
            found = await self._inspect(image, who)
        if found is None:
            raise PreconditionMissing(
                f"image {image!r}{who} is not on this engine",
                evidence="pulling is switched off" if self._pull is Pull.NEVER else "",
                todo=_todo(image, self._pull),
            )
        return found

    async def _fetch(self, image: str, who: str) -> None:
        try:
            await pull(self._docker, image, log=self._log, seconds=self._pull_seconds)
        except EngineGone:
            raise
        except PreconditionMissing as error:
            if self._pull is Pull.ALWAYS:
                what, todo = error.what, _joined(error.todo, "leave --pull at `missing` for what was built here")
            else:
                what = f"image {image!r}{who} is not on this engine and cannot be pulled"
                steps = (error.todo, _todo(image, self._pull))
                # A name without a registry is more often one of this machine's that was never built.
                todo = _joined(*(steps if _names_registry(image) else reversed(steps)))
            raise PreconditionMissing(what, evidence=error.evidence, todo=todo) from error

    async def _inspect(self, image: str, who: str) -> ImageFacts | None:
        try:
            done = await self._docker.ask(
                "image",
                *("inspect", "--format", "{{json .}}", image),
                what=f"image {image!r}{who} cannot be looked at",
            )
        except DockerRefused as refused:
            if "invalid reference" in refused.evidence:
                raise PreconditionMissing(
                    f"image {image!r}{who} is no reference to an image",
                    evidence=refused.evidence,
                    todo="correct the manifest's `image`",
                ) from None
            if refused.trouble is not Trouble.NOT_FOUND:
                raise
            return None
        return _facts(_understood(done.stdout, _Inspected))

    async def _check_platform(self, image: str, who: str, facts: ImageFacts) -> None:
        async with self._asking:
            if self._server is None:
                done = await self._docker.ask(
                    "version", "--format", "{{json .Server}}", what="the docker engine does not say what it is"
                )
                self._server = _understood(done.stdout, _Server)
        server = self._server
        if not facts.os or not server.os or not facts.architecture or not server.arch:
            return
        theirs, ours = f"{facts.os}/{facts.architecture}", f"{server.os}/{server.arch}"
        if facts.os == server.os and facts.architecture in {server.arch, *_ALSO_RUNS.get(server.arch, ())}:
            return
        if facts.os == server.os and (self._platform or _may_emulate(server, facts.architecture)):
            reason = f"DOCKER_DEFAULT_PLATFORM is {self._platform}" if self._platform else "it may have an emulator"
            self._log(
                f"image {image} is made for {theirs}, this engine is {ours}; {reason}: the engine decides, and what it "
                "emulates is slow"
            )
            return
        raise PreconditionMissing(
            f"image {image!r}{who} is made for {theirs}, and this engine runs {ours}",
            todo=f"build it here, or pull it with `docker pull --platform {ours} {image}`, or install an emulator (Debian: "
            "qemu-user-static) and set DOCKER_DEFAULT_PLATFORM",
        )


def _nobody(sentence: str) -> None:
    """For a log that nobody reads."""


def _may_emulate(server: _Server, architecture: str) -> bool:
    """Whether the engine's kernel can be asked to run another architecture: another machine's kernel is not to be seen."""
    if server.kernel_version != os.uname().release:
        return True
    try:
        found = (_EMULATORS / _EMULATOR_OF.get(architecture, f"qemu-{architecture}")).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return False
    return found.startswith("enabled")


def _names_registry(image: str) -> bool:
    first, slash, _ = image.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def _todo(image: str, policy: Pull) -> str:
    if image.startswith("sha256:"):
        return "an id cannot be pulled: name the image by its reference, or build it again"
    steps = [f"run `docker pull {image}`"] if policy is Pull.NEVER else []
    if "@sha256:" not in image:
        # A digest names what a registry has; what is built here gets another one.
        steps += ["build it (`coworld-actors build`, or `docker build -t`)", "use --driver process"]
    return ", or ".join(steps)


def _joined(*steps: str) -> str:
    return ", or ".join(filter(None, steps))


def _understood(data: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineGone(
            "the docker client's answer cannot be read", Trouble.OTHER, evidence=str(error), todo="run `docker info`"
        ) from error


def _facts(said: _Inspected) -> ImageFacts:
    config = said.config or _Config()
    pairs = (text.partition("=") for text in config.env or ())
    return ImageFacts(
        id=said.id,
        os=said.os,
        architecture=said.architecture,
        user=config.user,
        entrypoint=config.entrypoint or (),
        cmd=config.cmd or (),
        workdir=config.working_dir or "/",
        env={name: value for name, _, value in pairs},
        volumes=tuple(config.volumes or ()),
    )
