"""Who lives in a system, by path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from coworld_actors.actors.ref import ActorRef, SupervisorRef

__all__ = ["Registry"]


@final
class Registry:
    """Refs by path, from the beginning of a child's first start to its `Down`: `registry["episode-7/game"]`."""

    def __init__(self) -> None:
        self._refs: dict[str, ActorRef[Any] | SupervisorRef] = {}

    def add(self, ref: ActorRef[Any] | SupervisorRef) -> None:
        """Enter a ref. The runtime's to call; a supervisor keeps the names of its children apart."""
        self._refs[ref.path] = ref

    def remove(self, path: str) -> None:
        """Strike a path out. The runtime's to call."""
        del self._refs[path]

    def find(self, path: str) -> ActorRef[Any] | SupervisorRef | None:
        """The ref at exactly this path, or None."""
        return self._refs.get(path)

    def matching(self, prefix: str) -> list[str]:
        """Paths that begin so, in the order in which they were entered."""
        return [path for path in self._refs if path.startswith(prefix)]

    def __getitem__(self, path: str) -> ActorRef[Any] | SupervisorRef:
        return self._refs[path]

    def __contains__(self, path: object) -> bool:
        return path in self._refs

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._refs))

    def __len__(self) -> int:
        return len(self._refs)
