"""Trees as lists."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coworld_actors.actors import ChildInfo
from coworld_actors.actors.children import State
from coworld_actors.control.tree import status_of, walk


def info(name: str, parent: str = "", children: tuple[ChildInfo, ...] = ()) -> ChildInfo:
    path = f"{parent}/{name}" if parent else name
    return ChildInfo(
        name=name,
        path=path,
        kind="supervisor",
        state=State.RUNNING,
        incarnation=1,
        restarts=1,
        queued=3,
        busy=0.5,
        age=2.0,
        in_state=1.0,
        children=children,
    )


SHAPES = st.recursive(st.just({}), lambda shapes: st.dictionaries(st.text("ab", min_size=1, max_size=2), shapes))


def build(shape: dict, parent: str = "") -> list[ChildInfo]:
    return [
        info(name, parent, tuple(build(below, f"{parent}/{name}" if parent else name))) for name, below in shape.items()
    ]


def paths(shape: dict, parent: str = "") -> list[str]:
    found = []
    for name, below in shape.items():
        path = f"{parent}/{name}" if parent else name
        found += [path, *paths(below, path)]
    return found


@given(SHAPES, st.text("ab/", max_size=4))
def test_a_list_has_every_path_with_the_prefix_once_and_in_order(shape: dict, prefix: str) -> None:
    """Each after its supervisor, as deep as it has supervisors that are listed."""
    listed = list(walk(build(shape), prefix))
    assert [each.path for each, _ in listed] == [path for path in paths(shape) if path.startswith(prefix)]
    shown = {each.path for each, _ in listed}
    for each, depth in listed:
        parts = each.path.split("/")
        above = ["/".join(parts[:length]) for length in range(1, len(parts))]
        assert depth == sum(path in shown for path in above)


def test_what_is_known_of_an_actor_is_in_the_list() -> None:
    """Numbers and state are copied."""
    only = status_of(info("a"), 3, 8)
    assert (only.state, only.restarts, only.incarnation, only.queued) == ("running", 1, 1, 3)
    assert (only.busy, only.age, only.in_state) == (0.5, 2.0, 1.0)
    assert (only.path, only.kind, only.depth, only.capacity) == ("a", "supervisor", 3, 8)


def test_a_deep_tree_is_no_recursion() -> None:
    """Ten thousand levels are as good as three."""
    tree = info("x")
    for _ in range(10_000):
        tree = info("x", children=(tree,))
    assert sum(1 for _ in walk([tree])) == 10_001
