"""What the runner asks of a game before it lets players in: health, pages, the refusal of a bad token, the viewer's socket.

Each probe returns nothing when the game is right and raises `ContractBroken` when it is not. Which observation means what is
the contract's table, not an opinion of ours.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import httpx
import trio

from coworld_actors.episode.dialect import Dialect
from coworld_actors.episode.findings import ViolationKind
from coworld_actors.episode.probe_socket import (
    HandshakeFailed,
    HandshakeRefused,
    MessageTooLong,
    ProbeSocket,
    SocketClosed,
    open_probe_socket,
)
from coworld_drivers.driver import Address
from coworld_protocol import contract

__all__ = [
    "NOBODY_LISTENS",
    "ContractBroken",
    "PageNotFound",
    "ask_health",
    "check_bad_token",
    "check_client_page",
    "find_dialect",
    "first_message",
    "open_viewer",
    "player_target",
    "player_url",
]

VIEWER_MESSAGE_LIMIT = 64 * 1024 * 1024
"""Bytes of one `/global` message; the contract's later version sets no limit, our memory does."""


NOBODY_LISTENS = "nobody listens on its port"
"""The answer of a game that is not there yet."""


class ContractBroken(Exception):
    """A game does not keep a clause of the contract."""

    def __init__(self, kind: ViolationKind, message: str, evidence: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.evidence = evidence


class PageNotFound(ContractBroken):
    """A page is answered with 404: it is not there, or it has another name."""


def player_target(slot: int, token: str) -> str:
    """Path and query by which one seat's player connects."""
    return f"{contract.ROUTE_PLAYER}?{urlencode({contract.QUERY_SLOT: slot, contract.QUERY_TOKEN: token})}"


def player_url(address: Address, slot: int, token: str) -> str:
    """The URL by which one seat's player connects."""
    return f"ws://{address}{player_target(slot, token)}"


async def ask_health(http: httpx.AsyncHTTPTransport, address: Address) -> str:
    """Ask once whether the game is ready.

    Returns:
        An empty string when it is, otherwise what it answered, in a few words.
    """
    try:
        with trio.fail_after(contract.HEALTH_TIMEOUT):
            answer = await _get(http, f"http://{address}{contract.ROUTE_HEALTH}")
            return "" if answer.status_code == 200 else f"HTTP status {answer.status_code}"
    except trio.TooSlowError:
        return f"no answer within {contract.HEALTH_TIMEOUT:g} s"
    except httpx.ConnectError:
        return NOBODY_LISTENS
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _words(error)


async def _get(http: httpx.AsyncHTTPTransport, url: str, **query: str | int) -> httpx.Response:
    """The head of an answer; its body, which may have no end, is not read."""
    answer = await http.handle_async_request(httpx.Request("GET", url, params=query or None))
    await answer.aclose()
    return answer


async def check_client_page(
    http: httpx.AsyncHTTPTransport, address: Address, route: str, *, redirects: bool = False, **query: str | int
) -> None:
    """Check that a browser page is there.

    Args:
        http: a transport of httpx's.
        address: the game's.
        route: `/client/...`.
        redirects: whether an answer of 3xx is good enough.
        query: of the page's URL; never shown, it may hold a token.

    Raises:
        PageNotFound: 404.
        ContractBroken: any other answer than 2xx.
    """

    def broken(evidence: str) -> ContractBroken:
        return ContractBroken(ViolationKind.CLIENT_PAGE, f"the game does not serve {route}", evidence)

    try:
        with trio.fail_after(contract.CONTRACT_GET_TIMEOUT):
            answer = await _get(http, f"http://{address}{route}", **query)
            if answer.status_code == 404:
                raise PageNotFound(ViolationKind.CLIENT_PAGE, f"the game does not serve {route}", "HTTP status 404")
            if not (answer.is_success or (redirects and answer.is_redirect)):
                raise broken(f"HTTP status {answer.status_code}")
    except trio.TooSlowError:
        raise broken(f"no answer within {contract.CONTRACT_GET_TIMEOUT:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise broken(_words(error)) from error


async def find_dialect(
    http: httpx.AsyncHTTPTransport,
    address: Address,
    tried: Sequence[Dialect],
    page: Callable[[Dialect], str],
    *,
    redirects: bool = False,
    **query: str | int,
) -> Dialect:
    """Check that a browser page is there, and tell by its name what the game speaks.

    Args:
        http: a transport of httpx's.
        address: the game's.
        tried: what it may speak, in the order in which its pages are looked for; the next one after a 404.
        page: the page's route.
        redirects: whether an answer of 3xx is good enough.
        query: of the page's URL; never shown, it may hold a token.

    Raises:
        ContractBroken: as `check_client_page`, for the first name; the evidence names the others.
    """
    absent: list[tuple[str, ContractBroken]] = []
    for dialect in tried:
        try:
            await check_client_page(http, address, page(dialect), redirects=redirects, **query)
        except PageNotFound as missing:
            absent.append((page(dialect), missing))
        else:
            return dialect
    others = "".join(f"; nor does it serve {route}" for route, _ in absent[1:])
    first = absent[0][1]
    raise PageNotFound(first.kind, first.message, first.evidence + others)


async def check_bad_token(address: Address) -> None:
    """Check that seat 0 is closed to a wrong token.

    Good: 401 or 403, a handshake that fails in any other way but a status, an accepted socket that is closed within the silence.
    Bad: any other status, a message of whatever length, silence, no TCP connection or no answer on it in time.

    Raises:
        ContractBroken: one of the bad ones was seen.
    """

    def broken(message: str, evidence: str = "") -> ContractBroken:
        return ContractBroken(ViolationKind.BAD_TOKEN, message, evidence)

    accepted = "the game lets a player in with a wrong token"
    try:
        async with open_probe_socket(
            address,
            player_target(0, contract.BAD_TOKEN),
            timeout=contract.WS_OPEN_TIMEOUT,
            limit=contract.GLOBAL_FRAME_LIMIT,
        ) as socket:
            with trio.move_on_after(contract.BAD_TOKEN_SILENCE):
                await socket.receive()
                raise broken(accepted, "the socket was accepted and a message sent")
            raise broken(accepted, f"the socket was accepted and still open after {contract.BAD_TOKEN_SILENCE:g} s")
    except HandshakeRefused as refused:
        if refused.status not in contract.BAD_TOKEN_STATUSES:
            raise broken("the game answers a wrong token with an unexpected status", str(refused)) from None
    except MessageTooLong as message:
        raise broken(accepted, f"the socket was accepted and {message} sent") from None
    except (HandshakeFailed, SocketClosed):
        return
    except OSError as error:
        raise broken("the game does not accept connections on /player", _words(error)) from error


@asynccontextmanager
async def open_viewer(address: Address, route: str) -> AsyncGenerator[ProbeSocket]:
    """A connected viewer of `/global` or `/replay`.

    Raises:
        ContractBroken: the socket cannot be opened.
    """
    try:
        async with open_probe_socket(
            address, route, timeout=contract.WS_OPEN_TIMEOUT, limit=VIEWER_MESSAGE_LIMIT
        ) as socket:
            yield socket
    except (HandshakeRefused, HandshakeFailed, OSError) as error:
        raise ContractBroken(
            ViolationKind.GLOBAL_VIEWER, f"a viewer cannot connect to {route}", _words(error)
        ) from error


async def first_message(address: Address, route: str, limit: float) -> None:
    """Connect a viewer and wait for its first message.

    Raises:
        ContractBroken: it cannot connect, is sent nothing within `limit` seconds, or is sent something empty.
    """

    def broken(evidence: str) -> ContractBroken:
        return ContractBroken(ViolationKind.FIRST_FRAME, f"the game shows nothing on {route}", evidence)

    try:
        async with open_viewer(address, route) as socket:
            with trio.fail_after(limit):
                if not await socket.receive():
                    raise broken("the first message is empty")
    except trio.TooSlowError:
        raise broken(f"no message within {limit:g} s") from None
    except SocketClosed as closed:
        raise broken(str(closed)) from closed


def _words(error: BaseException) -> str:
    """An exception in a few words; many of httpx's have no text of their own."""
    return str(error) or type(error).__name__
