"""The living actors as a list: what travels and what is shown of a tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from coworld_actors.actors import ChildInfo
from coworld_actors.actors.children import State

__all__ = ["ActorStatus", "status_of", "walk"]


# gc=False here and in `ChildInfo`: a tree of 100,000 has no cycle, and would have the collector look at the whole process.
class ActorStatus(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An actor or supervisor at one moment.

    Attributes:
        path: names from below the root.
        kind: class name of the actor, or `supervisor`.
        depth: how many of its supervisors are listed before it.
        state: where it is in its life.
        incarnation: which life, from 0.
        restarts: how many restarts it has had.
        queued: messages in its mailbox.
        capacity: how many fit; 0 for a supervisor.
        busy: seconds since it began to work without a rest; None while it rests, and for a supervisor.
        age: seconds since this life began.
        in_state: seconds since it entered its state.
    """

    path: str
    kind: str
    depth: int
    state: State
    incarnation: int
    restarts: int
    queued: int
    capacity: int
    busy: float | None
    age: float
    in_state: float


def walk(infos: Iterable[ChildInfo], prefix: str = "") -> Iterator[tuple[ChildInfo, int]]:
    """A tree as a list, each child after its supervisor, in start order, with how many of its supervisors were listed.

    Args:
        infos: the top of the tree.
        prefix: only what has a path that begins so.
    """
    # A stack of iterators, not of children: a tuple each for 100,000 of them has the garbage collector look at everything.
    left = [(iter(infos), 0)]
    while left:
        siblings, depth = left[-1]
        info = next(siblings, None)
        if info is None:
            left.pop()
            continue
        listed = info.path.startswith(prefix)
        if listed:
            yield info, depth
        # What is below a path begins as it does, so it can only begin with the prefix if one of the two begins with the other.
        if info.children and (listed or prefix.startswith(info.path)):
            left.append((iter(info.children), depth + listed))


def status_of(info: ChildInfo, depth: int = 0, capacity: int = 0) -> ActorStatus:
    """What is told of an actor.

    Args:
        info: what is known of it.
        depth: how many of its supervisors are listed before it.
        capacity: of its mailbox; 0 for a supervisor.
    """
    return ActorStatus(
        path=info.path,
        kind=info.kind,
        depth=depth,
        state=info.state,
        incarnation=info.incarnation,
        restarts=info.restarts,
        queued=info.queued,
        capacity=capacity,
        busy=info.busy,
        age=info.age,
        in_state=info.in_state,
    )
