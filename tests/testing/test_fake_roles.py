"""The ready-made scripts that need more than an end; the ends themselves are in `test_fake_driver`."""

from __future__ import annotations

import json

import trio
from trio.testing import wait_all_tasks_blocked

from coworld_actors.testing import FakeDriver, exits, serves
from coworld_drivers.driver import Launch
from tests.counting import counting_player, counting_server


def game_launch(directory, **env) -> Launch:
    config = {"tokens": ["t-0"], "ticks": 2, "tick_timeout_seconds": 5}
    (directory / "config.json").write_text(json.dumps(config))
    variables = {
        "COGAME_CONFIG_URI": f"file://{directory}/config.json",
        "COGAME_RESULTS_URI": f"file://{directory}/results.json",
    }
    return Launch(
        name="game", role="game", image="i", serves=True, env={**variables, **env}, stdout=directory / "game.log"
    )


async def test_a_game_and_a_player_of_the_sdk_play_as_roles(tmp_path):
    """Over a real socket, each with the exit code of a process."""
    driver = FakeDriver({"game": serves(counting_server(tmp_path / "pages")), "player": counting_player(5)})
    with trio.fail_after(60):
        async with driver.open_site("e-1") as site:
            game = await site.start(game_launch(tmp_path))
            url = f"ws://{game.peer_address}/player?slot=0&token=t-0"
            player = await site.start(
                Launch(
                    name="player-0",
                    role="player",
                    image="i",
                    secret_env={"COWORLD_PLAYER_WS_URL": url},
                    stdout=tmp_path / "player.log",
                )
            )
            assert (await player.wait()).ok
            assert (await game.wait()).ok
    assert json.loads((tmp_path / "results.json").read_text()) == {"scores": [10]}


async def test_a_game_that_cannot_run_says_why_in_its_log(tmp_path):
    """The SDK's sentence and its exit code."""
    driver = FakeDriver({"game": serves(counting_server(tmp_path / "pages"))})
    async with driver.open_site("e-1") as site:
        game = await site.start(game_launch(tmp_path, COGAME_CONFIG_URI=f"file://{tmp_path}/nothing.json"))
        status = await game.wait()
    assert status.code in {2, 3}
    assert "nothing.json" in game.tail()


async def test_what_a_role_says_and_when(tmp_path, autojump_clock):
    """First words at once, last words at the end, standard error apart if there is a file for it."""
    driver = FakeDriver({"player": exits(2, after=3, says="hello", complains="no weights")})
    async with driver.open_site("e-1") as site:
        launch = Launch(name="p", role="player", image="i", stdout=tmp_path / "out.log", stderr=tmp_path / "err.log")
        handle = await site.start(launch)
        await wait_all_tasks_blocked()
        assert handle.tail() == "hello\n"
        assert (await handle.wait()).code == 2
        assert trio.current_time() == 3.0
    assert (tmp_path / "out.log").read_text() == "hello\n"
    assert (tmp_path / "err.log").read_text() == handle.tail() == "no weights\n"
