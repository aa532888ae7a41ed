"""Those who look on without a seat: the viewers of `/global`, and `/admin`, which may also speak."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coworld_protocol.ws.web import Endpoint, Socket

__all__ = ["Audience"]

_LEFT = 1000


class Audience:
    """Sockets that are all sent the same.

    Args:
        greet: the frames for somebody who has just come.
        left: called when somebody has gone.
        heard: called with what somebody says; None: nobody listens.
    """

    def __init__(
        self,
        greet: Callable[[], Sequence[bytes]],
        left: Callable[[], None],
        heard: Callable[[Socket, bytes], None] | None = None,
    ) -> None:
        self._greet = greet
        self._left = left
        self._heard = heard
        self._sockets: set[Socket] = set()
        self._dismissed = False

    def __len__(self) -> int:
        """How many look on."""
        return len(self._sockets)

    def endpoint(self) -> Endpoint:
        """What receives the websocket of somebody new."""
        return _Onlooker(self)

    def show(self, frame: bytes) -> None:
        """Send a frame to everybody."""
        for socket in self._sockets:
            socket.send_frame(frame)

    def dismiss(self) -> None:
        """Say good-bye to everybody, and to whoever still comes right after the greeting: the episode is over."""
        self._dismissed = True
        for socket in self._sockets:
            socket.close(_LEFT, "episode over")

    def enter(self, socket: Socket) -> None:
        """Somebody has come."""
        for frame in self._greet():
            socket.send_frame(frame)
        if self._dismissed:
            socket.close(_LEFT, "episode over")
        self._sockets.add(socket)

    def leave(self, socket: Socket) -> None:
        """Somebody has gone."""
        self._sockets.discard(socket)
        self._left()

    def hear(self, socket: Socket, payload: bytes) -> None:
        """Somebody has said something."""
        if self._heard is not None:
            self._heard(socket, payload)


class _Onlooker:
    """One connection."""

    __slots__ = ("_audience", "_socket")

    def __init__(self, audience: Audience) -> None:
        self._audience = audience
        self._socket: Socket | None = None

    def opened(self, socket: Socket) -> None:
        self._socket = socket
        self._audience.enter(socket)

    def received(self, payload: bytes, text: bool) -> None:  # noqa: ARG002 - the interface's; JSON is JSON in either kind
        assert self._socket is not None
        self._audience.hear(self._socket, payload)

    def closed(self, code: int) -> None:
        del code
        if self._socket is not None:
            self._audience.leave(self._socket)
