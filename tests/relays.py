"""A stand-in for an engine that dies and comes back: a relay in front of its socket that can be cut and restored."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

__all__ = ["Relay"]

ENGINE = "/var/run/docker.sock"


class Relay:
    """A socket that leads to the engine's until it is cut.

    Args:
        path: the socket; short, for the kernel allows some 100 bytes.
        engine: the engine's own socket.
    """

    def __init__(self, path: Path, engine: str | None = None) -> None:
        self.path = path
        host = os.environ.get("DOCKER_HOST", f"unix://{ENGINE}")
        self._engine = engine or host.removeprefix("unix://")
        self._lock = threading.Lock()
        self._streams: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.connections = 0
        self.restore()

    @property
    def environ(self) -> Mapping[str, str]:
        """Variables for a client that is to use it."""
        return {"DOCKER_HOST": f"unix://{self.path}"}

    def restore(self) -> None:
        """Be there again."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen(128)
        self._listener = listener
        self._spawn(self._accept, listener)

    def cut(self) -> None:
        """The engine is gone: nobody is let in, and every connection breaks."""
        listener, self._listener = self._listener, None
        if listener is not None:
            self.path.unlink(missing_ok=True)
            _break(listener)
        with self._lock:
            for stream in self._streams:
                _break(stream)

    def close(self) -> None:
        """End it for good."""
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, work: object, *words: object) -> None:
        thread = threading.Thread(target=work, args=words, daemon=True)  # type: ignore[arg-type]
        thread.start()
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]

    def _accept(self, listener: socket.socket) -> None:
        with listener, suppress(OSError):
            while True:
                client, _ = listener.accept()
                self.connections += 1
                far = socket.socket(socket.AF_UNIX)
                try:
                    far.connect(self._engine)
                except OSError:
                    far.close()
                    client.close()
                    continue
                with self._lock:
                    self._streams |= {client, far}
                if self._listener is not listener:
                    _break(client)
                self._spawn(self._pair, client, far)

    def _pair(self, client: socket.socket, far: socket.socket) -> None:
        back = threading.Thread(target=_carry, args=(far, client), daemon=True)
        back.start()
        _carry(client, far)
        back.join()
        with self._lock:
            self._streams -= {client, far}
        client.close()
        far.close()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _break(stream: socket.socket) -> None:
    with suppress(OSError):
        stream.shutdown(socket.SHUT_RDWR)
