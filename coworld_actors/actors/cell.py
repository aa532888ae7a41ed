"""One actor over all its lives: place, mailbox and ref stay; instance, task and scopes are an `Incarnation`'s."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, final

import trio

from coworld_actors.actors import events
from coworld_actors.actors.actor import StopReason
from coworld_actors.actors.children import Child, ChildInfo, Exit, Intent, State
from coworld_actors.actors.dead_letters import DeadLetterReason, Undeliverable
from coworld_actors.actors.errors import WouldDeadlock, in_words
from coworld_actors.actors.incarnation import Incarnation
from coworld_actors.actors.mailbox import Mailbox
from coworld_actors.actors.monitors import Down, DownReason
from coworld_actors.actors.ref import ActorRef
from coworld_actors.actors.specs import ChildSpec

if TYPE_CHECKING:
    from coworld_actors.actors.supervisor import Supervisor
    from coworld_actors.actors.system import ActorSystem

__all__ = ["ActorCell"]


@final
class ActorCell(Child):
    """The runtime's side of an actor.

    Attributes:
        mailbox: its messages.
        kind: class name of the instance, once there is one.
    """

    __slots__ = ("_life", "_ref", "kind", "mailbox")

    def __init__(self, system: ActorSystem, parent: Supervisor, spec: ChildSpec) -> None:
        super().__init__(system, parent, spec)
        self.mailbox: Mailbox = Mailbox(self, spec.mailbox)
        self.kind = "actor"
        self._life: Incarnation | None = None
        self._ref: ActorRef[Any] = ActorRef._create(self)  # noqa: SLF001 - hidden from everybody else
        system.registry.add(self._ref)

    @property
    def ref(self) -> ActorRef[Any]:
        """The handle that others hold."""
        return self._ref

    def launch(self, nursery: trio.Nursery) -> None:
        """Begin a life."""
        self._life = Incarnation(self, self.incarnation + 1, nursery)
        super().launch(nursery)

    def _live(self) -> Coroutine[Any, Any, None]:
        # The incarnation's own coroutine: one of ours around it would be 200 bytes more per actor.
        assert self._life is not None
        return self._life.run()

    def over(self, ended: Exit) -> None:
        """This life has ended so."""
        self._life = None
        super().over(ended)

    def request(self, intent: Intent) -> None:
        """Ask it to end, or to end more firmly than before."""
        if intent <= self.intent or self.down is not None:
            return
        self.intent = intent
        if intent is not Intent.RESTART:
            self.mailbox.close()
        if self._life is None:
            if intent is not Intent.RESTART and self.state is State.WAITING:
                killed = intent is Intent.KILL
                self._end_between_lives(DownReason.KILLED if killed else DownReason.SHUTDOWN)
            return
        if self.state is State.RUNNING:
            self.enter(State.STOPPING)
        match intent:
            case Intent.DRAIN:
                self.mailbox.wake()
            case Intent.RESTART:
                self._life.stop(StopReason.RESTART, self.spec.shutdown)
            case Intent.STOP:
                self._life.stop(StopReason.SHUTDOWN, self.spec.shutdown)
                self.mailbox.bury_queue()
            case _:
                self._life.kill("killed by hand")
                self.mailbox.bury_queue()

    def refuse_wait(self, *, what: str = "wait for its own end", instead: str = "call context.stop()") -> None:
        """Refuse a wait of the actor for itself.

        Raises:
            WouldDeadlock: the calling task is the actor's own.
        """
        if self._life is not None and self._life.task is trio.lowlevel.current_task():
            raise WouldDeadlock(f"{self.path} is about to {what}, which would never end", todo=instead)

    def refusal(self) -> str:
        """Why it takes no messages."""
        return f"{self.path} has ended: {self.down.reason}" if self.down else f"{self.path} is stopping"

    def dead_letter(self, message: object, reason: DeadLetterReason, cause: BaseException | None) -> None:
        """Report a dead letter to the system."""
        letter = Undeliverable(recipient=self.path, message=message, reason=reason, cause=cause)
        self.system.dead_letters.add(letter, incarnation=max(self.incarnation, 0), scope=self.scope)

    def _last_words(self, down: Down) -> None:
        self.mailbox.close()
        self.mailbox.bury_queue()
        self.system.registry.remove(self.path)
        ended = events.ActorStopped(reason=down.reason, handled=self.mailbox.handled, cause=in_words(down.cause))
        self.publish(ended)

    def info(self) -> ChildInfo:
        """What it is like at this moment."""
        return self._info(
            self.kind,
            queued=len(self.mailbox.queue),
            busy_since=self._life.busy_since if self._life is not None else None,
            handling=self.mailbox.handling,
        )
