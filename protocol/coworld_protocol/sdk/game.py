"""`GameServer`: a whole game process around the rules an author writes.

    raise SystemExit(GameServer(config=MyConfig, rules=MyRules, move=Move, pages=PAGES).main())

It reads the contract's variables, serves the contract's routes, runs the episode, writes results and replay and ends with 0; or,
when a replay is named to it, serves that. What goes wrong ends the process with a sentence on stderr and a status other than 0.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, Literal, TypeVar

import msgspec
import trio

from coworld_protocol import contract
from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused, alone
from coworld_protocol.sdk.episode import Episode
from coworld_protocol.sdk.pages import load_pages
from coworld_protocol.sdk.rules import GameConfig, Replay, Rules
from coworld_protocol.sdk.transport import serve
from coworld_protocol.sdk.uris import inflate, read_uri, write_uri
from coworld_protocol.sdk.web import Endpoint, Limits, Request, Response, Socket

__all__ = ["GameServer", "load_replay"]

ConfigT = TypeVar("ConfigT", bound=GameConfig)
MoveT = TypeVar("MoveT")

_NOT_THERE = Response(status=403, body=b"This seat and token do not fit.\n")
_UPGRADE = Response(
    status=426, body=b"This is a websocket.\n", headers=(("Upgrade", "websocket"), ("Connection", "Upgrade"))
)
_HEALTHY = Response(body=b'{"ok": true}\n', content_type="application/json")
_SOCKET_ROUTES = {contract.ROUTE_PLAYER, contract.ROUTE_GLOBAL, contract.ROUTE_ADMIN, contract.ROUTE_REPLAY}


class GameServer(Generic[ConfigT, MoveT]):
    """A game process.

    Args:
        config: the Struct that the configuration file must decode to.
        rules: makes the rules from the configuration, whose tokens are blanked.
        move: the Struct that a player's message must decode to.
        pages: directory with `player.html`, `global.html`, `replay.html`, optional `admin.html`, and what they load from
            beside themselves.
        limits: what one connection may cost.
    """

    def __init__(
        self,
        *,
        config: type[ConfigT],
        rules: Callable[[ConfigT], Rules[MoveT]],
        move: type[MoveT],
        pages: Path,
        limits: Limits | None = None,
    ) -> None:
        self._config_type = config
        self._rules = rules
        self._move = move
        self._pages = pages
        self._limits = limits

    def main(self, environ: Mapping[str, str] | None = None) -> int:
        """Run to the end and return the exit status; a failure is one to four lines on stderr."""
        try:
            trio.run(self.run, os.environ if environ is None else environ)
        except KeyboardInterrupt:
            return 130
        except BaseExceptionGroup as group:
            only = alone(group)
            if isinstance(only, KeyboardInterrupt):
                return 130
            if not isinstance(only, CoworldError):
                raise
            return _complain(only)
        except CoworldError as error:
            return _complain(error)
        return 0

    async def run(
        self, environ: Mapping[str, str], *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run to the end of the episode; in replay mode until cancelled. `task_status` is told the bound port.

        Raises:
            CoworldError: the game cannot be run or its results cannot be written.
        """
        host = environ.get(contract.ENV_HOST, contract.CONTAINER_HOST)
        port = _port(environ.get(contract.ENV_PORT, str(contract.CONTAINER_PORT)))
        pages = load_pages(self._pages)
        replay_uri = environ.get(contract.ENV_LOAD_REPLAY_URI)
        async with trio.open_nursery() as nursery:
            if replay_uri:
                replay = load_replay(await trio.to_thread.run_sync(read_uri, replay_uri, abandon_on_cancel=True))
                bound = await nursery.start(self._serve, _ReplaySite(pages, replay), host, port)
                task_status.started(bound)
                _say(f"showing the replay on port {bound}")
                await trio.sleep_forever()
            results_uri = _required(environ, contract.ENV_RESULTS_URI)
            config = await self._read_config(_required(environ, contract.ENV_CONFIG_URI))
            rules = self._rules(msgspec.structs.replace(config, tokens=("",) * len(config.tokens)))
            episode = Episode(config, rules, self._move)
            bound = await nursery.start(self._serve, _EpisodeSite(pages, episode, admin=config.admin), host, port)
            task_status.started(bound)
            _say(f"listening on port {bound} for {len(config.tokens)} seats, {config.mode}")
            await episode.play()
            seconds = max(episode.seconds, 1e-6)
            await _write(results_uri, episode.results(), "application/json", environ.get(contract.ENV_RESULTS_METHOD))
            save_uri = environ.get(contract.ENV_SAVE_REPLAY_URI)
            if save_uri:
                await _write(
                    save_uri, episode.replay(), "application/json", environ.get(contract.ENV_SAVE_REPLAY_METHOD)
                )
            await episode.farewell()
            _say(f"the episode is over: {rules.tick} ticks in {seconds:.2f} s, {rules.tick / seconds:.1f} per second")
            nursery.cancel_scope.cancel()

    async def _serve(
        self, site: _Site, host: str, port: int, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        await serve(site, host=host, port=port, limits=self._limits, task_status=task_status)

    async def _read_config(self, uri: str) -> ConfigT:
        text = await trio.to_thread.run_sync(read_uri, uri, abandon_on_cancel=True)
        try:
            config = msgspec.json.decode(text, type=self._config_type)
        except (msgspec.MsgspecError, UnicodeError) as error:
            todo = "compare it with the manifest's config_schema"
            raise Refused("The configuration cannot be used.", evidence=str(error), todo=todo) from error
        if not all(config.tokens):
            raise Refused("A token in the configuration is empty.", todo="give every seat a secret of its own")
        return config


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
        msgspec.json.decode(data, type=Replay)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Refused(
            "The replay cannot be shown.", evidence=str(error), todo="name a replay that this game wrote"
        ) from error
    return data


class _Site:
    """The routes of one mode: pages under `/client/`, sockets beside them."""

    def __init__(self, pages: Mapping[str, Response], shown: Mapping[str, str]) -> None:
        self._pages = pages
        self._shown = shown

    def respond(self, request: Request) -> Response | None:
        path = request.path
        if path == contract.ROUTE_HEALTH:
            return _HEALTHY
        if path in _SOCKET_ROUTES:
            return _UPGRADE if self._has_socket(path) else None
        if path in self._shown:
            return self._pages.get(self._shown[path])
        folder, _, name = path.rpartition("/")
        # The pages themselves are reached by route only, so that a mode shows no page of the other.
        return self._pages.get(name) if folder == "/client" and not name.endswith(".html") else None

    def upgrade(self, request: Request) -> Endpoint | Response:
        if not self._has_socket(request.path):
            return Response(status=404, body=b"There is no such websocket here.\n")
        return self._endpoint(request)

    def _has_socket(self, path: str) -> bool:
        raise NotImplementedError

    def _endpoint(self, request: Request) -> Endpoint | Response:
        raise NotImplementedError


class _EpisodeSite(_Site, Generic[MoveT]):
    def __init__(self, pages: Mapping[str, Response], episode: Episode[MoveT], *, admin: bool) -> None:
        shown = {contract.ROUTE_CLIENT_PLAYER: "player.html", contract.ROUTE_CLIENT_GLOBAL: "global.html"}
        if admin:
            shown[contract.ROUTE_CLIENT_ADMIN] = "admin.html"
        super().__init__(pages, shown)
        self._episode = episode
        self._sockets = {contract.ROUTE_PLAYER, contract.ROUTE_GLOBAL} | ({contract.ROUTE_ADMIN} if admin else set())

    def _has_socket(self, path: str) -> bool:
        return path in self._sockets

    def _endpoint(self, request: Request) -> Endpoint | Response:
        if request.path == contract.ROUTE_GLOBAL:
            return self._episode.viewer()
        if request.path == contract.ROUTE_ADMIN:
            return self._episode.admin()
        query = request.query
        slot = self._episode.seats.admit(query.get(contract.QUERY_SLOT, ""), query.get(contract.QUERY_TOKEN, ""))
        return _NOT_THERE if slot is None else self._episode.seats.endpoint(slot)


class _ReplaySite(_Site):
    def __init__(self, pages: Mapping[str, Response], replay: bytes) -> None:
        super().__init__(pages, {contract.ROUTE_CLIENT_REPLAY: "replay.html"})
        self._replay = replay.decode()

    def _has_socket(self, path: str) -> bool:
        return path == contract.ROUTE_REPLAY

    def _endpoint(self, request: Request) -> Endpoint | Response:
        del request
        return _Projector(self._replay)


class _Projector:
    """One connection of a replay page: it gets the whole replay and steers by itself."""

    def __init__(self, replay: str) -> None:
        self._replay = replay

    def opened(self, socket: Socket) -> None:
        socket.send(self._replay)

    def received(self, message: str | bytes) -> None:
        pass

    def closed(self, code: int) -> None:
        pass


async def _write(uri: str, data: bytes, content_type: str, method: str | None) -> None:
    verb: Literal["PUT", "POST"] = "POST" if (method or "").upper() == "POST" else "PUT"
    await trio.to_thread.run_sync(write_uri, uri, data, content_type, verb, abandon_on_cancel=True)


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if not value:
        raise PreconditionMissing(
            f"{name} is not set.", todo="start the game with coworld-actors run, or set it by hand"
        )
    return value


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise Refused(f"{contract.ENV_PORT} is not a port: {text!r}.", todo="use a number from 0 to 65535")
    return int(text)


def _complain(error: CoworldError) -> int:
    print(*error.lines(), sep="\n", file=sys.stderr, flush=True)  # noqa: T201 - stderr is where a game reports its end
    return error.exit_code


def _say(text: str) -> None:
    # A full disk or a closed pipe must not end an episode.
    with contextlib.suppress(OSError):
        print(text, flush=True)  # noqa: T201 - stdout is the game's public log
