"""One seat's traffic: what is counted, what is timed, who closed, and that no bytes can do harm."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coworld_actors.traffic.report import CloseCount, TapSeatReport
from coworld_actors.traffic.scan import HEAD_LIMIT
from coworld_actors.traffic.watch import MOST_OPEN, SeatTraffic
from coworld_protocol.ws.deflate import Deflate
from coworld_protocol.ws.frames import PING, PONG, TEXT, encode, encode_close

REQUEST = b"GET /player?slot=0&token=x HTTP/1.1\r\nHost: game\r\n\r\n"
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def connected(traffic: SeatTraffic, at: float = 0.0, connection: int = 0) -> SeatTraffic:
    traffic.opened(at, connection)
    traffic.to_game(at, REQUEST, connection)
    traffic.to_player(at, ANSWER, connection)
    return traffic


def test_messages_bytes_and_answers_of_a_seat() -> None:
    """Pings are no messages and no answers; the answer is timed from the frame's end to the answer's first byte."""
    traffic = connected(SeatTraffic(3))
    observation, move = encode(TEXT, b"o" * 300), encode(TEXT, b"m" * 30, mask=True)
    traffic.to_player(1.0, observation[:100])
    traffic.to_player(1.5, observation[100:] + encode(PING, b""))
    traffic.to_game(1.6, encode(PONG, b"", mask=True))
    traffic.to_game(1.75, move[:1])
    traffic.to_game(9.0, move[1:])
    report = traffic.report()
    assert (report.slot, report.connects, report.upgraded, report.open) == (3, 1, 1, 1)
    assert (report.to_player.messages, report.to_player.control) == (1, 1)
    assert (report.to_game.messages, report.to_game.control) == (1, 1)
    assert report.to_player.bytes == len(ANSWER) + len(observation) + 2
    assert report.to_game.bytes == len(REQUEST) + len(move) + 6
    assert report.answers.count == 1
    assert report.answers.max == pytest.approx(0.25)
    assert (report.unprompted, report.unanswered, report.corrected) == (0, 0, None)


def test_compressed_messages_are_timed_without_unpacking() -> None:
    """The tap needs no inflating to know where a message begins and ends."""
    deflater = Deflate().deflater(server=True)
    traffic = connected(SeatTraffic(0))
    for turn in range(5):
        traffic.to_player(turn, encode(TEXT, deflater.compress(b"tick" * 50), rsv1=True))
        traffic.to_game(turn + 0.25, encode(TEXT, deflater.compress(b"move"), mask=True, rsv1=True))
    report = traffic.report()
    assert (report.answers.count, report.unread) == (5, "")
    assert report.answers.p50 == pytest.approx(0.25, rel=0.001)


def test_several_messages_in_the_same_bytes_are_one_answer() -> None:
    """The second one was not asked for."""
    traffic = connected(SeatTraffic(0))
    traffic.to_player(1.0, encode(TEXT, b"o"))
    traffic.to_game(2.0, encode(TEXT, b"a", mask=True) + encode(TEXT, b"b", mask=True))
    report = traffic.report()
    assert (report.answers.count, report.unprompted, report.to_game.messages) == (1, 1, 2)


def test_who_closed_and_with_what_code() -> None:
    """The first close frame says who and why; without one it is 1006 and whoever ended the connection."""
    traffic = SeatTraffic(0)
    connected(traffic, connection=0)
    traffic.to_player(1.0, encode_close(4000, "out"), 0)
    traffic.to_game(1.1, encode_close(4000, "out", mask=True), 0)
    traffic.closed(1.2, "player", 0)
    connected(traffic, connection=1)
    traffic.to_game(2.0, encode_close(1005, mask=True), 1)
    traffic.closed(2.1, "game", 1)
    for connection in (2, 3):
        connected(traffic, connection=connection)
        traffic.closed(3.0, "tap", connection)
    report = traffic.report()
    assert report.closes == (
        CloseCount(by="tap", code=1006, count=2),
        CloseCount(by="game", code=4000, count=1),
        CloseCount(by="player", code=1005, count=1),
    )
    assert (report.connects, report.open) == (4, 0)


def test_an_answer_belongs_to_its_own_connection() -> None:
    """A frame on the connection that broke is not what the player answers on the next one."""
    traffic = connected(SeatTraffic(0))
    traffic.to_player(1.0, encode(TEXT, b"o"))
    traffic.closed(2.0, "tap", 0)
    connected(traffic, 3.0, 1)
    traffic.to_game(4.0, encode(TEXT, b"a", mask=True), 1)
    report = traffic.report()
    assert (report.answers.count, report.unprompted, report.unanswered) == (0, 1, 1)


def test_a_page_over_plain_http_is_counted_and_not_followed() -> None:
    """A browser's GET on the same door is neither an upgrade nor unreadable traffic."""
    traffic = SeatTraffic(0)
    traffic.opened(0.0, 0)
    traffic.to_game(0.1, b"GET /client/player HTTP/1.1\r\n\r\n")
    traffic.to_player(0.2, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\x81\x01x")
    traffic.to_game(0.3, b"GET /icon.svg HTTP/1.1\r\n\r\n")
    report = traffic.report()
    assert (report.upgraded, report.unread, report.to_player.messages, report.to_game.messages) == (0, "", 0, 0)


def test_what_is_no_frame_is_said() -> None:
    """Figures of a connection that could not be followed are not whole, and the report says so."""
    traffic = connected(SeatTraffic(0))
    traffic.to_game(1.0, b"\x83garbage")
    assert traffic.report().unread == "its bytes are not websocket frames"
    traffic.closed(2.0, "game", 0)
    assert traffic.report().unread == "its bytes are not websocket frames"


def test_a_report_changes_nothing() -> None:
    """It may be asked for at any time, and again: open connections stay open and their ticks unanswered."""
    traffic = connected(SeatTraffic(0))
    for tick in range(30):
        traffic.to_player(1.0 + tick, encode(TEXT, b"o"))
    first = traffic.report()
    assert traffic.report() == first
    assert first.unanswered == 30
    traffic.to_game(40.0, encode(TEXT, b"a", mask=True))
    assert traffic.report().unanswered == 0


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["player", "game", "open", "close", "lost"]), st.binary(max_size=80), st.integers(0, 3)
        ),
        max_size=60,
    ),
    st.booleans(),
)
def test_no_traffic_raises(happenings: list[tuple[str, bytes, int]], upgraded: bool) -> None:
    """Any bytes, on connections that were never opened, opened twice or closed before: a report comes out of all of them."""
    traffic = SeatTraffic(0)
    if upgraded:
        connected(traffic)
    for at, (what, data, connection) in enumerate(happenings):
        match what:
            case "open":
                traffic.opened(at, connection)
            case "close":
                traffic.closed(at, data.decode("latin-1"), connection)
            case "lost":
                traffic.lost()
            case "player":
                traffic.to_player(at, data, connection)
            case _:
                traffic.to_game(at, data, connection)
    assert isinstance(traffic.report(), TapSeatReport)


def test_mutated_traffic_does_not_raise() -> None:
    """Real frames with single bytes changed: the followers may lose their way and nothing else."""
    source = random.Random(7)
    stream = b"".join(encode(TEXT, b"x" * source.randrange(400)) for _ in range(30)) + encode_close(1000, "bye")
    for _ in range(300):
        mutated = bytearray(ANSWER + stream)
        for _ in range(source.randrange(1, 6)):
            mutated[source.randrange(len(mutated))] = source.randrange(256)
        traffic = SeatTraffic(0)
        traffic.opened(0.0, 0)
        place = 0
        while place < len(mutated):
            size = source.randrange(1, 500)
            traffic.to_player(place, bytes(mutated[place : place + size]))
            place += size
        assert traffic.report().to_player.bytes == len(mutated)


def test_connections_without_end_take_no_memory() -> None:
    """A player that reconnects for ever, and one that opens thousands and closes none, are counted in bounded memory."""
    traffic = SeatTraffic(0)
    tracemalloc.start()
    try:
        for connection in range(20_000):
            traffic.opened(connection, connection)
            traffic.to_game(connection, b"G" * 500, connection)
            if connection % 2:
                traffic.closed(connection, f"code {connection}", connection)
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    report = traffic.report()
    assert (report.connects, report.to_game.bytes) == (20_000, 10_000_000)
    assert report.open <= MOST_OPEN
    assert len(report.closes) <= 65
    assert used < MOST_OPEN * 4000 < MOST_OPEN * HEAD_LIMIT
