"""What an episode's actors tell the referee: plain facts, each a message, nothing judged yet."""

from __future__ import annotations

import enum
import math

import msgspec

from coworld_actors.actors import Request
from coworld_drivers.driver import ExitStatus

__all__ = [
    "ABSENCE",
    "ABSENT_LOOKS",
    "Aborted",
    "Facts",
    "Finding",
    "FrameSeen",
    "GameEnded",
    "GameStarted",
    "HealthAnswer",
    "InfrastructureFault",
    "Looked",
    "MayStay",
    "NeverServed",
    "SeatConnected",
    "SeatEnded",
    "SeatStarted",
    "StartFault",
    "Tapped",
    "Violation",
    "ViolationKind",
]


ABSENCE = 2.0
"""Seconds for which a player must have been looked for before we say that it never connected: in a game of a second it may
have come and gone between two looks."""

ABSENT_LOOKS = 4
"""How many looks that takes at least: on a busy machine they are far apart."""


class StartFault(enum.StrEnum):
    """Why a game never got to serve."""

    EXITED = "exited"
    NEVER_HEALTHY = "never_healthy"
    NOT_LAUNCHED = "not_launched"


class ViolationKind(enum.StrEnum):
    """Which clause of the contract a game broke."""

    CLIENT_PAGE = "client_page"
    BAD_TOKEN = "bad_token"  # noqa: S105 - the name of a clause
    GLOBAL_VIEWER = "global_viewer"
    FIRST_FRAME = "first_frame"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the facts. `at` is seconds on the system's clock."""

    at: float


class GameStarted(Finding, frozen=True):
    """The game answered its health check for the first time."""


class HealthAnswer(Finding, frozen=True):
    """What the game says to its health check while it is not ready; told when it changes."""

    answer: str


class NeverServed(Finding, frozen=True):
    """The game never got to serve.

    Attributes:
        fault: in which way.
        status: how it ended, where it ended.
        detail: the evidence in a sentence.
    """

    fault: StartFault
    status: ExitStatus | None = None
    detail: str = ""


class GameEnded(Finding, frozen=True):
    """The game's process is gone.

    Attributes:
        status: how; `status.stopped` tells that we ended it.
        tail: the last line it wrote.
    """

    status: ExitStatus
    tail: str = ""


class Violation(Finding, frozen=True):
    """The game broke a clause of the contract."""

    kind: ViolationKind
    message: str
    evidence: str = ""


class FrameSeen(Finding, frozen=True):
    """The game has sent its first frame on `/global`."""


class SeatStarted(Finding, frozen=True):
    """A player's process was started."""

    slot: int


class SeatConnected(Finding, frozen=True):
    """A player was seen connected to the game."""

    slot: int


class Looked(Finding, frozen=True):
    """The usher has looked at who is connected."""


class Tapped(Finding, frozen=True):
    """From now on every connection of a player is seen: who was not connected never was."""


class SeatEnded(Finding, frozen=True):
    """A player's process is gone, or never came to be (`status` is None).

    Attributes:
        slot: seat number.
        status: how it ended.
        overstayed: it was still running when the game had ended and its grace had passed.
        tail: the last line it wrote.
    """

    slot: int
    status: ExitStatus | None
    overstayed: bool = False
    tail: str = ""


class InfrastructureFault(Finding, frozen=True):
    """Something of ours or of the machine failed; no role is to blame."""

    message: str


class Aborted(Finding, frozen=True):
    """The caller ended the episode, or its deadline passed.

    Attributes:
        deadline: True for the deadline, False for the caller.
        silence: seconds since the game last showed a sign of life on `/global`; infinite when it never did.
        reason: what the caller said.
    """

    deadline: bool
    silence: float = math.inf
    reason: str = ""


class MayStay(Request[bool], frozen=True):
    """A player asks how long it may still take to leave; answered when it has to go.

    True: the game had ended by itself and the grace that all players share is used up. False: there is no grace.
    """


class Facts(msgspec.Struct, kw_only=True):
    """All findings of one episode, as the referee keeps them.

    Attributes:
        slots: number of seats.
        people: those that people have.
        healthy: the game has answered its health check.
        last_answer: what it answered before, if anything.
        frame_seen: it has sent a frame on `/global`.
        never_served: why it never got to serve.
        game_ended: its end.
        violation: the first clause that it broke.
        fault: the first fault of the machine or of ours.
        aborted: who called the episode off.
        started: when each seat's player was started.
        connected: seats that were seen connected.
        tapped: every connection of a player was seen.
        looked_at: when somebody last looked at who is connected; None where that cannot be seen.
        misses: how many looks found each seat's player running and not connected.
        seats: how each player ended.
        results_at: when `results.json` was written, on the clock of the findings.
    """

    slots: int
    people: frozenset[int] = frozenset()
    healthy: bool = False
    last_answer: str = ""
    frame_seen: bool = False
    never_served: NeverServed | None = None
    game_ended: GameEnded | None = None
    violation: Violation | None = None
    fault: InfrastructureFault | None = None
    aborted: Aborted | None = None
    started: dict[int, float] = msgspec.field(default_factory=dict)
    connected: set[int] = msgspec.field(default_factory=set)
    tapped: bool = False
    looked_at: float | None = None
    misses: dict[int, int] = msgspec.field(default_factory=dict)
    seats: dict[int, SeatEnded] = msgspec.field(default_factory=dict)
    results_at: float | None = None

    def copy(self) -> Facts:
        """One that further findings do not change; the findings themselves are values."""
        return msgspec.structs.replace(
            self,
            started=self.started.copy(),
            connected=self.connected.copy(),
            misses=self.misses.copy(),
            seats=self.seats.copy(),
        )

    def was_absent(self, slot: int) -> bool:
        """Whether the seat's player, which we had to stop, had time to connect and is known not to have."""
        if self.tapped:
            ended = self.seats.get(slot)
            until = self.over_at if ended is None else min(self.over_at, ended.at)
            return slot not in self.connected and until - self.started.get(slot, math.inf) >= ABSENCE
        if self.looked_at is None or slot in self.connected or self.misses.get(slot, 0) < ABSENT_LOOKS:
            return False
        return self.looked_at - self.started[slot] >= ABSENCE

    def stayed_away(self, slot: int) -> bool:
        """Whether the seat's player, which ended by itself, is known not to have connected, although it could have."""
        if not self.tapped or slot in self.connected:
            return False
        ended = self.seats.get(slot)
        return (ended is not None and ended.at < self.over_at) or not self.came_too_late(slot)

    @property
    def over_by_itself(self) -> bool:
        """Whether the game has ended, and nobody made it."""
        return self.game_ended is not None and not self.game_ended.status.stopped

    @property
    def over_at(self) -> float:
        """When the game was over for its players: results are written before players are told, and the exit comes last."""
        exit_at = self.game_ended.at if self.game_ended and self.over_by_itself else math.inf
        return min(exit_at, math.inf if self.results_at is None else self.results_at)

    def came_too_late(self, slot: int) -> bool:
        """Whether the game may have been gone before the seat's player could connect: started just before, never seen there."""
        return slot not in self.connected and self.over_at - self.started.get(slot, -math.inf) < ABSENCE
