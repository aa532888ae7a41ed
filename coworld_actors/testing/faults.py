"""Fault plans: who goes wrong, in which life, at which point and how - as values that can be kept, compared and made smaller.

    plan = FaultPlan.random(seed=7, paths=["house/a", "house/b"])
    house = await system.start_supervisor("house", plan.apply(spec))

Nothing is drawn while a plan is at work: a plan that broke something breaks it again, from its printed form too.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from random import Random
from typing import Any

import msgspec
import trio

from coworld_actors.actors import Actor, ChildSpec, SpecRefused, StopReason, SupervisorSpec
from coworld_actors.actors.refusals import refuse_other_kind, refuse_other_number

__all__ = ["Fault", "FaultKind", "FaultPlan", "FaultPoint", "InjectedFault"]


class FaultPoint(enum.StrEnum):
    """Where in a life."""

    START = "start"
    """Before `on_start` does anything."""
    MESSAGE = "message"
    """Before `handle` gets the k-th message."""
    STOP = "stop"
    """Before `on_stop` does anything."""


class FaultKind(enum.StrEnum):
    """What happens there."""

    RAISE = "raise"
    """`InjectedFault` is raised in place of the method."""
    CRASH = "crash"
    """A background task raises `InjectedFault`, and the method is cancelled while it waits."""
    HANG = "hang"
    """The method never comes back by itself."""
    DELAY = "delay"
    """The method begins `seconds` later."""
    END = "end"
    """The actor asks for its own normal end, and the method does nothing."""


class InjectedFault(Exception):
    """What a plan raises.

    Attributes:
        fault: which of its faults.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"injected: {fault}")
        self.fault = fault


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that goes wrong.

    Attributes:
        path: whose; an actor's path, or a pattern with `*`, `?` and `[...]`, where `*` crosses `/`.
        kind: what happens.
        point: where.
        incarnation: in which life, from 0; None in each of them.
        message: at which message of that life, from 1; for `FaultPoint.MESSAGE` only.
        seconds: how long a `DELAY` is.

    Raises:
        SpecRefused: a value that would never be due, and make a test that cannot fail.
    """

    path: str
    kind: FaultKind = FaultKind.RAISE
    point: FaultPoint = FaultPoint.MESSAGE
    incarnation: int | None = 0
    message: int = 1
    seconds: float = 0.0

    def __post_init__(self) -> None:
        refuse_other_kind("a fault", "path", self.path, str)
        refuse_other_kind("a fault", "kind", self.kind, FaultKind)
        refuse_other_kind("a fault", "point", self.point, FaultPoint)
        refuse_other_number("a fault", "message", self.message, least=1)
        refuse_other_number("a fault", "seconds", self.seconds)
        if self.incarnation is not None:
            refuse_other_number("a fault", "incarnation", self.incarnation)

    def __str__(self) -> str:
        life = "any life" if self.incarnation is None else f"life {self.incarnation}"
        point = f"message {self.message}" if self.point is FaultPoint.MESSAGE else self.point.value
        kind = f"delay of {self.seconds:g} s" if self.kind is FaultKind.DELAY else self.kind.value
        return f"{self.path}, {life}, {point}: {kind}"

    def hits(self, path: str, incarnation: int, point: FaultPoint, message: int = 1) -> bool:
        """Whether it is due."""
        return (
            point is self.point
            and self.incarnation in {None, incarnation}
            and (point is not FaultPoint.MESSAGE or message == self.message)
            and fnmatchcase(path, self.path)
        )


class FaultPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong in a run. Of several faults that are due at one moment the first one happens.

    Attributes:
        faults: the faults.
        seed: what they were drawn from; for the reader of a log.
    """

    faults: tuple[Fault, ...] = ()
    seed: int | None = None

    @classmethod
    def random(
        cls,
        seed: int,
        paths: Sequence[str],
        *,
        faults: int = 3,
        kinds: Sequence[FaultKind] = tuple(FaultKind),
        points: Sequence[FaultPoint] = tuple(FaultPoint),
        lives: int = 2,
        messages: int = 5,
        longest: float = 1.0,
    ) -> FaultPlan:
        """Draw a plan; the same arguments always give the same one.

        Args:
            seed: of `random.Random`.
            paths: paths or patterns to choose from.
            faults: how many.
            kinds: to choose from.
            points: to choose from.
            lives: incarnations to choose from: the first so many.
            messages: to choose from: the first so many of a life.
            longest: seconds of the longest delay.

        Raises:
            SpecRefused: nothing to choose from.
        """
        for name, choices in (("paths", paths), ("kinds", kinds), ("points", points)):
            if not choices:
                raise SpecRefused(f"a plan cannot be drawn from no {name}; give at least one")
        draw = Random(seed)  # noqa: S311 - repeatable on purpose
        drawn = tuple(
            Fault(
                path=draw.choice(paths),
                kind=draw.choice(kinds),
                point=draw.choice(points),
                incarnation=draw.randrange(lives),
                message=draw.randint(1, messages),
                seconds=round(draw.uniform(0.0, longest), 3),
            )
            for _ in range(faults)
        )
        return cls(faults=drawn, seed=seed)

    def to_json(self) -> str:
        """The plan as one line of text; `from_json` makes it again."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> FaultPlan:
        """The plan that `to_json` has written.

        Raises:
            msgspec.DecodeError: it is none.
            SpecRefused: it has a fault that would never be due.
        """
        return msgspec.json.decode(text, type=cls)

    def __str__(self) -> str:
        seed = "" if self.seed is None else f" of seed {self.seed}"
        return f"{len(self.faults)} faults{seed}" + "".join(f"\n  {fault}" for fault in self.faults)

    # Smaller ones.

    def smaller(self) -> Iterator[FaultPlan]:
        """Plans that are one step simpler: without one fault, with an earlier message or life, with a shorter delay, a plain raise."""
        for place, fault in enumerate(self.faults):
            before, after = self.faults[:place], self.faults[place + 1 :]
            yield FaultPlan(faults=before + after, seed=self.seed)
            for simpler in _simpler(fault):
                yield FaultPlan(faults=(*before, simpler, *after), seed=self.seed)

    def shrink(self, fails: Callable[[FaultPlan], bool]) -> FaultPlan:
        """The simplest plan that can be reached from this one in steps that all fail.

        Args:
            fails: whether a plan still shows what is looked for; called with ever simpler plans.
        """
        best = self
        while (found := next((plan for plan in best.smaller() if fails(plan)), None)) is not None:
            best = found
        return best

    # At work.

    def find(self, path: str, incarnation: int, point: FaultPoint, message: int = 1) -> Fault | None:
        """The fault that is due at a point, if any is."""
        return next((fault for fault in self.faults if fault.hits(path, incarnation, point, message)), None)

    def wrap(self, start: Callable[[], Actor[Any]]) -> Callable[[], Actor[Any]]:
        """A `start` that makes the same actors, which go wrong as planned; they keep their class and their message types."""

        def faulty() -> Actor[Any]:
            actor = start()
            _tamper(actor, self)
            return actor

        return faulty

    def apply(self, spec: SupervisorSpec) -> SupervisorSpec:
        """The same supervisor, with faults in its children and all below them."""
        return msgspec.structs.replace(spec, children=tuple(self.apply_to(child) for child in spec.children))

    def apply_to(self, child: ChildSpec) -> ChildSpec:
        """The same child, with faults."""
        start = self.apply(child.start) if isinstance(child.start, SupervisorSpec) else self.wrap(child.start)
        return msgspec.structs.replace(child, start=start)


def _simpler(fault: Fault) -> Iterator[Fault]:
    if fault.kind is not FaultKind.RAISE:
        yield msgspec.structs.replace(fault, kind=FaultKind.RAISE, seconds=0.0)
    if fault.incarnation:
        yield msgspec.structs.replace(fault, incarnation=fault.incarnation - 1)
    if fault.message > 1:
        yield msgspec.structs.replace(fault, message=1)
        yield msgspec.structs.replace(fault, message=fault.message - 1)
    if fault.kind is FaultKind.DELAY and fault.seconds > 0.001:
        yield msgspec.structs.replace(fault, seconds=round(fault.seconds / 2, 3))


def _tamper(actor: Actor[Any], plan: FaultPlan) -> None:
    """Put the plan in front of an actor's three methods, on this one instance."""
    on_start, handle, on_stop = actor.on_start, actor.handle, actor.on_stop
    handled = 0

    async def strike(point: FaultPoint, message: int = 1) -> bool:
        """Do what is due; whether the method is left out."""
        context = actor.context
        fault = plan.find(context.path, context.incarnation, point, message)
        if fault is None:
            return False
        match fault.kind:
            case FaultKind.RAISE:
                raise InjectedFault(fault)
            case FaultKind.CRASH:
                context.spawn(_crash, fault)
                await trio.sleep_forever()
            case FaultKind.HANG:
                await trio.sleep_forever()
            case FaultKind.DELAY:
                await trio.sleep(fault.seconds)
            case FaultKind.END:
                context.stop()
                return True
        return False

    async def faulty_start() -> None:
        if not await strike(FaultPoint.START):
            await on_start()

    async def faulty_handle(message: Any) -> Any:
        nonlocal handled
        handled += 1
        return None if await strike(FaultPoint.MESSAGE, handled) else await handle(message)

    async def faulty_stop(reason: StopReason) -> None:
        if not await strike(FaultPoint.STOP):
            await on_stop(reason)

    # Instance attributes hide the class's methods: `type(actor)` stays the author's own.
    vars(actor).update(on_start=faulty_start, handle=faulty_handle, on_stop=faulty_stop)


async def _crash(fault: Fault) -> None:
    raise InjectedFault(fault)
