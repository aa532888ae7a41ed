"""A port of this machine that serves a registry to a Prometheus server; opened only when somebody asks for it.

In threads of its own, so that a scrape never waits for a busy event loop, nor the loop for a slow scraper.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus
from socketserver import BaseRequestHandler, TCPServer
from typing import TYPE_CHECKING, Any, final
from urllib.parse import urlsplit

import trio

from coworld_actors.observe.prometheus import metrics, require_client
from coworld_protocol.errors import PreconditionMissing, Refused

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from coworld_actors.runtime.opening import Attachment
    from coworld_actors.runtime.runtime import Runtime

__all__ = ["CLOSE_SECONDS", "MOST_SCRAPES", "metrics_port"]

MOST_SCRAPES = 16
"""Connections at once; a further one is closed at once."""
CLOSE_SECONDS = 5.0
"""What the end waits for scrapes that do not end although their connections are cut: for a collector of the host's that hangs."""
_SILENCE_SECONDS = 5.0
"""What a client may take between two words."""
_POLL_SECONDS = 0.2
"""How often the accepting thread looks whether it should end."""

_log = logging.getLogger("coworld_actors.metrics")


@final
class _Server(TCPServer):
    """One thread accepts, and one per connection answers. All of them are gone when `close` returns."""

    allow_reuse_address = True

    def __init__(
        self, family: socket.AddressFamily, address: tuple[Any, ...], handler: type[BaseRequestHandler]
    ) -> None:
        self.address_family = family
        self._lock = threading.Lock()
        self._scrapes: dict[Any, threading.Thread] = {}
        super().__init__(address, handler)
        self._acceptor = threading.Thread(
            target=self.serve_forever, args=(_POLL_SECONDS,), name="coworld-actors metrics", daemon=True
        )
        self._acceptor.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def verify_request(self, request: object, client_address: object) -> bool:
        del request, client_address
        with self._lock:
            return len(self._scrapes) < MOST_SCRAPES

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self._scrape, args=(request, client_address), name="coworld-actors scrape", daemon=True
        )
        with self._lock:
            self._scrapes[request] = thread
        thread.start()

    def _scrape(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:  # noqa: BLE001 - whatever a client does, the others are served
            self.handle_error(request, client_address)
        with self._lock:
            # From here on `close` does not touch the socket any more.
            del self._scrapes[request]
        self.shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        del request
        _log.debug("a scrape from %s came to nothing", client_address, exc_info=True)

    def close(self) -> None:
        """Accept no more, cut what is open, and wait for the threads."""
        deadline = time.monotonic() + CLOSE_SECONDS
        self.shutdown()
        self._acceptor.join()
        self.server_close()
        with self._lock:
            threads = list(self._scrapes.values())
            for connection in self._scrapes:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))


def _handler(registry: CollectorRegistry) -> type[BaseRequestHandler]:
    from prometheus_client import MetricsHandler  # noqa: PLC0415 - an extra

    class Handler(MetricsHandler):
        timeout = _SILENCE_SECONDS

        def version_string(self) -> str:
            return "coworld-actors"

        def do_GET(self) -> None:  # noqa: N802 - the name is the server's
            if urlsplit(self.path).path not in {"/", "/metrics"}:
                self.send_error(HTTPStatus.NOT_FOUND, "the metrics are at /metrics")
                return
            try:
                super().do_GET()
            except OSError:
                raise
            except Exception:  # noqa: BLE001 - a collector may be anybody's
                _log.warning("the metrics could not be collected", exc_info=True)
                self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "a collector failed; see the log")

    Handler.registry = registry
    return Handler


def _open(host: str, port: int, registry: CollectorRegistry) -> _Server:
    """Resolve, bind, listen and accept; blocks for as long as the resolver does."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return _Server(family, address, _handler(registry))
    except OSError as error:
        raise PreconditionMissing(
            f"metrics cannot be served on {host}, port {port}",
            evidence=error.strerror or str(error),
            todo="give metrics_port another port, 0 for any that is free, or leave the other program's alone",
        ) from error


def metrics_port(port: int = 9464, host: str = "127.0.0.1", registry: CollectorRegistry | None = None) -> Attachment:
    """For `open_runtime(attach=[...])`: serve metrics over HTTP, at `/metrics`, as long as the runtime is there.

    Entered by hand, `async with metrics_port(0)(runtime) as port`, it gives the port.

    Args:
        port: 0 for any that is free; else 9464, where scrapers of exporters look by default.
        host: the address of one interface; another one than loopback shows the metrics to whoever can reach it.
        registry: what is served. Without one the runtime's own metrics are, from a registry for nothing else.

    Raises:
        Refused: this is no number of a port.
        PreconditionMissing: the Prometheus client is not installed; or, when the runtime is opened, the port is taken.
    """
    require_client()
    if isinstance(port, bool) or not 0 <= port <= 0xFFFF:
        raise Refused(f"{port!r} is no number of a port", todo="give one from 1 to 65535, or 0 for any that is free")

    @asynccontextmanager
    async def attached(runtime: Runtime) -> AsyncGenerator[int]:
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 - an extra

        async with AsyncExitStack() as stack:
            served = registry
            if served is None:
                served = CollectorRegistry()
                await stack.enter_async_context(metrics(served)(runtime))
            server = await trio.to_thread.run_sync(_open, host, port, served)
            try:
                yield server.port
            finally:
                # Restores: no thread or socket outlives the runtime. `close` bounds itself; it is given a little longer.
                with trio.move_on_after(CLOSE_SECONDS + 1, shield=True):
                    await trio.to_thread.run_sync(server.close, abandon_on_cancel=True)

    return attached
