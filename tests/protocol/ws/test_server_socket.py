"""`coworld_protocol.ws.server_socket`: frames between a wire and an endpoint, and every way in which a websocket ends."""

from __future__ import annotations

import select
import socket

import pytest

from coworld_protocol.ws.deflate import Deflate
from coworld_protocol.ws.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Decoder, encode, encode_close
from coworld_protocol.ws.server_socket import ServerSocket, Tally
from coworld_protocol.ws.web import Limits
from coworld_protocol.ws.wire import Wire
from tests.pump_peers import Recorder, Seat

HEAD = 4
"""Bytes of a frame's head when its payload is of middling length."""


class Ends:
    """A server's socket on one end of a pair, what it has told, and the peer's end."""

    def __init__(self, *, deflate: Deflate | None = None, **limits: int) -> None:
        ours, self.theirs = socket.socketpair()
        ours.setblocking(False)
        self.theirs.setblocking(False)
        self.poll = select.epoll()
        self.poll.register(ours.fileno(), select.EPOLLIN)
        self.wire = Wire(ours, self.poll)
        self.seat = Seat(Recorder())
        self.codes: list[int] = []
        self.tally = Tally()
        inflate, compress = (deflate.inflater(server=True), deflate.deflater(server=True)) if deflate else (None, None)
        self.socket = ServerSocket(
            self.wire, self.seat, Limits(**limits), self.codes.append, self.tally, inflate, compress
        )
        self.decoder = Decoder(
            masked=False, message_bytes=1 << 30, inflate=deflate.inflater(server=False) if deflate else None
        )

    def arrived(self) -> list[tuple[int, bytes]]:
        """What has reached the peer."""
        found = []
        while True:
            try:
                data = self.theirs.recv(1 << 20)
            except BlockingIOError:
                assert self.decoder.violation is None
                return found
            if not data:
                return found
            found += self.decoder.receive(data)
            self.wire.flush()

    def close(self) -> None:
        self.wire.close()
        self.theirs.close()
        self.poll.close()


@pytest.fixture
def ends():
    """Makes ends; they are closed afterwards."""
    made: list[Ends] = []

    def make(**options) -> Ends:
        made.append(Ends(**options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def masked(opcode: int, payload: bytes, **options: bool) -> bytes:
    return encode(opcode, payload, mask=True, **options)


def test_messages_come_in_order_and_say_what_they_are(ends):
    """Text, binary, fragments: each whole message is one call."""
    it = ends()
    parts = masked(TEXT, b"c", fin=False) + masked(PING, b"!") + masked(CONTINUATION, "ü".encode())
    it.socket.take(masked(TEXT, b"a") + masked(BINARY, b"b") + parts)
    assert it.seat.notes == [("received", "a"), ("received", b"b"), ("received", "cü")]
    assert it.arrived() == [(PONG, b"!")]


def test_what_is_sent_is_what_arrives(ends):
    """Text, binary and frames made elsewhere keep their order."""
    it = ends()
    it.socket.send("grüße")
    it.socket.send(b"\xff")
    it.socket.send_frame(encode(TEXT, b"shared"))
    assert it.arrived() == [(TEXT, "grüße".encode()), (BINARY, b"\xff"), (TEXT, b"shared")]


def test_an_answer_is_expected_after_messages_only(ends):
    """What the application says counts as spoken; pings, pongs and close frames do not."""
    it = ends()
    it.socket.ping()
    it.socket.take(masked(PING, b""))
    assert not it.tally.spoke
    it.socket.send("x")
    assert it.tally.spoke
    it.tally.spoke = False
    it.socket.close()
    it.socket.send("y")
    assert not it.tally.spoke


def test_every_ping_is_answered_with_one_write(ends, monkeypatch):
    """Pings that came together get their pongs together, in order, before the answer to a close frame behind them."""
    it = ends()
    writes = []
    write = Wire.write
    monkeypatch.setattr(Wire, "write", lambda wire, data: writes.append(data) or write(wire, data))
    it.socket.take(b"".join(masked(PING, bytes([number])) for number in range(50)) + encode_close(1001, mask=True))
    assert len(writes) == 2
    *pongs, close = it.arrived()
    assert pongs == [(PONG, bytes([number])) for number in range(50)]
    assert close == (CLOSE, (1001).to_bytes(2, "big"))


def test_a_pong_comes_before_the_close_that_a_violation_earns(ends):
    """What was right before the wrong frame is still answered."""
    it = ends()
    it.socket.take(masked(PING, b"p") + encode(TEXT, b"not masked"))
    assert [opcode for opcode, _ in it.arrived()] == [PONG, CLOSE]


@pytest.mark.parametrize(("sent", "answered", "told"), [(4000, 1000 * 4, 4000), (1005, 1000, 1005), (1001, 1001, 1001)])
def test_a_close_frame_is_answered_and_told(ends, sent, answered, told):
    """The peer's code comes back, an empty close frame is answered with 1000; what waits is not thrown away."""
    it = ends()
    it.socket.take(masked(TEXT, b"x") + encode_close(sent, mask=True) + masked(TEXT, b"behind it"))
    assert it.seat.messages == ["x"]
    assert it.arrived() == [(CLOSE, answered.to_bytes(2, "big"))]
    assert it.codes == [told]
    assert (it.socket.open, it.socket.over, it.socket.broken) == (False, True, False)


def test_our_close_waits_for_the_peers(ends):
    """After our close frame nothing is sent or delivered; the peer's close frame is the end, and is not answered again."""
    it = ends()
    it.socket.close(3000, "enough")
    it.socket.close(3001)
    it.socket.send("late")
    it.socket.ping()
    it.socket.take(masked(TEXT, b"too late") + masked(PING, b""))
    assert it.codes == []
    assert not it.socket.over
    it.socket.take(encode_close(3000, mask=True))
    assert it.codes == [3000]
    assert it.theirs.recv(1000) == encode_close(3000, "enough")
    assert it.seat.notes == []


def test_a_violation_ends_it_with_the_right_code(ends):
    """Messages before the wrong frame are delivered; the peer learns why, the application hears 1006."""
    it = ends(message_bytes=10)
    it.socket.take(masked(TEXT, b"good") + masked(BINARY, b"x" * 11) + masked(TEXT, b"after"))
    assert it.seat.messages == ["good"]
    ((opcode, payload),) = it.arrived()
    assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, 1009)
    assert it.codes == [1006]
    assert not it.socket.broken
    it.socket.take(masked(TEXT, b"more"))
    assert it.seat.messages == ["good"]


def test_a_violation_after_our_close_gets_no_second_close_frame(ends):
    """One close frame each way is all that there is."""
    it = ends()
    it.socket.close(1000)
    it.socket.take(encode(TEXT, b"not masked"))
    assert it.arrived() == [(CLOSE, (1000).to_bytes(2, "big"))]
    assert it.codes == [1006]


@pytest.mark.parametrize("closing", [False, True], ids=["open", "closing"])
def test_the_end_of_the_stream_is_1006(ends, closing):
    """A peer that ends without a close frame has broken off, also when we had sent ours."""
    it = ends()
    if closing:
        it.socket.close()
    it.socket.take(b"")
    it.socket.take(b"")
    assert it.codes == [1006]
    assert it.socket.broken


def test_the_end_of_the_stream_behind_a_close_frame_changes_nothing(ends):
    """A peer that has said goodbye may go."""
    it = ends()
    it.socket.take(encode_close(1000, mask=True))
    it.socket.take(b"")
    assert it.codes == [1000]


def test_closing_inside_of_a_message_stops_the_rest(ends):
    """The application closes while it is handed one of several messages: the others are not delivered."""
    it = ends()
    it.seat._site.on_message = lambda seat, payload: it.socket.close()
    it.socket.take(masked(TEXT, b"1") + masked(TEXT, b"2") + masked(PING, b"") + encode_close(1000, mask=True))
    assert it.seat.messages == ["1"]
    assert it.codes == [1000]
    assert it.theirs.recv(1000) == encode_close(1000)


def test_too_much_waiting_drops_the_receiver_once(ends):
    """Beyond the limit the connection is given up; the end is told once, though more is sent and received."""
    it = ends(outbox_bytes=100_000)
    for _ in range(100):
        it.socket.send(b"x" * 50_000)
    assert it.codes == [1006]
    assert (it.socket.open, it.socket.over, it.socket.broken) == (False, True, True)
    it.socket.take(masked(TEXT, b"x") + encode_close(1000, mask=True))
    it.socket.drop()
    assert it.codes == [1006]
    assert it.seat.messages == []


def test_a_message_beyond_the_limit_passes_when_nothing_waits(ends):
    """A replay of megabytes goes out; what comes behind it may wait within the limit, and no more."""
    it = ends(outbox_bytes=10_000)
    it.socket.send(b"r" * 3_000_000)
    assert it.socket.buffered > 1_000_000
    it.socket.send(b"s" * (10_000 - HEAD))
    assert it.codes == []
    assert it.arrived() == [(BINARY, b"r" * 3_000_000), (BINARY, b"s" * (10_000 - HEAD))]
    assert it.socket.buffered == 0
    assert it.socket.open


def test_what_passed_once_is_no_licence(ends):
    """The bytes of a large message that have been taken do not make room for others beyond the limit."""
    it = ends(outbox_bytes=10_000)
    it.socket.send(b"r" * 3_000_000)
    while it.socket.buffered > 100_000:
        it.theirs.recv(1 << 16)
        it.wire.flush()
    it.socket.send(b"s" * 9_000)
    assert it.socket.open
    it.socket.send(b"t" * 9_000)
    assert it.codes == [1006]


def test_pongs_nobody_takes_are_bounded_too(ends):
    """A peer that pings and does not read is dropped like any other."""
    it = ends(outbox_bytes=10_000)
    pings = masked(PING, b"x" * 125) * 100
    for _ in range(200):
        it.socket.take(pings)
        if it.codes:
            break
    assert it.codes == [1006]
    assert it.socket.buffered <= 10_000 + 2 * len(pings)


def test_a_peer_that_was_reset_is_dropped_by_the_next_message(ends):
    """Sending to who is gone raises nothing; it ends the websocket."""
    it = ends()
    it.theirs.close()
    it.socket.send("x")
    it.socket.send("y")
    it.socket.close()
    assert it.codes == [1006]
    assert it.socket.broken


def test_compression_is_used_for_what_is_sent_here(ends):
    """Messages are compressed when that was agreed; a frame made elsewhere goes as it is, in the same order."""
    it = ends(deflate=Deflate())
    text = "again and again " * 50
    it.socket.send(text)
    it.socket.send_frame(encode(BINARY, b"plain"))
    it.socket.send(text.encode())
    assert it.arrived() == [(TEXT, text.encode()), (BINARY, b"plain"), (BINARY, text.encode())]
    deflater = Deflate().deflater(server=False)
    it.socket.take(masked(TEXT, deflater.compress(b"from afar"), rsv1=True))
    assert it.seat.messages == ["from afar"]
