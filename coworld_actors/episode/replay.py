"""Does the replay load: the game is started again with nothing but the replay and has to show it."""

from __future__ import annotations

import httpx
import trio

from coworld_actors.actors import ActorError, ChildSpec, Restart, SupervisorRef
from coworld_actors.episode import launches, probes
from coworld_actors.episode.game import Game, Reached
from coworld_actors.episode.probes import ContractBroken
from coworld_actors.episode.reception import asking
from coworld_actors.episode.referee import ASK_DEADLINE, Findings, Referee
from coworld_actors.episode.role import STOP_GRACE
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.verdict import ReplayCheck
from coworld_actors.episode.workspace import Workspace, is_role_file
from coworld_drivers.driver import Site
from coworld_protocol import contract
from coworld_protocol.contract import ErrorType

__all__ = ["verify_replay"]


async def verify_replay(
    house: SupervisorRef, site: Site, spec: EpisodeSpec, workspace: Workspace, http: httpx.AsyncHTTPTransport
) -> ReplayCheck:
    """Start the game in replay mode and look at what it shows.

    Returns:
        Good when the replay is there, its page is served and `/replay` shows a first frame; otherwise what is wrong.
    """
    if not is_role_file(workspace.replay):
        return ReplayCheck(error=ErrorType.REPLAY_MISSING, message="the game ended without a replay")
    supervisor = await house.start_supervisor("replay", restart=Restart.TEMPORARY)
    referee = await supervisor.start_actor(
        ChildSpec(
            name="replay-referee",
            start=lambda: Referee(0, 0.0),
            restart=Restart.TEMPORARY,
        )
    )
    workspace.free(workspace.replay_check)
    workspace.replay_check.mkdir()
    launch = launches.replay_launch(spec, workspace, site)
    try:
        with trio.fail_after(spec.limits.replay):
            game = await supervisor.start_actor(
                ChildSpec(
                    name="replay-game",
                    start=lambda: Game(site, launch, referee, asking(http), spec.limits.replay),
                    restart=Restart.TEMPORARY,
                    shutdown=2 * STOP_GRACE,
                )
            )
            address = await game.ask(Reached(), deadline=ASK_DEADLINE)
            await probes.check_client_page(http, address, contract.ROUTE_CLIENT_REPLAY, redirects=True)
            await probes.first_message(address, contract.ROUTE_REPLAY, spec.limits.first_frame)
    except trio.TooSlowError:
        return _unloadable(f"the replay was not shown within {spec.limits.replay:g} s")
    except (ContractBroken, ActorError) as error:
        facts = await referee.ask(Findings(), deadline=ASK_DEADLINE)
        if facts.fault is not None:
            return ReplayCheck(error=ErrorType.PLATFORM_ERROR, message=facts.fault.message)
        if facts.never_served is not None:
            return _unloadable(f"the game cannot load its replay: {facts.never_served.detail}")
        if facts.game_ended is not None:
            return _unloadable(f"the game ended while it loaded its replay: {facts.game_ended.status}")
        if isinstance(error, ContractBroken):
            return _unloadable(f"{error.message}: {error.evidence}")
        raise
    finally:
        # Restores: no process of the verification outlives it.
        with trio.move_on_after(3 * STOP_GRACE, shield=True):
            await supervisor.stop()
    return ReplayCheck()


def _unloadable(message: str) -> ReplayCheck:
    return ReplayCheck(error=ErrorType.REPLAY_UNLOADABLE, message=message)
