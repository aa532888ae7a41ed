"""A replay, shown: the game is started again with nothing but the replay, for a person to look at or to see whether it loads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import trio

from coworld_actors.actors import (
    ActorError,
    ActorRef,
    ActorSystem,
    ChildSpec,
    DownReason,
    Restart,
    SupervisorRef,
    SupervisorSpec,
)
from coworld_actors.episode import launches, probes
from coworld_actors.episode.dialect import Compat, dialects
from coworld_actors.episode.game import Game, Reached, Served
from coworld_actors.episode.probes import ContractBroken
from coworld_actors.episode.reception import asking
from coworld_actors.episode.referee import ASK_DEADLINE, Findings, Referee, RefereeMessage
from coworld_actors.episode.role import STOP_GRACE
from coworld_actors.episode.spec import EpisodeSpec, Limits
from coworld_actors.episode.verdict import ReplayCheck
from coworld_actors.episode.workspace import Workspace, is_role_file
from coworld_drivers.driver import Driver, ExitStatus, Site, Wanted
from coworld_protocol import contract, manifest
from coworld_protocol.contract import ErrorType
from coworld_protocol.errors import CoworldError, InternalFault

__all__ = ["ReplayNotShown", "ReplaySession", "ReplaySpec", "check_session", "open_replay", "verify_replay"]


class ReplayNotShown(CoworldError):
    """A game does not show a replay.

    Attributes:
        check: what is wrong.
    """

    exit_code = 1

    def __init__(self, check: ReplayCheck) -> None:
        super().__init__(check.message)
        self.check = check


class ReplaySpec(msgspec.Struct, frozen=True, kw_only=True):
    """A replay to be shown.

    Attributes:
        game: whose it is.
        replay: the file, as the game wrote it.
        own: a directory for the game alone.
        stdout: where its standard output goes.
        stderr: where its standard error goes.
        role_env: further variables, below the contract's own; public.
        limits: `replay` and `first_frame` count.
        compat: which generations of games are understood.
    """

    game: manifest.Game
    replay: Path
    own: Path
    stdout: Path
    stderr: Path
    role_env: Mapping[str, str] = {}
    limits: Limits = Limits()
    compat: Compat = Compat.CURRENT

    def wanted(self) -> Wanted:
        """The image it needs, for the check before it is started."""
        runnable = self.game.runnable
        return Wanted(runnable.image, tuple(runnable.run), runnable.type)


class ReplaySession:
    """A game that shows a replay; made by `open_replay`."""

    def __init__(
        self,
        supervisor: SupervisorRef,
        referee: ActorRef[RefereeMessage],
        site: Site,
        spec: ReplaySpec,
        http: httpx.AsyncHTTPTransport,
    ) -> None:
        self._supervisor = supervisor
        self._referee = referee
        self._site = site
        self._spec = spec
        self._http = http
        self._game: ActorRef[Reached | Served] | None = None
        self._socket = contract.ROUTE_REPLAY

    async def start(self) -> str:
        """Start the game; returns the address of the page that shows the replay.

        Raises:
            ReplayNotShown: the game cannot load it, or serves no page for it.
        """
        launch = launches.replay_launch(
            self._spec.game,
            replay=self._spec.replay,
            own=self._spec.own,
            stdout=self._spec.stdout,
            stderr=self._spec.stderr,
            role_env=self._spec.role_env,
            site=self._site,
            compat=self._spec.compat,
        )
        uri = launch.env[contract.ENV_LOAD_REPLAY_URI]
        limit = self._spec.limits.replay
        try:
            game = self._game = await self._supervisor.start_actor(
                ChildSpec(
                    name="replay-game",
                    start=lambda: Game(self._site, launch, self._referee, asking(self._http), limit),
                    restart=Restart.TEMPORARY,
                    shutdown=2 * STOP_GRACE,
                )
            )
            address = await game.ask(Reached(), deadline=ASK_DEADLINE)
            dialect = await probes.find_dialect(
                self._http,
                address,
                dialects(self._spec.compat),
                lambda names: names.replay_page(uri),
                redirects=True,
            )
        except (ContractBroken, ActorError) as error:
            raise await self._explain(error) from error
        self._socket = dialect.replay_target(uri)
        return f"http://{address}{dialect.replay_page(uri)}"

    async def first_message(self) -> None:
        """Wait until `/replay` shows something.

        Raises:
            ReplayNotShown: it shows nothing.
        """
        assert self._game is not None, "a session is started first"
        try:
            address = await self._game.ask(Reached(), deadline=ASK_DEADLINE)
            await probes.first_message(address, self._socket, self._spec.limits.first_frame)
        except (ContractBroken, ActorError) as error:
            raise await self._explain(error) from error

    async def wait(self) -> ExitStatus:
        """Wait until the game has ended by itself.

        Raises:
            InternalFault: an actor of ours crashed.
        """
        assert self._game is not None, "a session is started first"
        down = await self._game.wait()
        facts = await self._referee.ask(Findings(), deadline=ASK_DEADLINE)
        if facts.game_ended is None or down.reason is DownReason.CRASHED:
            raise InternalFault("the game's actor crashed", evidence=str(down.cause)) from down.cause
        return facts.game_ended.status

    async def _explain(self, error: ContractBroken | ActorError) -> ReplayNotShown:
        """What kept the game from showing its replay; raises what is no finding about it."""
        facts = await self._referee.ask(Findings(), deadline=ASK_DEADLINE)
        if facts.fault is not None:
            return ReplayNotShown(ReplayCheck(error=ErrorType.PLATFORM_ERROR, message=facts.fault.message))
        if facts.never_served is not None:
            status = f" ({facts.never_served.status})" if facts.never_served.status is not None else ""
            detail = facts.never_served.detail
            return _unloadable(f"the game cannot load its replay{status}{f': {detail}' if detail else ''}")
        if facts.game_ended is not None:
            return _unloadable(f"the game ended while it loaded its replay: {facts.game_ended.status}")
        if isinstance(error, ContractBroken):
            return _unloadable(f"{error.message}: {error.evidence}")
        raise error


def _unloadable(message: str) -> ReplayNotShown:
    return ReplayNotShown(ReplayCheck(error=ErrorType.REPLAY_UNLOADABLE, message=message))


@asynccontextmanager
async def open_replay(system: ActorSystem, driver: Driver, spec: ReplaySpec) -> AsyncGenerator[ReplaySession]:
    """A session of its own, beside any episode; leaving it ends the game.

    Args:
        system: where its actors live.
        driver: where the game runs; already entered and checked.
        spec: what is shown.
    """
    http = httpx.AsyncHTTPTransport(trust_env=False, verify=False)
    async with driver.open_site(f"replay-{contract.new_token()}") as site, http:
        house = await system.start_supervisor("replay-house", SupervisorSpec())
        try:
            async with _session(house, site, spec, http) as session:
                yield session
        finally:
            # Restores: no actor of the session outlives it.
            with trio.move_on_after(3 * STOP_GRACE, shield=True):
                await house.stop()


@asynccontextmanager
async def _session(
    house: SupervisorRef, site: Site, spec: ReplaySpec, http: httpx.AsyncHTTPTransport
) -> AsyncGenerator[ReplaySession]:
    supervisor = await house.start_supervisor("replay", restart=Restart.TEMPORARY)
    try:
        referee = await supervisor.start_actor(
            ChildSpec(name="replay-referee", start=lambda: Referee(0, 0.0), restart=Restart.TEMPORARY)
        )
        yield ReplaySession(supervisor, referee, site, spec, http)
    finally:
        # Restores: no process of the session outlives it.
        with trio.move_on_after(3 * STOP_GRACE, shield=True):
            await supervisor.stop()


async def verify_replay(
    house: SupervisorRef, site: Site, spec: EpisodeSpec, workspace: Workspace, http: httpx.AsyncHTTPTransport
) -> ReplayCheck:
    """See whether an episode's replay can be shown.

    Returns:
        Good when the replay is there, its page is served and `/replay` shows a first frame; otherwise what is wrong.
    """
    if not is_role_file(workspace.replay):
        return ReplayCheck(error=ErrorType.REPLAY_MISSING, message="the game ended without a replay")
    workspace.free(workspace.replay_check)
    workspace.replay_check.mkdir()
    shown = ReplaySpec(
        game=spec.plan.manifest.game,
        replay=workspace.replay,
        own=workspace.replay_check,
        stdout=workspace.logs / "replay.stdout.log",
        stderr=workspace.logs / "replay.stderr.log",
        role_env=spec.role_env,
        limits=spec.limits,
        compat=spec.compat,
    )
    async with _session(house, site, shown, http) as session:
        return await check_session(session, spec.limits.replay)


async def check_session(session: ReplaySession, seconds: float) -> ReplayCheck:
    """Start a session and see whether it shows its replay within so many seconds."""
    try:
        with trio.fail_after(seconds):
            await session.start()
            await session.first_message()
    except trio.TooSlowError:
        return ReplayCheck(error=ErrorType.REPLAY_UNLOADABLE, message=f"the replay was not shown within {seconds:g} s")
    except ReplayNotShown as failed:
        return failed.check
    return ReplayCheck()
