"""A server whose handlers await: one task per websocket. With many seats `ws.pump` serves twice as much."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NoReturn

import trio

from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.ws.connection import Connection, ConnectionClosed
from coworld_protocol.ws.deflate import Deflate, choose
from coworld_protocol.ws.handshake import accept_response
from coworld_protocol.ws.http import Conversation, Upgraded
from coworld_protocol.ws.listening import NO_ROOM, listen_tcp, listen_unix
from coworld_protocol.ws.spin import make_spinner
from coworld_protocol.ws.tuning import tune
from coworld_protocol.ws.web import Endpoint, Limits, Request, Response, Socket

if TYPE_CHECKING:
    from coworld_protocol.ws.hub import Hub

__all__ = ["Handler", "serve_connections"]

Handler = Callable[[Connection, Request], Awaitable[None]]
"""Serves one websocket; when it returns the websocket is closed with 1000."""

_RECEIVE_BYTES: Final = 16 * 1024
_INTERNAL_ERROR: Final = 1011
# While the process has no descriptor left; some come back when connections end.
_PAUSE_SECONDS: Final = 0.1


class _Front:
    """Answers requests and notes the one that asks for a websocket, whose messages then take another way."""

    def __init__(self, respond: Callable[[Request], Response | None] | None) -> None:
        self._respond = respond
        self.request: Request | None = None

    def respond(self, request: Request) -> Response | None:
        return None if self._respond is None else self._respond(request)

    def upgrade(self, request: Request) -> Endpoint | Response:
        self.request = request
        return self

    def settled(self) -> None:
        pass

    def opened(self, socket: Socket) -> None:
        pass

    def received(self, payload: bytes, text: bool) -> None:
        pass

    def closed(self, code: int) -> None:
        pass


class _Server:
    def __init__(
        self,
        handler: Handler,
        limits: Limits,
        respond: Callable[[Request], Response | None] | None,
        spin: bool | None,
        hub: Hub,
    ) -> None:
        self._handler = handler
        self._limits = limits
        self._respond = respond
        self._spin = spin
        self._hub = hub
        self._places = trio.Semaphore(limits.connections)

    async def listen(self, listener: socket.socket) -> NoReturn:
        async with trio.open_nursery() as nursery:
            while True:
                await self._places.acquire()
                try:
                    sock = await _accept(listener)
                except BaseException:
                    # The place was taken for a connection that did not come.
                    self._places.release()
                    raise
                nursery.start_soon(self._serve, sock)

    async def _serve(self, sock: socket.socket) -> None:
        try:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            async with stream:
                front = _Front(self._respond)
                try:
                    outcome = await self._converse(stream, Conversation(front, self._limits))
                except trio.BrokenResourceError:
                    return
                if outcome is None:
                    return
                raw = socket.socket(fileno=stream.socket.detach())
            assert front.request is not None
            await self._serve_websocket(raw, *outcome, front.request)
        finally:
            self._places.release()

    async def _converse(
        self, stream: trio.SocketStream, conversation: Conversation
    ) -> tuple[Upgraded, Deflate | None] | None:
        limits = self._limits
        while not conversation.over:
            answer = None
            with trio.move_on_after(limits.header_seconds):
                while (answer := conversation.step()) is None and not conversation.over and not conversation.upgraded:
                    conversation.receive(bytes(await stream.receive_some(_RECEIVE_BYTES)))
            upgraded = conversation.upgraded
            if upgraded is not None:
                agreed = choose(upgraded.upgrade.deflate) if limits.deflate else None
                await stream.send_all(accept_response(upgraded.upgrade, deflate=agreed))
                return upgraded, agreed
            if answer is None:
                return None
            with trio.move_on_after(limits.outbox_seconds) as patience:
                await stream.send_all(answer)
            if patience.cancelled_caught:
                return None
        with trio.move_on_after(limits.close_seconds):
            # Closing with bytes unread would turn into a reset that takes the answer away.
            await stream.send_eof()
            while await stream.receive_some(_RECEIVE_BYTES):
                pass
        return None

    async def _serve_websocket(
        self, sock: socket.socket, upgraded: Upgraded, agreed: Deflate | None, request: Request
    ) -> None:
        limits = self._limits
        connection = Connection(
            sock,
            client=False,
            message_bytes=limits.message_bytes,
            deflate=agreed,
            rest=upgraded.rest,
            spinner=None if self._spin is False else make_spinner(self._spin),
            close_seconds=limits.close_seconds,
            place=self._hub.add(sock),
        )
        code = 1000
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._attend, connection)
                with contextlib.suppress(ConnectionClosed):
                    await self._handler(connection, request)
                nursery.cancel_scope.cancel()
        except Exception:
            code = _INTERNAL_ERROR
            raise
        finally:
            # The peer is told; a connection closes itself within its own time even when this is cancelled.
            await connection.close(code)

    async def _attend(self, connection: Connection) -> None:
        await connection.attend(ping_seconds=self._limits.ping_seconds, pong_seconds=self._limits.pong_seconds)


async def _accept(listener: socket.socket) -> socket.socket:
    while True:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            await trio.lowlevel.wait_readable(listener)
        except OSError as error:
            if error.errno in NO_ROOM:
                await trio.sleep(_PAUSE_SECONDS)
        else:
            sock.setblocking(False)
            tune(sock)
            return sock


async def serve_connections(
    handler: Handler,
    *,
    host: str,
    port: int,
    limits: Limits | None = None,
    unix: str | None = None,
    spin: bool | None = False,
    respond: Callable[[Request], Response | None] | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve until cancelled; start it with `nursery.start`, which returns the port that was bound.

    Args:
        handler: called with each websocket and the request that opened it. `ConnectionClosed` may leave it; any other
            exception closes that websocket with 1011 and ends the server, as an exception in a nursery does.
        host: address to listen on.
        port: 0 picks a free one.
        limits: what one connection may cost; `outbox_bytes` does not apply, because `send` waits.
        unix: path of a Unix socket to listen on as well; made new, taken away at the end.
        spin: False never polls in place of sleeping; None and True leave that to the environment and to measurement
            (`ws.spin`). Worth it with one or two connections.
        respond: the answer to a GET or HEAD that asks for no websocket; None: there are no pages.
        task_status: told the bound port once connections are accepted.

    Raises:
        PreconditionMissing: an address cannot be bound, or the system has no epoll.
        Refused: the environment's switch for polling has an unknown value.
    """
    if not hasattr(select, "epoll"):
        raise PreconditionMissing("This system has no epoll.", todo="serve on Linux; clients run anywhere")
    # Imported late, because it cannot be without epoll.
    from coworld_protocol.ws.hub import Hub  # noqa: PLC0415

    make_spinner(spin)
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(listener) for listener in await listen_tcp(host, port)]
        if unix is not None:
            listeners.append(stack.enter_context(listen_unix(unix)))
        hub = Hub()
        stack.callback(hub.close)
        server = _Server(handler, limits or Limits(), respond, spin, hub)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.run)
            for listener in listeners:
                nursery.start_soon(server.listen, listener)
            task_status.started(listeners[0].getsockname()[1])
            await trio.sleep_forever()
