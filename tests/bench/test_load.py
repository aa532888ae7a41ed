"""The load generators, the one in C and the one in Python, against real servers."""

from __future__ import annotations

import socket
import threading

import pytest

from coworld_bench.contestants import Contestant, rival_command
from coworld_bench.load import run_load
from coworld_bench.programs import compiled
from coworld_bench.rivals import RIVALS
from coworld_protocol.errors import PreconditionMissing

GENERATORS = pytest.mark.parametrize("python", [False, True], ids=["c", "python"])


@GENERATORS
@pytest.mark.parametrize("size", [0, 125, 126, 200, 65535, 65536, 200_000])
def test_every_length_of_frame_is_echoed(python: bool, size: int) -> None:
    """Lengths of 7, 16 and 64 bits are written and read, and every connection has its share."""
    server = Contestant(rival_command(RIVALS["pump"], "echo"))
    try:
        load = run_load(
            "echo", server.port(), connections=3, size=size, seconds=0.3, warmup=0.0, server=server.pid, python=python
        )
    finally:
        server.close()
    assert load.generator == ("python" if python or compiled("load") is None else "c")
    assert load.messages >= load.least * 3
    assert load.most >= 1
    assert 0 < load.p50 <= load.p99 <= load.p999 * 1.02
    assert load.rate == pytest.approx(load.messages / load.seconds)
    assert 0 <= load.busy <= 1.5
    assert 0 < load.server_seconds <= load.seconds * 1.5


@GENERATORS
def test_raw_bytes_are_counted_by_length(python: bool) -> None:
    """Without framing an answer is as many bytes as were sent, in however many pieces they come."""
    server = Contestant(rival_command(RIVALS["raw-epoll"], "echo"))
    try:
        load = run_load("raw", server.port(), connections=2, size=300_000, seconds=0.3, warmup=0.0, python=python)
    finally:
        server.close()
    assert load.messages > 0


@GENERATORS
def test_ticks_are_in_lockstep(python: bool) -> None:
    """Nobody gets an observation before everybody has answered the one before."""
    server = Contestant(rival_command(RIVALS["pump"], "ticks", seats=4))
    try:
        load = run_load("ticks", server.port(), connections=4, size=40, seconds=0.2, warmup=0.05, python=python)
    finally:
        server.close()
    assert load.messages >= 4
    assert load.most - load.least <= 1


@GENERATORS
def test_a_server_that_refuses_is_named(python: bool) -> None:
    """A refusal is a precondition that is missing, with what the generator saw."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            sock, _ = listener.accept()
            sock.recv(4096)
            sock.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            sock.close()

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(PreconditionMissing, match="echo server could not be loaded") as caught:
            run_load("echo", listener.getsockname()[1], connections=1, size=10, seconds=0.1, warmup=0, python=python)
        thread.join()
    assert "handshake" in caught.value.evidence


@GENERATORS
def test_a_server_that_goes_away_is_named(python: bool) -> None:
    """A connection that ends in the middle ends the measurement with a reason, not with a figure."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def leave() -> None:
            sock, _ = listener.accept()
            sock.recv(4096)
            sock.close()

        thread = threading.Thread(target=leave)
        thread.start()
        with pytest.raises(PreconditionMissing) as caught:
            run_load("raw", listener.getsockname()[1], connections=1, size=10, seconds=5, warmup=0, python=python)
        thread.join()
    assert "load: " in caught.value.evidence
