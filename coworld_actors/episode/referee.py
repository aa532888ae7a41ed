"""The referee: the actor that every other actor of an episode reports to.

It keeps the facts and answers two questions: how long a player may still take to leave, and what has been found. It judges
nothing; `judge.judge` does, once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from coworld_actors.actors import Actor, Deferred, Request
from coworld_actors.episode.findings import (
    Aborted,
    Facts,
    FrameSeen,
    GameEnded,
    GameStarted,
    HealthAnswer,
    InfrastructureFault,
    Looked,
    MayStay,
    NeverServed,
    SeatConnected,
    SeatEnded,
    SeatStarted,
    Tapped,
    Violation,
)
from coworld_drivers.driver import ExitKind

__all__ = ["ASK_DEADLINE", "Findings", "Referee", "RefereeMessage"]


ASK_DEADLINE = 5.0
"""Seconds within which an actor of ours answers that does nothing but keep facts; a miss is a defect of ours."""


class Findings(Request[Facts], frozen=True):
    """Everything found so far; the reply is a copy of its own."""


RefereeMessage = (
    GameStarted
    | NeverServed
    | HealthAnswer
    | FrameSeen
    | GameEnded
    | Violation
    | SeatStarted
    | SeatConnected
    | Tapped
    | Looked
    | SeatEnded
    | InfrastructureFault
    | Aborted
    | MayStay
    | Findings
)


class Referee(Actor[RefereeMessage]):
    """Keeps the facts of one episode.

    Args:
        slots: number of seats.
        player_grace: seconds that all players together may take to leave once the game has ended by itself.
        on_fault: called with the first fault of the machine: there is no use in playing on.
        people: seats that people have.
    """

    def __init__(
        self,
        slots: int,
        player_grace: float,
        on_fault: Callable[[str], None] = lambda _: None,
        *,
        people: frozenset[int] = frozenset(),
    ) -> None:
        self._on_fault = on_fault
        self._facts = Facts(slots=slots, people=people)
        self._player_grace = player_grace
        self._staying: list[Deferred[bool]] = []

    async def handle(self, message: RefereeMessage) -> Any:
        """Take note of a fact, or answer a question."""
        facts = self._facts
        match message:
            case GameStarted():
                facts.healthy = True
            case NeverServed():
                facts.never_served = facts.never_served or message
            case HealthAnswer():
                facts.last_answer = message.answer
            case FrameSeen():
                facts.frame_seen = True
            case GameEnded():
                facts.game_ended = message
                self.context.spawn(self._ring, message.at + self._player_grace)
            case Violation():
                facts.violation = facts.violation or message
            case SeatStarted():
                facts.started[message.slot] = message.at
            case SeatConnected():
                facts.connected.add(message.slot)
            case Tapped():
                facts.tapped = True
            case Looked():
                # After the game's end nobody is connected, whoever was.
                if facts.game_ended is None:
                    facts.looked_at = message.at
                    for slot in facts.started.keys() - facts.connected - facts.seats.keys():
                        facts.misses[slot] = facts.misses.get(slot, 0) + 1
            case SeatEnded():
                facts.seats[message.slot] = message
                status = message.status
                if status and status.kind is ExitKind.LOST and not status.stopped and facts.game_ended is None:
                    # Nobody knows whether it would have played on; whoever lost it, it was no role.
                    self._fault(InfrastructureFault(at=message.at, message=f"player {message.slot} was lost: {status}"))
            case InfrastructureFault():
                self._fault(message)
            case Aborted():
                facts.aborted = facts.aborted or message
                self._send_away(used_up=False)
            case MayStay():
                self._staying.append(self.context.defer())
                ended = facts.game_ended
                if ended is None or ended.status.stopped or facts.aborted:
                    self._send_away(used_up=False)
                elif trio.current_time() >= ended.at + self._player_grace:
                    self._send_away(used_up=True)
            case Findings():
                return facts.copy()
        return None

    def _fault(self, fault: InfrastructureFault) -> None:
        if self._facts.fault is None:
            self._facts.fault = fault
            self._on_fault(fault.message)

    async def _ring(self, at: float) -> None:
        await trio.sleep_until(at)
        self._send_away(used_up=True)

    def _send_away(self, *, used_up: bool) -> None:
        for staying in self._staying:
            staying.reply(used_up)
        self._staying.clear()
