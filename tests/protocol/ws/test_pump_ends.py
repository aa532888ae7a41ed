"""How websockets of the pump end: told once, never from inside a call of the application, and with everything given back."""

from __future__ import annotations

import contextlib
import os

import pytest
import trio

from coworld_protocol.ws.frames import TEXT, encode
from tests.pump_peers import (
    PATIENCE,
    SEGMENT,
    Client,
    Recorder,
    Seat,
    descriptors,
    echo,
    overwhelm,
    reset,
    served,
    upgrade_request,
)


@pytest.mark.parametrize(
    ("ending", "code"),
    [("close", 4001), ("eof", 1006), ("reset", 1006), ("violation", 1006), ("ours", 3000), ("drop", 1006)],
)
async def test_every_end_is_told_once_and_things_settle_after_it(ending, code):
    """However a websocket ends, `closed` comes once, outside of any other call, then `settled`; no message comes after it."""
    site = Recorder()
    order = []
    site.on_close = lambda seat: order.append("closed")
    site.on_settled = lambda: order.append("settled") if order else None
    async with served(site, outbox_bytes=100_000) as door:
        client = await door.connect(receive_bytes=SEGMENT)
        await site.until(lambda: site.seats and site.seats[0].socket)
        (seat,) = site.seats
        if ending == "close":
            await client.send_close(4001)
            await client.send(b"behind the close frame")
            assert await client.close_code() == 4001
            assert await client.event() is None
        elif ending == "eof":
            await client.stream.send_eof()
        elif ending == "reset":
            reset(client)
        elif ending == "violation":
            await client.stream.send_all(encode(TEXT, b"not masked") + encode(TEXT, b"masked", mask=True))
            assert await client.close_code() == 1002
        elif ending == "ours":
            seat.socket.close(3000)
            assert await client.close_code() == 3000
            await client.send(b"behind our close frame")
            await client.send_close(3000)
        else:
            site.on_message = lambda seat, _: overwhelm(seat)
            await client.send(b"go")
            await client.send(b"more")
        await site.until(lambda: order[:2] == ["closed", "settled"])
        other = await door.connect()
        await other.send(b"x")
        await site.until(lambda: len(site.seats) == 2 and site.seats[1].messages)
        assert seat.codes == [code]
        assert "behind" not in str(seat.notes)
    assert order.count("closed") == 2


async def test_cancelling_tells_everybody_and_gives_everything_back():
    """Whatever state a connection is in, the end of the server ends it; no descriptor is left, nor the Unix socket."""
    site = Recorder()
    before = descriptors()
    async with served(site, connections=6) as door:
        listening = len(descriptors())
        silent, half = await door.dial(), await door.dial()
        await half.send_all(b"GET / HT")
        for _ in range(3):
            await door.connect()
        await site.until(lambda: len([seat for seat in site.seats if seat.socket]) == 3)
        site.seats[1].socket.close(4000)
        site.seats[2].socket.send(b"x" * 3_000_000)
        assert len(descriptors()) >= listening + 10
        await door.stop()
        assert [seat.codes for seat in site.seats] == [[1006]] * 3
        assert not any(seat.socket.open for seat in site.seats)
        site.seats[0].socket.send("into the void")
        site.seats[0].socket.close()
        assert await silent.receive_some() == b""
    assert descriptors() - before == set()


@pytest.mark.parametrize("where", ["on_open", "on_message", "on_close", "on_settled", "respond"])
async def test_a_defect_of_the_application_ends_the_server(where):
    """An exception in any call comes out of `serve`; every other websocket's end is told, and nothing is left open."""
    site = Recorder()
    before = descriptors()

    def fail(*_):
        raise ArithmeticError(where)

    with pytest.raises(BaseExceptionGroup) as caught, trio.fail_after(PATIENCE):  # noqa: PT012
        async with served(site) as door:
            await door.connect()
            await site.until(lambda: site.seats and site.seats[0].socket)
            setattr(site, where, fail)
            client = Client(await door.dial())
            with contextlib.suppress(trio.BrokenResourceError, AssertionError):
                await client.stream.send_all(
                    b"GET / HTTP/1.1\r\nHost: here\r\n\r\n" if where == "respond" else upgrade_request()
                )
                await client.send(b"x")
                await client.send_close()
            await trio.sleep_forever()
    assert caught.group_contains(ArithmeticError, match=where)
    for seat in site.seats:
        assert len(seat.codes) == 1
    assert descriptors() - before == set()


async def test_a_defect_in_the_last_call_is_not_swallowed():
    """Everybody is told of the end though each is a failure; then the failures come out, and nothing is left open."""
    site = Recorder()
    before = descriptors()
    site.on_close = lambda seat: 1 // 0
    clients = []
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012
        async with served(site) as door:
            clients += [await door.connect() for _ in range(3)]
            await site.until(lambda: len([seat for seat in site.seats if seat.socket]) == 3)
    assert caught.group_contains(ZeroDivisionError)
    assert [seat.codes for seat in site.seats] == [[1006]] * 3
    assert descriptors() - before == set()


# Calls from inside of calls


async def test_a_message_may_close_and_drop_any_socket():
    """What one seat says may end all others in the middle of a batch, and itself; each hears of its end once."""
    site = Recorder()

    def end_all(seat: Seat, payload: bytes) -> None:
        for number, each in enumerate(site.seats):
            if number % 2:
                each.socket.close(4000)
            else:
                overwhelm(each)

    async with served(site, outbox_bytes=1000) as door:
        clients = [await door.connect(receive_bytes=SEGMENT) for _ in range(6)]
        await site.until(lambda: len([seat for seat in site.seats if seat.socket]) == 6)
        site.on_message = end_all
        for client in clients:
            # Not a checkpoint between them: the pump finds them ready together.
            client.stream.socket._sock.send(encode(TEXT, b"go", mask=True))
        await site.until(lambda: all(seat.codes for seat in site.seats[::2]))
        for client in clients[1::2]:
            assert await client.close_code() == 4000
            await client.send_close(4000)
        await site.until(lambda: all(seat.codes for seat in site.seats))
        assert [seat.codes for seat in site.seats] == [[1006], [4000]] * 3
        assert sum(len(seat.messages) for seat in site.seats) == 1


async def test_an_end_may_end_others_and_open_descriptors_at_once():
    """`closed` may close the next seat, and open a file that gets a descriptor just given back; then newcomers are served."""
    site = Recorder()
    files = []

    def pass_on(seat: Seat) -> None:
        files.append(os.open("/dev/null", os.O_RDONLY))
        for each in site.seats:
            if each.socket.open:
                overwhelm(each)
                break

    site.on_close = pass_on
    async with served(site, outbox_bytes=1000) as door:
        for generation in range(3):
            clients = [await door.connect(receive_bytes=SEGMENT) for _ in range(5)]
            await site.until(lambda: len([s for s in site.seats if s.socket]) == 5 * (generation + 1))  # noqa: B023
            reset(clients[0])
            await site.until(lambda: all(seat.codes for seat in site.seats))
        assert [seat.codes for seat in site.seats] == [[1006]] * 15
        for file in files:
            os.fstat(file)
            os.close(file)


async def test_an_end_brought_about_by_settling_is_told_before_the_next_message():
    """A step of the game drops a receiver: the application hears of it at once, not behind what arrives next."""
    site = Recorder()
    order = []
    site.on_close = lambda seat: order.append("closed")
    site.on_message = lambda seat, payload: order.append("message")
    async with served(site, outbox_bytes=1000) as door:
        await door.connect(receive_bytes=SEGMENT)
        other = await door.connect()
        await site.until(lambda: len([seat for seat in site.seats if seat.socket]) == 2)

        def step() -> None:
            if site.seats[0].socket.open:
                overwhelm(site.seats[0])
                other.stream.socket._sock.send(encode(TEXT, b"move", mask=True))

        site.on_settled = step
        await site.until(lambda: len(order) == 2)
        assert order == ["closed", "message"]


async def test_a_descriptor_may_be_used_again_within_a_moment():
    """Connections that come and go get each other's descriptors; nobody hears what was meant for another."""
    site = Recorder()
    site.on_message = echo
    async with served(site) as door:
        stay = await door.connect()
        for number in range(60):
            client = await door.connect(behind=encode(TEXT, b"early", mask=True))
            await client.send(str(number).encode())
            assert await client.message() == b"early"
            assert await client.message() == str(number).encode()
            if number % 3 == 0:
                reset(client)
            elif number % 3 == 1:
                await client.send_close()
            await client.stream.aclose()
        await stay.send(b"still here")
        assert await stay.message() == b"still here"
        await stay.stream.aclose()
        await site.until(lambda: all(len(seat.codes) == 1 for seat in site.seats))
        assert [len(seat.messages) for seat in site.seats] == [1, *[2] * 60]


# Liveness
