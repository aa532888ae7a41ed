"""The language between runtime and template."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coworld_drivers.template_words import pack, unpack

WORD = st.binary(max_size=20).filter(lambda word: b"\0" not in word)


@given(st.lists(st.lists(WORD, max_size=5), min_size=1, max_size=5))
def test_what_is_packed_is_unpacked(lists):
    """Lists of any words, empty ones too, arrive as they were."""
    assert unpack(pack(*lists)) == lists


def test_a_message_that_was_cut_is_refused():
    """A list that is shorter than it says is no message."""
    with pytest.raises(ValueError, match="shorter"):
        unpack(pack([b"one", b"two"])[:-4])
