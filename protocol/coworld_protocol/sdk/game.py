"""`GameServer`: a whole game process around the rules an author writes.

    raise SystemExit(GameServer(config=MyConfig, rules=MyRules, move=Move, pages=PAGES).main())

It reads the contract's variables, serves the contract's routes, runs the episode, writes results and replay and ends with 0; or,
when a replay is named to it, serves that. What goes wrong ends the process with a sentence on stderr and a status other than 0.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, Literal, NoReturn, TypeVar

import msgspec
import trio

from coworld_protocol import contract
from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused, alone
from coworld_protocol.sdk.environment import environment
from coworld_protocol.sdk.episode import Episode
from coworld_protocol.sdk.memory import HOST, RESIDENCE, Residence, serve_in_memory
from coworld_protocol.sdk.pages import load_pages
from coworld_protocol.sdk.rules import GameConfig, Rules
from coworld_protocol.sdk.sites import EpisodeSite, ReplaySite, Site, load_replay
from coworld_protocol.sdk.uris import compress, encoding_of, file_path, is_small_file, read_uri, write_uri
from coworld_protocol.switches import ENV_OLD_NAMES, ENV_UNIX_SOCKET
from coworld_protocol.ws.frames import TEXT, encode
from coworld_protocol.ws.pump import serve
from coworld_protocol.ws.web import Limits, Response, Socket

__all__ = ["GameServer"]

ConfigT = TypeVar("ConfigT", bound=GameConfig)
MoveT = TypeVar("MoveT")


_REFUSED = 1008
_FETCHES = 4
"""Replays fetched for viewers at the same time; each is in memory whole."""
_SMALL = 256 * 1024
"""Bytes of a local file that are read or written right here: 0.2 ms, where a thread costs as much before it begins."""
_CONTENT_TYPES = {"identity": "application/json", "zlib": "application/zlib", "gzip": "application/gzip"}


class GameServer(Generic[ConfigT, MoveT]):
    """A game process.

    Args:
        config: the Struct that the configuration file must decode to.
        rules: makes the rules from the configuration, whose tokens are blanked.
        move: the Struct that a player's message must decode to.
        pages: directory with `player.html`, `global.html`, `replay.html`, optional `admin.html`, and what they load from
            beside themselves.
        limits: what one connection may cost; None: the usual limits, but with as much time to answer a ping as a tick may take,
            so that a player that thinks and does nothing else meanwhile is left in peace.
        old_names: whether the names of the contract's versions up to 0.1.7 work besides the current ones: pages below `/clients/`,
            replay mode by `COGAME_REPLAY_SERVER=1`, and `/replay?uri=`, by which whoever reaches the port makes the game read
            any replay it can reach. So it is off unless asked for, here or by `COWORLD_ACTORS_OLD_NAMES=1`.
        spin: whether the server may look again for a moment before it sleeps while answers are due; see `ws.spin`, whose
            environment switch can forbid it and force it.
    """

    def __init__(
        self,
        *,
        config: type[ConfigT],
        rules: Callable[[ConfigT], Rules[MoveT]],
        move: type[MoveT],
        pages: Path,
        limits: Limits | None = None,
        old_names: bool = False,
        spin: bool = True,
    ) -> None:
        self._config_type = config
        self._rules = rules
        self._move = move
        self._pages = pages
        self._limits = limits
        self._old_names = old_names
        self._spin = spin

    def main(self, environ: Mapping[str, str] | None = None) -> int:
        """Run to the end and return the exit status; a failure is one to four lines on stderr."""
        try:
            trio.run(self.run, environ)
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
        self, environ: Mapping[str, str] | None = None, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run to the end of the episode; in replay mode until cancelled. `task_status` is told the bound port.

        Args:
            environ: the contract's variables; None takes those of `sdk.environment`.
            task_status: told the bound port.

        Raises:
            CoworldError: the game cannot be run or its results cannot be written.
        """
        environ = environment() if environ is None else environ
        old_names = self._old_names or environ.get(ENV_OLD_NAMES) == "1"
        replay_uri = environ.get(contract.ENV_LOAD_REPLAY_URI)
        if replay_uri or (old_names and environ.get(contract.ENV_REPLAY_SERVER) == "1"):
            await self._show(environ, replay_uri, old_names, task_status)
        else:
            await self._play(environ, old_names, task_status)

    async def _play(self, environ: Mapping[str, str], old_names: bool, task_status: trio.TaskStatus[int]) -> None:
        listen = _listen(environ)
        residence = RESIDENCE.get() if listen[0] == HOST else None
        pages: dict[str, Response] = {} if residence else load_pages(self._pages)
        results_uri = _required(environ, contract.ENV_RESULTS_URI)
        save_uri = environ.get(contract.ENV_SAVE_REPLAY_URI)
        for uri in (results_uri, save_uri or results_uri):
            # A scheme that cannot be written is better known now than when the episode is over.
            file_path(uri)
        config = await self._read_config(_required(environ, contract.ENV_CONFIG_URI))
        rules = self._rules(msgspec.structs.replace(config, tokens=("",) * len(config.tokens)))
        episode = Episode(config, rules, self._move)
        site = EpisodeSite(pages, episode, admin=config.admin, old_names=old_names)
        async with trio.open_nursery() as nursery:
            usual = Limits()
            patient = msgspec.structs.replace(usual, pong_seconds=max(usual.pong_seconds, config.tick_timeout_seconds))
            limits = self._limits or patient
            if residence is None:
                bound = await nursery.start(self._serve, site, limits, *listen)
            else:
                bound = await nursery.start(self._receive, site, limits, residence, listen[1])
            task_status.started(bound)
            _say(f"listening on port {bound} for {len(config.tokens)} seats, {config.mode}")
            await episode.play()
            if residence is not None:
                await residence.house.turns.take()
            await _write(results_uri, episode.results(), "application/json", environ.get(contract.ENV_RESULTS_METHOD))
            if save_uri:
                await _save_replay(save_uri, episode.replay(), environ.get(contract.ENV_SAVE_REPLAY_METHOD))
            await episode.farewell()
            seconds = max(episode.seconds, 1e-6)
            _say(f"the episode is over: {rules.tick} ticks in {seconds:.2f} s, {rules.tick / seconds:.1f} per second")
            nursery.cancel_scope.cancel()

    async def _show(
        self, environ: Mapping[str, str], uri: str | None, old_names: bool, task_status: trio.TaskStatus[int]
    ) -> NoReturn:
        listen = _listen(environ)
        pages = load_pages(self._pages)
        replay = await _read_replay(uri) if uri else None
        limiter = trio.CapacityLimiter(_FETCHES)

        async def project(uri: str, socket: Socket) -> None:
            async with limiter:
                if not socket.open:
                    return
                try:
                    socket.send_frame(encode(TEXT, await _read_replay(uri)))
                except CoworldError:
                    # What was wrong is not told: the asker could learn from it what there is to be read.
                    socket.close(_REFUSED, "the replay cannot be shown")

        async with trio.open_nursery() as nursery:

            def fetch(uri: str, socket: Socket) -> None:
                nursery.start_soon(project, uri, socket)

            site = ReplaySite(pages, replay, fetch if old_names else None)
            bound = await nursery.start(self._serve, site, self._limits or Limits(), *listen)
            task_status.started(bound)
            _say(f"showing {'the replay' if replay else 'replays'} on port {bound}")
        raise AssertionError("a server that was started serves until it is cancelled")

    async def _serve(
        self,
        site: Site,
        limits: Limits,
        host: str,
        port: int,
        unix: str | None,
        *,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        await serve(site, host=host, port=port, limits=limits, unix=unix, spin=self._spin, task_status=task_status)

    async def _receive(
        self,
        site: Site,
        limits: Limits,
        residence: Residence,
        port: int,
        *,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        await serve_in_memory(site, residence.house, port=port, limits=limits, task_status=task_status)

    async def _read_config(self, uri: str) -> ConfigT:
        text = await _read(uri)
        try:
            config = msgspec.json.decode(text, type=self._config_type)
        except (msgspec.MsgspecError, UnicodeError) as error:
            todo = "compare it with the manifest's config_schema"
            raise Refused("The configuration cannot be used.", evidence=str(error), todo=todo) from error
        if not all(config.tokens):
            raise Refused("A token in the configuration is empty.", todo="give every seat a secret of its own")
        return config


async def _read_replay(uri: str) -> bytes:
    return await trio.to_thread.run_sync(lambda: load_replay(read_uri(uri)), abandon_on_cancel=True)


async def _save_replay(uri: str, data: bytes, method: str | None) -> None:
    encoding = encoding_of(uri)
    packed = data
    if encoding != "identity":
        packed = await trio.to_thread.run_sync(compress, data, encoding, abandon_on_cancel=True)
    await _write(uri, packed, _CONTENT_TYPES[encoding], method)


async def _read(uri: str) -> bytes:
    if is_small_file(uri, _SMALL):
        return read_uri(uri)
    return await trio.to_thread.run_sync(read_uri, uri, abandon_on_cancel=True)


async def _write(uri: str, data: bytes, content_type: str, method: str | None) -> None:
    verb: Literal["PUT", "POST"] = "POST" if (method or "").upper() == "POST" else "PUT"
    if len(data) <= _SMALL and file_path(uri) is not None:
        write_uri(uri, data, content_type, verb)
    else:
        await trio.to_thread.run_sync(write_uri, uri, data, content_type, verb, abandon_on_cancel=True)


def _listen(environ: Mapping[str, str]) -> tuple[str, int, str | None]:
    """Address, port and Unix socket."""
    text = environ.get(contract.ENV_PORT, str(contract.CONTAINER_PORT))
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise Refused(f"{contract.ENV_PORT} is not a port: {text!r}.", todo="use a number from 0 to 65535")
    host = environ.get(contract.ENV_HOST, contract.CONTAINER_HOST)
    return host, int(text), environ.get(ENV_UNIX_SOCKET) or None


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if not value:
        raise PreconditionMissing(
            f"{name} is not set.", todo="start the game with coworld-actors run, or set it by hand"
        )
    return value


def _complain(error: CoworldError) -> int:
    print(*error.lines(), sep="\n", file=sys.stderr, flush=True)  # noqa: T201 - stderr is where a game reports its end
    return error.exit_code


def _say(text: str) -> None:
    # A full disk or a closed pipe must not end an episode.
    with contextlib.suppress(OSError):
        print(text, flush=True)  # noqa: T201 - stdout is the game's public log
