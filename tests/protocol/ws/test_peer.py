"""`coworld_protocol.ws.peer`: one connection from its first byte to its last, with a clock that the test turns."""

from __future__ import annotations

import select
import socket

import pytest

from coworld_protocol.ws.frames import CLOSE, PING, PONG, TEXT, Decoder, encode, encode_close
from coworld_protocol.ws.peer import Peer
from coworld_protocol.ws.server_socket import Tally
from coworld_protocol.ws.web import Limits
from coworld_protocol.ws.wire import Wire
from tests.pump_peers import Recorder, upgrade_request

PERIOD = 0.5
GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
GET_BIG = b"GET /big HTTP/1.1\r\nHost: here\r\n\r\n"
GET_LAST = b"GET /big HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
BIG = b"b" * 3_000_000
LIMITS = Limits(
    header_seconds=10, outbox_seconds=20, close_seconds=2, ping_seconds=20, pong_seconds=5, outbox_bytes=8_000_000
)


class Line:
    """A peer on one end of a pair of Unix sockets, served and swept as a pump does, and the other end."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        ours, self.theirs = socket.socketpair()
        ours.setblocking(False)
        self.theirs.setblocking(False)
        self.poll = select.epoll()
        self.poll.register(ours.fileno(), select.EPOLLIN)
        self.site = Recorder()
        self.site.pages["/big"] = BIG
        self.codes: list[int] = []
        self.wire = Wire(ours, self.poll)
        self.peer = Peer(self.wire, self.site, limits, Tally(), lambda _, code: self.codes.append(code))
        self.decoder = Decoder(masked=False, message_bytes=1 << 30)
        self.now = 0.0

    def serve(self, data: bytes = b"", *, turns: int = 1000) -> int:
        """Send data, then serve while something is ready; how many turns that took."""
        if data:
            self.theirs.sendall(data)
        for turn in range(turns):
            events = self.poll.poll(0)
            if not events or self.peer.gone:
                return turn
            for _, mask in events:
                self.peer.serve(mask)
        return turns

    def sweep(self, seconds: float) -> bool:
        """Let time pass, a sweep per period; whether the peer is still there."""
        for _ in range(round(seconds / PERIOD)):
            if not self.peer.gone:
                self.now += PERIOD
                self.peer.sweep(self.now, self.now + PERIOD)
        return not self.peer.gone

    def take(self, size: int = 1 << 20) -> bytes:
        try:
            return self.theirs.recv(size)
        except BlockingIOError:
            return b""

    def take_some(self, size: int) -> None:
        """Take so many bytes, as they come."""
        while size:
            data = self.take(min(size, 1 << 16))
            size -= len(data)
            assert self.serve() or data, "nothing more comes"

    def take_all(self) -> bytes:
        """What arrives until nothing more does."""
        got = bytearray()
        while True:
            turns = self.serve()
            data = self.take()
            got += data
            if not data and not turns:
                return bytes(got)

    def upgrade(self, behind: bytes = b"") -> bytes:
        """Open a websocket; the bytes behind the server's answer."""
        self.serve(upgrade_request() + behind)
        head, _, rest = self.take_all().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        return rest

    def frames(self) -> list[tuple[int, bytes]]:
        return self.decoder.receive(self.take_all())

    def close(self) -> None:
        self.wire.close()
        self.theirs.close()
        self.poll.close()


@pytest.fixture
def line():
    """Makes lines; they are closed afterwards."""
    made: list[Line] = []

    def make(limits: Limits = LIMITS) -> Line:
        made.append(Line(limits))
        return made[-1]

    yield make
    for each in made:
        each.close()


# Requests and answers


def test_requests_that_came_together_are_answered_in_turns(line):
    """Fifty requests in one segment are all answered, but not in one go: others get their turn between."""
    it = line()
    assert it.serve(GET * 50) == 4
    assert it.take_all().count(b"HTTP/1.1 200 ") == 50
    assert it.serve() == 0
    assert it.serve(GET) == 1
    assert it.take_all().count(b"HTTP/1.1 200 ") == 1


def test_the_last_of_many_requests_ends_the_connection(line):
    """The request that closes is answered after all before it, then the peer's end is awaited."""
    it = line()
    it.serve(GET * 40 + b"nonsense\r\n\r\n" + GET * 3)
    got = it.take_all()
    assert got.count(b"HTTP/1.1 200 ") == 40
    assert got.count(b"HTTP/1.1 400 ") == 1
    assert not it.peer.gone
    it.theirs.shutdown(socket.SHUT_WR)
    it.serve()
    assert it.peer.gone


def test_nothing_is_read_behind_an_answer_that_nobody_takes(line):
    """Requests are left to the kernel until there is room for their answers; then each gets its own."""
    it = line()
    it.serve(GET_BIG)
    waiting = it.wire.waiting
    assert 0 < waiting < len(BIG) + 1000
    it.serve(GET_BIG * 5)
    assert it.wire.waiting == waiting
    assert it.take_all().count(b"HTTP/1.1 200 ") == 6


def test_many_requests_for_much_cost_one_answer_at_a_time(line):
    """Requests that were read together are answered one by one, each when the one before has left."""
    it = line()
    it.serve(GET_BIG * 20)
    assert it.wire.waiting < len(BIG) + 1000
    got = it.take_all()
    assert got.count(b"HTTP/1.1 200 ") == 20
    assert len(got) > 20 * len(BIG)


def test_who_sends_no_more_still_gets_its_last_answer(line):
    """A client that asks, says that it is done and reads slowly gets everything, and then the end."""
    it = line()
    it.theirs.sendall(GET_LAST)
    it.theirs.shutdown(socket.SHUT_WR)
    it.serve()
    assert not it.peer.gone
    assert it.take_all().endswith(BIG)
    assert it.peer.gone


def test_who_sends_no_more_gets_the_answer_to_an_ordinary_request(line):
    """The same with a connection that would have been kept."""
    it = line()
    it.theirs.sendall(GET_BIG)
    it.theirs.shutdown(socket.SHUT_WR)
    assert it.take_all().endswith(BIG)
    assert it.peer.gone


@pytest.mark.parametrize("request_bytes", [GET_BIG, GET_LAST], ids=["kept", "closing"])
def test_who_vanishes_before_its_answer_is_lost(line, request_bytes):
    """A client that goes away while much waits for it costs nothing any more, and no turn is spent on it again."""
    it = line()
    it.serve(request_bytes)
    it.theirs.close()
    assert it.serve() < 5
    assert it.peer.gone


def test_who_says_nothing_and_goes_is_lost(line):
    """A connection that ends without a byte is not even answered."""
    it = line()
    it.theirs.shutdown(socket.SHUT_WR)
    it.serve()
    assert it.peer.gone
    assert it.take() == b""


def test_who_stops_within_a_request_is_told(line):
    """A request that ends too early is a bad one."""
    it = line()
    it.serve(GET[:-2])
    it.theirs.shutdown(socket.SHUT_WR)
    assert it.take_all().startswith(b"HTTP/1.1 400 ")


# Deadlines of requests


def test_silence_from_the_start_has_its_deadline(line):
    """A connection without a byte is dropped after `header_seconds`: not before, and at most two sweeps later."""
    it = line()
    assert it.sweep(PERIOD + 10)
    assert not it.sweep(0.5 + PERIOD)
    assert it.codes == []


def test_a_head_that_trickles_in_is_not_waited_for(line):
    """Single bytes do not prolong the time for a request."""
    it = line()
    seconds = 0.0
    for number in range(len(GET) - 1):
        it.serve(GET[number : number + 1])
        if not it.sweep(0.5):
            break
        seconds += 0.5
    assert it.peer.gone
    assert 10 <= seconds <= 11


def test_a_body_that_trickles_in_has_its_own_time(line):
    """A whole head gives the body as much time again, and no more."""
    it = line()
    assert it.sweep(8)
    it.serve(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n")
    for _ in range(8):
        it.serve(b"x")
        assert it.sweep(1)
    it.serve(b"x")
    assert not it.sweep(4)


def test_every_answer_begins_the_time_anew(line):
    """A connection that asks now and then is kept; one that has stopped asking is not."""
    it = line()
    for _ in range(5):
        it.serve(GET)
        assert it.sweep(9)
    it.take_all()
    assert not it.sweep(3)


def test_the_time_for_the_next_request_begins_when_the_answer_was_taken(line):
    """A long download is followed by as much idle time as a short one."""
    it = line()
    it.serve(GET_BIG)
    for _ in range(6):
        assert it.sweep(9)
        it.take_some(400_000)
    it.take_all()
    assert it.sweep(9.5)
    assert not it.sweep(2)


def test_a_refused_peer_that_stays_is_dropped(line):
    """After the last answer the peer has `close_seconds` to go, however much it sends."""
    it = line()
    it.serve(b"nonsense\r\n\r\n")
    seconds = 0.0
    while it.sweep(0.5):
        it.serve(b"x" * 1000)
        seconds += 0.5
    assert 2 <= seconds <= 3


def test_parting_twice_gives_no_more_time(line):
    """The time to go begins with the first goodbye."""
    it = line()
    it.serve(GET)
    it.peer.part()
    assert it.sweep(2)
    it.peer.part()
    assert not it.sweep(1)


# Websockets


def test_a_request_for_a_websocket_may_come_with_frames_behind_it(line):
    """Frames in the segment of the request are messages; so are those in the next one."""
    it = line()
    second = encode(TEXT, b"2", mask=True)
    it.upgrade(encode(TEXT, b"1", mask=True) + second[:4])
    it.serve(second[4:])
    assert it.site.seats[0].notes == [("opened", None), ("received", "1"), ("received", "2")]


def test_a_request_for_a_websocket_waits_for_the_answers_before_it(line):
    """Pages asked for first arrive first, whole."""
    it = line()
    it.serve(GET_BIG + upgrade_request())
    assert it.site.seats == []
    got = it.take_all()
    assert got.index(b"HTTP/1.1 200 ") < got.index(b"HTTP/1.1 101 ")
    assert len(it.site.seats) == 1


def test_closing_as_it_opens_works(line):
    """An endpoint may send and close when it is told that it is open; frames that came early are not delivered."""
    it = line()
    it.site.on_open = lambda seat: (seat.socket.send("full"), seat.socket.close(4000))
    rest = it.upgrade(encode(TEXT, b"early", mask=True))
    assert it.decoder.receive(rest) == [(TEXT, b"full"), (CLOSE, (4000).to_bytes(2, "big"))]
    assert it.site.seats[0].messages == []
    it.serve(encode_close(4000, mask=True))
    assert it.codes == [4000]


def test_a_parting_websocket_gets_what_it_is_owed(line):
    """The peer closes while much waits for it, and sends no more: it still gets everything, the close frame last."""
    it = line()
    it.upgrade()
    it.site.seats[0].socket.send(BIG)
    it.serve(encode_close(1000, mask=True))
    it.peer.part()
    it.theirs.shutdown(socket.SHUT_WR)
    (_, message), (opcode, _) = it.frames()
    assert message == BIG
    assert opcode == CLOSE
    assert it.peer.gone
    assert it.codes == [1000]


def test_losing_it_twice_ends_it_once(line):
    """However often a connection is given up, the websocket's end is told once."""
    it = line()
    it.upgrade()
    it.peer.lose()
    it.peer.lose()
    it.peer.part()
    assert it.codes == [1006]


# Deadlines of websockets


def test_a_silent_peer_is_pinged_and_then_dropped(line):
    """Silence of `ping_seconds` brings a ping; `pong_seconds` later the peer counts as gone."""
    it = line()
    it.upgrade()
    assert it.sweep(20)
    assert it.frames() == []
    assert it.sweep(2 * PERIOD)
    assert it.frames() == [(PING, b"")]
    # The ping left with the last sweep, which may have come late: its time is counted from the next.
    assert it.sweep(5)
    assert not it.sweep(PERIOD)
    assert it.codes == [1006]
    assert it.frames() == []


@pytest.mark.parametrize("answer", [encode(PONG, b"", mask=True), encode(TEXT, b"hm", mask=True)[:3]])
def test_anything_at_all_keeps_a_peer(line, answer):
    """A pong, or any byte, is a sign of life; the silence begins anew and each one brings one ping."""
    it = line()
    it.upgrade()
    for number in range(len(answer)):
        assert it.sweep(22)
        assert it.frames() == [(PING, b"")]
        it.serve(answer[number : number + 1])
    assert it.sweep(18)


def test_pings_can_be_switched_off(line):
    """With `ping_seconds` 0 a silent peer may stay for ever."""
    it = line(Limits(ping_seconds=0))
    it.upgrade()
    assert it.sweep(1000)
    assert it.frames() == []


def test_who_does_not_answer_a_close_frame_is_dropped(line):
    """The time to answer begins with the close, however long the websocket was open, and other bytes do not prolong it."""
    it = line()
    it.upgrade()
    assert it.sweep(15)
    it.site.seats[0].socket.close()
    seconds = 0.0
    while it.sweep(0.5):
        it.serve(encode(PONG, b"", mask=True))
        seconds += 0.5
    assert 2 <= seconds <= 3
    assert it.codes == [1006]


def test_the_time_to_answer_begins_when_everything_was_taken(line):
    """A close frame behind megabytes waits with them."""
    it = line()
    it.upgrade()
    seat = it.site.seats[0]
    seat.socket.send(BIG)
    seat.socket.close()
    for _ in range(4):
        assert it.sweep(15)
        it.take_some(500_000)
    assert it.codes == []
    assert it.take_all().endswith(encode_close(1000))
    assert it.sweep(2)
    assert not it.sweep(1)


def test_a_receiver_that_takes_nothing_is_dropped(line):
    """Bytes wait for `outbox_seconds`, not longer, whatever the receiver says meanwhile."""
    it = line()
    it.upgrade()
    it.sweep(15)
    it.serve(encode(PONG, b"", mask=True))
    it.site.seats[0].socket.send(BIG)
    seconds = 0.0
    while it.sweep(0.5):
        it.serve(encode(TEXT, b"hm", mask=True))
        seconds += 0.5
    assert 20 <= seconds <= 21
    assert it.codes == [1006]


def test_a_receiver_that_takes_a_trickle_is_dropped(line):
    """A few bytes now and then are no progress: that is how a hundred connections would hold megabytes each."""
    it = line()
    it.upgrade()
    it.site.seats[0].socket.send(BIG)
    seconds = 0.0
    while it.sweep(1):
        it.take(1000)
        it.serve()
        seconds += 1
    assert 20 <= seconds <= 21


def test_a_slow_receiver_is_kept(line):
    """Who takes a quarter of a megabyte in time may be slow with the rest."""
    it = line()
    it.upgrade()
    it.site.seats[0].socket.send(BIG)
    for _ in range(6):
        assert it.sweep(15)
        it.take_some(400_000)
    assert it.wire.waiting


def test_a_receiver_that_has_emptied_its_outbox_in_between_is_kept(line):
    """Something waits at every sweep, little of it, but never the same: that receiver keeps up."""
    it = line()
    it.upgrade()
    seat = it.site.seats[0]
    while not it.wire.waiting:
        seat.socket.send(b"x" * 1000)
    for _ in range(100):
        assert it.sweep(1)
        while it.wire.waiting:
            it.take(1000)
            it.serve()
        while not it.wire.waiting:
            seat.socket.send(b"x" * 1000)
    assert it.wire.taken < 256 * 1024
