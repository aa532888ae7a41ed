"""What a supervisor is told about its children and about itself: values, checked where they are constructed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from coworld_actors.actors.actor import Actor
from coworld_actors.actors.errors import SpecRefused
from coworld_actors.actors.mailbox_policy import MailboxPolicy
from coworld_actors.actors.refusals import refuse_other_kind, refuse_other_number
from coworld_actors.actors.restarts import AutoShutdown, Restart, RestartPolicy, StopOrder, Strategy

__all__ = ["ChildSpec", "SupervisorSpec"]


class SupervisorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A supervisor, and the children that it starts with.

    Attributes:
        strategy: who else is restarted with a child.
        restarts: how often, how soon, and when to give up.
        auto_shutdown: whether the end of significant children is its own end.
        stop_order: how it stops several children.
        children: started in this order, one after the other; if one fails, those before it are stopped again and the
            supervisor fails to start. Children that are added later are lost when the supervisor itself is restarted.
        scope: written on every event below it; empty inherits the one above.

    Raises:
        SpecRefused: a value of another type than the attribute's, two children of one name, or a significant child whose end
            could never have its effect.
    """

    strategy: Strategy = Strategy.ONE_FOR_ONE
    restarts: RestartPolicy = RestartPolicy()
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    stop_order: StopOrder = StopOrder.REVERSE
    children: tuple[ChildSpec, ...] = ()
    scope: str = ""

    def __post_init__(self) -> None:
        for field, kind in _SUPERVISOR_KINDS:
            refuse_other_kind("a supervisor", field, getattr(self, field), kind)
        names: set[str] = set()
        for child in self.children:
            self.check(child)
            if child.name in names:
                raise SpecRefused(f"two children are named {child.name!r}; siblings need names of their own")
            names.add(child.name)

    def check(self, child: ChildSpec) -> None:
        """Refuse a child that this supervisor cannot keep its promise to.

        Raises:
            SpecRefused: it is no `ChildSpec`, or it is significant and this supervisor never shuts down by itself.
        """
        refuse_other_kind("a supervisor", "a child", child, ChildSpec)
        if child.significant and self.auto_shutdown is AutoShutdown.NEVER:
            raise SpecRefused(
                f"child {child.name!r} is significant, but its supervisor's auto_shutdown is 'never'; "
                "set auto_shutdown, or significant=False"
            )


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How a child is started, kept and stopped.

    Attributes:
        name: unique among its living siblings; it becomes the last part of the child's path, so it has no `/`.
        start: makes the actor, anew for each incarnation; or the supervisor to run below.
        restart: which of its ends are answered with a restart.
        significant: whether its end by itself counts for its supervisor's `auto_shutdown`.
        shutdown: seconds from the request to stop until it is cancelled; 0 cancels at once, `math.inf` never. Not used for a
            supervisor, which takes as long as its own children's graces.
        mailbox: how much its mailbox holds, and what happens beyond that.

    Raises:
        SpecRefused: a bad name, a value of another type than the attribute's, a negative time, a start that makes nothing, or a
            significant permanent child, whose end can have no effect.
    """

    name: str
    start: Callable[[], Actor[Any]] | SupervisorSpec
    restart: Restart = Restart.PERMANENT
    significant: bool = False
    shutdown: float = 5.0
    mailbox: MailboxPolicy = MailboxPolicy()

    def __post_init__(self) -> None:
        name = self.name
        refuse_other_kind("a child", "name", name, str)
        if not name or "/" in name or not name.isprintable():
            raise SpecRefused(f"{name!r} cannot be a child's name; use one or more printable characters other than '/'")
        owner = f"child {name!r}"
        for field, kind in _CHILD_KINDS:
            refuse_other_kind(owner, field, getattr(self, field), kind)
        refuse_other_number(owner, "shutdown", self.shutdown, endless=True)
        if not isinstance(self.start, SupervisorSpec) and (isinstance(self.start, Actor) or not callable(self.start)):
            raise SpecRefused(
                f"{owner} has start={self.start!r}, which makes no actor; use the actor's class, a function without "
                "parameters that returns a new actor, or a SupervisorSpec"
            )
        if self.significant and self.restart is Restart.PERMANENT:
            raise SpecRefused(
                f"{owner} is significant and permanent, so its end is never final; "
                "make it transient or temporary, or set significant=False"
            )


_SUPERVISOR_KINDS: tuple[tuple[str, type], ...] = (
    ("strategy", Strategy),
    ("restarts", RestartPolicy),
    ("auto_shutdown", AutoShutdown),
    ("stop_order", StopOrder),
    ("children", tuple),
    ("scope", str),
)

_CHILD_KINDS: tuple[tuple[str, type], ...] = (
    ("restart", Restart),
    ("significant", bool),
    ("mailbox", MailboxPolicy),
)
