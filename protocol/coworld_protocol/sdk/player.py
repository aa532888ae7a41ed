"""`connect_player`: a seat, as an async iterator of typed observations.

    async with connect_player(Observation, final=Final, welcome=Welcome) as player:
        async for seen in player:
            await player.send(Move(move="up", tick=seen.tick))

Little is imported, because 64 players start as 64 processes. Where the runner names the Unix socket on which its game
listens, too, that is the way taken; and while the next observation is due the player looks again for a moment before
it goes to sleep, if that gains something on this machine (`ws.spin`).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, TypeVar, Union, cast, overload
from urllib.parse import parse_qs, urlsplit

import msgspec
import trio

from coworld_protocol import contract
from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused
from coworld_protocol.sdk.environment import environment
from coworld_protocol.sdk.memory import MemoryLink, connect_in_memory
from coworld_protocol.switches import ENV_UNIX_SOCKET
from coworld_protocol.ws.connecting import connect
from coworld_protocol.ws.connection import Connection, ConnectionClosed
from coworld_protocol.ws.frames import ABNORMAL
from coworld_protocol.ws.handshake import HandshakeFailed, HandshakeRefused

__all__ = [
    "GameUnreachable",
    "Player",
    "SeatRefused",
    "connect_player",
    "player_url",
    "run_player",
    "upload_artifact",
]

ObservationT = TypeVar("ObservationT")
FinalT = TypeVar("FinalT")
WelcomeT = TypeVar("WelcomeT")


_OVER = 1000
_REFUSALS = frozenset({1003, 1008})
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0


class SeatRefused(Refused):
    """The game does not let us sit here, or has thrown us out."""


class GameUnreachable(PreconditionMissing):
    """No game answers behind the URL."""


class Player(Generic[ObservationT, FinalT, WelcomeT]):
    """One seat of a running episode; made by `connect_player`.

    Iterating gives each observation, oldest first, and ends when the episode does. A connection that drops in
    mid-episode is made again with the same token; the game then sends where it stands.

    Attributes:
        slot: the seat's number.
        final: the game's last message, once it has come; None if the game went away without one.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        url: str,
        decoder: msgspec.json.Decoder[Any],
        kinds: tuple[type[Any], type[Any] | None],
        reconnect_seconds: float,
        spin: bool | None,
    ) -> None:
        self._nursery = nursery
        self._url = url
        self._decoder = decoder
        self._final_type, self._welcome_type = kinds
        self._reconnect_seconds = reconnect_seconds
        self._spin = spin
        self._connection: Connection | MemoryLink | None = None
        self._welcome: WelcomeT | None = None
        self.final: FinalT | None = None
        slots = parse_qs(urlsplit(url).query).get(contract.QUERY_SLOT, ["0"])
        self.slot = int(slots[-1]) if slots[-1].isdigit() else 0

    @property
    def welcome(self) -> WelcomeT:
        """The newest welcome message; games that send one send it before the first observation.

        Raises:
            Refused: the game has sent none.
        """
        if self._welcome is None:
            raise Refused("The game has sent no welcome message.", todo="read it after the first observation")
        return self._welcome

    def __aiter__(self) -> Player[ObservationT, FinalT, WelcomeT]:
        return self

    async def __anext__(self) -> ObservationT:
        while self.final is None and self._connection is not None:
            try:
                payload = await self._connection.receive_bytes()
            except ConnectionClosed as closed:
                await self._after(self._connection, closed)
                continue
            message = self._decode(payload)
            if isinstance(message, self._final_type):
                self.final = message
            elif self._welcome_type is not None and isinstance(message, self._welcome_type):
                self._welcome = message
            else:
                return cast("ObservationT", message)
        raise StopAsyncIteration

    async def send(self, move: msgspec.Struct) -> None:
        """Send a move. If the connection has just dropped the move is lost; the next observation says where the game
        stands.
        """
        if self._connection is not None:
            try:
                await self._connection.send_text(msgspec.json.encode(move))
            except ConnectionClosed:
                # Iterating is what notices the end and what connects again.
                await trio.lowlevel.checkpoint()

    def _decode(self, payload: bytes) -> Any:
        try:
            return self._decoder.decode(payload)
        except msgspec.MsgspecError as error:
            raise Refused(
                "The game sent a message that this player does not know.",
                evidence=f"{error}: {payload[:200].decode(errors='replace')!r}",
                todo="compare the player's message types with the game's protocol page",
            ) from error

    async def _after(self, connection: Connection | MemoryLink, closed: ConnectionClosed) -> None:
        """Sort out why the connection ended; connect again if the episode may still run."""
        self._connection = None
        await connection.close()
        if closed.code in _REFUSALS and closed.clean:
            reason = closed.reason or "no reason given"
            raise SeatRefused(f"The game closed seat {self.slot}: {reason}.", evidence=f"close code {closed.code}")
        if not closed.clean and closed.code != ABNORMAL:
            # Connecting again would bring the same message again.
            raise Refused(
                "The game sent what this player cannot take.",
                evidence=str(closed),
                todo="look at what the game sends with coworld-actors run --tap",
            )
        if closed.code != _OVER:
            try:
                await self._open(self._reconnect_seconds)
            except GameUnreachable:
                # A game that was there and is gone has ended; whose fault that was is not the player's to say.
                return

    async def _open(self, patience: float) -> None:
        """Connect, again and again for `patience` seconds, first quickly, then every two seconds."""
        pause = _FIRST_PAUSE
        evidence = "no answer in time"
        with trio.move_on_after(patience):
            while True:
                try:
                    self._connection = await self._connect()
                except HandshakeRefused as refused:
                    if refused.status in contract.BAD_TOKEN_STATUSES:
                        raise SeatRefused(
                            f"The game refused seat {self.slot}.",
                            evidence=f"HTTP status {refused.status}",
                            todo="use the URL of this episode as it was given",
                        ) from refused
                    evidence = f"HTTP status {refused.status}"
                except ValueError as error:
                    raise Refused(
                        "The seat's URL cannot be used.", evidence=str(error), todo="use ws:// or wss://"
                    ) from error
                except (OSError, HandshakeFailed) as error:
                    evidence = str(error)
                else:
                    # Pings are answered while the player thinks, as long as it awaits something.
                    self._nursery.start_soon(self._connection.attend)
                    return
                await trio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        raise GameUnreachable(
            "No game answers at this seat's URL.", evidence=evidence, todo="check that the game is up"
        )

    async def _connect(self) -> Connection | MemoryLink:
        link = connect_in_memory(self._url)
        if link is not None:
            return link
        path = environment().get(ENV_UNIX_SOCKET)
        if path and self._url.startswith("ws:"):
            with contextlib.suppress(OSError):
                return await connect(self._url, unix=path, spin=self._spin)
        return await connect(self._url, spin=self._spin)


def player_url(environ: Mapping[str, str] | None = None) -> str:
    """The seat's websocket URL from the environment, under its present or its older name.

    Raises:
        PreconditionMissing: neither is set.
    """
    variables = environment() if environ is None else environ
    url = variables.get(contract.ENV_PLAYER_WS_URL) or variables.get(contract.ENV_ENGINE_WS_URL)
    if not url:
        raise PreconditionMissing(
            f"{contract.ENV_PLAYER_WS_URL} is not set.",
            todo="start the player with coworld-actors run, or set it by hand",
        )
    return url


@overload
def connect_player(
    observation: type[ObservationT],
    *,
    final: type[FinalT],
    welcome: type[WelcomeT],
    url: str | None = None,
    connect_seconds: float = 60.0,
    reconnect_seconds: float = 10.0,
    spin: bool | None = None,
) -> AbstractAsyncContextManager[Player[ObservationT, FinalT, WelcomeT]]: ...


@overload
def connect_player(
    observation: type[ObservationT],
    *,
    final: type[FinalT],
    welcome: None = None,
    url: str | None = None,
    connect_seconds: float = 60.0,
    reconnect_seconds: float = 10.0,
    spin: bool | None = None,
) -> AbstractAsyncContextManager[Player[ObservationT, FinalT, None]]: ...


def connect_player(
    observation: type[Any],
    *,
    final: type[Any],
    welcome: type[Any] | None = None,
    url: str | None = None,
    connect_seconds: float = 60.0,
    reconnect_seconds: float = 10.0,
    spin: bool | None = None,
) -> AbstractAsyncContextManager[Player[Any, Any, Any]]:
    """Take the seat; use with `async with`.

    Args:
        observation: tagged Struct of what iterating gives.
        final: tagged Struct of the game's last message.
        welcome: tagged Struct of the message that comes first on every connection, if the game has one.
        url: the seat's websocket URL; None takes it from the environment.
        connect_seconds: how long to try at first.
        reconnect_seconds: how long to try after a drop; then the episode counts as over.
        spin: False: never look again for a moment before going to sleep; None and True leave that to the environment's
            COWORLD_ACTORS_SPIN and to measurement.

    Raises:
        SeatRefused: the game does not accept slot and token, or closes the seat for cause.
        GameUnreachable: no game answers.
        PreconditionMissing: no URL is known.
        Refused: the URL, a message of the game or the environment's switch cannot be used.
    """
    kinds = (observation, final) if welcome is None else (observation, final, welcome)
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[kinds])  # noqa: UP007 - known at run time only
    return _open_player(url or player_url(), decoder, (final, welcome), connect_seconds, reconnect_seconds, spin)


@asynccontextmanager
async def _open_player(
    url: str,
    decoder: msgspec.json.Decoder[Any],
    kinds: tuple[type[Any], type[Any] | None],
    connect_seconds: float,
    reconnect_seconds: float,
    spin: bool | None,
) -> AsyncGenerator[Player[Any, Any, Any]]:
    try:
        async with trio.open_nursery() as nursery:
            player: Player[Any, Any, Any] = Player(nursery, url, decoder, kinds, reconnect_seconds, spin)
            await player._open(connect_seconds)  # noqa: SLF001
            try:
                yield player
            finally:
                # The game learns that the seat is left on purpose; it may not answer, so there is a deadline.
                if player._connection is not None:  # noqa: SLF001
                    with trio.move_on_after(3.0, shield=True):
                        await player._connection.close()  # noqa: SLF001
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # The nursery is an implementation detail: one failure leaves as itself.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


def upload_artifact(data: bytes, environ: Mapping[str, str] | None = None) -> bool:
    """Leave a zip behind; blocks. False when the platform offers no place for it, which is never an error.

    Raises:
        Refused: the zip is larger than the contract's 200 MB.
        UriFailed: it could not be written.
    """
    from coworld_protocol.sdk.uris import write_uri  # noqa: PLC0415 - most players leave nothing behind

    uri = (environment() if environ is None else environ).get(contract.ENV_PLAYER_ARTIFACT_URL)
    if not uri:
        return False
    if len(data) > contract.ARTIFACT_LIMIT:
        raise Refused(
            f"The artifact has {len(data)} bytes; {contract.ARTIFACT_LIMIT} are allowed.", todo="leave less behind"
        )
    write_uri(uri, data, "application/zip")
    return True


def run_player(main: Callable[[], Awaitable[None]]) -> int:
    """Run an async player and return its exit status; a failure is one to four lines on stderr."""
    try:
        trio.run(main)
    except KeyboardInterrupt:
        return 130
    except CoworldError as error:
        print(*error.lines(), sep="\n", file=sys.stderr, flush=True)  # noqa: T201 - a player's stderr is its log
        return error.exit_code
    return 0
