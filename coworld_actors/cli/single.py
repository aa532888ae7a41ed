"""Behind `coworld-actors run` and `play` of a single episode: load, check, play under signals, show."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path

import msgspec
import trio

from coworld_actors.batch.commands import check_players, refuse_local
from coworld_actors.batch.plans import plan_single
from coworld_actors.batch.specs import parse_spec
from coworld_actors.cli.browser import show_in_browser
from coworld_actors.cli.event_file import EventFile, EventLines
from coworld_actors.cli.exits import Exit, Interrupted, Outcome, worse
from coworld_actors.cli.screen import Detail, Screen
from coworld_actors.cli.signals import watch_signals
from coworld_actors.cli.streams import encodable
from coworld_actors.control import open_control
from coworld_actors.episode.dialect import Compat
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import EpisodeSpec, Limits, TapSpec, new_id
from coworld_actors.episode.verdict import EndReason
from coworld_actors.manifest.load import LoadedManifest, load_manifest
from coworld_actors.manifest.seats import config_changes
from coworld_actors.manifest.variants import set_stage
from coworld_actors.observe.trace_context import trace_variables
from coworld_actors.runtime.admission import Admission
from coworld_actors.runtime.driver_choice import choose_driver
from coworld_actors.runtime.handle import EpisodeHandle
from coworld_actors.runtime.opening import Attachment, OpenDriver, open_runtime
from coworld_actors.runtime.place import Place
from coworld_actors.runtime.runtime import Runtime
from coworld_actors.traffic.report import Judgement
from coworld_drivers.images import load_images
from coworld_protocol.errors import CoworldError, Refused, alone

__all__ = [
    "STDOUT",
    "Guests",
    "Options",
    "control_socket",
    "exit_code_of",
    "link_latest",
    "play_single",
    "play_spec",
    "refuse_undecodable",
]

STDOUT = Path("-")
"""What `--events` is given for a record a line on stdout."""

OWN_FAILURES = {EndReason.INFRASTRUCTURE: Exit.PRECONDITION, EndReason.INTERNAL: Exit.INTERNAL}
"""Ends that are neither the game's nor a player's doing: they have the code of the error that would say so beforehand."""


BUDGET = {Judgement.PASSED: Exit.GOOD, Judgement.FAILED: Exit.GATE, Judgement.REFUSED: Exit.PRECONDITION}
"""What a good episode ends with under `--budget`; one that could not be judged lacked something to be judged by."""


class Guests(msgspec.Struct, frozen=True, kw_only=True):
    """People at an episode.

    Attributes:
        seats: those that they take; None for all.
        browser: whether pages are opened; None opens them where somebody sits at a terminal.
    """

    seats: frozenset[int] | None = frozenset()
    browser: bool | None = None


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line said."""

    manifest: str
    players: tuple[str, ...] = ()
    variant: str | None = None
    overrides: tuple[str, ...] = ()
    images: Mapping[str, str] = {}
    run: tuple[str, ...] = ()
    place: Place = Place()
    secret_env: Mapping[str, str] = {}
    compat: Compat = Compat.CURRENT
    limits: Limits = Limits()
    verify_replay: bool = False
    reports: bool = True
    tap: TapSpec | None = None
    guests: Guests | None = None
    output: Path | None = None
    events: Path | None = None
    detail: Detail = Detail.NORMAL
    as_json: bool = False


def play_single(options: Options) -> Outcome:
    """Play one episode as asked and show how it went.

    Raises:
        CoworldError: nothing was played.
    """
    loaded = load_manifest(options.manifest)
    images = load_images(loaded.directory, options.images)
    ids = [each.id for each in loaded.manifest.player]
    specs = [parse_spec(text, players=ids, images=images.names()) for text in options.players]
    refuse_local(specs, options.images, options.place.driver)
    people = _people(loaded, options)
    plan, images = plan_single(
        loaded, images, specs, variant=options.variant, overrides=options.overrides, run=options.run, people=people
    )
    check_players(specs, images)
    episode = new_id()
    directory = options.output or Path("runs") / episode
    recording = options.tap.recording if options.tap is not None else None
    refuse_undecodable({"--output": directory, "--events": options.events, "--record": recording})
    spec = EpisodeSpec(
        id=episode,
        plan=plan,
        directory=directory,
        limits=options.limits,
        verify_replay=options.verify_replay,
        reports=options.reports,
        probe=options.guests is None,
        role_env=trace_variables(os.environ),
        tap=options.tap,
        secret_env=options.secret_env,
        compat=options.compat,
    )
    streams = options.events == STDOUT
    screen = Screen(options.detail, as_json=options.as_json or streams)
    for warning in loaded.warnings:
        screen.note(f"warning: {warning}")
    started = [(seat.player_id, seat.runnable.image) for seat in plan.seats if seat.runnable is not None]
    for image in dict.fromkeys(image for player, image in started if player == image):
        own = images.command(image)
        if own and not options.run:
            screen.note(f"warning: {image} plays with the command of its seat, not with its own {own}; see --run")
    events: EventFile | EventLines | None = None
    if options.events is not None:
        events = EventLines() if streams else EventFile(options.events, directory, len(plan.seats))
    if options.guests is not None and not people:
        screen.note("all seats are taken and you watch; with --seat 0 that seat is yours")
    driver = choose_driver(options.place, images, screen.note)
    with events if events is not None else contextlib.nullcontext():
        record, received = trio.run(play_spec, spec, driver, screen, events, options.as_json, options.guests)
    if options.output is None and record.directory:
        link_latest(spec.directory)
    screen.outcome(
        record, interrupted=received is not None, verified=options.verify_replay, hosted=options.guests is not None
    )
    code = exit_code_of(record, received)
    error = screen.trouble or (events.trouble if events is not None else None)
    return Outcome(exit_code=worse(code, error) if error else code, episodes=(record,), error=error, lines=streams)


def _people(loaded: LoadedManifest, options: Options) -> frozenset[int]:
    """The seats that people take."""
    if options.guests is None:
        return frozenset()
    if options.guests.seats is not None:
        return options.guests.seats
    return frozenset(range(set_stage(loaded, options.variant, config_changes(loaded, options.overrides, ())).seats))


async def play_spec(
    spec: EpisodeSpec,
    driver: OpenDriver,
    screen: Screen,
    events: EventFile | EventLines | None,
    as_json: bool,
    guests: Guests | None = None,
) -> tuple[EpisodeRecord, int | None]:
    """Play under signals; returns the record, and the first signal if there was one."""
    interrupt = Interrupt()
    received: list[int] = []
    failure: Exception | None = None
    record: EpisodeRecord | None = None

    def stop(name: str) -> None:
        screen.note("stopping: every role is asked to end; a second signal kills them")
        interrupt.throw(f"{name} received")

    def farewell(name: str) -> Interrupted:
        screen.restore()
        what = f"a second signal, {name}, ended episode {spec.id} before it was judged"
        return Interrupted(what, where=str(spec.directory))

    async with trio.open_nursery() as nursery:
        await nursery.start(watch_signals, received, stop, driver.kill_all, farewell, as_json)
        try:
            record = await _shown(interrupt, driver, spec, screen, events, guests, nursery)
        except Exception as error:  # noqa: BLE001 - raised again below, outside the nursery that would wrap it
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise alone(failure)
    assert record is not None
    return record, received[0] if received else None


async def _shown(
    interrupt: Interrupt,
    driver: OpenDriver,
    spec: EpisodeSpec,
    screen: Screen,
    events: EventFile | EventLines | None,
    guests: Guests | None,
    nursery: trio.Nursery,
) -> EpisodeRecord:
    admission = Admission(parallel=1)
    async with open_runtime(driver, name=spec.id, admission=admission, attach=[control_socket(screen.note)]) as runtime:
        with contextlib.ExitStack() as stack:
            if events is not None:
                stop = functools.partial(interrupt.throw, "--events cannot be written")
                stack.enter_context(events.follow(runtime.system.events, stop))
            stack.enter_context(screen.follow(runtime.system.events, spec))
            handle = await runtime.start_episode(spec)
            nursery.start_soon(_pass_on, interrupt, handle)
            if guests is not None:
                nursery.start_soon(_invite, handle, guests, screen)
            return await handle.wait()


def control_socket(note: Callable[[str], None]) -> Attachment:
    """The socket for `coworld-actors ctl`; a place where there can be none is no reason not to play."""

    @contextlib.asynccontextmanager
    async def attached(runtime: Runtime) -> AsyncGenerator[None]:
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(open_control()(runtime))
            except CoworldError as error:
                note(f"warning: no control socket: {error.what}")
            yield

    return attached


async def _pass_on(interrupt: Interrupt, handle: EpisodeHandle) -> None:
    handle.cancel(await interrupt.wait())


async def _invite(handle: EpisodeHandle, guests: Guests, screen: Screen) -> None:
    """Say where people find the game, and open what they are going to look at."""
    pages = await handle.pages()
    if pages is None:
        return
    screen.pages(pages)
    wanted = [pages.viewer] if pages.watchable else []
    if pages.playable:
        wanted += pages.players.values()
    await show_in_browser(wanted, guests.browser, screen)


def refuse_undecodable(paths: Mapping[str, Path | None]) -> None:
    """A path goes into JSON, which has no way to spell a byte that is no UTF-8."""
    for option, path in paths.items():
        if path is not None:
            # Absolute: our working directory may have such a name.
            name = str(path.absolute())
            if encodable(name) != name:
                raise Refused(
                    f"{option} {encodable(name)} cannot be used: its name is not UTF-8",
                    todo=f"name another place with {option}",
                )


def exit_code_of(record: EpisodeRecord, received: int | None) -> Exit:
    """What a single episode ends the process with."""
    if received is not None:
        return Exit.INTERRUPTED if received == signal.SIGINT else Exit.TERMINATED
    if record.verdict.reason in OWN_FAILURES:
        return OWN_FAILURES[record.verdict.reason]
    if not (record.verdict.good and all(report.ok for report in record.reports)):
        return Exit.FAILED
    budget = record.tap.budget if record.tap is not None else None
    return Exit.GOOD if budget is None else BUDGET[budget.judgement]


def link_latest(directory: Path) -> None:
    """Point `latest` beside the run at it; a link that cannot be made is no reason to fail."""
    partial = directory.parent / f".latest-{directory.name}"
    with contextlib.suppress(OSError):
        partial.symlink_to(directory.name)
        try:
            partial.replace(directory.parent / "latest")
        except OSError:
            partial.unlink()
