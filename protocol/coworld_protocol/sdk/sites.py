"""What a game shows to the world: the contract's routes, one site per mode.

Pages are under `/client/`, with what they load beside them, and the websockets are at the root. With the old names (0.1.7 and
before) `/clients/` is another word for `/client/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import msgspec

from coworld_protocol import contract
from coworld_protocol.errors import Refused
from coworld_protocol.sdk.episode import Episode
from coworld_protocol.sdk.rules import Replay
from coworld_protocol.sdk.uris import inflate
from coworld_protocol.ws.frames import TEXT, encode
from coworld_protocol.ws.web import Endpoint, Request, Response, Socket

__all__ = ["EpisodeSite", "ReplaySite", "Site", "load_replay"]

MoveT = TypeVar("MoveT")

_NOT_THERE = Response(status=403, body=b"This seat and token do not fit.\n")
_NO_SOCKET = Response(status=404, body=b"There is no such websocket here.\n")
_NO_REPLAY = Response(status=400, body=b"Name the replay: /replay?uri=...\n")
_UPGRADE = Response(
    status=426, body=b"This is a websocket.\n", headers=(("Upgrade", "websocket"), ("Connection", "Upgrade"))
)
_HEALTHY = Response(body=b'{"ok": true}\n', content_type="application/json")
_SOCKET_ROUTES = {contract.ROUTE_PLAYER, contract.ROUTE_GLOBAL, contract.ROUTE_ADMIN, contract.ROUTE_REPLAY}
_FOLDER = "/client/"
_OLD_FOLDER = "/clients/"


class Site:
    """The routes of one mode.

    Args:
        pages: the files, by name.
        shown: which file a page's route shows.
        sockets: the routes of the websockets.
        old_names: whether the old names work too.
    """

    def __init__(
        self, pages: Mapping[str, Response], shown: Mapping[str, str], sockets: frozenset[str], *, old_names: bool
    ) -> None:
        self._pages = pages
        self._shown = shown
        self._sockets = sockets
        self._old_names = old_names

    def respond(self, request: Request) -> Response | None:
        """Health, pages and what they load; a websocket's route asks for an upgrade."""
        path = request.path
        if self._old_names and path.startswith(_OLD_FOLDER):
            path = _FOLDER + path.removeprefix(_OLD_FOLDER)
        if path == contract.ROUTE_HEALTH:
            return _HEALTHY
        if path in _SOCKET_ROUTES:
            return _UPGRADE if path in self._sockets else None
        if path in self._shown:
            return self._pages.get(self._shown[path])
        name = path.removeprefix(_FOLDER)
        # The pages themselves are reached by route only, so that a mode shows no page of the other.
        return self._pages.get(name) if path.startswith(_FOLDER) and not name.endswith(".html") else None

    def upgrade(self, request: Request) -> Endpoint | Response:
        """The endpoint behind a websocket's route."""
        return self._endpoint(request) if request.path in self._sockets else _NO_SOCKET

    def settled(self) -> None:
        """Nothing happens between messages; an episode's site does better."""

    def _endpoint(self, request: Request) -> Endpoint | Response:
        raise NotImplementedError


class EpisodeSite(Site, Generic[MoveT]):
    """The routes of a running episode.

    Args:
        pages: the files, by name.
        episode: what is played.
        admin: whether there is an `/admin`.
        old_names: whether the old names work too.
    """

    def __init__(
        self, pages: Mapping[str, Response], episode: Episode[MoveT], *, admin: bool, old_names: bool = False
    ) -> None:
        shown = {contract.ROUTE_CLIENT_PLAYER: "player.html", contract.ROUTE_CLIENT_GLOBAL: "global.html"}
        sockets = {contract.ROUTE_PLAYER, contract.ROUTE_GLOBAL}
        if admin:
            shown[contract.ROUTE_CLIENT_ADMIN] = "admin.html"
            sockets.add(contract.ROUTE_ADMIN)
        super().__init__(pages, shown, frozenset(sockets), old_names=old_names)
        self._episode = episode

    def settled(self) -> None:
        """In lockstep a tick may be complete."""
        self._episode.settled()

    def _endpoint(self, request: Request) -> Endpoint | Response:
        if request.path == contract.ROUTE_GLOBAL:
            return self._episode.viewers.endpoint()
        if request.path == contract.ROUTE_ADMIN:
            return self._episode.admins.endpoint()
        query = request.query
        slot = self._episode.seats.admit(query.get(contract.QUERY_SLOT, ""), query.get(contract.QUERY_TOKEN, ""))
        return _NOT_THERE if slot is None else self._episode.seats.endpoint(slot)


class ReplaySite(Site):
    """The routes of replay mode.

    Args:
        pages: the files, by name.
        replay: what `/replay` shows; None when every viewer has to name a replay, as with the old names.
        fetch: with the old names: called with a URI and the socket that asked for it, to send it or to close.
    """

    def __init__(
        self, pages: Mapping[str, Response], replay: bytes | None, fetch: Callable[[str, Socket], None] | None = None
    ) -> None:
        shown = {contract.ROUTE_CLIENT_REPLAY: "replay.html"}
        super().__init__(pages, shown, frozenset({contract.ROUTE_REPLAY}), old_names=fetch is not None)
        self._frame = None if replay is None else encode(TEXT, replay)
        self._fetch = fetch

    def _endpoint(self, request: Request) -> Endpoint | Response:
        uri, fetch, frame = request.query.get(contract.QUERY_URI), self._fetch, self._frame
        if uri and fetch is not None:
            return _Projector(lambda socket: fetch(uri, socket))
        return _NO_REPLAY if frame is None else _Projector(lambda socket: socket.send_frame(frame))


class _Projector:
    """One connection of a replay page: it gets the whole replay and steers by itself."""

    def __init__(self, show: Callable[[Socket], None]) -> None:
        self._show = show

    def opened(self, socket: Socket) -> None:
        self._show(socket)

    def received(self, payload: bytes, text: bool) -> None:
        pass

    def closed(self, code: int) -> None:
        pass


def load_replay(data: bytes) -> bytes:
    """The message that `/replay` sends, from a replay file: as it was written, or compressed with zlib or gzip.

    The content decides, not the name: early runners stored gzip bytes under `.z`, and a replay starts with a brace.

    Raises:
        Refused: the file is not a replay.
    """
    if data[:2] == b"\x1f\x8b":
        data = inflate(data, "gzip")
    elif data[:1] == b"\x78":
        data = inflate(data, "zlib")
    try:
        data.decode()
        msgspec.json.decode(data, type=Replay)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Refused(
            "The replay cannot be shown.", evidence=str(error), todo="name a replay that this game wrote"
        ) from error
    return data
