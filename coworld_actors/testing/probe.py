"""`Probe`: an actor that keeps what it gets, for code under test to send to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

import trio

from coworld_actors.actors import (
    Actor,
    ActorRef,
    ActorSystem,
    ChildSpec,
    Deferred,
    MailboxPolicy,
    Request,
    Restart,
    SupervisorRef,
)

__all__ = ["Probe"]

T = TypeVar("T")


class Probe(Actor[Any]):
    """Takes every message and keeps it.

        probe = await Probe().start(system)
        thing_under_test(probe.ref)
        assert (await probe.expect(Score, within=1)).points == 3
        await probe.expect_none(within=1)

    A request is answered as `replies` say; any other stays open until `reply` or its asker's deadline.

    Args:
        replies: a type of requests to the function that makes the reply to one.

    Attributes:
        messages: everything that came, oldest first.
    """

    def __init__(self, replies: Mapping[type[Any], Callable[[Any], object]] | None = None) -> None:
        self.messages: list[Any] = []
        self._replies = dict(replies or {})
        self._unread: list[Any] = []
        self._open: list[tuple[Any, Deferred[Any]]] = []
        self._changed: trio.Event | None = None
        self._begun = False

    async def start(
        self, where: ActorSystem | SupervisorRef, name: str = "probe", *, mailbox: MailboxPolicy | None = None
    ) -> Self:
        """Start it; returns itself.

        Args:
            where: a system, or the supervisor that it will be a child of.
            name: unique among living siblings.
            mailbox: how much its mailbox holds.

        Raises:
            RuntimeError: it has been started before; one probe is one actor.
        """
        if self._begun:
            raise RuntimeError(f"{self!r} has been started already; make another Probe()")
        self._begun = True
        policy = mailbox or MailboxPolicy()
        await where.start_actor(
            ChildSpec(name=name, start=lambda: self, restart=Restart.TEMPORARY, mailbox=policy),
        )
        return self

    @property
    def ref(self) -> ActorRef[Any]:
        """What to hand to the code under test.

        Raises:
            RuntimeError: there is none before its start.
        """
        if not self._begun:
            raise RuntimeError("a Probe has a ref once it runs; first: probe = await Probe().start(system)")
        return self.context.ref

    async def handle(self, message: Any) -> Any:
        """Keep a message; answer a request."""
        self.messages.append(message)
        self._unread.append(message)
        if self._changed is not None:
            self._changed.set()
            self._changed = None
        if not isinstance(message, Request):
            return None
        for kind, answer in self._replies.items():
            if isinstance(message, kind):
                return answer(message)
        self._open.append((message, self.context.defer()))
        return None

    def reply(self, request: Request[T], value: T) -> bool:
        """Answer a request that is open; False if its asker has given up.

        Raises:
            AssertionError: no such request is open.
        """
        for place, (message, deferred) in enumerate(self._open):
            if message is request:
                del self._open[place]
                return deferred.reply(value)
        raise AssertionError(f"{request!r} is not open at {self!r}; reply to what expect() returned, once")

    async def expect(self, kind: type[T], *, within: float = 1.0) -> T:
        """The oldest unread message of a type, which is read with this; others stay unread.

        Args:
            kind: the type; subclasses count.
            within: seconds to wait for it, on the trio clock.

        Raises:
            AssertionError: none came; with what did.
        """
        with trio.move_on_after(within):
            while True:
                for place, message in enumerate(self._unread):
                    if isinstance(message, kind):
                        del self._unread[place]
                        return message
                await self._next()
        raise AssertionError(f"no {kind.__name__} came within {within:g} s; unread: {self._unread!r}")

    async def expect_none(self, *, within: float = 0.1) -> None:
        """Be sure that nothing is unread and nothing more comes for `within` seconds.

        Raises:
            AssertionError: something is or does.
        """
        if not self._unread:
            with trio.move_on_after(within):
                await self._next()
        if self._unread:
            raise AssertionError(f"nothing was to come, and unread is: {self._unread!r}")

    async def _next(self) -> None:
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def __repr__(self) -> str:
        return f"<Probe: {len(self.messages)} messages, {len(self._unread)} of them unread>"
