"""Header fields of an opening handshake: lists of tokens and of extensions, read strictly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

__all__ = ["Fields", "Headers", "is_token", "read_extensions"]

Headers = Sequence[tuple[bytes, bytes]]
"""Names and values, as h11 gives them."""

_CHARACTERS: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # a token's: RFC 7230, 3.2.6
_WHOLE: Final = re.compile(_CHARACTERS)
# RFC 6455, 9.1: a quoted value has to be a token once it is unquoted.
_PARAMETER: Final = re.compile(
    rf"[ \t]*;[ \t]*({_CHARACTERS})(?:[ \t]*=[ \t]*(?:({_CHARACTERS})|\"({_CHARACTERS})\"))?"
)
_NAME: Final = re.compile(rf"[ \t]*({_CHARACTERS})")
_SEPARATOR: Final = re.compile(r"[ \t]*(?:,|\Z)")


def is_token(text: str) -> bool:
    """Whether it is a token of HTTP."""
    return _WHOLE.fullmatch(text) is not None


def read_extensions(value: str) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """Names and parameters of a `Sec-WebSocket-Extensions` (RFC 6455, 9.1), several headers joined by commas; in time linear in its
    length.

    Raises:
        ValueError: it does not follow the grammar; the handshake has to fail.
    """
    found: list[tuple[str, list[tuple[str, str | None]]]] = []
    position = 0
    while position < len(value):
        # RFC 7230, 7: empty elements of a list are skipped.
        empty = _SEPARATOR.match(value, position)
        if empty:
            position = empty.end()
            continue
        name = _NAME.match(value, position)
        if name is None:
            raise ValueError("The Sec-WebSocket-Extensions header is malformed")
        position = name.end()
        parameters: list[tuple[str, str | None]] = []
        while parameter := _PARAMETER.match(value, position):
            parameters.append((parameter[1], parameter[2] or parameter[3]))
            position = parameter.end()
        separator = _SEPARATOR.match(value, position)
        if separator is None:
            raise ValueError("The Sec-WebSocket-Extensions header is malformed")
        position = separator.end()
        found.append((name[1], parameters))
    return found


class Fields:
    """Headers by name, in any case.

    Args:
        headers: values may have blanks around them.
    """

    def __init__(self, headers: Headers) -> None:
        self._headers = [
            (name.lower().decode("latin-1"), value.decode("latin-1").strip(" \t")) for name, value in headers
        ]

    def values(self, name: str) -> list[str]:
        """Every value of a header; `name` in lower case."""
        return [value for each, value in self._headers if each == name]

    def lowered(self, name: str) -> list[str]:
        """The elements of a list header in lower case; what is none is one that matches nothing."""
        return [
            part.strip(" \t").lower() for value in self.values(name) for part in value.split(",") if part.strip(" \t")
        ]

    def tokens(self, name: str) -> list[str]:
        """The elements of a list of tokens.

        Raises:
            ValueError: one is no token.
        """
        parts = [part.strip(" \t") for value in self.values(name) for part in value.split(",")]
        if not all(map(is_token, parts)):
            raise ValueError("The Sec-WebSocket-Protocol header is malformed")
        return parts
