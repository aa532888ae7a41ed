"""Websockets: RFC 6455 and 7692 as pure functions, an awaitable connection, and a pump that serves many seats per wake-up.

coworld_protocol.ws.frames       bytes to messages and back, no I/O
coworld_protocol.ws.handshake    the opening handshake, no I/O
coworld_protocol.ws.connection   one connection for ordinary use: send, receive, close
coworld_protocol.ws.pump         pages and websockets of a whole game on one port
"""

from __future__ import annotations

__all__: list[str] = []
