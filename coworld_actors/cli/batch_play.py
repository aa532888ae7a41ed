"""A batch is played under signals: the first one stops it in order, the second one at once."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import trio

from coworld_actors.batch.events import Tell
from coworld_actors.batch.options import Handling
from coworld_actors.batch.pacing.room import Room
from coworld_actors.batch.preparation import Prepared
from coworld_actors.batch.runner import BatchEnd
from coworld_actors.batch.session import Session, open_session
from coworld_actors.batch.store import BatchStore
from coworld_actors.cli.batch_screen import BatchScreen
from coworld_actors.cli.exits import Interrupted
from coworld_actors.cli.signals import watch_signals
from coworld_actors.cli.single import control_socket
from coworld_protocol.errors import alone

__all__ = ["Played", "play_under_signals"]


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """How it went.

    Attributes:
        end: of the run.
        received: the first signal, if there was one.
    """

    end: BatchEnd
    received: int | None


class _Stopper:
    """What a signal reaches: there is no session before everything is ready, and a signal may come by then."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._reason = ""
        self._cancel = False

    def attach(self, session: Session) -> None:
        self._session = session
        if self._reason:
            session.stop(self._reason, cancel=self._cancel)

    def stop(self, reason: str, *, cancel: bool) -> None:
        self._reason, self._cancel = reason, cancel
        if self._session is not None:
            self._session.stop(reason, cancel=cancel)

    def kill(self) -> None:
        if self._session is not None:
            self._session.kill()


async def play_under_signals(
    prepared: Prepared,
    store: BatchStore,
    handling: Handling,
    there: Room,
    screen: BatchScreen,
    tell: Tell,
    secret_env: Mapping[str, str],
    *,
    as_json: bool,
) -> Played:
    """Play what is open; see `BatchRunner.run`."""
    stopper = _Stopper()
    received: list[int] = []
    failure: Exception | None = None
    end: BatchEnd | None = None

    def stop(name: str) -> None:
        how = "running episodes go on to their ends" if handling.finish else "running episodes are called off"
        screen.note(f"stopping: {how}; a second signal kills them")
        stopper.stop(f"{name} received", cancel=not handling.finish)

    def farewell(name: str) -> Interrupted:
        screen.restore()
        return Interrupted(
            f"a second signal, {name}, ended the batch",
            todo=f"go on with it by --resume {store.directory}",
            where=str(store.directory),
        )

    async with trio.open_nursery() as nursery:
        await nursery.start(watch_signals, received, stop, stopper.kill, farewell, as_json)
        try:
            async with open_session(
                prepared,
                store,
                handling,
                there=there,
                tell=tell,
                note=screen.note,
                secret_env=secret_env,
                attach=[control_socket(screen.note)],
            ) as session:
                stopper.attach(session)
                end = await session.run()
        except Exception as error:  # noqa: BLE001 - raised again below, outside the nursery that would wrap it
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise alone(failure)
    assert end is not None
    return Played(end=end, received=received[0] if received else None)
