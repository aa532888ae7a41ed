"""How the runtime and a template speak: lists of byte strings without NUL. Standard library only, any Python from 3.9."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LIMIT", "pack", "unpack"]

LIMIT = 1 << 18
"""Bytes of one message at most: above what the kernel's default lets a local socket carry."""


def pack(*lists: Iterable[bytes]) -> bytes:
    """One message of several lists.

    Args:
        lists: of byte strings, none of which contains NUL.
    """
    words: list[bytes] = []
    for each in lists:
        items = list(each)
        words.append(b"%d" % len(items))
        words += items
    return b"\0".join(words)


def unpack(message: bytes) -> list[list[bytes]]:
    """The lists of a message.

    Raises:
        ValueError: `pack` did not make it.
    """
    words = message.split(b"\0")
    lists: list[list[bytes]] = []
    at = 0
    while at < len(words):
        end = at + 1 + int(words[at])
        if end > len(words):
            raise ValueError("a list is shorter than it says")
        lists.append(words[at + 1 : end])
        at = end
    return lists
