"""What bad requests, endless ones and crowds of silent connections get from both servers of `coworld_protocol.ws`."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import textwrap
from pathlib import Path

import pytest
import trio

from tests.broken_frames import BROKEN
from tests.echo_servers import (
    APIS,
    ASK,
    PATIENCE,
    UPGRADE,
    Server,
    assert_closed_with,
    assert_still_serves,
    behind_the_handshake,
    exchange,
    start,
)

ROOT = Path(__file__).parents[3]
SMUGGLED = b"GET /secret HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.fixture(params=APIS)
def server(request: pytest.FixtureRequest) -> Server:
    return Server(request.param)


@pytest.mark.parametrize(
    "start",
    [b"", b"G", b"GET /page HTTP/1.1\r\n", ASK, b"GET /page HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n"],
    ids=["nothing", "one-byte", "request-line", "almost-an-upgrade", "no-body"],
)
async def test_a_request_that_never_ends_is_cut_off(server, start):
    """Who trickles a head or a body, or sends nothing, is closed when its time is up, without a word."""
    async with server.running(header_seconds=0.5) as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        with trio.fail_after(PATIENCE):
            await stream.send_all(start)
            async with trio.open_nursery() as nursery:

                async def trickle() -> None:
                    with contextlib.suppress(trio.BrokenResourceError):
                        # Nine bytes would complete the body.
                        for _ in range(8 if start.endswith(b"\r\n\r\n") else 10_000 if start else 0):
                            await stream.send_all(b"x")
                            await trio.sleep(0.02)

                nursery.start_soon(trickle)
                said = b""
                with contextlib.suppress(trio.BrokenResourceError):
                    said = bytes(await stream.receive_some())
                nursery.cancel_scope.cancel()
            assert said == b""
        assert server.log.paths == []
        await assert_still_serves(port)


REFUSED = {
    "head-that-never-ends": (b"GET /page HTTP/1.1\r\nX: " + b"x" * 100_000, [431], []),
    "no-http": (b"EHLO here\r\n\r\n", [400], []),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), [400], []),
    "no-host": (b"GET /page HTTP/1.1\r\n\r\n" + SMUGGLED, [400], []),
    "two-hosts": (b"GET /page HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + SMUGGLED, [400], []),
    "folded-header": (b"GET /page HTTP/1.1\r\nHost : here\r\n\r\n" + SMUGGLED, [400], []),
    "two-lengths": (b"GET /page HTTP/1.1\r\nHost: here\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx" + SMUGGLED, [400], []),
    "negative-length": (b"GET /page HTTP/1.1\r\nHost: here\r\nContent-Length: -1\r\n\r\n" + SMUGGLED, [400], []),
    "unknown-coding": (b"GET /page HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: gzip\r\n\r\n" + SMUGGLED, [501], []),
    "bad-chunk": (b"GET /page HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n" + SMUGGLED, [400], []),
    "body-larger-than-promised": (b"GET /page HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nabcdef\r\n\r\n", [200, 400], ["/page"]),
    "body-promised-too-large": (b"POST /page HTTP/1.1\r\nHost: here\r\nContent-Length: 999999999999\r\n\r\n" + bytes(70_000), [413], []),
    "chunks-too-large": (
        b"POST /page HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + bytes(4096) + b"\r\n"
        + b"ffff\r\n" + bytes(65535) + b"\r\n",
        [413],
        [],
    ),
    "request-behind-an-error": (b"GET /nowhere HTTP/1.1\r\nHost: here\r\n\r\n" + SMUGGLED, [404], ["/nowhere"]),
    "request-in-the-body-of-an-upgrade": (ASK + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED, [400], []),
    "request-in-the-chunks-of-an-upgrade": (ASK + b"Transfer-Encoding: chunked\r\n\r\n2d\r\n" + SMUGGLED + b"0\r\n\r\n", [400], []),
    "request-behind-a-refused-upgrade": (UPGRADE.replace(b"13", b"12") + SMUGGLED, [426], []),
    "request-behind-an-upgrade-without-key": (UPGRADE.replace(b"-Key", b"-Lock") + SMUGGLED, [400], []),
    "upgrade-by-post": (UPGRADE.replace(b"GET", b"POST") + SMUGGLED, [405], []),
    "upgrade-by-http-1.0": (UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0") + SMUGGLED, [400, 426], []),
}  # fmt: skip
"""Bytes of a peer, the statuses of the answers (of one answer: any of them when it is an upgrade), and the paths that were asked for."""


@pytest.mark.parametrize("name", REFUSED)
async def test_a_bad_request_gets_its_status_and_nothing_behind_it_is_taken(server, name):
    """Each is answered with its own status and the connection ends; no request that hides behind it reaches the application."""
    data, statuses, paths = REFUSED[name]
    async with server.running() as port:
        said = await exchange(port, data)
        assert server.log.paths == paths
        await assert_still_serves(port)
    answers = [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]]
    if name == "upgrade-by-http-1.0":
        assert len(answers) == 1
        assert answers[0] in statuses
    else:
        assert answers == statuses
    head = said.rpartition(b"HTTP/1.1 ")[2].lower().partition(b"\r\n\r\n")[0]
    connection = next(line for line in head.split(b"\r\n") if line.startswith(b"connection:"))
    assert connection.endswith(b"close")


async def test_a_request_smuggled_behind_an_upgrade_is_a_broken_frame(server):
    """Bytes behind the upgrade are frames, whatever they look like."""
    async with server.running() as port:
        said = await exchange(port, UPGRADE + SMUGGLED)
    assert_closed_with(behind_the_handshake(said), 1002)
    assert server.log.paths == ["/echo"]


SILENT = """
import os, resource, socket, sys
import trio
sys.path.insert(0, {root!r})
from tests.echo_servers import Server

async def main(api, connections, descriptors):
    server = Server(api)
    async with server.running(header_seconds=1.0, connections=connections) as port:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        print(port, flush=True)
        most = 0
        # Ends with its parent's end of the pipe.
        async with trio.open_nursery() as nursery:
            async def watch():
                nonlocal most
                while True:
                    try:
                        most = max(most, len(os.listdir("/proc/self/fd")))
                    except OSError:
                        most = descriptors
                    await trio.sleep(0.01)
            nursery.start_soon(watch)
            await trio.lowlevel.wait_readable(0)
            nursery.cancel_scope.cancel()
    print(most)

trio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""


@pytest.mark.parametrize(("connections", "descriptors"), [(50, 400), (100_000, 100)], ids=["limit", "descriptors"])
async def test_a_crowd_that_stays_silent_is_bounded(server, connections, descriptors):
    """Connections that are opened and left silent take no more than the limit, or than the process has; whoever comes is served."""
    program = [sys.executable, "-c", textwrap.dedent(SILENT).format(root=str(ROOT)), server.api]
    process = start([*program, str(connections), str(descriptors)])
    assert process.stdin is not None
    assert process.stdout is not None
    crowd: list[socket.socket] = []
    try:
        port = int(await trio.to_thread.run_sync(process.stdout.readline))
        for _ in range(800):
            sock = socket.socket()
            crowd.append(sock)
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(("127.0.0.1", port))
        # Behind all of them in the kernel's queue: each generation of the silent has its second, then goes.
        for sock in crowd[300:]:
            sock.close()
        await assert_still_serves(port)
        assert process.poll() is None
        process.stdin.close()
        most = int(await trio.to_thread.run_sync(process.stdout.readline))
        assert most <= (connections + 40 if connections < descriptors else descriptors)
        with trio.fail_after(PATIENCE):
            assert await trio.to_thread.run_sync(process.wait) == 0
    finally:
        for sock in crowd:
            sock.close()
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


async def test_nothing_is_left_of_hostile_peers(server):
    """After any of them the server holds no descriptor that it did not hold before."""
    async with server.running(close_seconds=0.2, header_seconds=0.2) as port:
        await assert_still_serves(port)
        before = len(os.listdir("/proc/self/fd"))
        for data, *_ in REFUSED.values():
            await exchange(port, data)
        for name in ("unmasked-text", "not-utf8", "too-long"):
            await exchange(port, UPGRADE + BROKEN[name][0])
        with trio.fail_after(PATIENCE):
            while len(os.listdir("/proc/self/fd")) > before:
                await trio.sleep(0.02)
