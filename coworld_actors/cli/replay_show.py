"""Behind `coworld-actors replay`: find it, show it until the person leaves or the game does, leave nothing behind."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping

import msgspec
import trio

from coworld_actors.actors import open_system
from coworld_actors.cli.browser import show_in_browser
from coworld_actors.cli.exits import Exit, Interrupted, Outcome
from coworld_actors.cli.screen import Detail, Screen
from coworld_actors.cli.signals import watch_signals
from coworld_actors.episode.dialect import Compat
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.episode.replay import ReplayNotShown, ReplaySession, ReplaySpec, check_session, open_replay
from coworld_actors.episode.replay_source import ReplaySource, find_replay, manifest_of
from coworld_actors.episode.role import telling
from coworld_actors.episode.verdict import ReplayCheck
from coworld_actors.runtime.driver_choice import choose_driver
from coworld_actors.runtime.opening import OpenDriver
from coworld_actors.runtime.place import Place
from coworld_drivers.driver import ExitStatus, Pull
from coworld_drivers.images import load_images
from coworld_drivers.scratch import scratch
from coworld_protocol.contract import ErrorType
from coworld_protocol.errors import CoworldError, PreconditionMissing, alone

__all__ = ["ReplayOptions", "show_replay"]

LAST_LINES = 8
"""Lines of the game's output that are shown when it does not show its replay: its log is gone with us."""

LAST_BYTES = 4000


class ReplayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line said."""

    source: str
    manifest: str | None = None
    verify: bool = False
    browser: bool | None = None
    driver: str | None = None
    trust: bool = False
    pull: Pull = Pull.MISSING
    compat: Compat = Compat.CURRENT
    images: Mapping[str, str] = {}
    detail: Detail = Detail.NORMAL
    as_json: bool = False


def show_replay(options: ReplayOptions) -> Outcome:
    """Show a replay, or see whether it can be shown.

    Raises:
        CoworldError: nothing was started.
    """
    screen = Screen(options.detail, as_json=options.as_json)
    # The game's own directory is in it, and it may have made what we cannot remove.
    with scratch("replay") as place:
        found = find_replay(options.source, place)
        loaded, notes = manifest_of(found, options.manifest)
        images = load_images(loaded.directory, options.images)
        game = loaded.manifest.game
        for note in notes:
            screen.note(f"warning: {note}")
        name = options.driver or (
            "docker" if found.played is not None and found.played.driver == "docker" else "process"
        )
        if options.manifest is None:
            screen.note(f"{game.name} {game.version} of {loaded.source} shows it, with the {name} driver")
        own = place / "own"
        own.mkdir()
        spec = ReplaySpec(
            game=game,
            replay=found.file,
            own=own,
            stdout=place / "stdout.log",
            stderr=place / "stderr.log",
            compat=options.compat,
        )
        showing = _Showing(
            choose_driver(Place(driver=name, trust=options.trust, pull=options.pull), images, screen.note),
            spec,
            options,
            screen,
        )
        code, error = trio.run(showing.run)
        if isinstance(error, ReplayNotShown):
            error = _with_last_words(error, spec)
        if options.verify and error is None and code is Exit.GOOD:
            screen.note(f"the replay loads: {options.source}")
        return Outcome(
            exit_code=code,
            error=error,
            fields={"replay": _document(found, loaded.source, game.name, shown=showing.shown)},
        )


def _document(found: ReplaySource, manifest: str, coworld: str, *, shown: bool) -> dict[str, object]:
    return {
        "episode": None if found.played is None else found.played.id,
        "manifest": manifest,
        "coworld": coworld,
        "shown": shown,
    }


def _with_last_words(error: ReplayNotShown, spec: ReplaySpec) -> CoworldError:
    """The error with what the game wrote last."""
    words: list[str] = []
    for path in (spec.stderr, spec.stdout):
        if path.exists():
            with path.open("rb") as log:
                log.seek(max(0, path.stat().st_size - LAST_BYTES))
                text = log.read(LAST_BYTES).decode(errors="replace")
            words = words or telling(text.splitlines())[-LAST_LINES:]
    if error.check.error is ErrorType.PLATFORM_ERROR:
        return PreconditionMissing(error.what, todo="free what is short on this machine and run the same command again")
    shown = ReplayNotShown(error.check)
    shown.evidence = " | ".join(words)
    shown.todo = "look whether the manifest is that of the game and version that wrote the replay"
    return shown


class _Showing:
    """One showing, with signals."""

    def __init__(self, driver: OpenDriver, spec: ReplaySpec, options: ReplayOptions, screen: Screen) -> None:
        self._driver = driver
        self._spec = spec
        self._options = options
        self._screen = screen
        self._leave = Interrupt()
        self._received: list[int] = []
        self.shown = False
        """Whether its page was there to be seen, or the check has seen it."""

    async def run(self) -> tuple[Exit, CoworldError | None]:
        """Show it; returns how that ended."""
        failure: Exception | None = None
        status: ExitStatus | None = None
        async with trio.open_nursery() as nursery:
            await nursery.start(
                watch_signals,
                self._received,
                self._stop,
                self._driver.kill_all,
                self._farewell,
                self._options.as_json,
            )
            try:
                async with self._driver as driver, open_system("replay") as system:
                    with self._leave.scope():
                        await driver.check([self._spec.wanted()])
                        async with open_replay(system, driver, self._spec) as session:
                            status = await self._show(session, nursery)
            except Exception as error:  # noqa: BLE001 - raised again below, outside the nursery that would wrap it
                failure = alone(error)
            nursery.cancel_scope.cancel()
        if self._received:
            name = signal.Signals(self._received[0]).name
            if name == "SIGTERM":
                return Exit.TERMINATED, Interrupted(f"{name} ended the replay")
            if self.shown:
                # Leaving is how a replay ends; before it was there, it is an interruption like any other.
                return Exit.GOOD, None
            return Exit.INTERRUPTED, Interrupted(f"{name} ended the replay before it was shown")
        if isinstance(failure, ReplayNotShown):
            own = failure.check.error is ErrorType.PLATFORM_ERROR
            return (Exit.PRECONDITION if own else Exit.FAILED), failure
        if failure is not None:
            raise failure
        if status is None or status.ok:
            return Exit.GOOD, None
        message = f"the game ended while it showed the replay: {status}"
        return Exit.FAILED, ReplayNotShown(ReplayCheck(error=ErrorType.REPLAY_UNLOADABLE, message=message))

    async def _show(self, session: ReplaySession, nursery: trio.Nursery) -> ExitStatus | None:
        if self._options.verify:
            check = await check_session(session, self._spec.limits.replay)
            if check.error is not None:
                raise ReplayNotShown(check)
            self.shown = True
            return None
        seconds = self._spec.limits.replay
        try:
            with trio.fail_after(seconds):
                page = await session.start()
        except trio.TooSlowError:
            message = f"the game has not loaded the replay within {seconds:g} s"
            raise ReplayNotShown(ReplayCheck(error=ErrorType.REPLAY_UNLOADABLE, message=message)) from None
        self.shown = True
        self._screen.address("replay", page)
        self._screen.note("Ctrl-C ends it")
        nursery.start_soon(show_in_browser, [page], self._options.browser, self._screen)
        return await session.wait()

    def _stop(self, name: str) -> None:
        self._leave.throw(f"{name} received")

    def _farewell(self, name: str) -> Interrupted:
        # What is ended here has no other end: the directory goes with the process.
        shutil.rmtree(self._spec.own.parent, ignore_errors=True)
        return Interrupted(f"a second signal, {name}, ended the replay")
