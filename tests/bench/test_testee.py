"""The client side of the conformance protocol, against a fuzzing server of three cases."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import ServerConnection, serve

from coworld_bench.testee import run_cases
from coworld_protocol.errors import PreconditionMissing


class Suite:
    """A fuzzing server that sends one message per case and notes what comes back."""

    def __init__(self, count: str = "3") -> None:
        self.count = count
        self.seen: list[tuple[str, str | bytes]] = []

    async def handle(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        path = socket.request.path
        if path == "/getCaseCount":
            await socket.send(self.count)
        elif path.startswith("/runCase"):
            case = int(path.partition("case=")[2].partition("&")[0])
            if case == 2:
                # Some cases end without a word.
                await socket.stream.aclose()
                return
            message = b"\x00\xff" if case == 3 else "grün"
            await socket.send(message)
            self.seen.append((path, await socket.recv()))
        else:
            self.seen.append((path, ""))
        with suppress(ConnectionClosed):
            await socket.close()

    async def listen(self, task_status: trio.TaskStatus[str]) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        task_status.started(f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        await serve(self.handle, listeners=listeners)


async def test_every_case_is_played_and_the_report_asked_for() -> None:
    """Whatever comes is sent back; a case that breaks off does not stop the others."""
    suite = Suite()
    told: list[tuple[int, int]] = []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(suite.listen)
            assert await run_cases(url, agent="our name", progress=lambda *case: told.append(case)) == 3
            nursery.cancel_scope.cancel()
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert suite.seen == [
        ("/runCase?case=1&agent=our%20name", "grün"),
        ("/runCase?case=3&agent=our%20name", b"\x00\xff"),
        ("/updateReports?agent=our%20name", ""),
    ]


async def test_single_cases_can_be_played() -> None:
    """Only those that are asked for."""
    suite = Suite()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(suite.listen)
            assert await run_cases(url, cases=[3]) == 1
            nursery.cancel_scope.cancel()
    assert [path.partition("&")[0] for path, _ in suite.seen] == [
        "/runCase?case=3",
        "/updateReports?agent=coworld-actors",
    ]


async def test_a_server_without_cases_is_refused() -> None:
    """A server that counts in words, or is not there, is a precondition that is missing."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(Suite("three").listen)
            with pytest.raises(PreconditionMissing, match="has no cases for us"):
                await run_cases(url)
            nursery.cancel_scope.cancel()
        with pytest.raises(PreconditionMissing):
            await run_cases(url)
