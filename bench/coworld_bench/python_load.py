"""The load generator without a C compiler: `load.c` in Python, several times slower, and marked as such in every result.

python -m coworld_bench.python_load echo|ticks|raw HOST PORT CONNECTIONS SIZE WARMUP SECONDS PID
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from pathlib import Path

from coworld_protocol.ws.frames import TEXT, Decoder, encode

__all__ = ["main"]

_RECEIVE_BYTES = 256 * 1024
_MESSAGE_BYTES = 64 * 1024 * 1024
_REQUEST = (
    "GET / HTTP/1.1\r\nHost: {}:{}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class _Connection:
    def __init__(self, address: tuple[str, int], *, raw: bool) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.decoder = Decoder(masked=False, message_bytes=_MESSAGE_BYTES)
        self.raw = raw
        self.sent_at = 0.0
        self.missing = 0
        self.messages = 0
        if not raw:
            self.socket.sendall(_REQUEST.format(*address).encode())

    def expect_upgrade(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            if not byte:
                break
            head += byte
        if not head.startswith(b"HTTP/1.1 101"):
            sys.exit("load: handshake: unexpected answer")

    def answers(self) -> int:
        """How many whole answers have just come."""
        data = self.socket.recv(_RECEIVE_BYTES)
        if not data:
            sys.exit("load: the server closed a connection")
        if self.raw:
            self.missing -= len(data)
            return not self.missing
        return sum(opcode <= 2 for opcode, _ in self.decoder.receive(data))


def main(words: list[str]) -> None:
    """Run the load that `words` describe and print what came of it as JSON."""
    mode, host, port, count, size = words[0], words[1], int(words[2]), int(words[3]), int(words[4])
    warmup, seconds, pid = float(words[5]), float(words[6]), words[7]
    payload = (b"abcdefghijklmnopqrstuvwxyz" * (size // 26 + 1))[:size]
    frame = payload if mode == "raw" else encode(TEXT, payload, mask=True)
    connections = {}
    for _ in range(count):
        connection = _Connection((host, port), raw=mode == "raw")
        if mode != "raw":
            connection.expect_upgrade()
        connections[connection.socket.fileno()] = connection
    poll = select.epoll()
    for fd in connections:
        poll.register(fd, select.EPOLLIN)
    clock = time.perf_counter
    took: list[float] = []

    def request(connection: _Connection) -> None:
        connection.sent_at, connection.missing = clock(), size
        connection.socket.sendall(frame)

    if mode != "ticks":
        for connection in connections.values():
            request(connection)
    start = clock() + warmup
    measuring, cpu, server = False, 0.0, 0.0
    while True:
        now = clock()
        if not measuring and now >= start:
            measuring, start, cpu, server = True, now, time.process_time(), _seconds_of(pid)
        if measuring and now >= start + seconds:
            break
        for fd, _ in poll.poll(0.1):
            connection = connections[fd]
            for _ in range(connection.answers()):
                if measuring:
                    connection.messages += 1
                    if connection.sent_at:
                        took.append(clock() - connection.sent_at)
                request(connection)
    end, cpu, server = clock(), time.process_time() - cpu, _seconds_of(pid) - server
    took.sort()
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
    counts = [connection.messages for connection in connections.values()]
    found = {
        "generator": "python",
        "messages": sum(counts),
        "seconds": end - start,
        "cpu_seconds": cpu,
        "server_seconds": server,
        **{key: _at(took, share) * 1e6 for key, share in shares.items()},
        "least": min(counts),
        "most": max(counts),
    }
    print(json.dumps(found))


def _seconds_of(pid: str) -> float:
    """Time that a thread has run, which the scheduler counts in nanoseconds."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _at(took: list[float], share: float) -> float:
    return took[min(int(share * len(took)), len(took) - 1)] if took else 0.0


if __name__ == "__main__":
    main(sys.argv[1:])
