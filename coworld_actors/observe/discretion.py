"""What of an event's words may leave the process: no token, no secret, nothing that a terminal obeys, no books."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from coworld_actors.episode.role import URL_QUERY
from coworld_protocol.printable import printable

if TYPE_CHECKING:
    from coworld_actors.runtime.runtime import Runtime

__all__ = ["MOST_CHARACTERS", "Discretion", "discreet"]

MOST_CHARACTERS = 8_000
"""Of one text, and of the longest that the events have, a stack; what is cut is cut from its end."""
_SHORTEST_SECRET = 4
"""A shorter one could be guessed, and would be found in any sentence."""
_HIDDEN = "[secret]"


def discreet(text: str, secrets: tuple[str, ...] = ()) -> str:
    """A text without the queries of its URLs - that of a player's is its seat's token - and without these secrets.

    Line ends stay; everything else that is not printable is escaped.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, _HIDDEN)
    text = URL_QUERY.sub(r"\1", text)[:MOST_CHARACTERS]
    return "\n".join(map(printable, text.splitlines()))


@final
class Discretion:
    """`discreet` for whatever happens in a runtime: it knows the secrets of the episodes that have not ended."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __call__(self, scope: str, text: str) -> str:
        """A text of the episode `scope`, fit to be shown."""
        episode = self._runtime.episode(scope)
        return discreet(text, tuple(episode.spec.secret_env.values()) if episode is not None else ())
