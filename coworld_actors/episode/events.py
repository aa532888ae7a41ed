"""What happens in an episode, on the system's one event stream; the core's own events are in `coworld_actors.actors.events`."""

from __future__ import annotations

import enum

from coworld_actors.actors import Event
from coworld_actors.episode.chaos import Direction, Fault
from coworld_actors.episode.verdict import SeatReport, Verdict
from coworld_drivers.driver import Usage

__all__ = [
    "ChaosInjected",
    "EpisodeEnded",
    "EpisodeStarted",
    "GameRestarted",
    "OldNamesSpoken",
    "Phase",
    "PhaseEntered",
    "RoleEnded",
    "RoleStarted",
    "SeatJoined",
    "SupportEnded",
]


class Phase(enum.StrEnum):
    """Where an episode is; phases follow each other in this order and none is entered twice."""

    STARTING = "starting"
    PROBING = "probing"
    SEATING = "seating"
    PLAYING = "playing"
    CLOSING = "closing"
    CHECKING = "checking"
    REPORTING = "reporting"
    DONE = "done"


class EpisodeStarted(Event, frozen=True):
    """An episode began.

    Attributes:
        coworld: name and version of the game.
        variant: id of the variant, or `certification` for the fixture.
        seats: display names by slot.
        directory: where its files are.
        deadline: seconds it may take until the game has ended.
    """

    coworld: str
    variant: str
    seats: tuple[str, ...]
    directory: str
    deadline: float


class PhaseEntered(Event, frozen=True):
    """The episode is one phase further."""

    phase: Phase


class RoleStarted(Event, frozen=True):
    """A role's process was started."""

    role: str
    name: str
    slot: int | None = None


class GameRestarted(Event, frozen=True):
    """Somebody else had taken the game's port, so the game was started again on another one."""

    port: int
    attempt: int


class OldNamesSpoken(Event, frozen=True):
    """The game was built against an early version of the contract and is met by its old names; told once in an episode."""


class SeatJoined(Event, frozen=True):
    """A player was seen connected to the game."""

    slot: int


class ChaosInjected(Event, frozen=True):
    """The tap has stalled or ended a connection on purpose; plain delay is not told frame by frame.

    Attributes:
        slot: the seat.
        connection: number of its connection, from 0.
        direction: which way.
        fault: what was done.
        frame: at which frame of that direction, from 1; 0 is the handshake.
        seconds: how long a stall lasts.
    """

    slot: int
    connection: int
    direction: Direction
    fault: Fault
    frame: int
    seconds: float


class RoleEnded(Event, frozen=True):
    """A role's process is gone.

    Attributes:
        role: the manifest's word for it.
        name: unique in the episode.
        slot: seat number of a player.
        end: exit code or signal, as a sentence.
        ok: whether it ended by itself with status 0.
        usage: what it has used.
    """

    role: str
    name: str
    end: str
    ok: bool
    slot: int | None = None
    usage: Usage = Usage()


class SupportEnded(Event, frozen=True):
    """A reporter or grader is through.

    Attributes:
        role: `reporter` or `grader`.
        id: its id in the manifest.
        ok: whether its output is there and obeys the rules.
        message: what is wrong, if anything.
    """

    role: str
    id: str
    ok: bool
    message: str = ""


class EpisodeEnded(Event, frozen=True):
    """The verdict is in."""

    verdict: Verdict
    seats: tuple[SeatReport, ...]
