"""How each role is started: the contract's variables on top of the manifest's, and only what that role may see."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from coworld_actors.episode.dialect import Compat, game_variables, replay_variables
from coworld_actors.episode.probes import player_url
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.workspace import Workspace
from coworld_actors.manifest.resources import parse_bytes, parse_cpus
from coworld_drivers.driver import Address, Launch, Mount, Resources, Site, Wanted
from coworld_drivers.extra_ports import parse_extra_ports
from coworld_protocol import contract, manifest
from coworld_protocol.contract import Role

__all__ = ["game_launch", "player_launch", "player_name", "replay_launch", "wanted", "wanted_resources"]


def wanted(spec: EpisodeSpec) -> list[Wanted]:
    """Every image that the episode needs, for the check before anything is started."""
    manifest = spec.plan.manifest
    seated = [seat.runnable for seat in spec.plan.seats if seat.runnable is not None]
    runnables = [manifest.game.runnable, *seated]
    if spec.reports:
        runnables += [entry.runnable() for entry in (*manifest.reporter, *manifest.grader)]
    return list(dict.fromkeys(Wanted(r.image, tuple(r.run), r.type) for r in runnables))


def wanted_resources(resources: manifest.Resources | None) -> Resources:
    """How much of a machine a role may use: its limits, else what it requests; None, also for 0, leaves it to the place.

    Raises:
        coworld_actors.manifest.resources.BadQuantity: a quantity means nothing; no manifest that was loaded has one.
    """
    if resources is None:
        return Resources()
    requests, limits = resources.requests, resources.limits or manifest.ResourceLimits()
    cpu, memory, disk = limits.cpu or requests.cpu, limits.memory or requests.memory, requests.ephemeral_storage
    return Resources(
        cpus=None if cpu is None else parse_cpus(cpu) or None,
        memory=None if memory is None else parse_bytes(memory) or None,
        disk=None if disk is None else parse_bytes(disk) or None,
    )


def game_launch(spec: EpisodeSpec, workspace: Workspace, site: Site) -> Launch:
    """The game, for playing.

    Raises:
        Refused: its extra ports mean nothing; no manifest that was loaded has such.
    """
    game = spec.plan.manifest.game
    mounts = (workspace.for_game(),)
    return Launch(
        name="game",
        role=Role.GAME,
        image=game.runnable.image,
        run=tuple(game.runnable.run),
        env={
            **game.runnable.env,
            **spec.role_env,
            contract.ENV_CONFIG_URI: site.uri(workspace.config, mounts),
            contract.ENV_RESULTS_URI: site.uri(workspace.results, mounts),
            contract.ENV_SAVE_REPLAY_URI: site.uri(workspace.replay, mounts),
            contract.ENV_EPISODE_ID: spec.id,
            contract.ENV_GAME_NAME: game.name,
            contract.ENV_GAME_VERSION: game.version,
            **game_variables(spec.compat, [seat.name for seat in spec.plan.seats]),
        },
        serves=True,
        extra_ports=parse_extra_ports(game.runnable.env.get(contract.ENV_LOCAL_EXTRA_PORTS, "")),
        mounts=mounts,
        resources=wanted_resources(game.runnable.resources),
        stdout=workspace.game_stdout,
        stderr=workspace.game_stderr,
    )


def player_name(slot: int) -> str:
    """The name of the player in a seat, in events, files and the driver."""
    return f"player-{slot}"


def player_launch(spec: EpisodeSpec, workspace: Workspace, site: Site, game: Address, slot: int, token: str) -> Launch:
    """One player: its own directory, its own token, nothing of anybody else's.

    Args:
        spec: of the episode.
        workspace: its files.
        site: where it runs.
        game: where the player connects to: the game, or the seat's door of the tap.
        slot: the seat.
        token: of the seat.
    """
    runnable = spec.plan.seats[slot].runnable
    assert runnable is not None, "nothing is launched for a person"
    directory = workspace.player_directory(slot)
    mounts = (Mount(path=directory, at=contract.CONTAINER_ARTIFACT, writable=True),)
    url = player_url(game, slot, token)
    return Launch(
        name=player_name(slot),
        role=Role.PLAYER,
        image=runnable.image,
        run=tuple(runnable.run),
        env={
            **runnable.env,
            **spec.role_env,
            contract.ENV_PLAYER_WS_URL: url,
            contract.ENV_ENGINE_WS_URL: url,
            contract.ENV_PLAYER_ARTIFACT_URL: site.uri(directory / contract.player_artifact_name(slot), mounts),
        },
        secret_env=spec.secret_env,
        mounts=mounts,
        resources=wanted_resources(runnable.resources),
        stdout=workspace.player_log(slot),
    )


def replay_launch(
    game: manifest.Game,
    *,
    replay: Path,
    own: Path,
    stdout: Path,
    stderr: Path,
    role_env: Mapping[str, str],
    site: Site,
    compat: Compat = Compat.CURRENT,
) -> Launch:
    """The game again, to show a replay; it sees nothing but the replay and appends to no other log.

    Args:
        game: of the manifest.
        replay: the file, as the game wrote it.
        own: a directory for the game alone.
        stdout: where its standard output goes.
        stderr: where its standard error goes.
        role_env: further variables, below the contract's own.
        site: where it runs.
        compat: which generations of games are understood.

    Raises:
        Refused: its extra ports mean nothing; no manifest that was loaded has such.
    """
    mounts = (
        Mount(path=replay, at=f"{contract.CONTAINER_REPLAY}/{replay.name}"),
        Mount(path=own, at=contract.CONTAINER_OWN, writable=True),
    )
    return Launch(
        name="replay",
        role=Role.GAME,
        image=game.runnable.image,
        run=tuple(game.runnable.run),
        env={**game.runnable.env, **role_env, **replay_variables(compat, site.uri(replay, mounts))},
        serves=True,
        extra_ports=parse_extra_ports(game.runnable.env.get(contract.ENV_LOCAL_EXTRA_PORTS, "")),
        mounts=mounts,
        resources=wanted_resources(game.runnable.resources),
        stdout=stdout,
        stderr=stderr,
    )
