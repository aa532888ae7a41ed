"""How roles are started: each gets the contract's variables and sees its own files and secrets only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from coworld_actors.episode import launches
from coworld_actors.episode.spec import EpisodeSpec, Limits
from coworld_actors.episode.workspace import Workspace
from coworld_drivers.driver import Address, ExtraPort, Launch, Resources
from coworld_drivers.process import ProcessSite
from coworld_protocol import contract
from coworld_protocol.manifest import ResourceRequests
from coworld_protocol.manifest import Resources as ManifestResources
from tests.coworlds import IMAGE

GAME = Address(host="127.0.0.1", port=4711)
TOKENS = ("first-token", "second-token")


def player(spec: EpisodeSpec, workspace: Workspace, site: ProcessSite, slot: int) -> Launch:
    return launches.player_launch(spec, workspace, site, GAME, slot, TOKENS[slot])


def with_game_env(spec: EpisodeSpec, env: dict[str, str]) -> EpisodeSpec:
    document: dict[str, Any] = msgspec.to_builtins(spec.plan.manifest)
    document["game"]["runnable"]["env"] = env
    manifest = msgspec.convert(document, type(spec.plan.manifest))
    return msgspec.structs.replace(spec, plan=msgspec.structs.replace(spec.plan, manifest=manifest))


async def test_the_game_learns_where_its_files_go(spec_of, workspace: Workspace, site: ProcessSite) -> None:
    """Configuration, results and replay as URIs that the site makes, the identities, and its two logs."""
    spec = spec_of()
    launch = launches.game_launch(spec, workspace, site)
    assert (launch.role, launch.image, launch.serves) == ("game", IMAGE, True)
    assert launch.env[contract.ENV_CONFIG_URI] == workspace.config.as_uri()
    assert launch.env[contract.ENV_RESULTS_URI] == workspace.results.as_uri()
    assert launch.env[contract.ENV_SAVE_REPLAY_URI] == workspace.replay.as_uri()
    assert launch.env[contract.ENV_EPISODE_ID] == spec.id
    assert contract.ENV_LOAD_REPLAY_URI not in launch.env
    assert (launch.stdout, launch.stderr) == (workspace.game_stdout, workspace.game_stderr)


async def test_the_contracts_variables_win_over_the_manifests(spec_of, workspace: Workspace, site: ProcessSite) -> None:
    """A manifest may add variables; it cannot redirect the results."""
    spec = with_game_env(spec_of(), {contract.ENV_RESULTS_URI: "file:///elsewhere", "LEVEL": "7"})
    env = launches.game_launch(spec, workspace, site).env
    assert env[contract.ENV_RESULTS_URI] == workspace.results.as_uri()
    assert env["LEVEL"] == "7"


async def test_a_player_gets_its_own_seat_and_nothing_else(spec_of, workspace: Workspace, site: ProcessSite) -> None:
    """Its URL under both names, its directory, its log; no other seat's token and no path of the game's."""
    spec = spec_of(secret_env={"API_KEY": "hush"})
    launch = player(spec, workspace, site, 1)
    assert launch.name == launches.player_name(1) == "player-1"
    assert launch.env[contract.ENV_PLAYER_WS_URL] == "ws://127.0.0.1:4711/player?slot=1&token=second-token"
    assert launch.env[contract.ENV_ENGINE_WS_URL] == launch.env[contract.ENV_PLAYER_WS_URL]
    assert [m.path for m in launch.mounts] == [workspace.player_directory(1)]
    assert launch.stdout == workspace.player_log(1)
    assert launch.stderr is None
    everything = " ".join(launch.env.values())
    assert TOKENS[0] not in everything
    assert str(workspace.config) not in everything


async def test_a_secret_is_carried_apart_and_shown_nowhere(spec_of, workspace: Workspace, site: ProcessSite) -> None:
    """It is no ordinary variable, belongs to players alone, and no representation has its value."""
    spec = spec_of(secret_env={"API_KEY": "hush"})
    launch = player(spec, workspace, site, 0)
    assert launch.secret_env == {"API_KEY": "hush"}
    assert "API_KEY" not in launch.env
    assert launches.game_launch(spec, workspace, site).secret_env == {}
    assert "hush" not in repr(launch) + repr(spec)


def replay(spec: EpisodeSpec, workspace: Workspace, site: ProcessSite) -> Launch:
    return launches.replay_launch(
        spec.plan.manifest.game,
        replay=workspace.replay,
        own=workspace.replay_check,
        stdout=workspace.logs / "replay.stdout.log",
        stderr=workspace.logs / "replay.stderr.log",
        role_env=spec.role_env,
        site=site,
    )


async def test_the_replay_is_shown_by_a_game_that_sees_nothing_else(
    spec_of, workspace: Workspace, site: ProcessSite
) -> None:
    """No configuration, no results, logs and a directory of its own."""
    launch = replay(spec_of(), workspace, site)
    assert launch.env == {contract.ENV_LOAD_REPLAY_URI: workspace.replay.as_uri()}
    assert [m.path for m in launch.mounts if not m.writable] == [workspace.replay]
    assert launch.home == workspace.replay_check
    assert launch.stdout not in {workspace.game_stdout, workspace.game_stderr}


async def test_extra_ports_are_the_games_wish(spec_of, workspace: Workspace, site: ProcessSite) -> None:
    """When it plays and when it shows the replay; no manifest asks for any by saying nothing."""
    wishing = with_game_env(spec_of(), {contract.ENV_LOCAL_EXTRA_PORTS: "3724,8085:9000/tcp"})
    expected = (ExtraPort(inside=3724), ExtraPort(inside=8085, outside=9000))
    assert launches.game_launch(wishing, workspace, site).extra_ports == expected
    assert replay(wishing, workspace, site).extra_ports == expected
    assert launches.game_launch(spec_of(), workspace, site).extra_ports == ()
    assert player(wishing, workspace, site, 0).extra_ports == ()


@pytest.mark.parametrize(
    ("requests", "limits", "expected"),
    [
        ({}, None, Resources()),
        (
            {"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "2Gi"},
            None,
            Resources(cpus=0.5, memory=2**30, disk=2**31),
        ),
        ({"cpu": "500m", "memory": "1Gi"}, {"memory": "2Gi"}, Resources(cpus=0.5, memory=2**31)),
        ({"cpu": "500m"}, {"cpu": "2"}, Resources(cpus=2.0)),
        ({"cpu": "0", "memory": "0"}, None, Resources()),
    ],
)
def test_limits_win_over_requests(requests: dict[str, str], limits: dict[str, str] | None, expected: Resources) -> None:
    """Each by itself; nothing and 0 leave the choice to the place."""
    resources = msgspec.convert({"requests": requests, "limits": limits}, ManifestResources)
    assert launches.wanted_resources(resources) == expected


async def test_every_role_says_how_much_it_may_use(spec_of, workspace: Workspace, site: ProcessSite) -> None:
    """Game, replay and players, each as the manifest says for it."""
    spec = spec_of()
    assert launches.game_launch(spec, workspace, site).resources == launches.wanted_resources(None) == Resources()
    document: dict[str, Any] = msgspec.to_builtins(spec.plan.manifest)
    document["game"]["runnable"]["resources"] = {"requests": {"memory": "1Gi"}}
    manifest = msgspec.convert(document, type(spec.plan.manifest))
    own = ManifestResources(requests=ResourceRequests(cpu="2"))
    seats = tuple(
        msgspec.structs.replace(seat, runnable=msgspec.structs.replace(seat.runnable, resources=own))
        for seat in spec.plan.seats
    )
    spec = msgspec.structs.replace(spec, plan=msgspec.structs.replace(spec.plan, manifest=manifest, seats=seats))
    assert launches.game_launch(spec, workspace, site).resources == Resources(memory=2**30)
    assert replay(spec, workspace, site).resources == Resources(memory=2**30)
    assert player(spec, workspace, site, 0).resources == Resources(cpus=2.0)


def test_what_is_wanted_is_asked_for_once(spec_of) -> None:
    """Equal seats are one thing to check, supporting roles count only when they will run."""
    spec = spec_of(players=("plays", "plays", "never_ends"), reporters=("works",), graders=("works",))
    roles = [wanted.role for wanted in launches.wanted(spec)]
    assert roles == ["game", "player", "reporter", "grader"]
    assert len(launches.wanted(msgspec.structs.replace(spec, reports=False))) == 2


def test_the_limits_of_an_episode_are_the_contracts_until_said_otherwise(spec_of) -> None:
    """First frame and players' grace come from the contract; a spec shows its id and directory."""
    assert Limits().first_frame == contract.FIRST_FRAME_WAIT
    assert Limits().player_grace == contract.PLAYER_EXIT_GRACE
    spec = spec_of()
    assert spec.id in repr(spec)
    assert Path(spec.directory).name in repr(spec)
