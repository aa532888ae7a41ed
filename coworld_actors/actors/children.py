"""What actors and supervisors have in common as children: a place in the tree, a state, lives, and one end."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import trio

from coworld_actors.actors.events import Event
from coworld_actors.actors.monitors import Down, DownReason
from coworld_actors.actors.specs import ChildSpec

if TYPE_CHECKING:
    from coworld_actors.actors.ref import ActorRef, SupervisorRef
    from coworld_actors.actors.supervisor import Supervisor
    from coworld_actors.actors.system import ActorSystem

__all__ = ["Child", "ChildInfo", "Exit", "Intent", "State"]


class State(enum.StrEnum):
    """Where a child is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    WAITING = "waiting"
    """Between two lives; it will be started again, or for the first time, when its supervisor says so."""
    GONE = "gone"


class Intent(enum.IntEnum):
    """What somebody wants of a child; it only ever grows while a life lasts. From `DRAIN` on the end is final."""

    LIVE = 0
    RESTART = 1
    DRAIN = 2
    STOP = 3
    KILL = 4


class Exit(NamedTuple):
    """How one life ended: a value, never an exception that would reach the siblings."""

    reason: DownReason
    cause: BaseException | None = None


class ChildInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A child at one moment.

    Attributes:
        name: unique among living siblings.
        path: names from below the root.
        kind: class name of the actor, or `supervisor`.
        state: where it is in its life.
        incarnation: which life, from 0.
        restarts: how many restarts it has had.
        queued: messages in its mailbox.
        age: seconds since this life began.
        in_state: seconds since it entered its state.
        intent: what is wanted of this life, in small letters: `live`, `restart`, `drain`, `stop` or `kill`.
        busy: seconds since an actor began to work without a rest; None while it rests, and for a supervisor.
        handling: type of the message that it has in hand; empty if it has none.
        children: those of a supervisor, in start order.
    """

    name: str
    path: str
    kind: str
    state: State
    incarnation: int
    restarts: int
    queued: int
    age: float
    in_state: float
    intent: str = "live"
    busy: float | None = None
    handling: str = ""
    children: tuple[ChildInfo, ...] = ()


class Child(ABC):
    """One entry of a supervisor, over all its lives.

    Attributes:
        spec: what it was started from.
        name: unique among living siblings.
        path: names from below the root.
        scope: stamped on its events.
        state: where it is in its life.
        intent: what is wanted of this life.
        incarnation: which life this is, from 0; -1 before the first.
        attempt: restarts in a row, for the back-off.
        began: when this life began, on the trio clock.
        entered: when it entered its state.
        ended: when the last one ended.
        running_since: when this life's start succeeded; None if it did not yet.
        has_run: whether a start ever succeeded.
        last_exit: how the last life ended.
        down: the final end.
    """

    __slots__ = (
        "_done",
        "_first_start",
        "_watchers",
        "attempt",
        "began",
        "down",
        "ended",
        "entered",
        "has_run",
        "incarnation",
        "intent",
        "last_exit",
        "name",
        "parent",
        "path",
        "running_since",
        "scope",
        "spec",
        "state",
        "system",
    )

    def __init__(self, system: ActorSystem, parent: Supervisor | None, spec: ChildSpec, scope: str = "") -> None:
        self.system = system
        self.parent = parent
        self.spec = spec
        self.name = spec.name
        self.path: str = "" if parent is None else f"{parent.path}/{spec.name}" if parent.path else spec.name
        self.scope: str = scope or (parent.scope if parent else "")
        self.state = State.WAITING
        self.intent = Intent.LIVE
        self.incarnation = -1
        self.attempt = 0
        self.began = self.ended = self.entered = trio.current_time()
        self.running_since: float | None = None
        self.has_run = False
        self.last_exit: Exit | None = None
        self.down: Down | None = None
        self._done: trio.Event | None = None
        self._first_start: trio.Event | None = None
        self._watchers: dict[object, Callable[[Down], None]] | None = None

    @property
    @abstractmethod
    def ref(self) -> ActorRef[Any] | SupervisorRef:
        """The handle that others hold."""

    @abstractmethod
    def request(self, intent: Intent) -> None:
        """Ask this child to end, or to end more firmly than it was asked to before. Never waits."""

    @abstractmethod
    def refuse_wait(self) -> None:
        """Refuse the calling task a wait for this child's end if that end has to wait for the task.

        Raises:
            WouldDeadlock: so it is.
        """

    @abstractmethod
    def info(self) -> ChildInfo:
        """What it is like at this moment."""

    @abstractmethod
    def _live(self) -> Coroutine[Any, Any, None]:
        """Live once, and say by `over` how that ended. What happens in it is told by the value, never raised."""

    def _info(
        self,
        kind: str,
        *,
        queued: int = 0,
        busy_since: float | None = None,
        handling: str = "",
        children: tuple[ChildInfo, ...] = (),
    ) -> ChildInfo:
        now = trio.current_time()
        return ChildInfo(
            name=self.name,
            path=self.path,
            kind=kind,
            state=self.state,
            incarnation=max(self.incarnation, 0),
            restarts=max(self.incarnation, 0),
            queued=queued,
            age=now - self.began,
            in_state=now - self.entered,
            intent=self.intent.name.lower(),
            busy=None if busy_since is None else now - busy_since,
            handling=handling,
            children=children,
        )

    @property
    def title(self) -> str:
        """Its name and whose it is, for sentences."""
        return f"{self.name} of {self.parent.name}" if self.parent else self.name

    def enter(self, state: State) -> float:
        """Be in this state from now on; returns the time."""
        self.state = state
        self.entered = now = trio.current_time()
        return now

    def launch(self, nursery: trio.Nursery) -> None:
        """Begin a life."""
        self.began = self.enter(State.STARTING)
        self.intent = Intent.LIVE
        self.incarnation += 1
        self.running_since = None
        nursery.start_soon(self._live, name=self.path or self.name)

    def over(self, ended: Exit) -> None:
        """This life has ended so."""
        self.ended = trio.current_time()
        self.last_exit = ended
        if self.parent is None:
            self.finish(ended)
        else:
            self.parent.child_exited(self, ended)

    def started(self, event: Event) -> None:
        """This life's start has succeeded."""
        self.running_since = self.enter(State.RUNNING if self.intent is Intent.LIVE else State.STOPPING)
        self.has_run = True
        self.publish(event)
        if self._first_start is not None:
            self._first_start.set()
        if self.parent is not None:
            self.parent.child_started(self)

    async def wait_first_start(self) -> None:
        """Wait until a start has succeeded or none will."""
        if not self.has_run and self.down is None:
            self._first_start = trio.Event()
            await self._first_start.wait()
            self._first_start = None

    def finish(self, ended: Exit) -> None:
        """Gone for good: tell everybody, once."""
        assert self.down is None, f"{self.path} ends once"
        self.enter(State.GONE)
        self.down = down = Down(
            path=self.path, reason=ended.reason, cause=ended.cause, incarnation=max(self.incarnation, 0)
        )
        self._last_words(down)
        if self._done is not None:
            self._done.set()
        if self._first_start is not None:
            self._first_start.set()
        watchers, self._watchers = self._watchers, None
        for callback in (watchers or {}).values():
            callback(down)

    @abstractmethod
    def _last_words(self, down: Down) -> None:
        """Close what is left of it, leave the registry, and publish the end."""

    def _end_between_lives(self, reason: DownReason) -> None:
        """It waits to be started and never will be."""
        assert self.parent is not None, "only a supervisor lets children wait"
        self.parent.discard(self, Exit(reason))

    async def wait_down(self) -> Down:
        """Wait until it is gone for good."""
        if self.down is None:
            if self._done is None:
                self._done = trio.Event()
            await self._done.wait()
            assert self.down is not None
        else:
            await trio.lowlevel.checkpoint()
        return self.down

    def on_down(self, callback: Callable[[Down], None]) -> Callable[[], None]:
        """Call `callback` with the end, at once if it has come. Returns a function that takes this back."""
        if self.down is not None:
            callback(self.down)
            return _nothing
        key = object()
        if self._watchers is None:
            self._watchers = {}
        self._watchers[key] = callback

        def forget() -> None:
            if self._watchers is not None:
                self._watchers.pop(key, None)

        return forget

    def publish(self, event: Event) -> None:
        """Publish an event with this child's stamp."""
        self.system.events.publish(event, actor=self.path, incarnation=max(self.incarnation, 0), scope=self.scope)


def _nothing() -> None:
    pass
