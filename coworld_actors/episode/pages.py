"""Where people find an episode: the pages that its game serves, and the sockets behind them.

A page of a seat has the seat's token in its address: it is told to whoever asks for the episode's pages and appears in no file, event
or log.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from urllib.parse import urlencode

import httpx
import msgspec

from coworld_actors.episode import probes
from coworld_actors.episode.dialect import CURRENT, Dialect
from coworld_actors.episode.probes import ContractBroken
from coworld_drivers.driver import Address
from coworld_protocol import contract

__all__ = ["Pages", "find_pages", "pages_at"]


class Pages(msgspec.Struct, frozen=True, kw_only=True):
    """What a person opens in a browser while the game runs.

    Attributes:
        players: the page of each seat that a person has, by slot; whoever has the address has the seat.
        sockets: what a program connects to instead, or a page of one's own; by slot, and as secret.
        viewer: the page of those who watch.
        admin: the page that steers the game; None where it has none, or nobody has asked.
        playable: whether the game serves a page for players, as far as it has been asked.
        watchable: whether it serves one for those who watch, the same way.
        missing: the pages that it does not serve, a sentence each.
    """

    players: Mapping[int, str] = {}
    sockets: Mapping[int, str] = {}
    viewer: str
    admin: str | None = None
    playable: bool = True
    watchable: bool = True
    missing: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Names the seats, never their tokens."""
        return f"Pages(viewer={self.viewer!r}, seats={sorted(self.players)})"


def pages_at(address: Address, tokens: Sequence[str], people: Collection[int], dialect: Dialect = CURRENT) -> Pages:
    """The pages of a game that keeps the contract.

    Args:
        address: where this machine reaches the game.
        tokens: one per seat.
        people: the seats that people have.
        dialect: what the game calls its pages.
    """
    here = f"http://{address}"
    seats = sorted(people)
    query = {slot: urlencode({contract.QUERY_SLOT: slot, contract.QUERY_TOKEN: tokens[slot]}) for slot in seats}
    return Pages(
        players={slot: f"{here}{dialect.client_player}?{query[slot]}" for slot in seats},
        sockets={slot: probes.player_url(address, slot, tokens[slot]) for slot in seats},
        viewer=f"{here}{dialect.client_global}",
    )


async def find_pages(
    http: httpx.AsyncHTTPTransport,
    address: Address,
    tokens: Sequence[str],
    people: Collection[int],
    dialect: Dialect = CURRENT,
) -> Pages:
    """The pages of a game, each of which has been asked for once: what is not there is said."""
    pages = pages_at(address, tokens, people, dialect)
    missing: list[str] = []

    async def served(route: str, **query: str | int) -> bool:
        try:
            await probes.check_client_page(http, address, route, redirects=True, **query)
        except ContractBroken as broken:
            if route != dialect.client_admin:
                missing.append(f"{broken.message}: {broken.evidence}")
            return False
        return True

    slot = min(people, default=None)
    playable = slot is None or await served(dialect.client_player, slot=slot, token=tokens[slot])
    watchable = await served(dialect.client_global)
    admin = await served(dialect.client_admin)
    return msgspec.structs.replace(
        pages,
        admin=f"http://{address}{dialect.client_admin}" if admin else None,
        playable=playable,
        watchable=watchable,
        missing=tuple(missing),
    )
