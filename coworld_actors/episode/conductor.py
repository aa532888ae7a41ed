"""One episode from its first file to its verdict.

The tree, outermost first; starts go down the page, stops go up:

    episode-ID            supervisor, temporary
      referee             keeps the facts; outlives all that is judged
      play                supervisor, temporary, auto_shutdown=any_significant
        game              temporary, significant: its end ends the play
        viewer            holds /global open from before the first player
        usher             sees who has connected; or, when asked for,
        tap               stands between the players and the game
        players           supervisor, stops its children together
          player-0 ...    temporary
      replay              the game again, to show the replay (when asked for)
      reporter-ID ...     one-shot roles on what the episode left

The conductor knows the order of things, `Play` that of the play. Neither decides anything about the outcome: facts go to the
referee, `judge.judge` turns them into the verdict.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import httpx
import trio

from coworld_actors.actors import (
    ActorError,
    ActorRef,
    ActorSystem,
    ChildSpec,
    Event,
    Restart,
    SupervisorRef,
    SupervisorSpec,
)
from coworld_actors.episode.events import EpisodeEnded, EpisodeStarted, Phase, PhaseEntered, SupportEnded
from coworld_actors.episode.findings import Aborted, InfrastructureFault
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.episode.judge import judge, seat_reports
from coworld_actors.episode.launches import player_name
from coworld_actors.episode.pages import Pages
from coworld_actors.episode.play import Play
from coworld_actors.episode.reception import NetworkReception, OwnReception, Reception
from coworld_actors.episode.record import EpisodeRecord, Recorder, SupportReport, write_record
from coworld_actors.episode.referee import ASK_DEADLINE, Findings, Referee, RefereeMessage
from coworld_actors.episode.replay import verify_replay
from coworld_actors.episode.results import check_results, compiled, is_quick, written_at
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.tap_log import TapDocument, TapLog, write_tap
from coworld_actors.episode.verdict import Blame, EndReason, ReplayCheck, SeatReport, Verdict
from coworld_actors.episode.workspace import Workspace
from coworld_actors.evidence.support import run_support
from coworld_drivers.driver import Driver, Site
from coworld_protocol import contract
from coworld_protocol.contract import ErrorType
from coworld_protocol.errors import CoworldError, InternalFault, PreconditionMissing

__all__ = ["run_episode"]

STOP_DEADLINE = 60.0
"""Seconds for the whole tree to stop; each role's own grace is far below, so reaching it is a defect of ours."""


async def run_episode(
    system: ActorSystem,
    driver: Driver,
    spec: EpisodeSpec,
    *,
    interrupt: Interrupt | None = None,
    on_pages: Callable[[Pages | None], object] = lambda _: None,
) -> EpisodeRecord:
    """Play one episode and let its reporters and graders work on it.

    An episode that goes wrong returns a record with a bad verdict; only what kept us from playing at all is raised.

    Args:
        system: where its actors live.
        driver: where its roles run; already entered and checked.
        spec: what to play.
        interrupt: ends the episode in an orderly way when it is raised.
        on_pages: told where people find the game, once it lets them in; None where they cannot reach it.

    Raises:
        Refused: the directory is not new.
        PreconditionMissing: the directory cannot be written, the recording cannot be made, roles of this
            driver cannot reach a tap of ours, or people cannot reach its games.
        InternalFault: a defect of ours; the episode is recorded all the same, with the reason `internal`.
    """
    # The site comes first: where thousands of episodes share one loop it lets them in one after the other.
    async with (
        driver.open_site(spec.id, seats=len(spec.plan.seats), doorway=spec.tap is not None) as site,
        contextlib.AsyncExitStack() as transports,
    ):
        if spec.plan.people and site.insight is not None:
            raise PreconditionMissing(
                f"a person cannot play with the {driver.name} driver: its games have no port for a browser",
                todo="use --driver process or --driver docker",
            )
        workspace = Workspace.create(spec.directory, len(spec.plan.seats))
        trouble = Interrupt()
        with contextlib.ExitStack() as files:
            recorder = Recorder(
                workspace, system.events, spec.id, on_error=lambda: trouble.throw("events cannot be recorded")
            )
            files.callback(recorder.close)
            tap = None
            if spec.tap is not None:
                tap = TapLog(spec)
                files.callback(tap.close)
                if site.doorway is None:
                    raise PreconditionMissing(
                        f"the roles of the {driver.name} driver cannot connect to this machine, which a tap needs",
                        todo="play without --tap, or with another --driver",
                    )
            if site.insight is not None:
                recorder.release()
            house = await system.start_supervisor(f"episode-{spec.id}", SupervisorSpec(scope=spec.id))
            conductor = _Conductor(system, driver, site, house, transports, spec, workspace, recorder, tap, on_pages)
            try:
                return await conductor.conduct(interrupt or Interrupt(), trouble)
            except (ActorError, InternalFault) as error:
                raise conductor.defect(error) from error
            except CoworldError:
                raise
            except Exception as error:
                raise conductor.defect(error) from error
            finally:
                conductor.send_players_away()
                # Restores: no actor of this episode outlives it, also when we are cancelled.
                with trio.move_on_after(STOP_DEADLINE, shield=True):
                    await house.stop()


class _Conductor:
    def __init__(
        self,
        system: ActorSystem,
        driver: Driver,
        site: Site,
        house: SupervisorRef,
        transports: contextlib.AsyncExitStack,
        spec: EpisodeSpec,
        workspace: Workspace,
        recorder: Recorder,
        tap: TapLog | None,
        on_pages: Callable[[Pages | None], object],
    ) -> None:
        self._on_pages = on_pages
        self._system = system
        self._driver = driver
        self._site = site
        self._house = house
        self._transports = transports
        self._http: httpx.AsyncHTTPTransport | None = None
        self._spec = spec
        self._workspace = workspace
        self._recorder = recorder
        self._tap = tap
        self._tapped: TapDocument | None = None
        self._tokens = tuple(contract.new_token() for _ in spec.plan.seats)
        self._referee: ActorRef[RefereeMessage] | None = None
        self._played = False

    async def conduct(self, interrupt: Interrupt, trouble: Interrupt) -> EpisodeRecord:
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
        referee = self._referee = await self._house.start_actor(
            ChildSpec(
                name="referee",
                start=lambda: Referee(
                    len(spec.plan.seats), spec.limits.player_grace, trouble.throw, people=spec.plan.people
                ),
                restart=Restart.TEMPORARY,
            )
        )
        supervisor = await self._house.start_supervisor("play", Play.SUPERVISOR)
        reception = await self._reception(supervisor, referee)
        play = Play(
            supervisor,
            self._site,
            referee,
            reception,
            spec,
            workspace,
            self._tokens,
            self._publish,
            self._tap,
            on_pages=self._on_pages,
        )
        await play.run(interrupt, trouble)
        self._played = True
        self._enter(Phase.CHECKING)
        if self._tap is not None:
            await trio.to_thread.run_sync(self._tap.close)
            self._tapped = self._tap.document()
            write_tap(workspace, self._tapped)
        verdict, seats = await self._check(referee, interrupt)
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
        record = self._record(verdict, seats, tuple(reports))
        write_record(workspace, record)
        return record

    async def _reception(self, supervisor: SupervisorRef, referee: ActorRef[RefereeMessage]) -> Reception:
        insight = self._site.insight
        if insight is None:
            return NetworkReception(
                supervisor,
                self._site,
                referee,
                await self._transport(),
                self._tokens,
                people=self._spec.plan.people,
                strict=self._spec.probe,
                compat=self._spec.compat,
                publish=self._publish,
            )
        seats = {player_name(slot): slot for slot in range(len(self._tokens))}
        return OwnReception(insight, referee, self._publish, seats)

    async def _transport(self) -> httpx.AsyncHTTPTransport:
        if self._http is None:
            # A bare transport: no proxy of the environment applies on loopback, no certificates are loaded, no redirect is
            # followed, and no URL with a token in it reaches the host's log, as it would through httpx's client.
            transport = httpx.AsyncHTTPTransport(trust_env=False, verify=False)
            self._http = await self._transports.enter_async_context(transport)
        return self._http

    async def _check(
        self, referee: ActorRef[RefereeMessage], interrupt: Interrupt
    ) -> tuple[Verdict, tuple[SeatReport, ...]]:
        """Look at what the episode left and judge it."""
        spec, workspace = self._spec, self._workspace
        if self._site.insight is not None:
            await self._site.insight.turn()
        workspace.collect_artifacts()
        self._recorder.flush()
        facts = await referee.ask(Findings(), deadline=ASK_DEADLINE)
        facts.results_at = written_at(workspace)
        if self._recorder.write_error and not facts.fault:
            message = f"events.jsonl cannot be written: {self._recorder.write_error.strerror}"
            facts.fault = InfrastructureFault(at=trio.current_time(), message=message)
        if self._recorder.crash:
            raise InternalFault(f"an actor of ours crashed: {self._recorder.crash}")
        schema = compiled(spec.plan.manifest.game.results_schema)
        if self._site.insight is not None and is_quick(workspace):
            results = check_results(workspace, schema)
        else:
            results = await trio.to_thread.run_sync(check_results, workspace, schema)
        replay = ReplayCheck()
        if spec.verify_replay and results.error is None and facts.over_by_itself:
            with interrupt.scope() as scope:
                replay = await verify_replay(self._house, self._site, spec, workspace, await self._transport())
            if scope.cancelled_caught:
                replay = ReplayCheck(
                    error=ErrorType.EPISODE_INCONCLUSIVE, message="the replay was not verified to the end"
                )
        names = [
            (
                seat.player_id,
                seat.name,
                "" if seat.runnable is None else str(workspace.player_log(seat.slot).relative_to(workspace.root)),
            )
            for seat in spec.plan.seats
        ]
        seats = seat_reports(facts, names, results)
        return judge(facts, seats, results, replay, probed=spec.probe), seats

    def send_players_away(self) -> None:
        """Whoever leaves through an exception or a cancellation has no patience with players."""
        if self._referee is not None and not self._played:
            with contextlib.suppress(ActorError):
                self._referee.tell_nowait(Aborted(at=trio.current_time(), deadline=False))

    def defect(self, error: Exception) -> InternalFault:
        """Record an episode that a defect of ours has ended; returns what to raise."""
        fault = error if isinstance(error, InternalFault) else None
        message = fault.what if fault else f"{type(error).__name__}: {error}"
        verdict = Verdict(
            good=False,
            reason=EndReason.INTERNAL,
            error_type=ErrorType.CRASH,
            message=message,
            blame=Blame.INFRASTRUCTURE,
        )
        # The defect is what has to be told; that it could not be written down would only hide it.
        with contextlib.suppress(Exception):
            write_record(self._workspace, self._record(verdict, (), ()))
        return InternalFault(
            f"a defect of this program ended episode {self._spec.id}: {message}",
            evidence=fault.evidence if fault else "",
            todo="run the same command with --debug and report what it prints",
            where=str(self._workspace.root),
        )

    def _record(
        self, verdict: Verdict, seats: tuple[SeatReport, ...], reports: tuple[SupportReport, ...]
    ) -> EpisodeRecord:
        game = self._spec.plan.manifest.game
        now = self._system.events.now()
        return EpisodeRecord(
            id=self._spec.id,
            coworld=game.name,
            game_version=game.version,
            variant=self._spec.plan.variant_id,
            manifest=self._spec.plan.origin,
            driver=self._driver.name,
            started=self._recorder.started,
            seconds=round(self._recorder.seconds(now), 6),
            verdict=verdict,
            seats=seats,
            reports=reports,
            phases=self._recorder.phases(now),
            actors=self._recorder.actors(),
            tap=None if self._tapped is None else self._tapped.report,
            directory=str(self._workspace.root),
        )

    def _enter(self, phase: Phase) -> None:
        self._publish(PhaseEntered(phase=phase))

    def _publish(self, event: Event) -> None:
        self._system.events.publish(event, scope=self._spec.id)
