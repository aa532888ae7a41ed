"""`coworld_protocol.sdk.game`: the contract's routes, files and modes, over real sockets."""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib

import httpx
import pytest
import trio
from websockets.exceptions import ConnectionClosed, InvalidStatus

from coworld_protocol.errors import CoworldError, Refused
from coworld_protocol.sdk.game import load_replay


async def get(game, path, method="GET"):
    async with httpx.AsyncClient() as client:
        return await client.request(method, f"http://127.0.0.1:{game.port}{path}", timeout=20)


async def play(websocket, game, slot, add):
    """Sit on a seat and add a number to each observation until the game ends."""
    async with websocket(game.url(slot)) as socket:
        with contextlib.suppress(ConnectionClosed):
            while True:
                message = json.loads(await socket.recv())
                if message["type"] == "seen":
                    await socket.send(json.dumps({"add": add, "tick": message["tick"]}))
    assert socket.close_code == 1000


async def whole(websocket, game, seats=2):
    async with trio.open_nursery() as nursery:
        for slot in range(seats):
            nursery.start_soon(play, websocket, game, slot, slot + 1)
    with trio.fail_after(30):
        await game.ended.wait()


async def test_an_episode_writes_results_and_replay_and_ends(start_game, websocket):
    """All seats play to the end; results and replay are there and the game is over."""
    game = await start_game(2, max_ticks=3)
    with trio.fail_after(30):
        await whole(websocket, game)
    assert game.results() == {"scores": [3, 6]}
    replay = game.replay()
    assert replay["start"] == {"type": "whole", "tick": 0, "sums": [0, 0]}
    assert [frame["moved"] for frame in replay["frames"]] == [{"0": 1, "1": 2}] * 3
    assert replay["results"] == {"scores": [3, 6]}


async def test_the_replay_holds_no_token(start_game, tmp_path, websocket):
    """Not one seat's secret is in what the game leaves behind."""
    game = await start_game(2)
    await whole(websocket, game)
    assert "token-" not in (tmp_path / "replay").read_text() + (tmp_path / "results.json").read_text()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/healthz", 200),
        ("/client/player?slot=0&token=x", 200),
        ("/client/global", 200),
        ("/client/look.css", 200),
        ("/client/replay", 404),
        ("/client/admin", 404),
        ("/client/replay.html", 404),
        ("/client/secret.key", 404),
        ("/client/../config.json", 404),
        ("/client/%2e%2e/config.json", 404),
        ("/", 404),
        ("/player", 426),
        ("/global", 426),
        ("/replay", 404),
        ("/admin", 404),
    ],
)
async def test_routes_of_an_episode(start_game, path, status):
    """Pages and assets of episode mode answer, nothing else does."""
    game = await start_game(2)
    answer = await get(game, path)
    assert answer.status_code == status
    if path.startswith("/client/player"):
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.text == "<p>player"


@pytest.mark.parametrize(
    "seat",
    [
        {"slot": 0, "token": "bad"},
        {"slot": 0, "token": "token-1"},
        {"slot": 1, "token": "token-0"},
        {"slot": 2, "token": "token-2"},
        {"slot": -1, "token": "token-1"},
        {"slot": "x", "token": "token-0"},
        {"slot": "00000000000000", "token": "token-0"},
        {"slot": "%D9%A0", "token": "token-0"},
    ],
)
async def test_only_the_pair_of_slot_and_token_opens_a_seat(start_game, seat, websocket):
    """A wrong token, another seat's token and a seat that does not exist are refused before the upgrade."""
    game = await start_game(2)
    with pytest.raises(InvalidStatus) as refused:
        async with websocket(game.url(**seat)):
            pass
    assert refused.value.response.status_code == 403


async def test_a_seat_without_slot_or_token_is_refused(start_game, websocket):
    """Missing query items are a refusal, not a crash."""
    game = await start_game(2)
    for query in ("", "?slot=0", "?token=token-0"):
        with pytest.raises(InvalidStatus):
            async with websocket(f"ws://127.0.0.1:{game.port}/player{query}"):
                pass
    assert (await get(game, "/healthz")).status_code == 200


@pytest.mark.parametrize("pack", [lambda data: data, zlib.compress, gzip.compress], ids=["raw", "z", "gz"])
async def test_replay_mode_serves_the_file(start_game, tmp_path, nursery, pack, websocket):
    """A replay that was written is sent whole on `/replay`, however it is compressed; `/client/replay` is its page."""
    game = await start_game(2)
    await whole(websocket, game)
    raw = (tmp_path / "replay").read_bytes()
    (tmp_path / "again").write_bytes(pack(raw))
    show = await type(game)(nursery, tmp_path, game.server).start({}, COGAME_LOAD_REPLAY_URI=f"file://{tmp_path}/again")
    async with websocket(show.url(route="replay")) as socket:
        await socket.send('{"command": "pause"}')
        assert (await socket.recv()).encode() == raw
    assert (await get(show, "/client/replay")).text == "<p>replay"
    assert (await get(show, "/healthz")).status_code == 200
    assert (await get(show, "/client/player")).status_code == 404
    with pytest.raises(InvalidStatus):
        async with websocket(show.url(0)):
            pass


@pytest.mark.parametrize("data", [b"", b"{}", b"no", b"\x1f\x8bxx", b"x\x9cxx", zlib.compress(b"{}")[:-1]])
def test_what_is_no_replay_is_refused(data):
    """Anything that this server did not write is refused with a sentence."""
    with pytest.raises(CoworldError) as refused:
        load_replay(data)
    assert refused.value.what.endswith(".")
    assert refused.value.todo


async def test_results_that_cannot_be_written_end_with_a_failure(start_game, tmp_path, sum_server, capsys):
    """The game ends with a status other than 0 and says which file it could not write."""
    (tmp_path / "file").write_text("")
    config = tmp_path / "config.json"
    config.write_text('{"tokens": ["a"], "player_connect_timeout_seconds": 0, "tick_timeout_seconds": 0.1}')
    environ = {
        "COGAME_HOST": "127.0.0.1",
        "COGAME_PORT": "0",
        "COGAME_CONFIG_URI": str(config),
        "COGAME_RESULTS_URI": f"file://{tmp_path}/file/results.json",
    }
    assert await trio.to_thread.run_sync(sum_server.main, environ) == 3
    err = capsys.readouterr().err
    assert "results.json cannot be written" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ("{", "truncated"),
        ("[]", "object"),
        ("{}", "tokens"),
        ('{"tokens": []}', "length"),
        ('{"tokens": [""]}', "empty"),
        ('{"tokens": ["a"], "suprise": 1}', "suprise"),
        ('{"tokens": ["a"], "mode": "slow"}', "mode"),
        ('{"tokens": ["a"], "tick_rate": -1}', "tick_rate"),
    ],
)
async def test_a_bad_configuration_is_a_sentence(tmp_path, sum_server, capsys, config, what):
    """A configuration that does not fit ends the game at once and names the key."""
    (tmp_path / "config.json").write_text(config)
    environ = {"COGAME_CONFIG_URI": f"{tmp_path}/config.json", "COGAME_RESULTS_URI": f"{tmp_path}/results.json"}
    assert await trio.to_thread.run_sync(sum_server.main, environ) == 2
    assert what in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environ", "what", "status"),
    [
        ({}, "COGAME_RESULTS_URI is not set", 3),
        ({"COGAME_RESULTS_URI": "r"}, "COGAME_CONFIG_URI is not set", 3),
        ({"COGAME_RESULTS_URI": "r", "COGAME_CONFIG_URI": "/no/such/file"}, "cannot be read", 3),
        ({"COGAME_PORT": "many"}, "COGAME_PORT is not a port", 2),
        ({"COGAME_PORT": "65536"}, "COGAME_PORT is not a port", 2),
    ],
)
async def test_a_bad_environment_is_a_sentence(sum_server, capsys, environ, what, status):
    """Missing or wrong variables end the game at once and are named."""
    assert await trio.to_thread.run_sync(sum_server.main, environ) == status
    assert what in capsys.readouterr().err


async def test_the_rules_never_see_a_token(start_game):
    """What the rules get is blanked, so that they cannot leak it."""
    game = await start_game(2)
    seen = []
    inner = game.server._rules
    game.server._rules = lambda config: seen.append(config.tokens) or inner(config)
    again = type(game)(game._nursery, game.directory, game.server)
    await again.start({"tokens": ["token-0", "token-1"]})
    assert seen == [("", "")]


def test_refused_is_what_a_bad_replay_raises():
    """A JSON object that is no replay is the caller's mistake, not the machine's."""
    with pytest.raises(Refused):
        load_replay(b'{"type": "replay"}')
