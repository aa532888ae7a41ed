"""What a game wishes in `COWORLD_LOCAL_EXTRA_PORTS`: `CONTAINER[:HOST][/tcp]`, with commas between (contract 2.8)."""

from __future__ import annotations

import re
from typing import Final

from coworld_protocol.contract import CONTAINER_PORT

__all__ = ["BadExtraPorts", "wished_ports"]

_ENTRY: Final = re.compile(r"([0-9]{1,18})(?::([0-9]{1,18}))?(?:/tcp)?")
_LAST: Final = 65_535


class BadExtraPorts(ValueError):
    """A wish that means nothing.

    Attributes:
        found: the entry at fault, as it is spelled.
        allowed: what would be right, as a noun.
    """

    def __init__(self, found: str, allowed: str) -> None:
        super().__init__(f"{found!r} is not {allowed}")
        self.found = found
        self.allowed = allowed


def wished_ports(text: str) -> tuple[tuple[int, int | None], ...]:
    """The wished ports: (the port that the game listens on, the port of this machine that shall lead there).

    The second is None where any free one will do, which is also what 0 says. Blank text wishes for nothing.

    Raises:
        BadExtraPorts: an entry is empty or misspelled, a port is out of range, the contract's own, or wished for twice.
    """
    wishes: list[tuple[int, int | None]] = []
    for entry in text.split(",") if text.strip() else []:
        spelled = entry.strip()
        match = _ENTRY.fullmatch(spelled)
        if match is None:
            raise BadExtraPorts(spelled, "CONTAINER[:HOST][/tcp], such as 3724, 3724:0 or 3724:3724/tcp")
        inside, outside = int(match[1]), int(match[2] or 0)
        if not 0 < inside <= _LAST or outside > _LAST:
            raise BadExtraPorts(spelled, f"a pair of ports up to {_LAST}, the first of them from 1")
        if inside == CONTAINER_PORT:
            raise BadExtraPorts(spelled, f"a port besides {CONTAINER_PORT}, which every game has")
        if inside in (other for other, _ in wishes):
            raise BadExtraPorts(spelled, f"a wish with a container port of its own; {inside} is in the list already")
        if outside and outside in (other for _, other in wishes):
            raise BadExtraPorts(spelled, f"a wish with a host port of its own; {outside} is in the list already")
        wishes.append((inside, outside or None))
    return tuple(wishes)
