"""Games of the contract's first versions: played and shown when that is asked for, and told from those of today."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio

from coworld_actors.actors import Record, open_system
from coworld_actors.episode import launches, probes
from coworld_actors.episode.conductor import run_episode
from coworld_actors.episode.dialect import CURRENT, OLD, Compat, dialects, game_variables, replay_variables
from coworld_actors.episode.events import OldNamesSpoken
from coworld_actors.episode.probes import ContractBroken, PageNotFound
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.role import address_of
from coworld_actors.episode.spec import EpisodeSpec, Limits
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from coworld_drivers.driver import Address
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver
from coworld_protocol import contract
from coworld_protocol.contract import ErrorType
from coworld_protocol.switches import ENV_OLD_NAMES
from tests import strangers
from tests.coworlds import scripted_manifest, write_coworld

ORCHARD = Path(__file__).parents[2] / "examples/orchard"
LIMITS = Limits(timeout=90, startup=60, first_frame=10, replay=60)


async def played(spec: EpisodeSpec, coworld: Path) -> tuple[EpisodeRecord, int]:
    """The record of an episode, and how often it was said that its game speaks the old names."""
    told: list[Record] = []
    with trio.fail_after(180):
        async with ProcessDriver(load_images(coworld, {})) as driver, open_system("test") as system:
            system.events.subscribe(told.append)
            record = await run_episode(system, driver, spec)
    return record, sum(isinstance(each.event, OldNamesSpoken) for each in told)


@pytest.fixture
def old(tmp_path: Path) -> Callable[..., EpisodeSpec]:
    """Makes the spec of an episode of a game that knows the old names and no others."""

    def make(**fields: Any) -> EpisodeSpec:
        manifest = scripted_manifest()
        manifest["game"]["runnable"]["run"] = ["python", "old_game.py"]
        loaded = load_manifest(write_coworld(tmp_path / "coworld", manifest))
        return EpisodeSpec(plan=build_plan(loaded), directory=tmp_path / "run", limits=LIMITS, **fields)

    return make


async def test_an_old_game_is_played_and_its_replay_shown(old: Callable[..., EpisodeSpec], tmp_path: Path) -> None:
    """By its own names for pages, replay mode and the replay; it is told what its players are called, and we are told once."""
    spec = old(compat=Compat.AUTO, verify_replay=True)
    record, told = await played(spec, tmp_path / "coworld")
    assert record.verdict.good, record.verdict
    assert told == 1
    names = json.dumps([seat.name for seat in spec.plan.seats], separators=(",", ":"))
    assert f"names: {names}\n" in (tmp_path / "run/logs/game.stdout.log").read_text()


async def test_without_being_asked_nobody_looks_for_old_names(old: Callable[..., EpisodeSpec], tmp_path: Path) -> None:
    """The game breaks the contract of today, and nothing of yesterday's is passed to it."""
    record, told = await played(old(), tmp_path / "coworld")
    assert record.verdict.error_type is ErrorType.GAME_CONTRACT_VIOLATION, record.verdict
    assert "/client/player" in record.verdict.message
    assert told == 0
    assert "names: None\n" in (tmp_path / "run/logs/game.stdout.log").read_text()


async def test_a_game_that_knows_both_is_met_by_the_names_of_today(tmp_path: Path) -> None:
    """One on our SDK with its switch on; started by the old names alone it shows the replay by those."""
    loaded = load_manifest(ORCHARD / "coworld_manifest.json")
    spec = EpisodeSpec(
        plan=build_plan(loaded, overrides=["max_ticks=20"]),
        directory=tmp_path / "run",
        limits=LIMITS,
        verify_replay=True,
        reports=False,
        role_env={ENV_OLD_NAMES: "1"},
        compat=Compat.AUTO,
    )
    record, told = await played(spec, ORCHARD)
    assert record.verdict.good, record.verdict
    assert told == 0
    (tmp_path / "own").mkdir()
    async with (
        ProcessDriver(load_images(ORCHARD, {})) as driver,
        driver.open_site("old") as site,
        httpx.AsyncHTTPTransport(trust_env=False, verify=False) as http,
    ):
        launch = launches.replay_launch(
            loaded.manifest.game,
            replay=tmp_path / "run/replay",
            own=tmp_path / "own",
            stdout=tmp_path / "out",
            stderr=tmp_path / "err",
            role_env={ENV_OLD_NAMES: "1"},
            site=site,
            compat=Compat.AUTO,
        )
        env = dict(launch.env)
        uri = env.pop(contract.ENV_LOAD_REPLAY_URI)
        handle = await site.start(msgspec.structs.replace(launch, env=env))
        address = address_of(handle)
        with trio.fail_after(60):
            while await probes.ask_health(http, address):
                await trio.sleep(0.05)
            assert await probes.find_dialect(http, address, (OLD,), lambda names: names.replay_page(uri)) is OLD
            await probes.first_message(address, OLD.replay_target(uri), 10)
            with pytest.raises(ContractBroken):
                await probes.first_message(address, CURRENT.replay_target(uri), 10)


@pytest.fixture
async def http():
    """The transport that the conductor uses."""
    async with httpx.AsyncHTTPTransport(trust_env=False, verify=False) as made:
        yield made


def serving(*routes: str, other: int = 404) -> strangers.Handler:
    """Answers these routes with 200 and the others with another status."""

    async def handle(stream: trio.SocketStream) -> None:
        asked = (await strangers.request(stream)).split(b" ")[1].decode()
        status = 200 if asked in routes else other
        await stream.send_all(f"HTTP/1.1 {status} Status\r\nContent-Length: 0\r\n\r\n".encode())

    return handle


@pytest.mark.parametrize(
    ("routes", "found"),
    [
        (("/client/global",), CURRENT),
        (("/client/global", "/clients/global"), CURRENT),
        (("/clients/global",), OLD),
    ],
)
async def test_the_first_name_that_is_served_tells_the_generation(server, http, routes, found) -> None:
    """Names of today come first."""
    address: Address = await server(serving(*routes))
    assert await probes.find_dialect(http, address, dialects(Compat.AUTO), lambda names: names.client_global) is found


async def test_a_page_under_neither_name(server, http) -> None:
    """The name of today is what is missing; the evidence has the other one too."""
    address: Address = await server(serving())
    with pytest.raises(PageNotFound, match="does not serve /client/player") as caught:
        await probes.find_dialect(
            http,
            address,
            dialects(Compat.AUTO),
            lambda names: names.client_player,
            redirects=False,
            slot=0,
            token="t0k",
        )
    assert caught.value.evidence == "HTTP status 404; nor does it serve /clients/player"


async def test_only_404_means_another_name(server, http) -> None:
    """A page that is broken is broken, whatever else there is."""
    address: Address = await server(serving("/clients/global", other=500))
    with pytest.raises(ContractBroken, match="/client/global") as caught:
        await probes.find_dialect(http, address, dialects(Compat.AUTO), lambda names: names.client_global)
    assert caught.value.evidence == "HTTP status 500"


def test_what_each_generation_is_started_with() -> None:
    """The variables of today always; those of yesterday beside them, when that is asked for."""
    uri = "file:///coworld-replay/a b"
    assert game_variables(Compat.CURRENT, ["a"]) == {}
    assert game_variables(Compat.AUTO, ["a", "\u00e9"]) == {"COGAMES_POLICY_NAMES": '["a","\u00e9"]'}
    assert replay_variables(Compat.CURRENT, uri) == {"COGAME_LOAD_REPLAY_URI": uri}
    assert replay_variables(Compat.AUTO, uri) == {"COGAME_LOAD_REPLAY_URI": uri, "COGAME_REPLAY_SERVER": "1"}


def test_a_replay_is_named_only_where_that_is_expected() -> None:
    """Old games are told by each request, those of today by none."""
    uri = "file:///coworld-replay/a b&c"
    assert (CURRENT.replay_page(uri), CURRENT.replay_target(uri)) == ("/client/replay", "/replay")
    assert OLD.replay_target(uri) == "/replay?uri=file%3A%2F%2F%2Fcoworld-replay%2Fa+b%26c"
    assert OLD.replay_page(uri).startswith("/clients/replay?uri=file")
