"""`coworld_protocol.sdk.player`: a seat against a real game, and against servers that misbehave."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing

from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused
from coworld_protocol.sdk.player import (
    GameUnreachable,
    SeatRefused,
    connect_player,
    player_url,
    run_player,
    upload_artifact,
)
from coworld_protocol.ws.pump import serve
from coworld_protocol.ws.web import Endpoint, Limits, Request, Response, Socket


async def test_a_player_plays_to_the_end(start_game, sum_types):
    """Iterating gives every observation; welcome and final are at hand; the loop ends with the episode."""
    seen_type, last, hello, add = sum_types
    game = await start_game(1, max_ticks=3)
    ticks = []
    with trio.fail_after(30):
        async with connect_player(seen_type, final=last, welcome=hello, url=game.url(0)) as player:
            async for seen in player:
                assert player.welcome.slot == player.slot == 0
                ticks.append(seen.tick)
                await player.send(add(add=2, tick=seen.tick))
        assert player.final.sums == [6]
    assert ticks == [0, 1, 2]


async def test_a_player_connects_again_with_its_token(start_game, sum_types):
    """A connection that breaks in the middle is made again and the episode goes on."""
    seen_type, last, hello, add = sum_types
    game = await start_game(1, max_ticks=4)
    cuts = 0
    with trio.fail_after(30):
        async with connect_player(seen_type, final=last, welcome=hello, url=game.url(0)) as player:
            async for seen in player:
                if seen.tick in {1, 2} and cuts < seen.tick:
                    cuts += 1
                    player._connection.abort()
                    continue
                await player.send(add(add=1, tick=seen.tick))
        assert player.final.sums == [4]
    assert cuts == 2


async def test_a_player_that_leaves_early_says_so(start_game, sum_types, websocket):
    """Leaving the block in mid-episode closes with 1000, so the others are not kept waiting."""
    seen_type, last, hello, _ = sum_types
    game = await start_game(2, max_ticks=1)
    with trio.fail_after(30):
        async with websocket(game.url(1)) as other:
            async with connect_player(seen_type, final=last, welcome=hello, url=game.url(0)) as player:
                await anext(player)
            await other.send('{"add": 1}')
            await game.ended.wait()
    assert game.results() == {"scores": [0, 1]}


async def test_a_wrong_token_is_refused_at_once(start_game, sum_types):
    """A refused seat is an error of its own, without further attempts."""
    seen_type, last, _, _ = sum_types
    game = await start_game(1)
    with trio.fail_after(30), pytest.raises(SeatRefused, match="refused seat 0"):
        async with connect_player(seen_type, final=last, url=game.url(0, "bad")):
            pass


async def test_a_replaced_player_does_not_fight_for_the_seat(start_game, sum_types, websocket):
    """When a newer connection takes the seat the older player ends with a sentence instead of connecting again."""
    seen_type, last, hello, _ = sum_types
    game = await start_game(1)
    with trio.fail_after(30):
        async with connect_player(seen_type, final=last, welcome=hello, url=game.url(0)) as player:
            await anext(player)
            async with websocket(game.url(0)):
                with pytest.raises(SeatRefused, match="replaced by a newer connection"):
                    await anext(player)


async def test_nobody_there_is_a_sentence(sum_types):
    """When no game answers in time the player says so."""
    seen_type, last, _, _ = sum_types
    with pytest.raises(GameUnreachable) as failed:
        async with connect_player(seen_type, final=last, url="ws://127.0.0.1:9/player?slot=0", connect_seconds=0.2):
            pass
    assert failed.value.evidence


async def test_a_player_waits_for_a_game_that_is_not_up_yet(sum_types, nursery):
    """The player may be started first; it connects once the game listens."""
    seen_type, last, _, _ = sum_types
    with trio.socket.socket() as probe:
        await probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    game = ScriptedGame(['{"type": "last", "sums": [1]}'])

    sums = []

    async def play() -> None:
        async with connect_player(seen_type, final=last, url=f"ws://127.0.0.1:{port}/player?slot=0") as player:
            assert [seen async for seen in player] == []
        sums.append(player.final.sums)

    with trio.fail_after(30):
        async with trio.open_nursery() as inner:
            inner.start_soon(play)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(partial(serve, game, host="127.0.0.1", port=port))
    assert sums == [[1]]


class ScriptedGame:
    """Sends some texts and raw frames on each connection, then closes with a code, or stays for None."""

    def __init__(self, texts: list[str | bytes], code: int | None = 1000, *, refuse: int | None = None) -> None:
        self.texts = texts
        self.code = code
        self.refuse = refuse
        self.connections = 0

    def respond(self, request: Request) -> Response | None:
        return None

    def upgrade(self, request: Request) -> Endpoint | Response:
        self.connections += 1
        return Response(status=self.refuse) if self.refuse else self

    def opened(self, socket: Socket) -> None:
        for text in self.texts:
            if isinstance(text, str):
                socket.send(text)
            else:
                socket.send_frame(text)
        if self.code is not None:
            socket.close(self.code)

    def received(self, payload: bytes, text: bool) -> None:
        pass

    def settled(self) -> None:
        pass

    def closed(self, code: int) -> None:
        pass


async def listen(nursery, game, limits: Limits | None = None) -> str:
    port = await nursery.start(partial(serve, game, host="127.0.0.1", port=0, limits=limits))
    return f"ws://127.0.0.1:{port}/player?slot=3"


async def test_a_game_that_closes_without_a_final_ends_the_loop(nursery, sum_types):
    """A normal close is an end too; there is just no final message."""
    seen_type, last, _, _ = sum_types
    url = await listen(nursery, ScriptedGame(['{"type": "seen", "tick": 0, "sums": [1]}']))
    with trio.fail_after(30):
        async with connect_player(seen_type, final=last, url=url) as player:
            assert [seen.sums async for seen in player] == [[1]]
    assert player.final is None
    assert player.slot == 3


async def test_a_game_that_vanished_for_good_ends_the_loop(nursery, sum_types):
    """When the game cannot be reached again the episode counts as over: it is not the player's fault."""
    seen_type, last, _, _ = sum_types
    game = ScriptedGame(['{"type": "seen", "tick": 0, "sums": [1]}'], 1011)
    url = await listen(nursery, game)
    with trio.fail_after(30):
        async with connect_player(seen_type, final=last, url=url, reconnect_seconds=0.2) as player:
            assert (await anext(player)).sums == [1]
            game.refuse = 503
            assert [seen async for seen in player] == []
    assert game.connections > 1


@pytest.mark.parametrize("text", ["no json", '{"type": "riddle"}', '{"type": "seen", "tick": "x", "sums": []}'])
async def test_an_unknown_message_is_a_sentence(nursery, sum_types, text):
    """A message that fits none of the player's types ends it and is quoted."""
    seen_type, last, _, _ = sum_types
    url = await listen(nursery, ScriptedGame([text]))
    with trio.fail_after(30), pytest.raises(Refused) as refused:
        async with connect_player(seen_type, final=last, url=url) as player:
            await anext(player)
    assert text in refused.value.evidence


async def test_the_authors_own_failure_leaves_as_itself(nursery, sum_types):
    """An exception raised in the block is not wrapped in a group."""
    seen_type, last, _, _ = sum_types
    url = await listen(nursery, ScriptedGame([]))
    with trio.fail_after(30), pytest.raises(LookupError, match="mine"):
        async with connect_player(seen_type, final=last, url=url):
            raise LookupError("mine")


async def test_pings_are_answered_while_the_player_thinks(nursery, sum_types):
    """A game that drops silent players keeps one that is busy with something else for a while."""
    seen_type, last, _, _ = sum_types
    url = await listen(
        nursery,
        ScriptedGame(['{"type": "seen", "tick": 0, "sums": [1]}'], None),
        Limits(ping_seconds=0.2, pong_seconds=2.0),
    )
    with trio.fail_after(60):
        async with connect_player(seen_type, final=last, url=url) as player:
            await anext(player)
            await trio.sleep(4.0)
            assert player._connection.code is None


async def test_a_unix_socket_is_taken_when_there_is_one(nursery, sum_types, tmp_path, monkeypatch):
    """The runner's Unix socket is preferred to the URL's port; one that is not there is passed over."""
    seen_type, last, _, _ = sum_types
    path = str(tmp_path / "game.sock")
    monkeypatch.setenv("COWORLD_ACTORS_UNIX_SOCKET", path)
    game = ScriptedGame(['{"type": "last", "sums": [1]}'])
    url = await listen(nursery, game)
    other = ScriptedGame(['{"type": "last", "sums": [2]}'])

    async def play() -> list[int]:
        with trio.fail_after(60):
            async with connect_player(seen_type, final=last, url=url) as player:
                assert [seen async for seen in player] == []
        return player.final.sums

    assert await play() == [1]
    await nursery.start(partial(serve, other, host="127.0.0.1", port=0, unix=path))
    assert await play() == [2]


@pytest.mark.parametrize("spin", [None, True, False])
async def test_a_player_may_poll(start_game, sum_types, spin):
    """Whether polling is left to measurement or forbidden, the episode is the same."""
    seen_type, last, hello, add = sum_types
    game = await start_game(1, max_ticks=100)
    with trio.fail_after(60):
        async with connect_player(seen_type, final=last, welcome=hello, url=game.url(0), spin=spin) as player:
            async for seen in player:
                await player.send(add(add=1, tick=seen.tick))
        assert player.final.sums == [100]


async def test_a_game_that_breaks_the_protocol_is_a_sentence(nursery, sum_types):
    """Connecting again would bring the same again, so the player says what is wrong."""
    seen_type, last, _, _ = sum_types
    game = ScriptedGame([b"\x83\x00"], None)
    url = await listen(nursery, game)
    with trio.fail_after(60), pytest.raises(Refused, match="cannot take") as refused:
        async with connect_player(seen_type, final=last, url=url) as player:
            await anext(player)
    assert "1002" in refused.value.evidence
    assert game.connections == 1


def test_the_url_comes_from_either_variable():
    """The present name wins over the older one; without both there is a sentence."""
    assert player_url({"COWORLD_PLAYER_WS_URL": "ws://a", "COGAMES_ENGINE_WS_URL": "ws://b"}) == "ws://a"
    assert player_url({"COGAMES_ENGINE_WS_URL": "ws://b"}) == "ws://b"
    with pytest.raises(PreconditionMissing, match="COWORLD_PLAYER_WS_URL"):
        player_url({})


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "ws:///player", "player"])
def test_a_url_that_is_no_websockets_is_a_sentence(sum_types, url, capsys):
    """`run_player` turns a failure into lines on stderr and its exit status."""
    seen_type, last, _, _ = sum_types

    async def main() -> None:
        async with connect_player(seen_type, final=last, url=url):
            pass

    assert run_player(main) == 2
    assert "The seat's URL cannot be used." in capsys.readouterr().err


def test_a_player_that_succeeds_has_status_0():
    """No failure, no output, status 0."""

    async def main() -> None:
        await trio.lowlevel.checkpoint()

    assert run_player(main) == 0


def test_an_artifact_goes_where_the_runner_says(tmp_path):
    """The zip is written to the URI; without one nothing happens."""
    assert upload_artifact(b"zip", {"COWORLD_PLAYER_ARTIFACT_UPLOAD_URL": f"file://{tmp_path}/a/p.zip"})
    assert (tmp_path / "a" / "p.zip").read_bytes() == b"zip"
    assert not upload_artifact(b"zip", {})


def test_an_artifact_that_is_too_large_is_refused(tmp_path, monkeypatch):
    """More than the contract allows is refused before anything is written."""
    monkeypatch.setattr("coworld_protocol.contract.ARTIFACT_LIMIT", 3)
    with pytest.raises(CoworldError, match="4 bytes"):
        upload_artifact(b"long", {"COWORLD_PLAYER_ARTIFACT_UPLOAD_URL": f"file://{tmp_path}/p.zip"})
    assert not list(tmp_path.iterdir())
