"""The opening handshake of RFC 6455, both sides, without any I/O; heads are parsed by h11.

    server    check_upgrade(head) -> Upgrade, then accept_response(upgrade), or what UpgradeRefused says
    client    client_request(...), then ClientHandshake.receive(data) until it gives Accepted

Every check of sections 4.1 and 4.2 is made. The words of an error are ours, save for a short, printable excerpt of a refusal.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Sequence
from typing import Final, NoReturn

import h11
import msgspec

from coworld_protocol.printable import printable
from coworld_protocol.ws.deflate import EXTENSION, OFFER, Deflate, DeflateOffer, read_answer, read_offer
from coworld_protocol.ws.fields import Fields, Headers, is_token, read_extensions

__all__ = [
    "Accepted",
    "ClientHandshake",
    "HandshakeFailed",
    "HandshakeRefused",
    "Upgrade",
    "UpgradeRefused",
    "accept_key",
    "accept_response",
    "check_upgrade",
    "client_request",
    "new_key",
]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_HEAD_BYTES: Final = 64 * 1024
_EXCERPT_BYTES: Final = 512
_VERSION_13: Final = (("Sec-WebSocket-Version", "13"),)
_UPGRADE: Final = (("Upgrade", "websocket"), ("Connection", "Upgrade"))

_VISIBLE = re.compile(r"[!-~]+")
_HEADER_VALUE = re.compile(r"[\t -~\x80-\xff]*")
# What the handshake itself says; a second one would contradict it.
_RESERVED: Final = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "transfer-encoding",
        "upgrade",
    }
)


class UpgradeRefused(Exception):
    """A request cannot become a websocket.

    Attributes:
        status: 400, 405 or 426.
        text: one sentence for the body of the answer; it quotes nothing of the request.
        headers: what the answer has to carry besides.
    """

    def __init__(self, status: int, text: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(f"HTTP status {status}: {text}")
        self.status = status
        self.text = text
        self.headers = headers


class HandshakeRefused(Exception):
    """The server answered a handshake with another status than 101.

    Attributes:
        status: 200..599.
        excerpt: the start of the body, printable, at most 512 bytes of it.
        headers: of the answer, names in lower case.
    """

    def __init__(self, status: int, excerpt: str, headers: Headers = ()) -> None:
        rest = f": {excerpt}" if excerpt else "."
        super().__init__(f"The server answered the websocket handshake with HTTP status {status}{rest}")
        self.status = status
        self.excerpt = excerpt
        self.headers = headers


class HandshakeFailed(Exception):
    """What answered does not speak HTTP/1.1, or accepts a websocket that was not asked for.

    Attributes:
        reason: one sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Upgrade(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a websocket that keeps every rule.

    Attributes:
        key: its `Sec-WebSocket-Key`.
        subprotocols: what it offers, in order of preference.
        deflate: what it offers of permessage-deflate, in order of preference, without what a server has to decline.
    """

    key: str
    subprotocols: tuple[str, ...] = ()
    deflate: tuple[DeflateOffer, ...] = ()


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A server's consent.

    Attributes:
        subprotocol: the one it chose; None: none.
        deflate: the compression it agreed to; None: none.
        rest: what came behind the head: the first frames.
        headers: of the answer, names in lower case.
    """

    subprotocol: str | None
    deflate: Deflate | None
    rest: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def new_key() -> str:
    """A fresh `Sec-WebSocket-Key`: 16 unpredictable bytes."""
    return base64.b64encode(os.urandom(16)).decode("ascii")


def accept_key(key: str) -> str:
    """The `Sec-WebSocket-Accept` that answers a key (RFC 6455, 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()).decode("ascii")


def check_upgrade(method: bytes, headers: Headers, *, http_version: bytes = b"1.1") -> Upgrade:
    """Check a request against RFC 6455, 4.2.1.

    Args:
        method: as sent.
        headers: as h11 gives them; names in any case, values without surrounding blanks.
        http_version: of the request line.

    Raises:
        UpgradeRefused: it asks for no websocket (426), for another version (426), by another method (405), or breaks a rule (400).
    """
    if method != b"GET":
        raise UpgradeRefused(405, "A websocket is asked for with GET.", (("Allow", "GET"),))
    found = Fields(headers)
    if "websocket" not in found.lowered("upgrade"):
        raise UpgradeRefused(426, "This is a websocket: ask for an upgrade.", (*_UPGRADE, *_VERSION_13))
    if http_version != b"1.1":
        raise UpgradeRefused(400, "A websocket needs HTTP/1.1.")
    if "upgrade" not in found.lowered("connection"):
        raise UpgradeRefused(400, "The Connection header does not say Upgrade.")
    if len(found.values("host")) != 1:
        raise UpgradeRefused(400, "The request needs one Host header.")
    # A body behind the head would be read as frames by us and as a body by a proxy.
    if found.values("transfer-encoding") or any(value != "0" for value in found.values("content-length")):
        raise UpgradeRefused(400, "A request for a websocket has no body.")
    versions = found.values("sec-websocket-version")
    if versions != ["13"]:
        raise UpgradeRefused(
            426, "Only version 13 of the websocket protocol is spoken here.", (*_UPGRADE, *_VERSION_13)
        )
    keys = found.values("sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise UpgradeRefused(400, "The request needs one Sec-WebSocket-Key: 16 bytes in base64.")
    try:
        subprotocols = found.tokens("sec-websocket-protocol")
        extensions = read_extensions(", ".join(found.values("sec-websocket-extensions")))
    except ValueError as error:
        raise UpgradeRefused(400, f"{error}.") from None
    if len(set(subprotocols)) != len(subprotocols):
        raise UpgradeRefused(400, "A subprotocol is offered twice.")
    offers = (read_offer(parameters) for name, parameters in extensions if name == EXTENSION)
    return Upgrade(
        key=keys[0], subprotocols=tuple(subprotocols), deflate=tuple(offer for offer in offers if offer is not None)
    )


def accept_response(
    upgrade: Upgrade,
    *,
    deflate: Deflate | None = None,
    subprotocol: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
) -> bytes:
    """The head that accepts a websocket.

    Args:
        upgrade: what `check_upgrade` made of the request.
        deflate: the compression agreed to, by `deflate.choose` from its offers; None: none.
        subprotocol: one of those it offers; None: none.
        headers: further headers.

    Raises:
        ValueError: the client did not offer that, or a header cannot be sent.
    """
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    lines.append(f"Sec-WebSocket-Accept: {accept_key(upgrade.key)}")
    if subprotocol is not None:
        if subprotocol not in upgrade.subprotocols:
            raise ValueError("The client does not offer that subprotocol: choose one of upgrade.subprotocols.")
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    if deflate is not None:
        if not upgrade.deflate:
            raise ValueError("The client does not offer permessage-deflate: leave it out.")
        named = any(offer.server_max_window_bits is not None for offer in upgrade.deflate)
        lines.append(f"Sec-WebSocket-Extensions: {deflate.answer(server_bits=named)}")
    return _head(lines, headers)


def client_request(
    host: str,
    target: str,
    key: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
    deflate: bool = False,
) -> bytes:
    """The request for a websocket.

    Args:
        host: value of `Host`: a name or address, with its port unless that is the scheme's own.
        target: path and query, percent-encoded, from its `/` on.
        key: from `new_key`.
        headers: further headers.
        subprotocols: in order of preference.
        deflate: offer permessage-deflate.

    Raises:
        ValueError: something cannot stand in a request.
    """
    if not target.startswith("/") or not _VISIBLE.fullmatch(target) or "#" in target:
        raise ValueError(
            "The target of a websocket starts with / and holds visible ASCII without #: percent-encode the rest."
        )
    if not _VISIBLE.fullmatch(host):
        raise ValueError("The host of a websocket holds visible ASCII only: encode it by IDNA.")
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
    if subprotocols:
        if len(set(subprotocols)) != len(subprotocols) or not all(map(is_token, subprotocols)):
            raise ValueError("Subprotocols are different tokens: letters, digits and !#$%&'*+-.^_`|~.")
        lines.append(f"Sec-WebSocket-Protocol: {', '.join(subprotocols)}")
    if deflate:
        lines.append(f"Sec-WebSocket-Extensions: {OFFER}")
    return _head(lines, headers)


class ClientHandshake:
    """Reads a server's answer to `client_request`; bounded, whatever the server sends.

    Args:
        key: the key of the request.
        subprotocols: those of the request.
        deflate: whether the request offers permessage-deflate.
        head_bytes: longest answer up to the end of its head, interim ones (1xx) included.

    Attributes:
        refusal: set as soon as the status is known to be another than 101, while the body's excerpt still arrives; who runs out of
            patience then may raise it.
    """

    def __init__(
        self, key: str, *, subprotocols: Sequence[str] = (), deflate: bool = False, head_bytes: int = _HEAD_BYTES
    ) -> None:
        self._expected = accept_key(key)
        self._subprotocols = subprotocols
        self._deflate = deflate
        self._limit = head_bytes
        self._taken = 0
        self._body = b""
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=head_bytes)
        # h11 takes a 101 only as the answer to a request for an upgrade; what it would send is `client_request`'s to say.
        headers = [("Host", "-"), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
        self._http.send(h11.Request(method="GET", target="/", headers=headers))
        self._http.send(h11.EndOfMessage())
        self.refusal: HandshakeRefused | None = None

    def receive(self, data: bytes) -> Accepted | None:
        """Take what came from the server, b"" for its end; None: more is needed.

        Raises:
            HandshakeRefused: it answered with another status.
            HandshakeFailed: it breaks HTTP or RFC 6455, or its head is too long.
        """
        self._taken += len(data)
        try:
            self._http.receive_data(data)
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    break
                if isinstance(event, h11.InformationalResponse):
                    if event.status_code == 101:
                        return self._accept(event)
                elif isinstance(event, h11.Response):
                    self._refuse(event)
                elif isinstance(event, h11.Data):
                    self._body += bytes(event.data)[: _EXCERPT_BYTES - len(self._body)]
                    if len(self._body) == _EXCERPT_BYTES:
                        self._end()
                else:
                    self._end()
        except h11.RemoteProtocolError:
            self._end()
        if self.refusal is None:
            self._check_size(self._taken)
        return None

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise HandshakeFailed("The server's answer to the websocket handshake is too long.")

    def _end(self) -> NoReturn:
        """No more is to be expected, or wanted."""
        if self.refusal is None:
            self._check_size(self._taken)
            _fail(
                "What answered the websocket handshake does not speak HTTP/1.1."
                if self._taken
                else "The server closed the connection instead of answering the websocket handshake."
            )
        excerpt = printable(self._body.decode(errors="replace").strip())
        raise HandshakeRefused(self.refusal.status, excerpt, self.refusal.headers)

    def _refuse(self, event: h11.Response) -> None:
        self._check_size(self._taken - len(self._http.trailing_data[0]))
        self.refusal = HandshakeRefused(event.status_code, "", tuple(event.headers))

    def _accept(self, event: h11.InformationalResponse) -> Accepted:
        rest = self._http.trailing_data[0]
        self._check_size(self._taken - len(rest))
        headers = tuple(event.headers)
        found = Fields(headers)
        if event.http_version != b"1.1":
            _fail("The server accepts a websocket in another version than HTTP/1.1.")
        if found.lowered("upgrade") != ["websocket"]:
            _fail("The server's 101 does not upgrade to websocket.")
        if "upgrade" not in found.lowered("connection"):
            _fail("The Connection header of the server's 101 does not say Upgrade.")
        if found.values("sec-websocket-accept") != [self._expected]:
            _fail("The server's Sec-WebSocket-Accept does not answer our key.")
        return Accepted(subprotocol=self._subprotocol(found), deflate=self._agreed(found), rest=rest, headers=headers)

    def _subprotocol(self, found: Fields) -> str | None:
        chosen = found.values("sec-websocket-protocol")
        if not chosen:
            return None
        if len(chosen) > 1 or chosen[0] not in self._subprotocols:
            _fail("The server chose a subprotocol that was not offered.")
        return chosen[0]

    def _agreed(self, found: Fields) -> Deflate | None:
        try:
            extensions = read_extensions(", ".join(found.values("sec-websocket-extensions")))
            if not extensions:
                return None
            if not self._deflate or [name for name, _ in extensions] != [EXTENSION]:
                _fail("The server chose an extension that was not offered.")
            return read_answer(extensions[0][1])
        except ValueError:
            _fail("The server's Sec-WebSocket-Extensions makes no sense.")


def _is_key(key: str) -> bool:
    try:
        return len(key) == 24 and len(base64.b64decode(key.encode("ascii"), validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _head(lines: list[str], headers: Sequence[tuple[str, str]]) -> bytes:
    for name, value in headers:
        if not is_token(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError("A header's name is a token and its value holds no line ends or control characters.")
        if name.lower() in _RESERVED:
            raise ValueError(f"The handshake sets {name} itself: leave it out.")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _fail(reason: str) -> NoReturn:
    raise HandshakeFailed(reason)
