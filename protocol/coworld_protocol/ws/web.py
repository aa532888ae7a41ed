"""What a server's application and its transport say to each other: values and plain calls, nothing that awaits.

The transport (`ws.pump`) is written against this page and so is the SDK's game (`sdk.game`); either may be replaced alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

__all__ = ["Application", "Endpoint", "Limits", "Request", "Response", "Socket"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection may cost.

    Attributes:
        header_bytes: longest request head.
        header_seconds: time for a whole request head or body to arrive, and idle time between two requests.
        body_bytes: longest request body; it is read and thrown away.
        message_bytes: longest websocket message a peer may send, over all its fragments, after inflation.
        outbox_bytes: bytes that may wait for a receiver; a receiver further behind is dropped. One message larger than that may
            pass when nothing else waits.
        outbox_seconds: how long bytes may wait while the receiver takes neither all of them nor 256 KiB; then it is dropped.
        close_seconds: time for the peer to answer a close frame, and to take what was sent before it.
        ping_seconds: silence after which a websocket's peer is pinged; 0: never.
        pong_seconds: time to answer with anything at all; then the peer counts as gone. No deadline counts time in which the
            server itself was too busy to read.
        connections: connections at once; further ones wait in the kernel's queue until one ends.
        deflate: whether permessage-deflate is agreed to when a peer offers it.
    """

    header_bytes: int = 16 * 1024
    header_seconds: float = 10.0
    body_bytes: int = 64 * 1024
    message_bytes: int = 64 * 1024
    outbox_bytes: int = 4 * 1024 * 1024
    outbox_seconds: float = 20.0
    close_seconds: float = 2.0
    ping_seconds: float = 20.0
    pong_seconds: float = 20.0
    connections: int = 1024
    deflate: bool = False


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request's target.

    Attributes:
        method: upper-case.
        path: percent-encoded path, as sent.
        query: decoded query; of repeated keys the last counts.
    """

    method: str
    path: str
    query: Mapping[str, str]


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A complete HTTP answer; `Content-Length` is added when it is sent.

    Attributes:
        status: 200..599.
        body: whole body, left out for HEAD.
        content_type: MIME type with charset.
        headers: further headers.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Sequence[tuple[str, str]] = ()


class Socket(Protocol):
    """One open websocket, seen from the application. Every method returns at once and may be called at any time."""

    @property
    def open(self) -> bool:
        """Whether a message sent now has a chance to arrive."""
        ...

    @property
    def buffered(self) -> int:
        """Bytes that wait for the peer to take them."""
        ...

    def send(self, message: str | bytes) -> None:
        """Send one text or binary message. Does nothing once the socket is closed; a receiver too far behind is dropped."""
        ...

    def send_frame(self, frame: bytes) -> None:
        """Send a frame made by `ws.frames.encode` without a mask; the same object may go to many receivers."""
        ...

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Start the close handshake after what was sent before; the peer has `close_seconds` to answer."""
        ...


class Endpoint(Protocol):
    """The application's side of one open websocket. No call may block or raise because of what the peer did."""

    def opened(self, socket: Socket) -> None:
        """The handshake is complete."""
        ...

    def received(self, payload: bytes, text: bool) -> None:
        """A whole message arrived; a text's payload is valid UTF-8."""
        ...

    def closed(self, code: int) -> None:
        """The socket is gone, once per socket; `code` is the peer's close code, 1005 when its close frame had none, 1006 when no
        close frame came.
        """
        ...


class Application(Protocol):
    """What a server shows to the world."""

    def respond(self, request: Request) -> Response | None:
        """The answer to a GET or HEAD; None means there is no such page."""
        ...

    def upgrade(self, request: Request) -> Endpoint | Response:
        """The endpoint that takes this websocket, or the refusal that is sent instead of accepting it."""
        ...

    def settled(self) -> None:
        """Called once per wake-up, when every message that had arrived was handed over; a lockstep game steps here."""
        ...
