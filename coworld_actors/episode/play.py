"""The play: from the start of the game's process until the game has ended and the last player has left."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence

import trio

from coworld_actors.actors import (
    ActorError,
    ActorRef,
    AutoShutdown,
    ChildSpec,
    DownReason,
    Event,
    Restart,
    StartFailed,
    StopOrder,
    SupervisorRef,
    SupervisorSpec,
)
from coworld_actors.episode import launches
from coworld_actors.episode.events import Phase, PhaseEntered
from coworld_actors.episode.findings import Aborted, InfrastructureFault, Violation, ViolationKind
from coworld_actors.episode.game import Game, GameNotServing, Reached, Served
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.episode.pages import Pages
from coworld_actors.episode.player import Player
from coworld_actors.episode.probes import ContractBroken
from coworld_actors.episode.reception import Reception
from coworld_actors.episode.referee import ASK_DEADLINE, RefereeMessage
from coworld_actors.episode.role import STOP_GRACE
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.tap import Doors, Tap
from coworld_actors.episode.tap_log import TapLog
from coworld_actors.episode.workspace import Workspace
from coworld_drivers.driver import Address, Site
from coworld_protocol.errors import InternalFault

__all__ = ["Play"]

GAME_END_WAIT = 1.0
"""Seconds to wait for the end of a game that broke a clause: a probe of a dying game fails before its exit is seen."""


class Play:
    """Runs the supervisor `play`. It tells the referee what it finds and decides nothing.

    Args:
        supervisor: `play`, without children yet; ends by itself when the game does.
        site: where the roles run.
        referee: whom everybody reports to.
        reception: meets the game.
        spec: what to play.
        workspace: its files.
        tokens: one per seat.
        publish: publishes an event of the episode.
        tap: where the tap writes what it finds; None plays without one.
        on_pages: told where people find the game, once, before the first player is started.
    """

    SUPERVISOR = SupervisorSpec(auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)

    def __init__(
        self,
        supervisor: SupervisorRef,
        site: Site,
        referee: ActorRef[RefereeMessage],
        reception: Reception,
        spec: EpisodeSpec,
        workspace: Workspace,
        tokens: tuple[str, ...],
        publish: Callable[[Event], object],
        tap: TapLog | None = None,
        *,
        on_pages: Callable[[Pages | None], object] = lambda _: None,
    ) -> None:
        self._on_pages = on_pages
        self._supervisor = supervisor
        self._site = site
        self._referee = referee
        self._reception = reception
        self._spec = spec
        self._workspace = workspace
        self._tokens = tokens
        self._publish = publish
        self._tap = tap
        self._game: ActorRef[Reached | Served] | None = None
        # What the driver has been asked to start and has not started yet.
        self._starting = ""

    async def run(self, interrupt: Interrupt, trouble: Interrupt) -> None:
        """Play to the end, which comes with the game's, at the deadline, or when somebody calls it off.

        Args:
            interrupt: the caller's.
            trouble: our own, raised when the machine keeps the episode from counting.

        Raises:
            InternalFault: an actor of ours crashed.
        """
        with trouble.scope(), interrupt.scope() as called_off:
            with trio.move_on_after(self._spec.limits.timeout) as deadline:
                await self._until_the_game_ends()
            if deadline.cancelled_caught:
                await self._abort(deadline=True)
                if self._starting:
                    # Nobody has had the time that the deadline is about.
                    message = f"{self._starting} not started before the deadline"
                    await self._referee.tell(InfrastructureFault(at=trio.current_time(), message=message))
            self._enter(Phase.CLOSING)
            # Only a game that ended by itself has taken its supervisor along; players share their grace meanwhile.
            if self._game is not None and not self._game.alive:
                await self._supervisor.wait()
        if called_off.cancelled_caught:
            await self._abort(deadline=False, reason=interrupt.reason)
        await self._supervisor.stop()

    async def _until_the_game_ends(self) -> None:
        self._enter(Phase.STARTING)
        launch = launches.game_launch(self._spec, self._workspace, self._site)
        limits = self._spec.limits
        role: Game | None = None

        def make() -> Game:
            nonlocal role
            role = Game(self._site, launch, self._referee, self._reception.health, limits.startup)
            return role

        try:
            game = self._game = await self._supervisor.start_actor(
                ChildSpec(
                    name="game",
                    start=make,
                    restart=Restart.TEMPORARY,
                    significant=True,
                    shutdown=2 * STOP_GRACE,
                )
            )
        except StartFailed as failed:
            if isinstance(failed.cause, GameNotServing):
                return
            raise
        except trio.Cancelled:
            if role is None or role.process is None:
                self._starting = "the game was"
            raise
        try:
            await self._with(game)
        except (ContractBroken, ActorError) as error:
            with trio.move_on_after(GAME_END_WAIT):
                await game.wait()
            broken = _broken_clause(error)
            # Without a broken clause it is the tree that came down with its game, or a defect of ours.
            if broken is None and game.alive:
                raise
            if broken is not None:
                await self._tell_violation(broken, game)
        if not game.alive and (down := await game.wait()).reason is DownReason.CRASHED:
            raise InternalFault("the game's actor crashed", evidence=str(down.cause)) from down.cause

    async def _tell_violation(self, broken: ContractBroken, game: ActorRef[Reached | Served]) -> None:
        gone = "" if game.alive or broken.kind is ViolationKind.FIRST_FRAME else "the game ended while it was checked: "
        await self._referee.tell(
            Violation(at=trio.current_time(), kind=broken.kind, message=gone + broken.message, evidence=broken.evidence)
        )

    async def _with(self, game: ActorRef[Reached | Served]) -> None:
        """Look at the game, seat the players, then wait for the game's end."""
        self._enter(Phase.PROBING)
        address = await game.ask(Reached(), deadline=ASK_DEADLINE)
        await self._reception.probe(address)
        self._on_pages(await self._reception.pages(address))
        self._enter(Phase.SEATING)
        served = await game.ask(Served(), deadline=ASK_DEADLINE)
        doors = [served] * len(self._tokens) if self._tap is None else await self._open_tap(self._tap, address)
        # The tap itself knows who comes, and with it the game's port has no connection but ours.
        if self._tap is None:
            await self._reception.look_out(address)
        await self._seat_players(doors)
        if self._spec.probe and not self._spec.plan.people:
            await self._reception.first_frame(self._spec.limits.first_frame)
        self._enter(Phase.PLAYING)
        await game.wait()

    async def _open_tap(self, tap: TapLog, game: Address) -> Sequence[Address]:
        """Start the tap; returns where each seat's player comes in."""
        doorway = self._site.doorway
        assert doorway is not None, "an episode that wants a tap is refused where there is no doorway"
        chaos = self._spec.tap.chaos if self._spec.tap is not None else None
        ref = await self._supervisor.start_actor(
            ChildSpec(
                name="tap",
                start=lambda: Tap(game, doorway, tap, chaos, self._referee),
                restart=Restart.TEMPORARY,
                # Without it no player can play on: its end, which can only be a defect of ours, ends the play.
                significant=True,
            )
        )
        return await ref.ask(Doors(), deadline=ASK_DEADLINE)

    async def _seat_players(self, doors: Sequence[Address]) -> None:
        """Start every player, all at once; people come by themselves.

        Args:
            doors: where each connects to, by seat.
        """
        players = await self._supervisor.start_supervisor(
            "players", SupervisorSpec(stop_order=StopOrder.TOGETHER), restart=Restart.TEMPORARY
        )

        def spec(slot: int, token: str) -> ChildSpec:
            launch = launches.player_launch(self._spec, self._workspace, self._site, doors[slot], slot, token)
            return ChildSpec(
                name=launch.name,
                start=lambda: Player(self._site, launch, slot, self._referee),
                restart=Restart.TEMPORARY,
                shutdown=self._spec.limits.player_grace + 2 * STOP_GRACE,
            )

        errors: list[ActorError] = []

        async def start(child: ChildSpec) -> None:
            try:
                await players.start_actor(child)
            except ActorError as error:
                errors.append(error)

        self._starting = "some players were"
        async with trio.open_nursery() as nursery:
            people = self._spec.plan.people
            for slot, token in enumerate(self._tokens):
                if slot not in people:
                    nursery.start_soon(start, spec(slot, token))
        self._starting = ""
        if errors:
            raise errors[0]

    async def _abort(self, *, deadline: bool, reason: str = "") -> None:
        """Tell the referee that the play is called off; from now on nobody has patience with a player."""
        silence = math.inf
        with contextlib.suppress(ActorError):
            silence = await self._reception.silence()
        await self._referee.tell(Aborted(at=trio.current_time(), deadline=deadline, silence=silence, reason=reason))

    def _enter(self, phase: Phase) -> None:
        self._publish(PhaseEntered(phase=phase))


def _broken_clause(error: Exception) -> ContractBroken | None:
    """The broken clause behind an error of the tree, if there is one."""
    cause: BaseException | None = error.cause if isinstance(error, StartFailed) else error
    while cause is not None and not isinstance(cause, ContractBroken):
        cause = cause.__cause__
    return cause
