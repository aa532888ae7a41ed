"""Whole episodes of Orchard: the game and its players as processes, started by hand as anybody could."""

from __future__ import annotations

import gzip
import hashlib
import json
import signal
import zlib

import pytest
import trio
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect


def sit(episode, slot):
    return connect(episode.url("/player", slot), proxy=None, compression=None)


def read(socket, kind=None):
    while True:
        message = json.loads(socket.recv(timeout=60))
        if kind is None or message["type"] == kind:
            return message


def test_an_episode_with_every_kind_of_player(start_orchard):
    """Greedy, random and plain play to the end; everybody exits with 0 and the results tell who picked what."""
    episode = start_orchard(4)
    names = ["greedy", "random_walk", "plain", "greedy"]
    players = [episode.sit(slot, name, ORCHARD_PLAYER_SEED="1") for slot, name in enumerate(names)]
    assert episode.wait() == 0, episode.log()
    assert [player.wait(60) for player in players] == [0, 0, 0, 0]
    results = episode.results()
    assert results["ticks"] == 40
    assert len(results["scores"]) == 4
    # Whoever walks to fruit picks more than who wanders; the seeds make this no matter of luck.
    assert results["scores"][1] < min(results["scores"][0], results["scores"][2], results["scores"][3])
    replay = json.loads((episode.directory / "replay").read_text())
    assert len(replay["frames"]) == 40
    assert replay["results"] == results
    assert "token-" not in (episode.directory / "replay").read_text() + episode.log()


def play_seeded(start_orchard, **config):
    episode = start_orchard(3, **config)
    for slot, name in enumerate(["greedy", "random_walk", "plain"]):
        episode.sit(slot, name, ORCHARD_PLAYER_SEED="7")
    assert episode.wait() == 0
    return hashlib.sha256((episode.directory / "replay").read_bytes()).hexdigest()


def test_two_runs_of_one_seed_leave_the_same_replay(start_orchard):
    """In lockstep the same seed and the same players give the same replay, byte for byte; another seed does not."""
    first = play_seeded(start_orchard, seed=11)
    assert play_seeded(start_orchard, seed=11) == first
    assert play_seeded(start_orchard, seed=12) != first


def test_real_time_goes_on_without_moves(start_orchard):
    """Nobody moves, the ticks come all the same."""
    episode = start_orchard(2, mode="realtime", tick_rate=50, max_ticks=10)
    with sit(episode, 0) as one, sit(episode, 1):
        ticks = []
        while (message := read(one))["type"] != "final":
            if message["type"] == "observation":
                ticks.append(message["tick"])
        assert ticks == list(range(ticks[0], 10))
    assert episode.wait() == 0


def test_a_killed_player_costs_its_seat_and_not_the_episode(start_orchard):
    """When a player is killed in the middle its forager stands still and the others finish."""
    episode = start_orchard(2, max_ticks=300, reconnect_grace_seconds=0.2, tick_rate=200)
    victim = episode.sit(0, "greedy")
    with sit(episode, 1) as one:
        while True:
            message = read(one)
            if message["type"] == "final":
                break
            if message["type"] == "observation":
                if message["tick"] == 20:
                    victim.send_signal(signal.SIGKILL)
                one.send(json.dumps({"move": "stay", "tick": message["tick"]}))
    assert episode.wait() == 0
    assert episode.results()["ticks"] == 300


def test_a_reconnect_finds_forager_and_score(start_orchard):
    """The same token comes back to where its forager stood, with its score."""
    episode = start_orchard(2)
    with sit(episode, 1) as other:
        with sit(episode, 0) as one:
            for tick in range(5):
                assert read(one, "observation")["tick"] == tick
                one.send(json.dumps({"move": "right", "tick": tick}))
                other.send(json.dumps({"move": "stay", "tick": tick}))
                read(other, "observation")
            before = read(one, "observation")
            one.socket.shutdown(2)
        with sit(episode, 0) as again:
            welcome = read(again)
            assert welcome["type"] == "welcome"
            assert welcome["slot"] == 0
            assert read(again) == before


@pytest.mark.parametrize(
    ("slot", "token"), [(0, "bad"), (0, "token-1"), (1, "token-0"), (2, "token-2"), (-1, "token-1")]
)
def test_a_wrong_seat_or_token_is_403(start_orchard, slot, token):
    """Nobody sits down on a seat whose token they do not have."""
    episode = start_orchard(2)
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"{episode.url('/player')}?slot={slot}&token={token}", proxy=None),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_junk_from_a_player_is_ignored_and_the_episode_goes_on(start_orchard):
    """Wrong moves, wrong JSON and binary junk hurt nobody."""
    episode = start_orchard(2, max_ticks=3)
    with sit(episode, 0) as bad, sit(episode, 1) as good:
        for tick in range(3):
            assert read(good, "observation")["tick"] == tick
            for junk in ("{", '{"move": "jump"}', '{"move": 1}', "[]", b"\xff\x00", '{"move": "up", "tick": 99}'):
                bad.send(junk)
            bad.send('{"move": "up"}')
            good.send(json.dumps({"move": "down", "tick": tick}))
        assert read(good, "final")["ticks"] == 3
        assert read(bad, "final")["ticks"] == 3
    assert episode.wait() == 0


def test_a_late_viewer_sees_all_and_a_stuck_one_stops_nothing(start_orchard):
    """One viewer comes late and gets the state; another never reads; the episode ends."""
    episode = start_orchard(2, max_ticks=30, tick_rate=60)
    with connect(episode.url("/global"), proxy=None, max_queue=1, close_timeout=0.1) as stuck:
        players = [episode.sit(slot, "greedy") for slot in range(2)]
        with sit(episode, 0) as thief:
            # The seat now is ours; the process that had it ends, which is its right.
            while read(thief)["type"] != "observation":
                pass
            with connect(episode.url("/global"), proxy=None) as late:
                state = read(late)
                assert state["type"] == "state"
                assert state["trees"]
                assert read(late)["type"] == "status"
            thief.send('{"move": "up"}')
        assert stuck.protocol.state.name == "OPEN"
    assert episode.wait() == 0
    for player in players:
        player.wait(60)


@pytest.mark.parametrize(
    ("name", "pack"),
    [("replay", bytes), ("replay.z", zlib.compress), ("replay.gz", gzip.compress)],
    ids=["raw", "z", "gz"],
)
def test_a_replay_is_shown_again(start_orchard, show_replay, tmp_path, name, pack):
    """Replay mode sends what was written, raw or compressed."""
    episode = start_orchard(2, max_ticks=5, player_connect_timeout_seconds=0)
    assert episode.wait() == 0
    raw = (tmp_path / "replay").read_bytes()
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown" / name).write_bytes(pack(raw))
    show = show_replay(tmp_path / "shown" / name)
    with connect(show.url("/replay"), proxy=None, max_size=None) as socket:
        assert socket.recv(timeout=60).encode() == raw


def test_a_broken_replay_ends_the_game_with_a_sentence(processes, tmp_path):
    """A file that is no replay is refused, without a traceback."""
    (tmp_path / "junk").write_text('{"type": "replay"}')
    process = processes.start(
        "orchard.game", {"COGAME_PORT": "0", "COGAME_LOAD_REPLAY_URI": f"{tmp_path}/junk"}, "junk.log"
    )
    assert process.wait(60) == 2
    log = (tmp_path / "junk.log").read_text()
    assert "The replay cannot be shown." in log
    assert "Traceback" not in log


def test_results_that_cannot_be_written_are_a_failure(processes, tmp_path):
    """The game ends with a status other than 0 and one sentence."""
    (tmp_path / "config.json").write_text('{"tokens": ["a", "b"], "max_ticks": 1, "player_connect_timeout_seconds": 0}')
    (tmp_path / "results.json").mkdir()
    environ = {"COGAME_HOST": "127.0.0.1", "COGAME_PORT": "0"}
    environ |= {"COGAME_CONFIG_URI": f"{tmp_path}/config.json", "COGAME_RESULTS_URI": f"{tmp_path}/results.json"}
    process = processes.start("orchard.game", environ, "game.log")
    assert process.wait(60) == 3
    assert "results.json cannot be written" in (tmp_path / "game.log").read_text()


def test_a_player_that_is_refused_says_so(start_orchard):
    """A player with a wrong token ends with a sentence and a status other than 0."""
    episode = start_orchard(2)
    player = episode.processes.start(
        "orchard.players.greedy", {"COWORLD_PLAYER_WS_URL": f"{episode.url('/player')}?slot=0&token=bad"}, "bad.log"
    )
    assert player.wait(60) == 2
    assert "The game refused seat 0." in episode.log("bad.log")


def test_the_game_answers_pings_while_it_waits(start_orchard):
    """A ping on `/global` gets its payload back before anybody sits."""
    episode = start_orchard(2)
    with connect(episode.url("/global"), proxy=None) as viewer:
        assert viewer.ping(b"coworld-certification-ping").wait(60)


async def test_sixty_four_seats_in_one_process(start_orchard):
    """A crowd of 64 plays a short episode through; every seat gets its final message."""
    episode = await trio.to_thread.run_sync(lambda: start_orchard(64, width=32, height=32, max_ticks=10))
    finals = []

    async def seat(slot):
        from websockets.trio.client import connect as connect_trio

        async with connect_trio(episode.url("/player", slot), proxy=None, compression=None, open_timeout=60) as socket:
            try:
                while True:
                    message = json.loads(await socket.recv())
                    if message["type"] == "observation":
                        await socket.send(json.dumps({"move": "up", "tick": message["tick"]}))
                    elif message["type"] == "final":
                        finals.append(slot)
            except ConnectionClosed as closed:
                assert closed.rcvd.code == 1000  # noqa: PT017

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            for slot in range(64):
                nursery.start_soon(seat, slot)
    assert sorted(finals) == list(range(64))
    assert await trio.to_thread.run_sync(episode.wait) == 0
