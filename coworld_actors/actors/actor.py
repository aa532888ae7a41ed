"""What an actor's author writes against: `Actor`, and the `Context` through which an actor reaches its runtime."""

from __future__ import annotations

import enum
import types
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, Union, final, get_args, get_origin

from coworld_actors.actors.asks import Deferred
from coworld_actors.actors.events import Event
from coworld_actors.actors.monitors import Down

if TYPE_CHECKING:
    from coworld_actors.actors.cell import ActorCell
    from coworld_actors.actors.incarnation import Incarnation
    from coworld_actors.actors.ref import ActorRef, SupervisorRef
    from coworld_actors.actors.system import ActorSystem

__all__ = ["Actor", "Context", "MessageTypes", "StopReason"]

M = TypeVar("M")
"""The union of message types that an actor takes."""


class StopReason(enum.StrEnum):
    """Why `on_stop` is called."""

    NORMAL = "normal"
    """The actor asked for it: `context.stop()`."""
    SHUTDOWN = "shutdown"
    """It was stopped or drained, by its supervisor or by hand."""
    RESTART = "restart"
    """A sibling's restart takes it along: it will be started again, and its queue waits for it."""


class Actor(Generic[M]):
    """Base of all actors: subclass it with the union of messages that are taken, `class Game(Actor[Exited | Probe]): ...`.

    One incarnation is one instance, made by the `start` of its `ChildSpec`. The runtime calls the three methods in one task,
    so at most one of them runs at a time and an actor's own state needs no locks. Whatever one of them raises ends the
    incarnation as a crash; the supervisor decides what follows.

    Attributes:
        context: its runtime; set before `on_start`.
    """

    context: Context[M]
    __message_types: ClassVar[MessageTypes | None] = None

    async def on_start(self) -> None:
        """Get ready. Whoever starts the actor waits for this to return, and no message is handled before.

        A stop during it cancels it, and `on_stop` is not called: what it has acquired by then is its own to release.
        """

    async def handle(self, message: M) -> Any:
        """Handle one message. For a request the returned value is the reply, unless `context.defer()` was called."""
        raise NotImplementedError(f"{type(self).__name__} takes messages but has no handle method")

    async def on_stop(self, reason: StopReason) -> None:
        """Take leave; called at every orderly end, within the grace of the stop. Background tasks still run.

        Not called after a crash, a kill, or a start that did not succeed.
        """

    @classmethod
    def message_types(cls) -> MessageTypes:
        """The types of messages that this class takes, from its base `Actor[...]`."""
        found = cls.__dict__.get("_Actor__message_types")
        if not isinstance(found, MessageTypes):
            found = cls.__message_types = MessageTypes(_union_of(cls))
        return found


@final
class MessageTypes:
    """The types of a union and their subclasses; everything if the union is not known or holds `Any` or `object`.

    Attributes:
        seen: types that are known to be taken; senders look here first, at the cost of a set.
    """

    __slots__ = ("_bases", "seen")

    def __init__(self, union: object) -> None:
        members = get_args(union) if get_origin(union) in {Union, types.UnionType} else (union,)
        bases = tuple(object if member is Any else get_origin(member) or member for member in members)
        known = all(isinstance(base, type) for base in bases)
        self._bases: tuple[type, ...] = tuple(base for base in bases if isinstance(base, type)) if known else (object,)
        self.seen: set[type] = set(self._bases)

    def __contains__(self, kind: object) -> bool:
        if isinstance(kind, type) and issubclass(kind, self._bases):
            self.seen.add(kind)
            return True
        return False

    def __repr__(self) -> str:
        return " | ".join(base.__name__ for base in self._bases)


def _union_of(cls: type, arguments: tuple[object, ...] = ()) -> object:
    """What stands for `M` in the bases of `cls`, itself parametrised with `arguments`; `object` if nothing does."""
    bound = dict(zip(getattr(cls, "__parameters__", ()), arguments, strict=False))
    for base in getattr(cls, "__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, Actor):
            given = tuple(bound.get(argument, argument) for argument in get_args(base))
            return given[0] if origin is Actor else _union_of(origin, given)
    plain = next((base for base in cls.__bases__ if issubclass(base, Actor) and base is not Actor), None)
    return _union_of(plain) if plain is not None else object


@final
class Context(Generic[M]):
    """One incarnation's way to its runtime."""

    __slots__ = ("_cell", "_life")

    def __init__(self, cell: ActorCell, life: Incarnation) -> None:
        self._cell = cell
        self._life = life

    @property
    def incarnation(self) -> int:
        """Which life this is, from 0."""
        return self._life.number

    @property
    def ref(self) -> ActorRef[M]:
        """The actor's own ref, for others to send to."""
        return self._cell.ref

    @property
    def name(self) -> str:
        """Unique among living siblings."""
        return self._cell.name

    @property
    def path(self) -> str:
        """Names from below the root down to this actor: `episode-e1/players/player-3`."""
        return self._cell.path

    @property
    def system(self) -> ActorSystem:
        """The system that it lives in."""
        return self._cell.system

    @property
    def supervisor(self) -> SupervisorRef:
        """Who started it."""
        assert self._cell.parent is not None
        return self._cell.parent.ref

    def spawn(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run `function(*args)` in the background of this incarnation.

        If it raises, the actor has crashed: its handler is cancelled. When the incarnation ends, after `on_stop`, it is
        cancelled, and the incarnation is over only when it has returned.

        Raises:
            ActorError: this incarnation is over.
        """
        self._life.spawn(function, args)

    def stop(self) -> None:
        """End normally after the message in hand; the queue becomes dead letters unless a restart follows."""
        self._life.stop(StopReason.NORMAL)

    def defer(self) -> Deferred[Any]:
        """Take on to reply to the request in hand later.

        A request that came by `tell` can be deferred too; its reply goes nowhere.

        Raises:
            ActorError: no request is in hand, or this is not the actor's own task.
        """
        return self._life.defer()

    def watch(self, ref: ActorRef[Any] | SupervisorRef, message_factory: Callable[[Down], M]) -> None:
        """Have the final end of another actor or supervisor as a message, exactly once, also if it has ended already.

        The watch ends with this incarnation; a message that is queued by then stays queued. The message takes a place in the
        mailbox like any other, but it waits for one instead of being dropped.
        """
        self._life.watch(ref, message_factory)

    def publish(self, event: Event) -> None:
        """Publish an event on the system's stream, stamped with this actor's path, incarnation and scope."""
        self._cell.publish(event)
