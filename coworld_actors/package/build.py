"""Building a package: its images by docker, its manifest from the template.

What can be refused is refused before anything is built: the template is filled with names that nothing has yet, and checked as
the manifest will be. The manifest is written last.
"""

from __future__ import annotations

import os
import re
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from coworld_actors.package.output import Carried, carried_files, checked, write_manifest
from coworld_actors.package.services import (
    CONTENT_TAG,
    Service,
    by_placeholder,
    compose_words,
    find_services,
    repository_of,
    single_service,
)
from coworld_actors.package.sources import Sources
from coworld_actors.package.template import Template, check_version, read_template
from coworld_drivers.command import Completed, discard
from coworld_drivers.docker_client import Docker, DockerRefused, EngineGone, Trouble, trouble_of
from coworld_drivers.scratch import scratch
from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused
from coworld_protocol.printable import printable

__all__ = ["Built", "BuiltImage", "Wishes", "build_package"]

STOP_SECONDS: Final = 5.0
"""What a build that is called off has to tell the engine so."""

LAST_SECONDS: Final = 5.0
"""After the client's end, for whoever still holds its outputs open."""

_LINE: Final = 8 * 1024
_KEPT_LINES: Final = 40
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")
_NO_BASE: Final = re.compile(
    r"pull access denied|manifest (for \S+ not found|unknown)|no such host|dial tcp|failed to (do request|resolve source metadata)"
    r"|TLS handshake timeout|network is unreachable|registry-1\.docker\.io|i/o timeout",
    re.IGNORECASE,
)

_STEP_FAILED: Final = re.compile(r"returned a non-zero code|did not complete successfully", re.IGNORECASE)
"""What the engine's own builder and the newer one say of a RUN whose program failed."""

_SHOWN_LINES: Final = 5
"""Last lines in an error: whoever asked for quiet has seen none."""
_SHOWN_WIDTH: Final = 400

_ADVICE: Final = "correct the step that docker complains about, and build again; without -q all of its output is shown"

_ENGINE: Final = re.compile(r"cannot connect to the docker daemon|error during connect", re.IGNORECASE)


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """How to build.

    Attributes:
        version: of the game; None keeps the template's.
        pull: look for newer base images, and newer images of services that are not built.
        platform: `linux/amd64` and the like; empty for the engine's own, or the compose file's.
        build_args: `KEY=VALUE` for the Dockerfiles; public.
        dry_run: say what would be built; build nothing and write nothing.
    """

    version: str | None = None
    pull: bool = False
    platform: str = ""
    build_args: tuple[str, ...] = ()
    dry_run: bool = False


class BuiltImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that is there now.

    Attributes:
        service: of the compose file, or the directory of the Dockerfile.
        placeholders: what was replaced by it; empty without a template.
        image: its name, in the manifest too.
        id: the engine's, `sha256:` and 64 hexadecimal digits; empty after a dry run.
        platform: operating system and architecture; empty after a dry run.
        built: False for one that was there, or was pulled.
    """

    service: str
    placeholders: tuple[str, ...]
    image: str
    id: str
    platform: str
    built: bool


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """What a build has left.

    Attributes:
        game: the game's name; None for a package without a template, a player's for example.
        version: its version, likewise.
        manifest: where the manifest is, likewise.
        images: those that it names; without a template all of them.
        unused: services that no placeholder names.
        warnings: what the manifest's loader says beside that it is good.
        dry_run: nothing of it was done.
    """

    game: str | None
    version: str | None
    manifest: str | None
    images: tuple[BuiltImage, ...]
    unused: tuple[str, ...]
    warnings: tuple[str, ...]
    dry_run: bool


async def build_package(
    sources: Sources,
    wishes: Wishes = Wishes(),  # noqa: B008 - it cannot be changed
    *,
    log: Callable[[str], None],
    environ: Mapping[str, str] = os.environ,
) -> Built:
    """Build the images of a package and write its manifest, if it has a template. When cancelled, the build is called off and nothing is written.

    Args:
        sources: what to build.
        wishes: how.
        log: told a line of docker's progress; fit for a terminal.
        environ: our own environment: docker's variables, and those of the compose file.

    Raises:
        Refused: the compose file, a Dockerfile, the template or the manifest made of it cannot be used.
        PreconditionMissing: docker, its compose plugin or a base image is missing, or the output cannot be written.
        EngineGone: no engine answers.
    """
    template = None if sources.template is None else read_template(sources.template)
    if wishes.version is not None:
        check_version(wishes.version)
        if template is None:
            raise Refused(
                f"{sources.directory} has no manifest template that could have a version",
                todo="leave --version out, or write one",
            )
    if wishes.platform:
        # The one way that `docker build` and `docker compose build` share.
        environ = {**environ, "DOCKER_DEFAULT_PLATFORM": wishes.platform}
    docker: Docker | None = None
    services: Sequence[Service] = ()
    if sources.compose is None:
        services = (single_service(sources),)
    else:
        docker = Docker(environ)
        services = await find_services(docker, sources)
    carried = Carried() if template is None else _check(template, services, wishes, sources)
    used = [each for each in services if template is None or any(name in template.wanted for name in each.placeholders)]
    if wishes.dry_run:
        return _summary(
            sources, template, services, [_as_built(each, template, each.repository) for each in used], wishes
        )
    docker = docker or Docker(environ)
    images = await _images(docker, sources, wishes, services, used, template, log)
    warnings: tuple[str, ...] = ()
    if template is not None:
        assert sources.output is not None
        known = {name: each.image for each in images for name in each.placeholders}
        document = template.filled(known, wishes.version)
        data, loaded = checked(document, source=str(sources.output), directory=sources.output.parent)
        warnings = loaded.warnings
        write_manifest(sources.output, data, directory=template.directory, carried=carried)
    return _summary(sources, template, services, images, wishes, warnings)


def _check(template: Template, services: Sequence[Service], wishes: Wishes, sources: Sources) -> Carried:
    """Refuse now what would be refused once everything is built; the files that the manifest names."""
    places = by_placeholder(services, template.wanted)
    provisional = {name: f"{each.repository}:{CONTENT_TAG}{'0' * 12}" for name, each in places.items()}
    template.refuse_unknown(provisional)
    document = template.filled(provisional, wishes.version)
    checked(document, source=template.source, directory=template.directory)
    assert sources.output is not None
    return carried_files(document, template.directory, source=template.source, output=sources.output)


async def _images(
    docker: Docker,
    sources: Sources,
    wishes: Wishes,
    services: Sequence[Service],
    used: Sequence[Service],
    template: Template | None,
    log: Callable[[str], None],
) -> list[BuiltImage]:
    options = [word for argument in wishes.build_args for word in ("--build-arg", argument)]
    options += ["--pull"] if wishes.pull else []
    references = {each.name: each.image for each in used}
    if sources.dockerfile is not None:
        (service,) = services
        references[service.name] = await _build_dockerfile(docker, sources.dockerfile, sources, options, log)
    elif any(each.built for each in services):
        # All of them: one may be the base of another without saying so.
        await _follow(docker, (*compose_words(sources), "build", *options), f"{sources.compose} was not built", log)
    found: list[BuiltImage] = []
    for service in used:
        facts = await _facts(docker, references[service.name], service, wishes, log)
        _check_platform(facts, service, wishes)
        found.append(await _tagged(docker, facts, service, template))
    return found


async def _build_dockerfile(
    docker: Docker, dockerfile: Path, sources: Sources, options: Sequence[str], log: Callable[[str], None]
) -> str:
    """Build; the image's id."""
    with scratch("build") as place:
        file = place / "id"
        # A container of a step that failed or was called off goes, too.
        words = ("build", "--force-rm", "--iidfile", str(file), "--file", str(dockerfile), *options)
        await _follow(docker, (*words, str(sources.directory)), f"{dockerfile} was not built", log)
        try:
            return file.read_text().strip()
        except OSError as error:
            raise DockerRefused(
                f"docker does not say what it has built from {dockerfile}", Trouble.OTHER, evidence=str(error)
            ) from error


async def _facts(
    docker: Docker, reference: str, service: Service, wishes: Wishes, log: Callable[[str], None]
) -> dict[str, Any]:
    """What the engine knows of an image; one that is not built here is pulled when it is missing, or when that is wished."""
    if not service.built and wishes.pull:
        await _pull(docker, reference, service, log)
    try:
        return await _inspect(docker, reference, service)
    except DockerRefused as refused:
        if refused.trouble is not Trouble.NOT_FOUND or service.built:
            raise
    await _pull(docker, reference, service, log)
    return await _inspect(docker, reference, service)


async def _pull(docker: Docker, reference: str, service: Service, log: Callable[[str], None]) -> None:
    await _follow(docker, ("pull", reference), f"the image of service {service.name} was not pulled", log)


async def _inspect(docker: Docker, reference: str, service: Service) -> dict[str, Any]:
    done = await docker.ask(
        "image", "inspect", reference, what=f"the image {reference} of {service.name} cannot be looked at"
    )
    with suppress(msgspec.MsgspecError):
        (facts,) = msgspec.json.decode(done.stdout, type=list[dict[str, Any]])
        if _ID.fullmatch(str(facts.get("Id"))):
            return facts
    raise EngineGone("the docker client's answer cannot be read", Trouble.OTHER, todo="run `docker info`")


def _check_platform(facts: Mapping[str, Any], service: Service, wishes: Wishes) -> None:
    wanted = wishes.platform or service.platform
    if wanted and tuple(wanted.split("/")[:2]) != (facts.get("Os"), facts.get("Architecture")):
        raise Refused(
            f"the image of {service.name} is not for {wanted}",
            evidence=f"it is for {_platform(facts)}",
            todo="build from a base image for that platform (--pull looks for one), or leave --platform out",
        )


def _platform(facts: Mapping[str, Any]) -> str:
    return printable(f"{facts.get('Os')}/{facts.get('Architecture')}")


async def _tagged(docker: Docker, facts: Mapping[str, Any], service: Service, template: Template | None) -> BuiltImage:
    """Name an image by its content: its registry's digest where it came from one, else a tag made of its id."""
    identity = str(facts["Id"])
    digest = None if service.built else _digest(facts, service)
    image = digest or f"{service.repository}:{CONTENT_TAG}{identity.removeprefix('sha256:')[:12]}"
    if digest is None:
        await docker.ask("tag", identity, image, what=f"the image of {service.name} cannot be tagged as {image}")
    return msgspec.structs.replace(
        _as_built(service, template, image), id=identity, platform=_platform(facts), built=service.built
    )


def _digest(facts: Mapping[str, Any], service: Service) -> str | None:
    for each in facts.get("RepoDigests") or ():
        if repository_of(str(each)) == service.repository:
            return str(each)
    return None


def _as_built(service: Service, template: Template | None, image: str) -> BuiltImage:
    placeholders = tuple(name for name in service.placeholders if template is not None and name in template.wanted)
    return BuiltImage(
        service=service.name, placeholders=placeholders, image=image, id="", platform="", built=service.built
    )


def _summary(
    sources: Sources,
    template: Template | None,
    services: Sequence[Service],
    images: Sequence[BuiltImage],
    wishes: Wishes,
    warnings: tuple[str, ...] = (),
) -> Built:
    named = {each.service for each in images}
    return Built(
        game=None if template is None else template.document["game"]["name"],
        version=None if template is None else wishes.version or template.version,
        manifest=None if sources.output is None else str(sources.output),
        images=tuple(images),
        unused=tuple(each.name for each in services if each.name not in named),
        warnings=warnings,
        dry_run=wishes.dry_run,
    )


async def _follow(docker: Docker, words: Sequence[str], what: str, log: Callable[[str], None]) -> None:
    """One long call of the client, its progress passed on line by line; there is no deadline, for builds take what they take.

    Raises:
        CoworldError: it failed, with the last thing that it complained about.
    """
    said: deque[str] = deque(maxlen=_KEPT_LINES)
    complaints: deque[str] = deque(maxlen=_KEPT_LINES)
    process = await docker.client.start(tuple(words))
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pass_on, process.stdout, said, log)
            nursery.start_soon(_pass_on, process.stderr, complaints, log)
            await process.wait()
            nursery.cancel_scope.deadline = trio.current_time() + LAST_SECONDS
    finally:
        if process.returncode is None:
            # Restores: the engine knows that nobody wants the build any more, and no container of its steps is left.
            with trio.move_on_after(STOP_SECONDS, shield=True):
                # Its whole group, as a terminal does: older clients leave it to their plugins to notice.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT)
                await process.wait()
        # Restores: no client of ours is left, cancelled or not.
        await discard(process)
    assert process.returncode is not None
    if process.returncode != 0:
        raise _failure(what, process.returncode, said, complaints)


def _failure(what: str, code: int, said: Sequence[str], complaints: Sequence[str]) -> CoworldError:
    text = "\n".join((*said, *complaints))
    trouble = trouble_of(Completed(code=code, stdout=b"", stderr="\n".join(complaints)))
    lines = [line for line in (*said, *complaints) if line.strip()] or [f"exit code {code}"]
    last = lines[-1]
    shown = " | ".join(line[:_SHOWN_WIDTH] for line in lines[-_SHOWN_LINES:])
    if _STEP_FAILED.search(text):
        # Whatever the step said, and however much it sounds like us: it ran, so its base was there.
        return Refused(what, evidence=shown, todo=_ADVICE)
    # A registry that refuses a connection sounds like an engine that does.
    base_missing = _NO_BASE.search(last) and not _ENGINE.search(last)
    if trouble in {Trouble.ENGINE_AWAY, Trouble.FORBIDDEN} and not base_missing:
        return EngineGone(what, trouble, evidence=last)
    if base_missing:
        return PreconditionMissing(
            f"{what}: an image that it needs is not here, and cannot be pulled",
            evidence=last,
            todo="check its name and the network, or build on another one (--build-arg, where the Dockerfile takes its base from one)",
        )
    return Refused(what, evidence=shown, todo=_ADVICE)


async def _pass_on(stream: trio.abc.ReceiveStream, kept: deque[str], log: Callable[[str], None]) -> None:
    rest = b""

    def tell(line: bytes) -> None:
        text = printable(_COLOUR.sub("", line.decode(errors="replace")).rstrip())
        kept.append(text)
        log(text)

    while data := await stream.receive_some(64 * 1024):
        *lines, rest = re.split(rb"[\r\n]+", rest + data)
        for line in lines:
            tell(line[:_LINE])
        rest = rest[:_LINE]
    if rest:
        tell(rest)
