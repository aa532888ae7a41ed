"""What a prefix means, for readers and for those who change something."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coworld_actors.control.prefixes import CANDIDATES, candidates, matching

NAMES = st.lists(st.text("ab-", max_size=4))
PREFIX = st.text("ab-", max_size=4)


@given(PREFIX, NAMES)
def test_a_match_is_the_name_itself_or_all_that_begin_so(prefix: str, names: list[str]) -> None:
    """Nothing else matches, nothing is lost, order is kept, and an exact name hides the longer ones."""
    found = matching(prefix, names)
    if prefix in names:
        assert found == [prefix] * names.count(prefix)
    else:
        assert found == [name for name in names if name[: len(prefix)] == prefix]


@given(st.lists(st.text("xyz", min_size=1, max_size=3), max_size=3 * CANDIDATES))
def test_a_long_list_of_candidates_says_what_it_leaves_out(names: list[str]) -> None:
    """So many are shown, and how many more there are."""
    text = candidates(names)
    assert len(text.split(" and ")[0].split(", ")) <= CANDIDATES
    assert (f"and {len(names) - CANDIDATES} more" in text) == (len(names) > CANDIDATES)
