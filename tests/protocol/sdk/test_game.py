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
from coworld_protocol.sdk.game import GameServer
from coworld_protocol.sdk.sites import load_replay
from coworld_protocol.ws.web import Limits


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
        ({"COGAME_RESULTS_URI": "ftp://x/r", "COGAME_CONFIG_URI": "c"}, "ftp://x/r is not supported", 3),
        ({"COGAME_RESULTS_URI": "r", "COGAME_SAVE_REPLAY_URI": "s3://x/r", "COGAME_CONFIG_URI": "c"}, "s3://x/r", 3),
        ({"COGAME_REPLAY_SERVER": "1"}, "COGAME_RESULTS_URI is not set", 3),
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


@pytest.mark.parametrize(("name", "unpack"), [("r.z", zlib.decompress), ("r.gz", gzip.decompress), ("r.json", bytes)])
async def test_a_replay_is_compressed_as_its_name_says(start_game, tmp_path, websocket, name, unpack):
    """`.z` and `.gz` in the URI compress what is saved; a reader that goes by the name finds what it expects."""
    game = await start_game(2, environ={"COGAME_SAVE_REPLAY_URI": f"file://{tmp_path}/{name}"})
    await whole(websocket, game)
    saved = (tmp_path / name).read_bytes()
    assert json.loads(unpack(saved))["results"] == game.results()
    assert load_replay(saved) == unpack(saved)


async def test_a_seat_may_come_through_a_unix_socket(start_game, tmp_path):
    """With a path in the environment the game listens there too, with the same seats."""
    path = tmp_path / "game.sock"
    game = await start_game(1, max_ticks=1, environ={"COWORLD_ACTORS_UNIX_SOCKET": str(path)})
    head = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    heard = b""
    with trio.fail_after(30):
        async with await trio.open_unix_socket(str(path)) as stream:
            await stream.send_all(f"GET /player?slot=0&token=token-0 HTTP/1.1\r\n{head}\r\n{key}\r\n\r\n".encode())
            await stream.send_all(bytes([0x81, 0x8A, 0, 0, 0, 0]) + b'{"add": 6}')
            async for part in stream:
                heard += part
                if b'"last"' in heard:
                    break
        await game.ended.wait()
    assert game.results() == {"scores": [6]}
    assert not path.exists()


@pytest.fixture
def old_server(sum_server):
    """The game of sums with the old names switched on."""
    config, rules, move = sum_server._config_type, sum_server._rules, sum_server._move
    return GameServer(config=config, rules=rules, move=move, pages=sum_server._pages, old_names=True, spin=False)


async def show_old(start_game, tmp_path, nursery, server, **environ):
    """A replay server of the old kind, and what a game of the same rules has saved."""
    game = await start_game(1, player_connect_timeout_seconds=0, tick_timeout_seconds=0.1)
    with trio.fail_after(30):
        await game.ended.wait()
    show = await type(game)(nursery, tmp_path, server).start({}, COGAME_REPLAY_SERVER="1", **environ)
    return show, (tmp_path / "replay").read_bytes()


@pytest.mark.parametrize(
    ("name", "pack"), [("r.json.z", zlib.compress), ("r.json.z", gzip.compress), ("r.json", bytes)]
)
async def test_an_old_replay_server_shows_what_each_viewer_names(
    start_game, tmp_path, nursery, old_server, websocket, name, pack
):
    """`COGAME_REPLAY_SERVER=1` with the old names: page at `/clients/replay`, replay by `?uri=`, whatever its compression."""
    show, raw = await show_old(start_game, tmp_path, nursery, old_server)
    (tmp_path / name).write_bytes(pack(raw))
    assert (await get(show, "/clients/replay?uri=x")).text == "<p>replay"
    assert (await get(show, "/clients/look.css")).status_code == 200
    for uri in (f"file://{tmp_path}/{name}", f"{tmp_path}/{name}"):
        async with websocket(f"{show.url(route='replay')}?uri={uri}") as socket:
            with trio.fail_after(30):
                assert (await socket.recv()).encode() == raw


@pytest.mark.parametrize("uri", ["/no/such/file", "ftp://x/y", "{}/config.json", "http://[", "s3://"])
async def test_an_old_replay_server_refuses_a_bad_uri(start_game, tmp_path, nursery, old_server, websocket, uri):
    """What is no replay is closed before any data, without a word about what is there; the next viewer is served."""
    show, raw = await show_old(start_game, tmp_path, nursery, old_server)
    async with websocket(f"{show.url(route='replay')}?uri={uri.format(tmp_path)}") as socket:
        with pytest.raises(ConnectionClosed) as closed, trio.fail_after(30):
            await socket.recv()
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "the replay cannot be shown")
    async with websocket(f"{show.url(route='replay')}?uri={tmp_path}/replay") as socket:
        with trio.fail_after(30):
            assert (await socket.recv()).encode() == raw


async def test_an_old_replay_server_wants_a_name(start_game, tmp_path, nursery, sum_server, websocket):
    """Without a URI the handshake fails with 400; the environment's switch turns the old names on as well."""
    show, _ = await show_old(start_game, tmp_path, nursery, sum_server, COWORLD_ACTORS_OLD_NAMES="1")
    with pytest.raises(InvalidStatus) as refused:
        async with websocket(show.url(route="replay")):
            pass
    assert refused.value.response.status_code == 400


async def test_old_names_and_current_ones_play_the_same_game(start_game, old_server, tmp_path, nursery, websocket):
    """With the switch on an episode has the pages under both names and is played as ever."""
    example = await start_game(2, player_connect_timeout_seconds=60)
    game = await type(example)(nursery, tmp_path, old_server).start({"tokens": ["token-0", "token-1"]})
    for path in ("/clients/player?slot=0&token=x", "/clients/global", "/client/player", "/clients/look.css"):
        assert (await get(game, path)).status_code == 200
        assert (await get(example, path)).status_code == (404 if path.startswith("/clients") else 200)
    await whole(websocket, game)
    assert game.results() == {"scores": [3, 6]}


@pytest.mark.parametrize(("tick_timeout", "pong"), [(0.5, 20.0), (300, 300)])
async def test_a_player_may_think_as_long_as_a_tick_takes(
    tmp_path, sum_server, nursery, monkeypatch, tick_timeout, pong
):
    """Without limits of the author's own, the time to answer a ping is never shorter than a tick's."""
    seen = []

    async def listen(site, *, limits, task_status, **more):
        seen.append(limits)
        task_status.started(1)

    monkeypatch.setattr("coworld_protocol.sdk.game.serve", listen)
    config = {"tokens": ["a"], "tick_timeout_seconds": tick_timeout}
    (tmp_path / "c").write_text(json.dumps(config))
    environ = {"COGAME_CONFIG_URI": f"{tmp_path}/c", "COGAME_RESULTS_URI": f"{tmp_path}/r"}
    await nursery.start(lambda task_status: sum_server.run(environ, task_status=task_status))
    assert [limits.pong_seconds for limits in seen] == [pong]


async def test_a_seat_that_answers_no_pings_is_let_go(start_game, sum_server, websocket):
    """A peer that is there no longer is found out by pings, long before the tick's time is up; the others go on."""
    sum_server._limits = Limits(ping_seconds=0.2, pong_seconds=0.2)
    game = await start_game(2, max_ticks=2, tick_timeout_seconds=300, reconnect_grace_seconds=0.1)
    head = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    with trio.fail_after(60):
        async with await trio.open_tcp_stream("127.0.0.1", game.port) as silent:
            await silent.send_all(f"GET /player?slot=1&token=token-1 HTTP/1.1\r\n{head}\r\n{key}\r\n\r\n".encode())
            await play(websocket, game, 0, 5)
        await game.ended.wait()
    assert game.results() == {"scores": [10, 0]}
