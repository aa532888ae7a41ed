"""`coworld-actors build`: from a package's sources to its images and the manifest that names them."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from coworld_actors.cli.exits import Exit, Interrupted, Outcome
from coworld_actors.cli.streams import Stream
from coworld_protocol.errors import Refused, alone
from coworld_protocol.printable import printable

if TYPE_CHECKING:
    import trio

    from coworld_actors.package.build import Built, Wishes
    from coworld_actors.package.sources import Sources

__all__ = ["build"]

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("directory", metavar="[DIR]", default=".", type=_PATH)
@click.option(
    "--compose", type=_PATH, metavar="FILE", help="The compose file; otherwise DIR/compose.yaml, if it is there."
)
@click.option("--dockerfile", type=_PATH, metavar="FILE", help="Build this alone, in place of a compose file.")
@click.option(
    "--template",
    type=_PATH,
    metavar="FILE",
    help="The manifest template; otherwise DIR/coworld_manifest_template.json, then DIR/coworld_manifest.json.",
)
@click.option(
    "--output", type=_PATH, metavar="FILE", help="Where the manifest goes; otherwise DIR/dist/coworld_manifest.json."
)
@click.option("--version", "version", metavar="X", help="The game's version, as PEP 440 has it.")
@click.option("--build-arg", "build_args", metavar="KEY=VALUE", multiple=True, help="For the Dockerfiles' ARG; public.")
@click.option("--pull/--no-pull", default=False, help="Look for newer base images; otherwise only for missing ones.")
@click.option("--platform", metavar="OS/ARCH", default="", help="What to build for, linux/amd64 for example.")
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be built.")
@click.option("-q", "--quiet", is_flag=True, help="Without docker's progress.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else there.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def build(
    directory: Path,
    compose: Path | None,
    dockerfile: Path | None,
    template: Path | None,
    output: Path | None,
    version: str | None,
    build_args: tuple[str, ...],
    pull: bool,
    platform: str,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    debug: bool,
) -> Callable[[], Outcome]:
    """Build the package in DIR: its images with docker, and the manifest that names them.

    In the template, {{GAME_IMAGE}} stands for the image of the compose file's service `game`; {{IMAGE}} for that of a single
    Dockerfile. Images are named by content, NAME:coworld-<12 digits of the id>, and the manifest is checked before it is written.
    Without a template, in a player's directory for example, the images are all.

    \b
    Examples:
      coworld-actors build
      coworld-actors build my-world --version 0.2.0
      coworld-actors build my-world --dockerfile my-world/Dockerfile --build-arg BASE=python:3.12-slim
    """  # noqa: D301 - click's mark for a paragraph that is not to be wrapped
    del debug
    for argument in build_args:
        if not argument.partition("=")[0]:
            raise Refused(f"--build-arg {argument!r} has no name", todo="write --build-arg KEY=VALUE")

    def work() -> Outcome:
        from coworld_actors.package.build import Wishes
        from coworld_actors.package.sources import find_sources

        sources = find_sources(directory, compose=compose, dockerfile=dockerfile, template=template, output=output)
        wishes = Wishes(version=version, pull=pull, platform=platform, build_args=build_args, dry_run=dry_run)
        return _build(sources, wishes, quiet=quiet, as_json=as_json)

    return work


def _build(sources: Sources, wishes: Wishes, *, quiet: bool, as_json: bool) -> Outcome:
    import trio

    stderr = Stream(sys.stderr)

    def log(line: str) -> None:
        if not quiet:
            stderr.write(f"{line}\n")
            stderr.flush()

    received, built = trio.run(_under_signals, sources, wishes, log)
    if received is not None:
        name = signal.Signals(received).name
        failure = Interrupted(f"{name} ended the build; no manifest was written", where=str(sources.directory))
        return Outcome(exit_code=128 + received, error=failure)
    assert built is not None
    if not as_json:
        _show(built, Stream(sys.stdout))
    return Outcome(exit_code=Exit.GOOD, fields=msgspec.to_builtins(built))


async def _under_signals(
    sources: Sources, wishes: Wishes, log: Callable[[str], None]
) -> tuple[int | None, Built | None]:
    """Build, and call it off at the first SIGINT or SIGTERM; further ones change nothing, for the end has its deadline."""
    import trio

    from coworld_actors.package.build import build_package

    received: list[int] = []
    built: Built | None = None
    failure: Exception | None = None

    async def watch(task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                received.append(number)
                scope.cancel()

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            await nursery.start(watch)
            try:
                built = await build_package(sources, wishes, log=log)
            except Exception as error:  # noqa: BLE001 - raised again below, outside the nursery that would wrap it
                failure = error
        nursery.cancel_scope.cancel()
    if built is None and failure is not None and not received:
        raise alone(failure)
    # What came too late to stop anything is none.
    return (received[0] if built is None else None), built


def _show(built: Built, stdout: Stream) -> None:
    verb = "would be" if built.dry_run else "is"
    for image in built.images:
        names = ", ".join(f"{{{{{name}}}}}" for name in image.placeholders) or image.service
        about = f" ({image.platform})" if image.platform else ""
        stdout.write(printable(f"{names} {verb} {image.image}{about}") + "\n")
    for name in built.unused:
        stdout.write(printable(f"service {name} is in no placeholder") + "\n")
    for warning in built.warnings:
        stdout.write(printable(f"warning: {warning}") + "\n")
    if built.manifest is not None:
        stdout.write(printable(f"{built.game} {built.version}: {built.manifest}") + "\n")
    if built.dry_run:
        stdout.write("nothing was built or written\n")
    elif built.manifest is not None:
        stdout.write(f"now: coworld-actors run {printable(shlex.quote(built.manifest))} --driver docker\n")
    else:
        stdout.write("there is no manifest template, so no manifest was written\n")
    stdout.flush()
