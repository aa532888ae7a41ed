"""The sending half of a connection: frames go out whole and in order, at once where the kernel has room."""

from __future__ import annotations

import socket
from collections import deque
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from coworld_protocol.ws.tls import Tls

__all__ = ["Outlet"]

_OPCODE: Final = 0x0F


class Outlet:
    """What goes out on a non-blocking socket.

    Whoever waits for the kernel holds `turn`. Frames that nobody waits for, answers to pings and the like, stand in
    line meanwhile, as does the end of a frame whose sender was cancelled.

    Args:
        sock: connected and non-blocking; not closed here.
        tls: the encryption, if any.

    Attributes:
        turn: held by the sender who waits for room.
        waiting: whether anything has still to go out.
        broken: whether the peer takes nothing any more.
    """

    __slots__ = ("_owed", "_rest", "_scope", "_send", "_sock", "_tls", "broken", "turn", "waiting")

    def __init__(self, sock: socket.socket, tls: Tls | None) -> None:
        self._sock = sock
        self._send = sock.send
        self._tls = tls
        self._rest: bytes | memoryview = b""
        self._owed: deque[bytes] = deque()
        self._scope: trio.CancelScope | None = None
        self.turn = trio.Lock()
        self.waiting = False
        self.broken = False

    @property
    def idle(self) -> bool:
        """Whether a frame may be written at once."""
        return not self.waiting and not self.turn.locked()

    def write(self, frame: bytes) -> None:
        """Send a frame; for the holder of the turn, or while the outlet is idle.

        Look at `waiting` and `broken` afterwards.
        """
        if self._tls is not None:
            frame = self._tls.encrypt(frame)
        try:
            sent = self._send(frame)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._break()
            return
        if sent != len(frame):
            self._rest = memoryview(frame)[sent:]
            self.waiting = True

    def put(self, frame: bytes) -> None:
        """Send a control frame now, or as soon as what is going out has gone.

        RFC 6455, 5.5.3: of several pings only the newest has to be answered, so a frame takes the place of one of its
        kind.
        """
        if self._owed and self._owed[-1][0] & _OPCODE == frame[0] & _OPCODE:
            self._owed.pop()
        self._owed.append(frame)
        self.waiting = True
        self.push()

    def push(self) -> None:
        """Give the kernel what it takes, unless somebody waits for it already."""
        if not self.turn.locked():
            self._push()

    async def flush(self) -> None:
        """Wait until the kernel has everything, the peer is gone, or `stop` is called; for the holder of the turn."""
        self._push()
        if not self.waiting:
            return
        scope = self._scope = trio.CancelScope()
        with scope:
            try:
                while self.waiting:
                    await trio.lowlevel.wait_writable(self._sock)
                    self._push()
            except trio.ClosedResourceError:
                # The socket was closed under us.
                self._break()
            finally:
                self._scope = None

    def stop(self) -> None:
        """A peer that has closed need not read any more: do not wait for it."""
        if self._scope is not None:
            self._scope.cancel()

    def _push(self) -> None:
        while self.waiting:
            if not self._rest:
                frame = self._owed.popleft()
                self._rest = frame if self._tls is None else self._tls.encrypt(frame)
            try:
                sent = self._send(self._rest)
            except BlockingIOError:
                return
            except OSError:
                self._break()
                return
            self._rest = memoryview(self._rest)[sent:]
            self.waiting = bool(self._rest or self._owed)

    def _break(self) -> None:
        self.broken = True
        self.waiting = False
        self._rest = b""
        self._owed.clear()
