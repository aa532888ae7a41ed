"""Where a batch's episodes are played: the interface, and the simplest kind, a runtime of this process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Protocol, final

import trio

from coworld_actors.actors import Record
from coworld_actors.episode.events import Phase, PhaseEntered
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.manifest.seats import EpisodePlan
from coworld_actors.runtime.runtime import Runtime
from coworld_protocol.errors import CoworldError

__all__ = ["CALLED_OFF", "LocalTable", "MakeSpec", "Table", "WorkerLost"]

CALLED_OFF = "the batch was stopped"
"""What the record of an episode says that was called off because of that."""

ORDERLY_END = 60.0
"""Seconds for an episode that was called off to end in order; its own clocks are far below, so reaching it is a defect of ours."""

MakeSpec = Callable[[str, EpisodePlan, Path], EpisodeSpec]
"""Id, plan and directory to what is played: limits, tap, secrets and the rest are the same for all episodes of a batch."""


class WorkerLost(CoworldError):
    """The process that played an episode died, or did not answer any more and was killed. Any of its episodes may be the cause."""

    exit_code = 1


class Table(Protocol):
    """Where episodes are played. Any number of tasks may play at it at once."""

    async def play(
        self,
        episode: str,
        plan: EpisodePlan,
        directory: Path,
        /,
        *,
        playing: Callable[[], None],
        alone: bool = False,
    ) -> EpisodeRecord:
        """Play one episode. Cancelled, it is called off in order, and over when this returns.

        Args:
            episode: its id, unique among all that are played at this table.
            plan: what is played.
            directory: a new one.
            playing: called once, when the episode has got through its start-up; not at all when it does not.
            alone: if the table has several processes: in one in which nothing else is played meanwhile.

        Raises:
            WorkerLost: the process that played it died.
            Refused: the directory is not new.
            PreconditionMissing: something that the episode needs is not on this machine.
            InternalFault: a defect of ours; the episode is recorded all the same.
        """
        ...


@final
class LocalTable:
    """Plays in a runtime, whose admission has to let in as many as are ever played at once. Made by `open`.

    Args:
        runtime: an open one.
        spec: makes the specs.
    """

    def __init__(self, runtime: Runtime, spec: MakeSpec) -> None:
        self._runtime = runtime
        self._spec = spec
        self._playing: dict[str, Callable[[], None]] = {}

    @classmethod
    @contextlib.contextmanager
    def open(cls, runtime: Runtime, spec: MakeSpec) -> Generator[LocalTable]:
        """A table for the time of a block."""
        table = cls(runtime, spec)
        unsubscribe = runtime.system.events.subscribe(table._on_record)
        try:
            yield table
        finally:
            unsubscribe()

    async def play(
        self,
        episode: str,
        plan: EpisodePlan,
        directory: Path,
        /,
        *,
        playing: Callable[[], None],
        alone: bool = False,
    ) -> EpisodeRecord:
        """Play one episode; see `Table.play`."""
        del alone
        handle = await self._runtime.start_episode(self._spec(episode, plan, directory))
        self._playing[episode] = playing
        try:
            return await handle.wait()
        except trio.Cancelled:
            handle.cancel(CALLED_OFF)
            # Restores: what this call has started is over when it returns.
            with trio.move_on_after(ORDERLY_END, shield=True):
                await handle.settled()
            raise
        finally:
            self._playing.pop(episode, None)

    def _on_record(self, record: Record) -> None:
        if isinstance(record.event, PhaseEntered) and record.event.phase is Phase.PLAYING:
            playing = self._playing.pop(record.scope, None)
            if playing is not None:
                playing()
