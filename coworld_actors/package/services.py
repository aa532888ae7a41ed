"""The images that a package has: those of a compose file's services, or the one of a Dockerfile."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from coworld_actors.package.sources import Sources
from coworld_actors.package.template import placeholder
from coworld_drivers.docker_client import Docker, DockerRefused, Trouble
from coworld_protocol.errors import PreconditionMissing, Refused
from coworld_protocol.printable import printable

__all__ = [
    "CONTENT_TAG",
    "Service",
    "by_placeholder",
    "compose_words",
    "find_services",
    "repository_of",
    "single_service",
]

COMPOSE_SECONDS: Final = 60.0
"""For a question to the plugin; reading a compose file takes it 0.1 s."""

CONTENT_TAG: Final = "coworld-"
"""What a tag begins with that says what is in the image: the first twelve digits of its id follow (contract 1.9)."""

SINGLE: Final = "IMAGE"
"""The placeholder of a package with one Dockerfile, whatever its directory is called."""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """An image to have.

    Attributes:
        name: of the compose file's service, or of the directory.
        placeholders: what it is called in a template.
        image: the name under which the engine has it once it is built or pulled.
        built: whether it is built here.
        platform: what the compose file wants it for.
    """

    name: str
    placeholders: tuple[str, ...]
    image: str
    built: bool
    platform: str = ""

    @property
    def repository(self) -> str:
        """The image's name without tag and digest."""
        return repository_of(self.image)


class _ComposeService(msgspec.Struct, frozen=True, kw_only=True):
    image: str | None = None
    build: Any = None
    platform: str = ""


class _ComposeFile(msgspec.Struct, frozen=True, kw_only=True):
    name: str = ""
    services: dict[str, _ComposeService] = {}


async def find_services(docker: Docker, sources: Sources) -> tuple[Service, ...]:
    """Ask the compose plugin what a compose file has, with its variables and includes resolved.

    Raises:
        PreconditionMissing: there is no such plugin, or no engine.
        Refused: it does not accept the file.
    """
    assert sources.compose is not None
    await _require_compose(docker, sources)
    words = compose_words(sources)
    done = await docker.client.call(*words, "config", "--format", "json", timeout=COMPOSE_SECONDS)
    if not done.ok:
        raise Refused(
            f"docker compose does not accept {sources.compose}",
            evidence=printable(done.complaint),
            todo=f"look at it with: docker {' '.join(words)} config",
        )
    try:
        read = msgspec.json.decode(done.stdout, type=_ComposeFile)
    except msgspec.MsgspecError as error:
        raise PreconditionMissing(
            "what docker compose says of its file cannot be read",
            evidence=str(error),
            todo="install a newer compose plugin; any version 2 will do",
        ) from error
    services = tuple(
        Service(
            name=name,
            placeholders=(placeholder(name),),
            # What the plugin calls the image of a service that names none.
            image=found.image or f"{read.name}-{name}",
            built=found.build is not None,
            platform=found.platform,
        )
        for name, found in read.services.items()
    )
    if not services:
        raise Refused(f"{sources.compose} has no services", todo="add one with a `build` section")
    return services


def single_service(sources: Sources) -> Service:
    """The one image of a Dockerfile, named after its directory."""
    name = sources.directory.name
    repository = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "coworld"
    return Service(name=name, placeholders=(SINGLE, placeholder(name)), image=repository, built=True)


def compose_words(sources: Sources) -> tuple[str, ...]:
    """How a call of the plugin begins."""
    assert sources.compose is not None
    return ("compose", "--file", str(sources.compose))


def by_placeholder(services: Sequence[Service], wanted: Mapping[str, object]) -> dict[str, Service]:
    """Each placeholder's service.

    Raises:
        Refused: a wanted one stands for two services.
    """
    found: dict[str, Service] = {}
    for service in services:
        for name in service.placeholders:
            other = found.setdefault(name, service)
            if other is not service and name in wanted:
                raise Refused(
                    f"{{{{{name}}}}} stands for two services",
                    evidence=f"{other.name}, {service.name}",
                    todo="rename one",
                )
    return found


def repository_of(image: str) -> str:
    """`registry:5000/team/game` of `registry:5000/team/game:1.2@sha256:...`."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


async def _require_compose(docker: Docker, sources: Sources) -> None:
    done = await docker.client.call("compose", "version", timeout=COMPOSE_SECONDS)
    if done.ok:
        return
    other = sources.directory / "Dockerfile"
    instead = f", or build {other.name} alone with --dockerfile {other}" if other.is_file() else ""
    if done.code is None:
        raise DockerRefused("docker compose does not answer", Trouble.NO_ANSWER, evidence=done.complaint)
    raise PreconditionMissing(
        f"{sources.compose} needs docker's compose plugin, and it is not installed",
        evidence=printable(done.complaint),
        todo=f"install it (docker-compose-plugin, or docker-compose 2 of Debian 13 and later){instead}",
    )
