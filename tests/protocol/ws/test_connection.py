"""`coworld_protocol.ws.connection`: two ends over a real socket, and a raw peer that does as it likes."""

from __future__ import annotations

import contextlib
import socket
from functools import partial

import pytest
import trio
import trio.testing

from coworld_protocol.ws.connection import Connection, ConnectionClosed
from coworld_protocol.ws.frames import BINARY, CLOSE, PING, PONG, TEXT, Decoder, encode, encode_close
from coworld_protocol.ws.spin import Spinner

SECONDS = 30


def sockets() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
    return ours, theirs


@pytest.fixture
async def ends():
    """A client and a server that are connected."""
    ours, theirs = sockets()
    client, server = Connection(ours, client=True), Connection(theirs, client=False)
    yield client, server
    client.abort()
    server.abort()


class Raw:
    """A peer that sends frames by hand; it takes the server's side."""

    def __init__(self, sock: socket.socket) -> None:
        self.stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._decoder = Decoder(masked=True, message_bytes=1 << 24)
        self._found: list[tuple[int, bytes]] = []

    async def send(self, *frames: bytes) -> None:
        await self.stream.send_all(b"".join(frames))

    async def frame(self) -> tuple[int, bytes]:
        """The next whole message or control frame that the client sent."""
        while not self._found:
            data = bytes(await self.stream.receive_some(65536))
            if not data:
                raise EOFError
            self._found = self._decoder.receive(data)
        return self._found.pop(0)


@pytest.fixture
async def client_and_raw():
    """A client and a peer that sends frames by hand."""
    ours, theirs = sockets()
    client, raw = Connection(ours, client=True, close_seconds=0.5), Raw(theirs)
    yield client, raw
    client.abort()
    await trio.aclose_forcefully(raw.stream)


@pytest.mark.parametrize("message", ["", "grüße", b"", b"\x00\xff", "x" * 126, b"y" * 70_000, "z" * 300_000])
async def test_messages_of_either_kind_and_any_size(ends, message):
    """What is sent in one direction or the other arrives as it was."""
    with trio.fail_after(SECONDS):
        for one, other in (ends, ends[::-1]):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.send, message)
                assert await other.receive() == message


async def test_bytes_of_either_kind(ends):
    """`receive_bytes` gives a text's UTF-8 and a binary message alike; `send_text` sends UTF-8 as text."""
    client, server = ends
    with trio.fail_after(SECONDS):
        await client.send("grüße")
        await client.send(b"\x01")
        await client.send_text("grüße".encode())
        assert [await server.receive_bytes() for _ in range(2)] == ["grüße".encode(), b"\x01"]
        assert await server.receive() == "grüße"


async def test_iterating_ends_with_a_good_close_only(ends):
    """1000 ends a loop, another code is raised in it."""
    client, server = ends
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            await server.send("a")
            nursery.start_soon(server.close)
            assert [message async for message in client] == ["a"]
        ours, theirs = sockets()
        async with Connection(ours, client=True) as other, trio.open_nursery() as nursery:
            nursery.start_soon(Connection(theirs, client=False).close, 4001, "enough")
            with pytest.raises(ConnectionClosed, match="close code 4001: enough"):
                async for _ in other:
                    pass


async def test_what_came_before_the_end_is_given_out_first(client_and_raw):
    """Messages before a close frame are received, then the end is raised, every time and by `send` as well."""
    client, raw = client_and_raw
    with trio.fail_after(SECONDS):
        await raw.send(*(encode(TEXT, str(n).encode()) for n in range(3)), encode_close(4000, "enough"))
        assert [await client.receive() for _ in range(3)] == ["0", "1", "2"]
        for _ in range(2):
            with pytest.raises(ConnectionClosed) as closed:
                await client.receive()
            assert (closed.value.code, closed.value.reason, closed.value.clean) == (4000, "enough", True)
        assert (client.code, client.reason) == (4000, "enough")
        with pytest.raises(ConnectionClosed):
            await client.send("too late")
        assert await raw.frame() == (CLOSE, b"\x0f\xa0")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x83\x00", 1002),
        (b"\xc1\x00", 1002),
        (encode(TEXT, b"\xff\xfe"), 1007),
        (encode(TEXT, b"masked", mask=True), 1002),
        (encode(CLOSE, b"\x03\xed"), 1002),
        (b"\x82\x7f" + (1 << 40).to_bytes(8, "big"), 1009),
    ],
    ids=["opcode", "reserved", "utf8", "masked", "close-code", "too-big"],
)
async def test_a_peer_that_breaks_the_protocol_is_told_by_its_code(client_and_raw, frame, code):
    """It gets the right close code and nothing else, and the end says that it was not clean."""
    client, raw = client_and_raw
    with trio.fail_after(SECONDS):
        await raw.send(encode(TEXT, b"before"), frame, encode(TEXT, b"behind"))
        assert await client.receive() == "before"
        with pytest.raises(ConnectionClosed) as closed:
            await client.receive()
        assert (closed.value.code, closed.value.clean) == (code, False)
        opcode, payload = await raw.frame()
        assert (opcode, payload[:2]) == (CLOSE, code.to_bytes(2, "big"))
        await client.close()
        with pytest.raises(EOFError):
            await raw.frame()


async def test_an_empty_close_frame_is_1005(client_and_raw):
    """A close frame without a code is answered by one without, and is a good end."""
    client, raw = client_and_raw
    with trio.fail_after(SECONDS):
        await raw.send(encode_close(1005))
        assert [message async for message in client] == []
        assert client.code == 1005
        assert await raw.frame() == (CLOSE, b"")


async def test_a_peer_that_vanishes_is_1006(client_and_raw):
    """An end without a close frame is 1006, and what came before it is not lost."""
    client, raw = client_and_raw
    with trio.fail_after(SECONDS):
        await raw.send(encode(TEXT, b"last"))
        await raw.stream.aclose()
        assert await client.receive() == "last"
        with pytest.raises(ConnectionClosed) as closed:
            await client.receive()
        assert (closed.value.code, closed.value.clean) == (1006, False)


async def test_sending_to_a_peer_that_said_goodbye_and_left_finds_its_words(client_and_raw):
    """Sending is what notices; the close code that lay unread is the one that is raised."""
    client, raw = client_and_raw
    with trio.fail_after(SECONDS):
        await raw.send(encode(TEXT, b"news"), encode_close(1008, "replaced"))
        await raw.stream.aclose()

        async def send() -> None:
            for _ in range(100):
                await client.send("x")

        with pytest.raises(ConnectionClosed) as closed:
            await send()
        assert (closed.value.code, closed.value.reason) == (1008, "replaced")
        assert await client.receive() == "news"


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
async def test_closing_says_why_and_waits_for_the_answer(ends, code):
    """The peer learns code and reason, we learn that it has heard."""
    client, server = ends
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.close, code, "wörds")
            with pytest.raises(ConnectionClosed) as closed:
                await server.receive()
            await server.close()
        assert (closed.value.code, closed.value.reason, closed.value.clean) == (code, "wörds", True)
        assert client.code == code
        await client.close()


async def test_closing_does_not_wait_for_a_silent_peer_for_long(client_and_raw):
    """The deadline ends it, and the socket is closed."""
    client, raw = client_and_raw
    with trio.fail_after(SECONDS):
        await client.close()
        assert client.code == 1006
        assert await raw.frame() == (CLOSE, b"\x03\xe8")
        with pytest.raises(EOFError):
            await raw.frame()


async def test_a_close_that_is_cancelled_says_goodbye_and_closes(client_and_raw):
    """Leaving a cancelled block still sends the close frame, and leaves no socket."""
    client, raw = client_and_raw
    with trio.fail_after(SECONDS):
        with trio.CancelScope() as scope:
            async with client:
                scope.cancel()
        assert await raw.frame() == (CLOSE, b"\x03\xe8")
        with pytest.raises(EOFError):
            await raw.frame()


async def test_closing_with_unread_messages_ends(ends):
    """`close` does not hang when nobody takes what has come."""
    client, server = ends
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:

            async def flood() -> None:
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        await server.send(b"x" * 1000)

            async def listen() -> None:
                with contextlib.suppress(ConnectionClosed):
                    await server.receive()
                await server.close()

            nursery.start_soon(flood)
            nursery.start_soon(listen)
            await client.receive()
            await client.close()
        assert server.code == 1000


async def test_closing_ends_a_receive_of_another_task(client_and_raw):
    """Who waits for a message when another task closes gets the end."""
    client, raw = client_and_raw
    seen = []

    async def receive() -> None:
        try:
            await client.receive()
        except ConnectionClosed as closed:
            seen.append(closed.code)

    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(client.close)
            assert (await raw.frame())[0] == CLOSE
            await raw.send(encode_close(1000))
            await raw.stream.send_eof()
    assert seen == [1000]


@pytest.mark.parametrize("busy", ["receive", "send"])
async def test_aborting_ends_what_other_tasks_wait_for(client_and_raw, busy):
    """Whoever waits in `receive` or `send` gets 1006."""
    client, _ = client_and_raw
    seen = []

    async def wait() -> None:
        try:
            await (client.receive() if busy == "receive" else client.send(b"x" * 10_000_000))
        except ConnectionClosed as closed:
            seen.append(closed.code)

    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            client.abort()
    assert seen == [1006]


async def test_a_cancelled_receive_loses_nothing(client_and_raw):
    """However often receiving is given up, every message arrives once and in order."""
    client, raw = client_and_raw
    got: list[str | bytes] = []

    async def send() -> None:
        for number in range(200):
            frame = encode(TEXT, str(number).encode())
            await raw.send(frame[:2])
            await trio.lowlevel.checkpoint()
            await raw.send(frame[2:])

    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            while len(got) < 200:
                with trio.CancelScope() as scope:
                    nursery.start_soon(_cancel_soon, scope)
                    got.append(await client.receive())
    assert got == [str(number) for number in range(200)]


async def _cancel_soon(scope: trio.CancelScope) -> None:
    await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_a_cancelled_send_leaves_the_stream_in_order(client_and_raw):
    """A message that had begun goes out whole before the next one."""
    client, raw = client_and_raw
    big = b"x" * 2_000_000
    with trio.fail_after(SECONDS):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send, big)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, "next")
            assert await raw.frame() == (BINARY, big)
            assert await raw.frame() == (TEXT, b"next")


async def test_many_senders_do_not_mix_their_frames(ends):
    """Large messages of many tasks arrive whole, each once."""
    client, server = ends
    messages = {bytes([n]) * 50_000 for n in range(20)}
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            for message in messages:
                nursery.start_soon(client.send, message)
            assert {await server.receive() for _ in messages} == messages


async def test_a_second_receiver_is_refused(ends):
    """One task receives at a time."""
    client, _ = ends
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.receive)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await client.receive()
            nursery.cancel_scope.cancel()


async def test_pings_are_answered_while_receiving(client_and_raw):
    """A pong carries what the ping did, also between the fragments of a message."""
    client, raw = client_and_raw
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.send, encode(TEXT, b"a", fin=False), encode(PING, b"there?"), encode(0, b"b"))
            assert await client.receive() == "ab"
        assert await raw.frame() == (PONG, b"there?")


async def test_a_pong_that_finds_no_room_goes_out_later(client_and_raw):
    """While the kernel is full a pong waits; receiving goes on, and of several pings the newest is answered."""
    client, raw = client_and_raw
    with trio.fail_after(SECONDS):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send, b"x" * 1_000_000)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        await raw.send(encode(PING, b"1"), encode(PING, b"2"), encode(TEXT, b"news"))
        assert await client.receive() == "news"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.receive)
            assert (await raw.frame())[0] == BINARY
            assert await raw.frame() == (PONG, b"2")
            await raw.send(encode(TEXT, b"end"))


async def test_ping_waits_for_its_pong(ends):
    """Its own pong is what counts, messages that come meanwhile stay to be received."""
    client, server = ends
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.receive)
            await server.send("news")
            assert await client.ping() >= 0
            assert await client.ping(b"mine") >= 0
            assert await client.receive() == "news"
            await client.send("enough")


async def test_ping_works_beside_a_receiver(ends):
    """While another task receives, that one reads the pong."""
    client, server = ends
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.receive)
            nursery.start_soon(client.receive)
            await trio.testing.wait_all_tasks_blocked()
            await client.ping()
            nursery.cancel_scope.cancel()


async def test_a_later_pong_answers_earlier_pings(client_and_raw):
    """A peer need answer the newest ping only."""
    client, raw = client_and_raw
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            for payload in (b"1", b"2", b"3"):
                nursery.start_soon(client.ping, payload)
            assert {(await raw.frame())[1] for _ in range(3)} == {b"1", b"2", b"3"}
            order = list(client._pings)
            await raw.send(encode(PONG, b"unasked"), encode(PONG, order[-1]))


async def test_a_ping_that_cannot_be_answered_raises(client_and_raw):
    """The end of the websocket ends a ping; a payload that is too long is refused."""
    client, raw = client_and_raw
    with trio.fail_after(SECONDS):
        with pytest.raises(ValueError, match="125 bytes"):
            await client.ping(b"x" * 126)
        await raw.stream.aclose()
        with pytest.raises(ConnectionClosed):
            await client.ping()


async def test_pings_are_answered_while_nobody_receives(client_and_raw, autojump_clock):
    """`attend` reads after a second of silence, keeps what it reads, and hands the reading over to a receiver."""
    client, raw = client_and_raw
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.attend)
        await raw.send(encode(TEXT, b"one"), encode(PING, b"?"))
        started = trio.current_time()
        assert await raw.frame() == (PONG, b"?")
        assert trio.current_time() - started <= 1.1
        assert await client.receive() == "one"
        await trio.sleep(3)
        nursery.start_soon(raw.send, encode(TEXT, b"two"))
        assert await client.receive() == "two"
        await raw.send(encode_close(1000))
        with pytest.raises(ConnectionClosed):
            await client.receive()


async def test_attending_is_bounded(ends, autojump_clock):
    """A peer that sends and sends while nobody receives is held back, and nothing is lost."""
    client, server = ends
    sent = 0

    async def flood() -> None:
        nonlocal sent
        for number in range(3000):
            await server.send(b"%06d" % number * 200)
            sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.attend)
        nursery.start_soon(flood)
        await trio.sleep(5)
        held = sent
        await trio.sleep(60)
        assert sent == held < 3000
        assert [int((await client.receive())[:6]) for _ in range(3000)] == list(range(3000))
        nursery.cancel_scope.cancel()


async def test_a_peer_that_does_not_answer_pings_is_gone(client_and_raw, autojump_clock):
    """Liveness ends the websocket with 1006 and a reason, and whoever receives learns it."""
    client, raw = client_and_raw
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(client.attend, ping_seconds=5, pong_seconds=3))
        with pytest.raises(ConnectionClosed, match="no answer to a ping") as closed:
            await client.receive()
    assert closed.value.code == 1006
    assert trio.current_time() < 10
    assert (await raw.frame())[0] == PING


async def test_a_peer_that_answers_pings_stays(client_and_raw, autojump_clock):
    """Anything that comes after a ping counts as an answer."""
    client, raw = client_and_raw

    async def answer() -> None:
        for _ in range(5):
            opcode, payload = await raw.frame()
            assert opcode == PING
            await raw.send(encode(PONG, payload))
        await raw.send(encode(TEXT, b"still here"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(client.attend, ping_seconds=5, pong_seconds=3))
        nursery.start_soon(answer)
        assert await client.receive() == "still here"
        nursery.cancel_scope.cancel()
    assert trio.current_time() > 30


async def test_sending_waits_for_a_receiver_that_does_not_read(ends):
    """What the kernel does not take is not kept in memory: `send` waits, and goes on when the peer reads."""
    client, server = ends
    sent = 0

    async def flood() -> None:
        nonlocal sent
        for _ in range(1000):
            await client.send(b"x" * 10_000)
            sent += 1

    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            await trio.testing.wait_all_tasks_blocked()
            assert sent < 500
            for _ in range(1000):
                await server.receive()
    assert sent == 1000


@pytest.mark.parametrize("direction", ["send", "receive"])
async def test_operations_that_do_not_wait_let_others_have_their_turn(direction):
    """Sending or receiving 640 messages without ever having to wait gives way about 20 times."""
    ours, theirs = sockets()
    client = Connection(ours, client=True)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    with theirs, trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            if direction == "receive":
                theirs.send(encode(BINARY, b"x") * 640)
                await client.receive()
            await trio.lowlevel.checkpoint()
            turns = 0
            for _ in range(639):
                if direction == "send":
                    await client.send(b"x")
                    theirs.recv(100)
                else:
                    await client.receive()
            assert turns >= 18
            nursery.cancel_scope.cancel()
    client.abort()


async def test_polling_finds_answers(nursery):
    """With a spinner that always polls, answers of another thread are received as ever."""
    ours, theirs = sockets()

    def echo() -> None:
        theirs.setblocking(True)
        decoder = Decoder(masked=True, message_bytes=1000)
        while data := theirs.recv(1000):
            for opcode, payload in decoder.receive(data):
                theirs.sendall(encode(opcode, payload))

    with theirs, trio.fail_after(SECONDS):
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.to_thread.run_sync, echo)
            client = Connection(ours, client=True, spinner=Spinner("always"))
            for number in range(200):
                await client.send(str(number))
                assert await client.receive() == str(number)
            client.abort()


async def test_what_came_with_the_handshake_is_the_first_message():
    """Bytes behind the head are digested before anything is read."""
    ours, theirs = sockets()
    with theirs:
        client = Connection(ours, client=True, rest=encode(TEXT, b"quick"))
        assert await client.receive() == "quick"
        client.abort()
