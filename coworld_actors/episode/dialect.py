"""The two generations of the contract's names, in one place: what is called how, and what each of them is started with.

Images built against versions up to 0.1.7 of the contract serve their pages below `/clients/`, are put into replay mode by
`COGAME_REPLAY_SERVER=1`, and are told the replay by each page and socket that wants it. Whoever is to play them asks for it:
`Compat.AUTO` looks for the current names first and for the old ones only where the current ones are answered with 404.

What they have besides cannot be bridged by a name: before 0.1.26 a game listens on port 8080 of every address, whatever
`COGAME_PORT` says, which is fine in a container and nowhere else.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

import msgspec

from coworld_protocol import contract

__all__ = ["CURRENT", "OLD", "Compat", "Dialect", "dialects", "game_variables", "replay_variables"]


class Compat(enum.StrEnum):
    """Which generations of games are understood."""

    CURRENT = "current"
    """Only the names of today."""
    AUTO = "auto"
    """Also the old names, where a game does not know those of today."""


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """What the routes of a game are called, as far as generations differ.

    Attributes:
        client_player: the page of a seat.
        client_global: the page of those who watch.
        client_admin: the page that steers the game.
        client_replay: the page that shows a replay.
        replay_by_uri: whether page and socket of a replay are told which one, with each request.
    """

    client_player: str
    client_global: str
    client_admin: str
    client_replay: str
    replay_by_uri: bool

    def replay_page(self, uri: str) -> str:
        """Path and query of the page that shows a replay.

        Args:
            uri: of the replay, as the game sees it.
        """
        return f"{self.client_replay}{self._named(uri)}"

    def replay_target(self, uri: str) -> str:
        """Path and query of the socket that sends a replay.

        Args:
            uri: of the replay, as the game sees it.
        """
        return f"{contract.ROUTE_REPLAY}{self._named(uri)}"

    def _named(self, uri: str) -> str:
        return f"?{urlencode({contract.QUERY_URI: uri})}" if self.replay_by_uri else ""


CURRENT: Final = Dialect(
    client_player=contract.ROUTE_CLIENT_PLAYER,
    client_global=contract.ROUTE_CLIENT_GLOBAL,
    client_admin=contract.ROUTE_CLIENT_ADMIN,
    client_replay=contract.ROUTE_CLIENT_REPLAY,
    replay_by_uri=False,
)
"""From 0.1.26 on."""

OLD: Final = Dialect(
    client_player=contract.OLD_ROUTE_CLIENT_PLAYER,
    client_global=contract.OLD_ROUTE_CLIENT_GLOBAL,
    client_admin=contract.OLD_ROUTE_CLIENT_ADMIN,
    client_replay=contract.OLD_ROUTE_CLIENT_REPLAY,
    replay_by_uri=True,
)
"""0.1.0 to 0.1.7."""


def dialects(compat: Compat) -> tuple[Dialect, ...]:
    """The generations to try, in this order."""
    return (CURRENT,) if compat is Compat.CURRENT else (CURRENT, OLD)


def game_variables(compat: Compat, names: Sequence[str]) -> Mapping[str, str]:
    """What a game is started with besides the variables of today.

    Args:
        compat: which generations are understood.
        names: what the players are called, by slot.
    """
    if compat is Compat.CURRENT:
        return {}
    return {contract.ENV_POLICY_NAMES: msgspec.json.encode(list(names)).decode()}


def replay_variables(compat: Compat, uri: str) -> Mapping[str, str]:
    """What puts a game into replay mode. Those of both generations do no harm together: each game looks at its own.

    Args:
        compat: which generations are understood.
        uri: of the replay, as the game sees it.
    """
    current = {contract.ENV_LOAD_REPLAY_URI: uri}
    return current if compat is Compat.CURRENT else {**current, contract.ENV_REPLAY_SERVER: "1"}
