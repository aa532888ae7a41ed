"""Does the replay load: the game is started again with nothing but the replay and has to show it."""

from __future__ import annotations

import httpx
import trio

from coworld_actors.actors import ActorError, ChildSpec, Restart, SupervisorRef
from coworld_actors.episode import launches, probes
from coworld_actors.episode.game import Game, Reached
from coworld_actors.episode.probes import ContractBroken
from coworld_actors.episode.referee import Findings, Referee
from coworld_actors.episode.role import STOP_GRACE
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.workspace import Workspace, is_role_file
from coworld_drivers.driver import Site
from coworld_protocol import contract
from coworld_protocol.contract import ErrorType

__all__ = ["verify_replay"]

ASK_DEADLINE = 5.0


async def verify_replay(
    house: SupervisorRef, site: Site, spec: EpisodeSpec, workspace: Workspace, client: httpx.AsyncClient
) -> tuple[ErrorType, str] | None:
    """Start the game in replay mode and look at what it shows.

    Returns:
        None when the replay is there, its page is served and `/replay` shows a first frame; otherwise what is wrong.
    """
    if not is_role_file(workspace.replay):
        return ErrorType.REPLAY_MISSING, "the game ended without a replay"
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
                    start=lambda: Game(site, launch, referee, client, spec.limits.replay),
                    restart=Restart.TEMPORARY,
                    shutdown=2 * STOP_GRACE,
                )
            )
            address = await game.ask(Reached(), deadline=ASK_DEADLINE)
            await probes.check_client_page(client, address, contract.ROUTE_CLIENT_REPLAY, redirects=True)
            await probes.first_message(address, contract.ROUTE_REPLAY, spec.limits.first_frame)
    except trio.TooSlowError:
        return ErrorType.REPLAY_UNLOADABLE, f"the replay was not shown within {spec.limits.replay:g} s"
    except ContractBroken as broken:
        return ErrorType.REPLAY_UNLOADABLE, f"{broken.message}: {broken.evidence}"
    except ActorError:
        facts = await referee.ask(Findings(), deadline=ASK_DEADLINE)
        if facts.start_failed is not None:
            return ErrorType.REPLAY_UNLOADABLE, f"the game cannot load its replay: {facts.start_failed.detail}"
        if facts.game_ended is not None:
            return ErrorType.REPLAY_UNLOADABLE, f"the game ended while it loaded its replay: {facts.game_ended.status}"
        raise
    finally:
        # Restores: no process of the verification outlives it.
        with trio.move_on_after(3 * STOP_GRACE, shield=True):
            await supervisor.stop()
    return None
