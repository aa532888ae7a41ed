"""The tap: stands between every player and the game, passes on their bytes unchanged, and sees what passes.

Players get the address of the tap instead of the game's, a port for each seat, so that a seat is known by where its player comes
in and not by what it says. Frames are read on a copy, after they were passed on: pings, masks, compression and timing stay the
player's and the game's own.
"""

from __future__ import annotations

import socket
import time

import trio

from coworld_actors.actors import Actor, ActorRef, Event, Request
from coworld_actors.episode.chaos import Chaos, Direction, Fault
from coworld_actors.episode.events import ChaosInjected, SeatJoined
from coworld_actors.episode.findings import InfrastructureFault, SeatConnected, Tapped
from coworld_actors.episode.referee import RefereeMessage
from coworld_actors.episode.tap_link import Door
from coworld_actors.episode.tap_log import InjectedFault, TapLog
from coworld_actors.episode.tap_relay import Relay
from coworld_drivers.driver import Address, Doorway
from coworld_protocol.ws.spin import make_spinner

__all__ = ["Doors", "Tap"]

PROBE = 0.01
"""Seconds between two looks at how late our own event loop is."""

WAITING_ROOM = 128
"""Connections that the kernel keeps for each seat until the relay takes them."""


class Doors(Request[tuple[Address, ...]], frozen=True):
    """Asks where players come in, by seat."""


class Tap(Actor[Doors]):
    """Relays between the players and the game.

    A machine on which it cannot listen is told to the referee as a fault, and whoever asks for its doors then gets no answer:
    the episode is being called off.

    Args:
        game: where this runtime reaches the game.
        doorway: where roles reach this runtime.
        log: where it writes what it finds; one watch for each seat.
        chaos: the trouble to make.
        referee: whom it reports to.
    """

    def __init__(
        self, game: Address, doorway: Doorway, log: TapLog, chaos: Chaos | None, referee: ActorRef[RefereeMessage]
    ) -> None:
        self._game = game
        self._doorway = doorway
        self._log = log
        self._chaos = chaos
        self._referee = referee
        self._joined: set[int] = set()
        self._relay: Relay | None = None

    async def on_start(self) -> None:
        """Open the doors."""
        doors: list[Door] = []
        try:
            found = await trio.socket.getaddrinfo(self._game.host, self._game.port, socket.AF_INET, socket.SOCK_STREAM)
            game = (str(found[0][4][0]), self._game.port)
            for slot, watch in enumerate(self._log.watches):
                listener = socket.create_server((self._doorway.bind, 0), backlog=WAITING_ROOM)
                listener.setblocking(False)
                chaos = self._chaos if self._chaos is not None and self._chaos.on(slot) else None
                doors.append(Door(slot, listener, watch, chaos))
            self._relay = Relay(
                game,
                doors,
                cost=self._log.cost,
                on_connected=self._connected,
                on_fault=self._injected,
                on_no_room=self._no_room,
                spinner=make_spinner(),
            )
        except OSError as error:
            for door in doors:
                door.listener.close()
            await self._fault(f"the tap cannot listen for players: {error.strerror or error}")
            return
        self._log.doors = tuple(doors)
        # From here on the sockets are the relay's to close, whatever happens to this start.
        self.context.spawn(self._relay.run)
        self.context.spawn(self._probe)
        await self._referee.tell(Tapped(at=trio.current_time()))

    async def handle(self, message: Doors) -> tuple[Address, ...]:
        """Answer with the addresses."""
        del message
        if self._relay is None:
            self.context.defer()
            return ()
        return tuple(Address(host=self._doorway.host, port=door.port) for door in self._log.doors)

    async def _probe(self) -> None:
        """Record how late the loop wakes a task up while anybody is connected; our own work before that delays nobody."""
        while True:
            began = time.perf_counter()
            await trio.sleep(PROBE)
            if any(door.open for door in self._log.doors):
                self._log.lag.record(time.perf_counter() - began - PROBE)

    def _connected(self, slot: int) -> None:
        if slot not in self._joined:
            self._joined.add(slot)
            self.context.publish(SeatJoined(slot=slot))
            self.context.spawn(self._referee.tell, SeatConnected(at=trio.current_time(), slot=slot))

    def _injected(
        self, slot: int, connection: int, direction: Direction, fault: Fault, frame: int, seconds: float
    ) -> None:
        self._log.note(
            InjectedFault(
                at=time.time(),
                slot=slot,
                connection=connection,
                direction=direction,
                fault=fault,
                frame=frame,
                seconds=seconds,
            )
        )
        event: Event = ChaosInjected(
            slot=slot, connection=connection, direction=direction, fault=fault, frame=frame, seconds=seconds
        )
        self.context.publish(event)

    def _no_room(self, words: str) -> None:
        self.context.spawn(self._fault, f"the tap cannot let players in: {words}")

    async def _fault(self, message: str) -> None:
        await self._referee.tell(InfrastructureFault(at=trio.current_time(), message=message))
