"""One episode from its first file to its verdict.

The tree, outermost first; starts go down the page, stops go up:

    episode-ID            supervisor, temporary
      referee             keeps the facts; outlives all that is judged
      play                supervisor, temporary, auto_shutdown=any_significant
        game              temporary, significant: its end ends the play
        viewer            holds /global open from before the first player
        usher             sees who has connected
        players           supervisor, stops its children together
          player-0 ...    temporary
      replay              the game again, to show the replay (when asked for)
      reporter-ID ...     one-shot roles on what the episode left

The conductor is the only one that knows the order of things. It decides nothing about the outcome: facts go to the referee,
`judge.judge` turns them into the verdict.
"""

from __future__ import annotations

import contextlib
import math

import httpx
import trio

from coworld_actors.actors import (
    ActorError,
    ActorRef,
    ActorSystem,
    AskTimeout,
    AutoShutdown,
    ChildSpec,
    Event,
    Restart,
    StartFailed,
    StopOrder,
    SupervisorRef,
    SupervisorSpec,
)
from coworld_actors.episode import launches, probes
from coworld_actors.episode.events import EpisodeEnded, EpisodeStarted, Phase, PhaseEntered, SupportEnded
from coworld_actors.episode.findings import Aborted, InfrastructureFault, Violation, ViolationKind
from coworld_actors.episode.game import Game, GameNotServing, Reached, Served
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.episode.judge import judge, seat_reports
from coworld_actors.episode.player import Player
from coworld_actors.episode.probes import ContractBroken
from coworld_actors.episode.record import EpisodeRecord, Recorder, SupportReport, write_record
from coworld_actors.episode.referee import Findings, Referee, RefereeMessage
from coworld_actors.episode.replay import verify_replay
from coworld_actors.episode.results import check_results, written_at
from coworld_actors.episode.role import STOP_GRACE
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.usher import Usher
from coworld_actors.episode.verdict import SeatReport, Verdict
from coworld_actors.episode.viewer import FirstFrame, Silence, Viewer
from coworld_actors.episode.workspace import Workspace
from coworld_actors.evidence.support import run_support
from coworld_actors.manifest.schema import compile_schema
from coworld_drivers.driver import Address, Driver, Site
from coworld_protocol import contract
from coworld_protocol.contract import ErrorType

__all__ = ["run_episode"]

ASK_DEADLINE = 5.0
"""Seconds within which an actor of ours answers that does nothing but keep facts; a miss is a defect of ours."""

GAME_END_WAIT = 1.0
"""Seconds to wait for the end of a game that broke a clause: a probe of a dying game fails before its exit is seen."""

STOP_DEADLINE = 60.0
"""Seconds for the whole tree to stop; each role's own grace is far below, so reaching it is a defect of ours."""


async def run_episode(
    system: ActorSystem, driver: Driver, spec: EpisodeSpec, *, interrupt: Interrupt | None = None
) -> EpisodeRecord:
    """Play one episode and let its reporters and graders work on it.

    An episode that goes wrong returns a record with a bad verdict; only what kept us from playing at all is raised.

    Args:
        system: where its actors live.
        driver: where its roles run; already entered and checked.
        spec: what to play.
        interrupt: ends the episode in an orderly way when it is raised.

    Raises:
        Refused: the directory is not new.
        PreconditionMissing: the directory cannot be written.
    """
    workspace = Workspace.create(spec.directory, len(spec.plan.seats))
    recorder = Recorder(workspace, system.events, spec.id)
    try:
        async with (
            driver.open_site(spec.id) as site,
            # The game is on loopback: no proxy of the environment applies, and no certificates are loaded for it.
            httpx.AsyncClient(trust_env=False, verify=False, follow_redirects=False) as client,  # noqa: S501
        ):
            house = await system.start_supervisor(f"episode-{spec.id}", SupervisorSpec(scope=spec.id))
            try:
                return await _Conductor(system, driver, site, house, client, spec, workspace, recorder).conduct(
                    interrupt or Interrupt()
                )
            finally:
                # Restores: no actor of this episode outlives it, also when we are cancelled.
                with trio.move_on_after(STOP_DEADLINE, shield=True):
                    await house.stop()
    finally:
        recorder.close()


class _Conductor:
    def __init__(
        self,
        system: ActorSystem,
        driver: Driver,
        site: Site,
        house: SupervisorRef,
        client: httpx.AsyncClient,
        spec: EpisodeSpec,
        workspace: Workspace,
        recorder: Recorder,
    ) -> None:
        self._system = system
        self._driver = driver
        self._site = site
        self._house = house
        self._client = client
        self._spec = spec
        self._workspace = workspace
        self._recorder = recorder
        self._tokens = tuple(contract.new_token() for _ in spec.plan.seats)
        self._viewer: ActorRef[FirstFrame | Silence] | None = None
        self._referee: ActorRef[RefereeMessage]

    async def conduct(self, interrupt: Interrupt) -> EpisodeRecord:
        spec, workspace = self._spec, self._workspace
        game = spec.plan.manifest.game
        self._publish(
            EpisodeStarted(
                coworld=f"{game.name} {game.version}",
                variant=spec.plan.variant_id,
                seats=tuple(seat.name for seat in spec.plan.seats),
                directory=str(workspace.root),
                deadline=spec.limits.timeout,
            )
        )
        workspace.write_config(spec.plan.game_config, self._tokens)
        self._referee = await self._house.start_actor(
            ChildSpec(
                name="referee",
                start=lambda: Referee(len(spec.plan.seats), spec.limits.player_grace),
                restart=Restart.TEMPORARY,
            )
        )
        await self._play_to_its_end(interrupt)
        self._enter(Phase.CHECKING)
        verdict, seats = await self._check(interrupt)
        self._publish(EpisodeEnded(verdict=verdict, seats=seats))
        reports: list[SupportReport] = []

        def done(report: SupportReport) -> None:
            reports.append(report)
            self._publish(SupportEnded(role=report.role, id=report.id, ok=report.ok, message=report.message))

        if verdict.good and spec.reports and (spec.plan.manifest.reporter or spec.plan.manifest.grader):
            self._enter(Phase.REPORTING)
            with interrupt.scope():
                await run_support(self._house, self._site, spec, workspace, done)
        self._enter(Phase.DONE)
        now = self._system.events.now()
        record = EpisodeRecord(
            id=spec.id,
            coworld=game.name,
            game_version=game.version,
            variant=spec.plan.variant_id,
            driver=self._driver.name,
            started=self._recorder.started,
            seconds=round(self._recorder.seconds(now), 6),
            verdict=verdict,
            seats=seats,
            reports=tuple(reports),
            phases=self._recorder.phases(now),
            actors=self._recorder.actors(),
            directory=str(workspace.root),
        )
        write_record(workspace, record)
        return record

    async def _play_to_its_end(self, interrupt: Interrupt) -> None:
        """Play until the game has ended and every player has left, was sent away, or somebody called it off."""
        play = await self._house.start_supervisor(
            "play", SupervisorSpec(auto_shutdown=AutoShutdown.ANY_SIGNIFICANT), restart=Restart.TEMPORARY
        )
        with interrupt.scope() as scope:
            ended = False
            with trio.move_on_after(self._spec.limits.timeout) as deadline:
                ended = await self._play(play)
            if deadline.cancelled_caught:
                await self._abort(deadline=True)
            self._enter(Phase.CLOSING)
            if ended:
                await play.wait()
        if scope.cancelled_caught:
            await self._abort(deadline=False)
        await play.stop()

    async def _play(self, play: SupervisorRef) -> bool:
        """Play until the game has ended. A clause that it breaks is told to the referee and ends the play.

        Returns:
            whether the game has ended by itself, and with it the play.
        """
        try:
            self._enter(Phase.STARTING)
            launch = launches.game_launch(self._spec, self._workspace, self._site)
            game = await play.start_actor(
                ChildSpec(
                    name="game",
                    start=lambda: Game(self._site, launch, self._referee, self._client, self._spec.limits.startup),
                    restart=Restart.TEMPORARY,
                    significant=True,
                    shutdown=2 * STOP_GRACE,
                )
            )
        except StartFailed as failed:
            if isinstance(failed.cause, GameNotServing):
                return False
            raise
        try:
            await self._play_with(play, game)
        except (ContractBroken, ActorError) as error:
            with trio.move_on_after(GAME_END_WAIT):
                await game.wait()
            broken = _broken_clause(error)
            if broken is None:
                if game.alive:
                    raise
                broken = ContractBroken(ViolationKind.FIRST_FRAME, "the game ended before it sent a frame on /global")
            await self._referee.tell(
                Violation(at=trio.current_time(), kind=broken.kind, message=broken.message, evidence=broken.evidence)
            )
        return not game.alive

    async def _play_with(self, play: SupervisorRef, game: ActorRef[Reached | Served]) -> None:
        """Probe the game, connect the viewer, seat the players, then wait for the game's end."""
        self._enter(Phase.PROBING)
        address = await game.ask(Reached(), deadline=ASK_DEADLINE)
        await self._probe(address)
        self._viewer = await play.start_actor(
            ChildSpec(name="viewer", start=lambda: Viewer(address), restart=Restart.TEMPORARY)
        )
        self._enter(Phase.SEATING)
        if self._site.sees_connections:
            seats = {launches.player_name(slot): slot for slot in range(len(self._tokens))}
            await play.start_actor(
                ChildSpec(
                    name="usher",
                    start=lambda: Usher(self._site, address, seats, self._referee),
                    restart=Restart.TEMPORARY,
                )
            )
        await self._seat_players(play, await game.ask(Served(), deadline=ASK_DEADLINE))
        await self._first_frame(self._viewer)
        self._enter(Phase.PLAYING)
        await game.wait()

    async def _probe(self, address: Address) -> None:
        """The checks that come before the first player."""
        if self._tokens:
            await probes.check_client_page(
                self._client, address, contract.ROUTE_CLIENT_PLAYER, slot=0, token=self._tokens[0]
            )
            await probes.check_bad_token(address)
        await probes.check_client_page(self._client, address, contract.ROUTE_CLIENT_GLOBAL)

    async def _seat_players(self, play: SupervisorRef, game: Address) -> None:
        """Start every player, all at once."""
        players = await play.start_supervisor(
            "players", SupervisorSpec(stop_order=StopOrder.TOGETHER), restart=Restart.TEMPORARY
        )

        def spec(slot: int, token: str) -> ChildSpec:
            launch = launches.player_launch(self._spec, self._workspace, self._site, game, slot, token)
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

        async with trio.open_nursery() as nursery:
            for slot, token in enumerate(self._tokens):
                nursery.start_soon(start, spec(slot, token))
        if errors:
            raise errors[0]

    async def _first_frame(self, viewer: ActorRef[FirstFrame | Silence]) -> None:
        """Wait for the first sign of life on `/global`.

        Raises:
            ContractBroken: there is none in time.
        """
        limit = self._spec.limits.first_frame
        try:
            await viewer.ask(FirstFrame(), deadline=limit)
        except AskTimeout:
            raise ContractBroken(
                ViolationKind.FIRST_FRAME, "the game sends nothing to its viewers", f"no frame within {limit:g} s"
            ) from None

    async def _abort(self, *, deadline: bool) -> None:
        """Tell the referee that the play is called off; from now on nobody has patience with a player."""
        silence = math.inf
        if self._viewer is not None:
            with contextlib.suppress(ActorError):
                silence = await self._viewer.ask(Silence(), deadline=ASK_DEADLINE)
        await self._referee.tell(Aborted(at=trio.current_time(), deadline=deadline, silence=silence))

    async def _check(self, interrupt: Interrupt) -> tuple[Verdict, tuple[SeatReport, ...]]:
        """Look at what the episode left and judge it."""
        spec, workspace = self._spec, self._workspace
        await trio.to_thread.run_sync(workspace.collect_artifacts)
        facts = await self._referee.ask(Findings(), deadline=ASK_DEADLINE)
        facts.results_at = written_at(workspace)
        if self._recorder.write_error and not facts.fault:
            message = f"events.jsonl cannot be written: {self._recorder.write_error.strerror}"
            facts.fault = InfrastructureFault(at=trio.current_time(), message=message)
        schema = compile_schema(spec.plan.manifest.game.results_schema)
        results = await trio.to_thread.run_sync(check_results, workspace, schema)
        replay: tuple[ErrorType, str] | None = None
        if spec.verify_replay and results.error is None and not facts.aborted:
            with interrupt.scope() as scope:
                replay = await verify_replay(self._house, self._site, spec, workspace, self._client)
            if scope.cancelled_caught:
                facts.aborted = Aborted(at=trio.current_time(), deadline=False)
        names = [
            (seat.player_id, seat.name, str(workspace.player_log(seat.slot).relative_to(workspace.root)))
            for seat in spec.plan.seats
        ]
        seats = seat_reports(facts, names, results)
        return judge(facts, seats, results, replay), seats

    def _enter(self, phase: Phase) -> None:
        self._publish(PhaseEntered(phase=phase))

    def _publish(self, event: Event) -> None:
        self._system.events.publish(event, scope=self._spec.id)


def _broken_clause(error: Exception) -> ContractBroken | None:
    """The broken clause behind an error of the tree, if there is one."""
    cause: BaseException | None = error.cause if isinstance(error, StartFailed) else error
    while cause is not None and not isinstance(cause, ContractBroken):
        cause = cause.__cause__
    return cause
