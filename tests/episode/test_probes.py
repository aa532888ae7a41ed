"""The probes against raw servers: the contract's table of what counts as a refused token, and the other checks."""

from __future__ import annotations

import httpx
import pytest
import trio

from coworld_actors.episode import probes
from coworld_actors.episode.findings import ViolationKind
from coworld_actors.episode.probes import ContractBroken
from coworld_drivers.driver import Address
from coworld_protocol import contract
from tests import strangers
from tests.strangers import BINARY, CLOSE, CONTINUED, PING, TEXT, accepts, frame


@pytest.fixture
async def http():
    """The transport that the conductor uses."""
    async with httpx.AsyncHTTPTransport(trust_env=False, verify=False) as made:
        yield made


@pytest.mark.parametrize(
    ("handler", "evidence"),
    [
        (strangers.status(401), None),
        (strangers.status(403), None),
        (strangers.status(200), "HTTP status 200"),
        (strangers.status(302, "Location: /login\r\n"), "HTTP status 302"),
        (strangers.status(404), "HTTP status 404"),
        (strangers.status(500), "HTTP status 500"),
        (strangers.closes, None),
        (strangers.resets, None),
        (strangers.says("nonsense\r\n\r\n"), None),
        (strangers.endless("HTTP/1.1 101 Yes\r\n", b"X-More: of the same\r\n" * 64), None),
        (accepts(stays=False), None),
        (accepts(frame(CLOSE, b"\x03\xe8")), None),
        (accepts(frame(CLOSE, b"\x0f\xa1"), stays=False), None),
        (accepts(frame(PING), frame(CLOSE, b"\x03\xe8")), None),
        (accepts(bytes([0x83, 0])), None),
        (accepts(frame(TEXT, b"half", last=False), stays=False), None),
        (accepts(frame(TEXT, b"hello")), "a message sent"),
        (accepts(frame(TEXT)), "a message sent"),
        (accepts(frame(TEXT, b"hello"), stays=False), "a message sent"),
        (accepts(frame(PING), frame(TEXT, b"hello")), "a message sent"),
        (accepts(frame(TEXT, b"a", last=False), frame(CONTINUED, b"b")), "a message sent"),
        (accepts(frame(BINARY, b"x" * (contract.GLOBAL_FRAME_LIMIT + 1))), "more than 1048576 bytes sent"),
        (accepts(), "still open after 2 s"),
        (accepts(frame(PING)), "still open after 2 s"),
        (strangers.silent, "no answer to the handshake within"),
    ],
)
async def test_each_answer_to_a_bad_token_has_the_contracts_verdict(
    server, monkeypatch: pytest.MonkeyPatch, handler, evidence: str | None
) -> None:
    """Refused by 401, 403, a broken handshake or a close: good. Anything else breaks the contract. No socket is left."""
    monkeypatch.setattr(contract, "WS_OPEN_TIMEOUT", 5.0 if handler is not strangers.silent else 0.5)
    address: Address = await server(handler)
    with trio.fail_after(30):
        if evidence is None:
            await probes.check_bad_token(address)
        else:
            with pytest.raises(ContractBroken) as caught:
                await probes.check_bad_token(address)
            assert caught.value.kind is ViolationKind.BAD_TOKEN
            assert evidence in caught.value.evidence
    assert strangers.open_connections(address) == 0


async def test_a_refused_port_is_no_refused_token() -> None:
    """A game that does not listen has not refused anybody."""
    with pytest.raises(ContractBroken, match="does not accept connections on /player"):
        await probes.check_bad_token(strangers.refused())


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (strangers.status(200), ""),
        (strangers.endless("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 65536), ""),
        (strangers.status(204), "HTTP status 204"),
        (strangers.status(302, "Location: /\r\n"), "HTTP status 302"),
        (strangers.status(503), "HTTP status 503"),
        (strangers.silent, "no answer within 1 s"),
        (strangers.closes, "disconnected"),
        (strangers.says("nonsense\r\n\r\n"), "illegal"),
    ],
)
async def test_health_is_exactly_200(server, http: httpx.AsyncHTTPTransport, handler, words: str) -> None:
    """Everything else is not healthy yet, and is said in a few words."""
    address = await server(handler)
    with trio.fail_after(30):
        answer = await probes.ask_health(http, address)
    assert words in answer
    assert bool(answer) == bool(words)


async def test_a_game_that_is_not_there_yet_is_told_from_one_that_answers(http: httpx.AsyncHTTPTransport) -> None:
    """Only where somebody answers can a stranger be the one."""
    assert await probes.ask_health(http, strangers.refused()) == probes.NOBODY_LISTENS


@pytest.mark.parametrize(
    ("handler", "redirects", "words"),
    [
        (strangers.status(200), False, None),
        (strangers.status(204), False, None),
        (strangers.endless("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 65536), False, None),
        (strangers.status(302, "Location: /x\r\n"), True, None),
        (strangers.status(302, "Location: /x\r\n"), False, "HTTP status 302"),
        (strangers.status(404), True, "HTTP status 404"),
        (strangers.status(500), False, "HTTP status 500"),
        (strangers.closes, False, "disconnected"),
        (strangers.resets, False, ""),
        (strangers.says("nonsense\r\n\r\n"), False, ""),
    ],
)
async def test_a_page_is_there_or_its_absence_is_named(
    server, http: httpx.AsyncHTTPTransport, handler, redirects: bool, words: str | None
) -> None:
    """2xx passes, 3xx only where it may, and the evidence never shows the token of the query."""
    address = await server(handler)

    async def check() -> None:
        with trio.fail_after(30):
            await probes.check_client_page(http, address, "/client/player", redirects=redirects, slot=0, token="hush")

    if words is None:
        await check()
        return
    with pytest.raises(ContractBroken, match="does not serve /client/player") as caught:
        await check()
    assert caught.value.kind is ViolationKind.CLIENT_PAGE
    assert words in caught.value.evidence
    assert caught.value.evidence
    assert "hush" not in caught.value.evidence + caught.value.message


async def test_a_page_that_hangs_is_given_up_on(server, http: httpx.AsyncHTTPTransport, monkeypatch) -> None:
    """The contract's time for a page is all that a game gets."""
    monkeypatch.setattr(contract, "CONTRACT_GET_TIMEOUT", 0.3)
    with pytest.raises(ContractBroken) as caught:
        await probes.check_client_page(http, await server(strangers.silent), "/client/global")
    assert caught.value.evidence == "no answer within 0.3 s"


@pytest.mark.parametrize(
    ("handler", "kind", "words"),
    [
        (accepts(frame(TEXT, b"{}")), None, ""),
        (accepts(frame(BINARY, b"x" * 2 * contract.GLOBAL_FRAME_LIMIT)), None, ""),
        (accepts(frame(TEXT)), ViolationKind.FIRST_FRAME, "the first message is empty"),
        (accepts(), ViolationKind.FIRST_FRAME, "no message within 0.5 s"),
        (accepts(stays=False), ViolationKind.FIRST_FRAME, "connection lost"),
        (accepts(frame(CLOSE, b"\x03\xe9")), ViolationKind.FIRST_FRAME, "close code 1001"),
        (strangers.status(404), ViolationKind.GLOBAL_VIEWER, "HTTP status 404"),
        (
            strangers.closes,
            ViolationKind.GLOBAL_VIEWER,
            "The server closed the connection instead of answering the websocket handshake",
        ),
    ],
)
async def test_a_first_message_has_to_come_and_to_hold_something(
    server, handler, kind: ViolationKind | None, words: str
) -> None:
    """A viewer that cannot connect, is sent nothing, or something empty, breaks the clause that is named."""
    address = await server(handler)
    limit = 0.5 if "within" in words else 20
    if kind is None:
        await probes.first_message(address, "/replay", limit)
    else:
        with pytest.raises(ContractBroken, match="/replay") as caught:
            await probes.first_message(address, "/replay", limit)
        assert (caught.value.kind, caught.value.evidence) == (kind, words)
    assert strangers.open_connections(address) == 0


def test_a_players_url_is_encoded_once() -> None:
    """A token may hold anything; the query says which slot and which token."""
    url = httpx.URL(probes.player_url(Address(host="127.0.0.1", port=4711), 3, "a b&c=/é"))
    assert (url.scheme, url.host, url.port, url.path) == ("ws", "127.0.0.1", 4711, "/player")
    assert dict(url.params) == {"slot": "3", "token": "a b&c=/é"}
