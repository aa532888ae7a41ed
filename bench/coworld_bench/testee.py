"""The client side of the conformance protocol that the Autobahn test suite's fuzzing server speaks.

/getCaseCount                       one message: how many cases there are
/runCase?case=N&agent=NAME          case N: whatever comes is sent back
/updateReports?agent=NAME           the server writes its report
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import quote

import trio

from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.ws.connecting import connect
from coworld_protocol.ws.connection import ConnectionClosed
from coworld_protocol.ws.handshake import HandshakeFailed, HandshakeRefused

__all__ = ["AGENT", "run_cases"]

AGENT = "coworld-actors"
"""What we are called in reports."""

_MESSAGE_BYTES = 64 * 1024 * 1024
_CASE_SECONDS = 120.0
_COUNT_SECONDS = 20.0


async def run_cases(
    url: str,
    *,
    agent: str = AGENT,
    deflate: bool = False,
    cases: Iterable[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Play the client in every case and have the report written.

    Args:
        url: of the fuzzing server, without a path.
        agent: our name in its report.
        deflate: offer compression.
        cases: numbers from 1; None: all.
        progress: told the number of each case before it begins, and how many there are.

    Returns:
        How many cases were played.

    Raises:
        PreconditionMissing: nobody answers there, or not with a number of cases.
    """
    base = url.rstrip("/")
    count = await _count(base)
    played = 0
    for case in cases if cases is not None else range(1, count + 1):
        if progress is not None:
            progress(case, count)
        await _play(f"{base}/runCase?case={case}&agent={quote(agent)}", deflate=deflate)
        played += 1
    await _play(f"{base}/updateReports?agent={quote(agent)}", deflate=False)
    return played


async def _count(base: str) -> int:
    todo = "start the fuzzing server first; its URL has no path"
    try:
        with trio.fail_after(_COUNT_SECONDS):
            async with await connect(f"{base}/getCaseCount") as connection:
                return int(await connection.receive())
    except (OSError, ConnectionClosed, HandshakeFailed, HandshakeRefused, trio.TooSlowError, ValueError) as error:
        silence = f"nothing came within {_COUNT_SECONDS:g} s"
        raise PreconditionMissing(f"{base} has no cases for us.", evidence=str(error) or silence, todo=todo) from error


async def _play(url: str, *, deflate: bool) -> None:
    """One case; how it ends is the server's to judge."""
    try:
        with trio.move_on_after(_CASE_SECONDS):
            async with await connect(url, deflate=deflate, message_bytes=_MESSAGE_BYTES) as connection:
                while True:
                    await connection.send(await connection.receive())
    except (OSError, ConnectionClosed, HandshakeFailed, HandshakeRefused):
        pass
