"""What a tap finds in one episode, and the report that is made of it: `tap.json` in the run's directory."""

from __future__ import annotations

import msgspec

from coworld_actors.episode.chaos import Direction, Fault
from coworld_actors.episode.spec import EpisodeSpec, TapSpec
from coworld_actors.episode.tap_link import Door
from coworld_actors.episode.workspace import FOR_READERS, Workspace, write_atomically
from coworld_actors.traffic.budget import judge
from coworld_actors.traffic.latency import Series
from coworld_actors.traffic.recording import Recorder
from coworld_actors.traffic.report import TapCost, TapReport
from coworld_actors.traffic.watch import SeatTraffic

__all__ = ["InjectedFault", "TapDocument", "TapLog", "write_tap"]

MOST_FAULTS = 10_000
"""Faults on purpose that are kept one by one; more are only counted."""


class InjectedFault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault on purpose.

    Attributes:
        at: seconds since 1970, as `time` of an event.
        slot: the seat.
        connection: number of its connection, from 0.
        direction: which way.
        fault: what was done.
        frame: at which frame of that direction, from 1; 0 is the handshake.
        seconds: how long a stall lasts.
    """

    at: float
    slot: int
    connection: int
    direction: Direction
    fault: Fault
    frame: int
    seconds: float = 0.0


class TapDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The document `tap.json`.

    Attributes:
        report: what passed, how long answers took, and what of that may be ours.
        refused: connections that the game did not take, by seat.
        fault_count: faults on purpose.
        faults: the first of them.
    """

    report: TapReport
    refused: tuple[int, ...]
    fault_count: int
    faults: tuple[InjectedFault, ...]


class TapLog:
    """What a tap leaves behind; outlives its actor. Close it.

    Args:
        spec: of the episode; a tap without anything special when it asks for none.

    Raises:
        PreconditionMissing: the recording cannot be made.

    Attributes:
        watches: who is shown the traffic, by seat.
        cost: seconds from the moment at which the tap saw bytes until they had been forwarded.
        lag: seconds by which our event loop was late while anybody was connected.
        doors: where players came in, by seat; none before the tap has started.
    """

    def __init__(self, spec: EpisodeSpec) -> None:
        self._spec = spec.tap or TapSpec()
        self._recorder = None
        if self._spec.recording is not None:
            game = spec.plan.manifest.game
            about = {"episode": spec.id, "coworld": f"{game.name} {game.version}", "variant": spec.plan.variant_id}
            about |= {f"seat {seat.slot}": seat.player_id for seat in spec.plan.seats}
            self._recorder = Recorder(self._spec.recording, about=about, secrets=spec.secret_env.values())
        self.watches = tuple(SeatTraffic(seat.slot, self._recorder) for seat in spec.plan.seats)
        self.cost = Series()
        self.lag = Series()
        self.doors: tuple[Door, ...] = ()
        self._faults: list[InjectedFault] = []
        self._fault_count = 0

    def note(self, fault: InjectedFault) -> None:
        """Keep a fault, or count it."""
        self._fault_count += 1
        if len(self._faults) < MOST_FAULTS:
            self._faults.append(fault)

    def close(self) -> None:
        """Finish the recording; waits for its disk for at most ten seconds, any further call for nothing."""
        if self._recorder is not None:
            self._recorder.close()

    def document(self) -> TapDocument:
        """Everything so far."""
        spec = self._spec
        seats = tuple(watch.report() for watch in self.watches)
        own = TapCost(cost=self.cost.latency(), lag=self.lag.latency())
        return TapDocument(
            report=TapReport(
                seats=seats,
                own=own,
                budget=None if spec.budget is None else judge(spec.budget, seats, own),
                chaos="" if spec.chaos is None else str(spec.chaos),
                recording="" if spec.recording is None else str(spec.recording),
                notes=(self._recorder.trouble,) if self._recorder is not None and self._recorder.trouble else (),
            ),
            refused=tuple(door.refused for door in self.doors),
            fault_count=self._fault_count,
            faults=tuple(self._faults),
        )


def write_tap(workspace: Workspace, document: TapDocument) -> None:
    """Write `tap.json`.

    Raises:
        PreconditionMissing: the directory cannot be written.
    """
    workspace.free(workspace.tap)
    data = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    write_atomically(workspace.tap, data, FOR_READERS)
