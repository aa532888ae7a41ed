"""Both embedding services do the same for whoever asks over HTTP."""

from __future__ import annotations

import json
import signal
import socket
import struct
from typing import Any

import pytest
import trio

from tests.examples.embedding.conftest import LONG, Service, ServiceFactory, quick_coworld

ENDLESS = {"settings": {"ticks": 100_000, "pause": 0.05}}
SERVICES = ["trio_service", "fastapi_service"]


def kinds(events: list[tuple[int, dict[str, Any]]]) -> list[str]:
    return [document["event"]["type"] for _, document in events]


async def playing(service: Service) -> str:
    """Start an episode that does not end by itself; returns when it is at the table."""
    episode = await service.start(**ENDLESS)
    await service.until(lambda health: health["runtime"]["running"] == 1)
    return episode


async def test_an_episode_is_asked_for_followed_and_looked_at(service: Service):
    """202 with its address; every event from the first to the last, numbered; then its record, the same as on disk."""
    response = await service.post(settings={"ticks": 5})
    episode = response.json()["id"]
    assert response.headers["location"] == response.json()["episode"] == f"/episodes/{episode}"
    assert response.json()["events"] == f"/episodes/{episode}/events"
    events = await service.all_events(episode)
    numbers = [number for number, _ in events]
    assert numbers == sorted(set(numbers)) == [document["seq"] for _, document in events]
    assert {document["scope"] for _, document in events} == {episode}
    assert kinds(events)[0] == "episode_queued"
    assert kinds(events)[-1] == "episode_closed"
    view = await service.get(f"/episodes/{episode}")
    assert view["status"]["state"] == "over"
    assert view["record"]["verdict"]["reason"] == "completed"
    assert [seat["score"] for seat in view["record"]["seats"]] == [5]
    assert json.loads((service.runs / episode / "episode.json").read_text()) == view["record"]
    assert [each["id"] for each in (await service.get("/episodes"))["episodes"]] == [episode]


async def test_players_and_settings_reach_the_game(service: Service):
    """The body's players are seated, and a game that crashes is that episode's verdict and nothing else."""
    view = await service.outcome(await service.start(variant="default", settings={"behaviour": "crashes_mid"}))
    assert view["record"]["verdict"]["reason"] == "game_crashed"
    assert view["record"]["verdict"]["evidence"] == "exit code 3; last line: the sky is falling"
    assert view["record"]["variant"] == "default"
    view = await service.outcome(await service.start(players=["ghost:1"]))
    assert "record" not in view
    assert "image 'ghost:1'" in view["error"]["what"]
    assert (await service.outcome(await service.start()))["record"]["verdict"]["good"]


async def test_counters_can_be_scraped(service: Service):
    """`/metrics` is what Prometheus reads, with the runtime's own series."""
    await service.outcome(await service.start())
    response = await service.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    assert 'coworld_episodes_accepted_total{coworld="quick",' in response.text
    assert 'outcome="completed"' in response.text


REFUSED = [
    ({"coworld": "chess"}, "'chess'"),
    ({"variant": "none"}, "no variant 'none'"),
    ({"players": ["plays", "plays"]}, "2 players for 1 seat"),
    ({"settings": {"ticks": 0}}, "$.ticks: found 0; allowed: at least 1"),
    ({"settings": {"": 1}}, "not KEY=JSON"),
    ({"plaers": ["plays"]}, "plaers"),
    ({"players": "plays"}, "players"),
    ({"coworld": 7}, "coworld"),
]


async def test_a_wish_that_cannot_be_fulfilled_is_refused(service: Service):
    """422 with what is wrong in the words of the error; nothing was started."""
    for wish, text in REFUSED:
        response = await service.client.post("/episodes", json={"coworld": "quick", **wish})
        assert response.status_code == 422, wish
        assert text in response.text
    assert (await service.get("/healthz"))["runtime"]["accepted"] == 0
    assert not service.runs.exists()


async def test_what_is_no_json_is_refused(service: Service):
    """A body that cannot be read is refused like a wish that cannot be fulfilled, whatever its bytes."""
    for body in (b"", b"{", b"[]", b"\xff\xfe", b"null"):
        response = await service.client.post("/episodes", content=body, headers={"content-type": "application/json"})
        assert response.status_code == 422, body
    assert (await service.get("/healthz"))["status"] == "ok"


async def test_what_is_no_http_or_too_much_of_it_is_refused(service: Service):
    """Garbage, a body without an end in sight, a head without one: each costs one connection and nothing else."""
    head = b"POST /episodes HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
    assert (await service.raw(b"GARBAGE\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert (await service.raw(b"%sContent-Length: 70000\r\n\r\n%s" % (head, b" " * 70_000))).startswith(
        b"HTTP/1.1 413 "
    )
    assert (await service.raw(head + b"X: " + b"y" * 60_000 + b"\r\n")).startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    assert b"\r\n\r\n" in (await service.raw(b"HEAD /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    assert (await service.get("/healthz"))["status"] == "ok"


async def test_what_is_not_there_is_404(service: Service):
    """Unknown episodes and unknown addresses."""
    for method, path in [
        ("GET", "/episodes/none"),
        ("GET", "/episodes/none/events"),
        ("DELETE", "/episodes/none"),
        ("GET", "/"),
        ("GET", "/nowhere"),
    ]:
        assert (await service.client.request(method, path)).status_code == 404, path


async def test_a_full_service_says_so_and_when_to_come_again(service: Service):
    """One at the table, two in the queue, and the fourth gets 429; as soon as one is called off there is room again."""
    episodes = [await playing(service), await service.start(**ENDLESS), await service.start(**ENDLESS)]
    response = await service.post(expect=429)
    assert int(response.headers["retry-after"]) >= 1
    assert "2 wait for their turn" in response.json()["what"]
    assert (await service.client.delete(f"/episodes/{episodes[2]}")).status_code == 202
    await service.outcome(episodes[2])
    await service.start()


async def test_an_episode_can_be_called_off(service: Service):
    """Running or waiting: its stream ends, its record says so; a second time is no news."""
    running = await playing(service)
    waiting = await service.start()
    for episode in (waiting, running):
        response = await service.client.delete(f"/episodes/{episode}")
        assert (response.status_code, response.json()["cancelled"]) == (202, True)
        view = await service.outcome(episode)
        assert view["record"]["verdict"]["reason"] == "cancelled"
        assert (await service.client.delete(f"/episodes/{episode}")).json()["cancelled"] is False
    assert not (service.runs / waiting).exists()
    assert (service.runs / running / "episode.json").exists()


async def test_a_reader_goes_on_where_it_was(service: Service):
    """`Last-Event-ID` leaves out what was seen: nothing twice, nothing missing, during the episode and after it."""
    episode = await playing(service)
    seen: list[tuple[int, dict[str, Any]]] = []
    async with service.events(episode) as events:
        async for each in events:
            seen.append(each)
            if each[1]["event"] == {"type": "phase_entered", "phase": "playing"}:
                break
    await service.client.delete(f"/episodes/{episode}")
    rest = await service.all_events(episode, after=seen[-1][0])
    assert kinds(rest)[-1] == "episode_closed"
    assert seen + rest == await service.all_events(episode)
    assert await service.all_events(episode, after=rest[-1][0]) == []


async def test_a_client_that_hangs_up_leaves_nothing(service: Service):
    """The stream of whoever disconnects ends in the service too, without waiting for the next event."""
    episode = await playing(service)
    async with service.events(episode) as events:
        await anext(events)
        await service.until(lambda health: health["streams"] == 1)
    await service.until(lambda health: health["streams"] == 0)
    # And with a reset instead of a goodbye.
    async with service.events(episode) as events:
        await service.until(lambda health: health["streams"] == 1)
        events.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await service.until(lambda health: health["streams"] == 0)
    assert (await service.get(f"/episodes/{episode}"))["status"]["state"] == "running"


async def test_the_last_episodes_are_remembered_and_no_more(service: Service):
    """`--keep 3`: what ended before the last three is forgotten when another comes; what has not ended never is."""
    episodes = []
    for _ in range(5):
        episodes.append(await service.start())
        await service.outcome(episodes[-1])
    episodes.append(await playing(service))
    known = [each["id"] for each in (await service.get("/episodes"))["episodes"]]
    assert known == episodes[2:]
    assert (await service.client.get(f"/episodes/{episodes[0]}")).status_code == 404


@pytest.mark.parametrize("name", SERVICES)
async def test_several_coworlds_share_a_service(start_service: ServiceFactory, tmp_path, name):
    """One image map for all, and each episode gets the game that was asked for."""
    coworlds = [quick_coworld(tmp_path / "a"), quick_coworld(tmp_path / "b", "pair", 2)]
    async with start_service(name, coworlds=coworlds) as service:
        for coworld, seats in (("quick", 1), ("pair", 2)):
            view = await service.outcome(await service.start(coworld=coworld))
            assert (view["record"]["coworld"], len(view["record"]["seats"])) == (coworld, seats)


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_streams_tell_of_the_stop_and_end(start_service: ServiceFactory, name, number):
    """A signal calls episodes off; who follows one sees its end, who follows none and asks for nothing is not waited for."""
    async with start_service(name, "--parallel", "1") as service:
        episode = await playing(service)
        waiting = await service.start(**ENDLESS)
        last: dict[str, str] = {}

        async def follow(wanted: str, task_status: trio.TaskStatus[None]) -> None:
            async with service.events(wanted) as events:
                await anext(events)
                task_status.started()
                async for _, document in events:
                    last[wanted] = document["event"].get("outcome", "")

        with trio.fail_after(LONG):
            idle = await trio.open_tcp_stream("127.0.0.1", service.port)
            async with idle, trio.open_nursery() as nursery:
                for each in (episode, waiting):
                    await nursery.start(follow, each)
                assert await service.terminate(number) == 0
        assert last == {episode: "cancelled", waiting: "cancelled"}
        assert json.loads((service.runs / episode / "episode.json").read_text())["verdict"]["reason"] == "cancelled"
        assert "called off: 2" in service.log


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)],
)
async def test_a_second_signal_ends_it_at_once(start_service: ServiceFactory, name, first, second):
    """Whoever cannot wait for an orderly stop sends another one; what the runtime had started is ended by its janitor."""
    async with start_service(name) as service:
        await service.start(settings={**ENDLESS["settings"], "behaviour": "ignores_sigterm"})
        await service.until(lambda health: health["runtime"]["running"] == 1)
        async with service.events((await service.get("/episodes"))["episodes"][0]["id"]) as events:
            async for _, document in events:
                if document["event"] == {"type": "phase_entered", "phase": "playing"}:
                    service.process.send_signal(first)
                if document["event"] == {"type": "phase_entered", "phase": "closing"}:
                    break
        service.code = -second
        assert await service.terminate(second) == service.code


@pytest.mark.parametrize("name", SERVICES)
async def test_a_port_that_is_taken_is_told_in_a_sentence(start_service: ServiceFactory, name):
    """No traceback, and it ends."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError) as caught:
            async with start_service(name, "--port", str(port)):
                pytest.fail("it started")
    assert "already in use" in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.slow
async def test_silence_is_broken_by_comments(service: Service):
    """Nothing to tell for ten seconds is told, so that nobody in between takes the connection for dead."""
    episode = await playing(service)
    async with service.events(episode) as events, trio.open_nursery() as nursery:

        async def read() -> None:
            async for _ in events:
                pass

        nursery.start_soon(read)
        with trio.fail_after(LONG):
            while not events.comments:
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    assert events.comments == [b"still here"]


@pytest.mark.parametrize("name", SERVICES)
async def test_who_comes_too_late_is_told(start_service: ServiceFactory, name):
    """A request whose body arrives when the service is stopping gets 503, and the service waits for it."""
    async with start_service(name) as service:
        body = b'{"coworld": "quick"}'
        head = f"POST /episodes HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with trio.fail_after(LONG):
            async with await trio.open_tcp_stream("127.0.0.1", service.port) as stream:
                await stream.send_all(head.encode() + body[:5])
                # An answer on a later connection: the earlier one was accepted.
                await service.get("/healthz")
                service.process.terminate()
                while "stopped after" not in service.log:
                    await trio.sleep(0.01)
                await stream.send_all(body[5:])
                answer = b"".join([data async for data in stream])
            assert await service.process.wait() == 0
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5\r\n" in answer.lower()
        assert b"is stopping and takes no more episodes" in answer


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_without_a_coworld_does_not_start(start_service: ServiceFactory, tmp_path, name):
    """What is refused is told in a sentence before a port is open."""
    with pytest.raises(AssertionError, match="nothing is not there"):
        async with start_service(name, coworlds=[tmp_path / "nothing"]):
            pytest.fail("it started")
