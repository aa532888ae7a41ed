"""The HTTP side of a server's port, without any I/O: requests in, whole answers out, until one asks for a websocket.

HTTP is parsed by h11. Answers are values of `ws.web`; each carries its `Content-Length`, and any that reports an error closes the
connection, so that nothing behind a bad request is ever taken for another.
"""

from __future__ import annotations

from http.client import responses
from urllib.parse import parse_qsl, urlsplit

import h11
import msgspec

from coworld_protocol.ws.handshake import Upgrade, UpgradeRefused, check_upgrade
from coworld_protocol.ws.web import Application, Endpoint, Limits, Request, Response

__all__ = ["Conversation", "Upgraded"]


class Upgraded(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a websocket that the application takes.

    Attributes:
        upgrade: what the client asked for.
        endpoint: who gets the socket.
        rest: what the client has sent behind its request.
    """

    upgrade: Upgrade
    endpoint: Endpoint
    rest: bytes


class Conversation:
    """One connection's requests, one after the other.

    Args:
        application: answers them.
        limits: how long a head and a body may be.

    Attributes:
        over: whether the connection is to be closed once everything was sent.
        upgraded: the request that ended the conversation by asking for a websocket.
        requests: heads that have arrived whole.
        answers: answers given.
    """

    def __init__(self, application: Application, limits: Limits) -> None:
        self._application = application
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)
        self._request: h11.Request | None = None
        self._body = 0
        self.over = False
        self.upgraded: Upgraded | None = None
        self.requests = 0
        self.answers = 0

    def receive(self, data: bytes) -> None:
        """Take bytes of the client; empty ones say that it sends no more."""
        if not self.over:
            self._http.receive_data(data)

    def step(self) -> bytes | None:
        """Go on to the next answer and return its bytes; None when more has to come first, or nothing will."""
        while not self.over and self.upgraded is None:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                return self._refuse(_plain(error.error_status_hint, "The request is not valid HTTP."))
            if event is h11.NEED_DATA:
                return None
            answer = self._take(event)
            if answer is not None:
                return answer
        return None

    def _take(self, event: type[h11.NEED_DATA | h11.PAUSED] | h11.Event) -> bytes | None:
        """Digest one event; an answer if it calls for one."""
        if isinstance(event, h11.Request):
            return self._take_head(event)
        if isinstance(event, h11.Data):
            self._body += len(event.data)
            if self._body > self._limits.body_bytes:
                return self._refuse(_plain(413, f"A request body may have {self._limits.body_bytes} bytes."))
            return None
        if isinstance(event, h11.ConnectionClosed):
            self.over = True
            return None
        # The end of the message, or h11 waiting for an answer before it looks at what follows.
        return self._answer_request()

    def _take_head(self, event: h11.Request) -> bytes | None:
        self.requests += 1
        self._request = event
        self._body = 0
        # h11 bounds what it holds of a head that is not complete; one that came in a single read has to be measured.
        if (
            len(event.target) + sum(len(name) + len(value) + 4 for name, value in event.headers)
            > self._limits.header_bytes
        ):
            return self._refuse(_plain(431, f"A request head may have {self._limits.header_bytes} bytes."))
        if self._http.they_are_waiting_for_100_continue:
            return self._refuse(_plain(413, "Requests here have no body to wait for."))
        if any(name == b"upgrade" and b"websocket" in value.lower() for name, value in event.headers):
            return self._take_upgrade(event)
        return None

    def _take_upgrade(self, event: h11.Request) -> bytes | None:
        try:
            request = _request(event)
            upgrade = check_upgrade(event.method, event.headers, http_version=event.http_version)
        except ValueError:
            return self._refuse(_plain(400, "The request target cannot be parsed."))
        except UpgradeRefused as refused:
            return self._refuse(_plain(refused.status, refused.text, *refused.headers))
        # A body would hide in front of the first frame; h11 says so by not ending the message here.
        if not isinstance(self._http.next_event(), h11.EndOfMessage):
            return self._refuse(_plain(400, "A request for a websocket has no body."))
        verdict = self._application.upgrade(request)
        if isinstance(verdict, Response):
            return self._refuse(verdict)
        # One step further h11 hands over the bytes behind the request.
        self._http.next_event()
        self.upgraded = Upgraded(upgrade=upgrade, endpoint=verdict, rest=self._http.trailing_data[0])
        return None

    def _answer_request(self) -> bytes:
        assert self._request is not None
        try:
            request = _request(self._request)
        except ValueError:
            return self._refuse(_plain(400, "The request target cannot be parsed."))
        response = self._application.respond(request)
        if response is None:
            response = _plain(404, f"There is no {request.path} here.")
        elif request.method not in {"GET", "HEAD"}:
            response = _plain(405, f"{request.path} takes GET and HEAD.", ("Allow", "GET, HEAD"))
        if response.status >= 400:
            return self._refuse(response)
        answer = self._encode(response)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            # What follows may be no request at all, and is then refused with a body whatever this one's method was.
            self._request = None
        else:
            self.over = True
        return answer

    def _refuse(self, response: Response) -> bytes:
        """The last answer of this connection."""
        self.over = True
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return b""
        return self._encode(response)

    def _encode(self, response: Response) -> bytes:
        self.answers += 1
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *response.headers,
        ]
        if self.over:
            # One line for all: some clients look at the first only.
            options = [value for name, value in headers if name.lower() == "connection"]
            headers = [(name, value) for name, value in headers if name.lower() != "connection"]
            headers.append(("Connection", ", ".join([*options, "close"])))
        reason = responses.get(response.status, "").encode()
        data = self._http.send(h11.Response(status_code=response.status, headers=headers, reason=reason)) or b""
        if self._request is None or self._request.method != b"HEAD":
            data += self._http.send(h11.Data(data=response.body)) or b""
        return data + (self._http.send(h11.EndOfMessage()) or b"")


def _request(event: h11.Request) -> Request:
    parts = urlsplit(event.target.decode("ascii"))
    query = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=64, errors="strict"))
    return Request(method=event.method.decode("ascii"), path=parts.path, query=query)


def _plain(status: int, text: str, *headers: tuple[str, str]) -> Response:
    return Response(status=status, body=f"{text}\n".encode(), headers=headers)
