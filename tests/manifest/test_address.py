"""Addresses and paths are told apart, and what is neither is refused."""

from __future__ import annotations

import pytest

from coworld_actors.manifest.address import split_address
from coworld_protocol.errors import Refused


def test_a_path_is_no_address() -> None:
    """Whatever it looks like."""
    assert split_address("a/b:c") is None
    split = split_address("http://host:80/path")
    assert split is not None
    assert (split.scheme, split.netloc, split.path) == ("http", "host:80", "/path")


@pytest.mark.parametrize("text", ["http://[x", "https://[bad?key=hush", "http://host:99999/x", "http://host:port/x"])
def test_what_begins_as_an_address_and_is_none_is_refused(text: str) -> None:
    """As input that cannot be used, without what may be a key."""
    with pytest.raises(Refused, match="is no address") as caught:
        split_address(text)
    assert "hush" not in "".join(caught.value.lines())
    assert caught.value.todo
