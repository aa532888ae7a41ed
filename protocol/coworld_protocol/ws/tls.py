"""Encryption of one connection as a transformation of bytes; `ws.connection` hardly knows whether there is any."""

from __future__ import annotations

import ssl
from typing import Final

import trio

__all__ = ["Tls"]

_BYTES: Final = 64 * 1024


class Tls:
    """One TLS session between two buffers; no I/O but in `shake_hands`.

    Args:
        context: with what certificates.
        hostname: the server's, to be checked against its certificate; None: we are the server.
    """

    def __init__(self, context: ssl.SSLContext, hostname: str | None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session = context.wrap_bio(
            self._incoming, self._outgoing, server_side=hostname is None, server_hostname=hostname
        )

    async def shake_hands(self, stream: trio.SocketStream) -> None:
        """Do the TLS handshake.

        Raises:
            OSError: the peer does not agree, or is gone; `ssl.SSLError` is one, too.
            trio.BrokenResourceError: the connection broke.
        """
        while True:
            try:
                self._session.do_handshake()
            except ssl.SSLWantReadError:
                await self._send_pending(stream)
                data = await stream.receive_some(_BYTES)
                if not data:
                    raise ConnectionResetError("The peer closed the connection during the TLS handshake.") from None
                self._incoming.write(data)
            except ssl.SSLError:
                # The peer is told why, as far as it listens.
                await self._send_pending(stream)
                raise
            else:
                await self._send_pending(stream)
                return

    async def _send_pending(self, stream: trio.SocketStream) -> None:
        if self._outgoing.pending:
            await stream.send_all(self._outgoing.read())

    def encrypt(self, data: bytes) -> bytes:
        """What to send for `data`; has to be sent, in order. Answers to the peer's key updates go with it."""
        self._session.write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes | None:
        """What the peer meant; None: more is needed, b"": it has ended, in order or not."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        found = []
        try:
            while part := self._session.read(_BYTES):
                found.append(part)
        except ssl.SSLWantReadError:
            return b"".join(found) or None
        except ssl.SSLError:
            # A broken session ends here; what came before is given out first.
            pass
        return b"".join(found)
