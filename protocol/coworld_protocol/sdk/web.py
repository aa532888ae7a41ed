"""What a server's application and its transport say to each other: values and plain calls, nothing that awaits.

The transport (`sdk.transport`) is written against this page and so is the game (`sdk.game`); either may be replaced alone.
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
        message_bytes: longest websocket message a peer may send, over all its fragments.
        outbox_bytes: bytes that may wait for a receiver; a receiver further behind is dropped.
        send_seconds: time for 256 KiB to be taken by the peer; a slower receiver is dropped.
        close_seconds: time for the peer to answer a close frame.
        connections: connections at once; further ones are closed at once.
    """

    header_bytes: int = 16 * 1024
    header_seconds: float = 10.0
    body_bytes: int = 64 * 1024
    message_bytes: int = 64 * 1024
    outbox_bytes: int = 4 * 1024 * 1024
    send_seconds: float = 20.0
    close_seconds: float = 2.0
    connections: int = 1024


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
    """One open websocket, seen from the application. Both methods return at once and may be called at any time."""

    @property
    def open(self) -> bool:
        """Whether a message sent now has a chance to arrive."""
        ...

    def send(self, message: str | bytes) -> None:
        """Queue one text or binary message. Does nothing once the socket is closed; a receiver too far behind is dropped."""
        ...

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Start the close handshake after what was sent before; the peer has `close_seconds` to answer."""
        ...


class Endpoint(Protocol):
    """The application's side of one open websocket. No call may block or raise because of what the peer did."""

    def opened(self, socket: Socket) -> None:
        """The handshake is complete."""
        ...

    def received(self, message: str | bytes) -> None:
        """A whole message arrived."""
        ...

    def closed(self, code: int) -> None:
        """The socket is gone, once per socket; `code` is the peer's close code, 1006 when it sent none."""
        ...


class Application(Protocol):
    """What a server shows to the world."""

    def respond(self, request: Request) -> Response | None:
        """The answer to a GET or HEAD; None means there is no such page."""
        ...

    def upgrade(self, request: Request) -> Endpoint | Response:
        """The endpoint that takes this websocket, or the refusal that is sent instead of accepting it."""
        ...
