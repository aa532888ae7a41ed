"""Behind `coworld-actors run`: load, check, play under signals, show."""

from __future__ import annotations

import contextlib
import datetime
import os
import secrets
import signal
from collections.abc import Generator, Mapping
from pathlib import Path

import msgspec
import trio

from coworld_actors.actors import EventStream, Record, open_system
from coworld_actors.cli.exits import Exit
from coworld_actors.cli.screen import Detail, Screen, show_document
from coworld_actors.episode.conductor import run_episode
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.episode.launches import wanted
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import EpisodeSpec, Limits
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import CoworldError, PreconditionMissing

__all__ = ["Options", "play"]

HARD_STOP = 1.5
"""Seconds that a second signal leaves for the rest; then the process ends and the janitor sweeps."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line said."""

    manifest: str
    players: tuple[str, ...] = ()
    variant: str | None = None
    overrides: tuple[str, ...] = ()
    images: Mapping[str, str] = {}
    run: tuple[str, ...] = ()
    secret_env: Mapping[str, str] = {}
    limits: Limits = Limits()
    verify_replay: bool = False
    reports: bool = True
    output: Path | None = None
    events: Path | None = None
    detail: Detail = Detail.NORMAL
    as_json: bool = False


def play(options: Options) -> int:
    """Play one episode as asked; returns the exit code.

    Raises:
        CoworldError: nothing was played.
    """
    loaded = load_manifest(options.manifest)
    images = load_images(loaded.directory, options.images)
    plan = build_plan(
        loaded,
        players=options.players,
        variant=options.variant,
        overrides=options.overrides,
        run=options.run,
        known_images=images.names(),
    )
    episode = _new_id()
    spec = EpisodeSpec(
        id=episode,
        plan=plan,
        directory=options.output or Path("runs") / episode,
        limits=options.limits,
        verify_replay=options.verify_replay,
        reports=options.reports,
        secret_env=options.secret_env,
    )
    screen = Screen(options.detail, as_json=options.as_json)
    for warning in loaded.warnings:
        screen.note(f"warning: {warning}")
    for image in dict.fromkeys(seat.runnable.image for seat in plan.seats if seat.player_id == seat.runnable.image):
        own = images.command(image)
        if own and not options.run:
            screen.note(f"warning: {image} plays with the command of its seat, not with its own {own}; see --run")
    record, received = trio.run(_run, spec, ProcessDriver(images, log=screen.note), screen, options.events)
    if options.output is None:
        _link_latest(spec.directory)
    code = _exit_code(record, received)
    if options.as_json:
        show_document({"exit_code": int(code), "episodes": [record]})
    screen.outcome(record, interrupted=received is not None)
    return code


async def _run(
    spec: EpisodeSpec, driver: ProcessDriver, screen: Screen, events: Path | None
) -> tuple[EpisodeRecord, int | None]:
    interrupt = Interrupt()
    received: list[int] = []
    failure: CoworldError | None = None
    record: EpisodeRecord | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch_signals, interrupt, driver, screen, received)
        try:
            await driver.check(wanted(spec))
            async with driver, open_system(spec.id) as system:
                with _event_file(events, system.events), screen.follow(system.events, spec):
                    record = await run_episode(system, driver, spec, interrupt=interrupt)
        except CoworldError as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    assert record is not None
    return record, received[0] if received else None


async def _watch_signals(
    interrupt: Interrupt,
    driver: ProcessDriver,
    screen: Screen,
    received: list[int],
    task_status: trio.TaskStatus[None],
) -> None:
    """The first SIGINT or SIGTERM ends the episode in order, the second one at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            received.append(number)
            if len(received) == 1:
                screen.note("stopping: every role is asked to end; a second signal kills them")
                interrupt.throw(f"{signal.Signals(number).name} received")
            else:
                driver.kill_all()
                await trio.sleep(HARD_STOP)
                os._exit(128 + received[0])


@contextlib.contextmanager
def _event_file(path: Path | None, stream: EventStream) -> Generator[None]:
    """Copy every event of the system to a file.

    Raises:
        PreconditionMissing: it cannot be written.
    """
    if path is None:
        yield
        return
    try:
        file = path.open("wb", buffering=0)
    except OSError as error:
        raise PreconditionMissing(
            f"--events {path} cannot be written: {error.strerror}", todo="name a file in a writable directory"
        ) from error
    failure: OSError | None = None

    def copy(record: Record) -> None:
        nonlocal failure
        try:
            file.write(msgspec.json.encode(record) + b"\n")
        except OSError as error:
            failure = failure or error

    with file:
        unsubscribe = stream.subscribe(copy)
        try:
            yield
        finally:
            unsubscribe()
    if failure is not None:
        raise PreconditionMissing(
            f"--events {path} is not complete: {failure.strerror}", todo="free some space and run again"
        )


def _exit_code(record: EpisodeRecord, received: int | None) -> Exit:
    if received is not None:
        return Exit.INTERRUPTED if received == signal.SIGINT else Exit.TERMINATED
    good = record.verdict.good and all(report.ok for report in record.reports)
    return Exit.GOOD if good else Exit.FAILED


def _new_id() -> str:
    """Sorts by time, is unique enough for a directory, and safe as a file and container name."""
    return f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _link_latest(directory: Path) -> None:
    """Point `latest` beside the run at it; a link that cannot be made is no reason to fail."""
    partial = directory.parent / f".latest-{directory.name}"
    with contextlib.suppress(OSError):
        partial.symlink_to(directory.name)
        partial.replace(directory.parent / "latest")
