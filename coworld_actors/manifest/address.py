"""What a person writes in the place of a path: an address, taken apart."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from coworld_protocol.errors import Refused

__all__ = ["split_address"]


def split_address(text: str) -> SplitResult | None:
    """The parts of an address; None for a path.

    Raises:
        Refused: it begins as an address does and is none.
    """
    if "://" not in text:
        return None
    try:
        split = urlsplit(text)
        # A port is looked at only when it is asked for.
        _ = split.port
    except ValueError as error:
        raise Refused(
            f"{text.partition('?')[0]} is no address",
            evidence=str(error),
            todo="write it as http://host:port/path, or give a path",
        ) from error
    return split
