"""A supervisor: a task whose nursery holds its children, and a loop that answers their ends.

Children report their ends as values (`child_exited`), synchronously. What is final is settled on the spot; what needs a
restart waits in `_failures` for the loop. The loop is the only one that restarts, and the only one that waits: for a poke,
for the next restart that is due, for a child that it stops or starts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING

import trio

from coworld_actors.actors import events
from coworld_actors.actors.cell import ActorCell
from coworld_actors.actors.children import Child, ChildInfo, Exit, Intent, State
from coworld_actors.actors.current import RUNNING
from coworld_actors.actors.errors import NameTaken, StartFailed, WouldDeadlock, in_words
from coworld_actors.actors.monitors import Down, DownReason
from coworld_actors.actors.ref import SupervisorRef, SupervisorStatistics
from coworld_actors.actors.restarts import AutoShutdown, Restart, RestartWindow, StopOrder, Strategy
from coworld_actors.actors.revivals import Revivals
from coworld_actors.actors.specs import ChildSpec, SupervisorSpec

if TYPE_CHECKING:
    from coworld_actors.actors.system import ActorSystem

__all__ = ["Supervisor"]


class Supervisor(Child):
    """The runtime's side of a supervisor."""

    __slots__ = (
        "_ending",
        "_failures",
        "_in_turn",
        "_note",
        "_nursery",
        "_plan",
        "_random",
        "_ref",
        "_restarts",
        "_revivals",
        "_started",
        "_wake",
        "_window",
        "children",
    )

    def __init__(self, system: ActorSystem, parent: Supervisor | None, spec: ChildSpec) -> None:
        assert isinstance(spec.start, SupervisorSpec)
        super().__init__(system, parent, spec, spec.start.scope)
        self._plan = spec.start
        self.children: dict[str, Child] = {}
        self._window = RestartWindow(self._plan.restarts)
        self._failures: deque[Child] = deque()
        self._revivals = Revivals()
        self._ending: Exit | None = None
        self._nursery: trio.Nursery | None = None
        self._wake: trio.Event | None = None
        self._note = ""
        self._in_turn: Child | None = None
        self._random: Random | None = None
        self._started = self._restarts = 0
        self._ref = SupervisorRef._create(self)  # noqa: SLF001 - hidden from everybody else
        system.registry.add(self._ref)

    @property
    def ref(self) -> SupervisorRef:
        """The handle that others hold."""
        return self._ref

    # One life.

    async def _live(self) -> None:
        # Started from an actor's task, it would inherit that actor's place, and keep it alive.
        RUNNING.set(None)
        self._window = RestartWindow(self._plan.restarts)
        self._failures.clear()
        self._revivals.clear()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._start_own_children()
            while self._ending is None:
                await self._supervise()
            if self.state is not State.STARTING:
                self.enter(State.STOPPING)
            await self._take_down(tuple(self.children.values()), Intent.STOP)
        self._nursery = None
        assert self._ending is not None
        self.over(self._ending)

    async def _start_own_children(self) -> None:
        for spec in self._plan.children:
            if self._start_is_off():
                return
            child = self._adopt(spec)
            await self._start_in_turn(child)
            if child.down is not None and child.down.reason is DownReason.START_FAILED:
                self._end(Exit(DownReason.START_FAILED, child.down.cause))
        if not self._start_is_off():
            self.started(events.SupervisorStarted())

    def _start_is_off(self) -> bool:
        # An auto_shutdown waits until all have started: a significant child may end as soon as it likes.
        starting = self.running_since is None
        return self._ending is not None and not (starting and self._ending.reason is DownReason.NORMAL)

    async def _supervise(self) -> None:
        """Do the one thing that is to be done next, or wait for it."""
        if self._failures:
            await self._recover(self._failures.popleft())
            return
        due = self._revivals.due
        if due <= trio.current_time():
            await self._revive(self._revivals.pop())
        else:
            await self._poked(until=due)

    def launch(self, nursery: trio.Nursery) -> None:
        """Begin a life."""
        self._ending = None
        super().launch(nursery)

    def _end(self, ending: Exit) -> None:
        """End this life; the first reason stands."""
        if self._ending is None:
            self._ending = ending
            self.poke()

    def request(self, intent: Intent) -> None:
        """Ask it to end with all below it, or to end more firmly than before."""
        if intent <= self.intent or self.down is not None:
            return
        self.intent = intent
        killed = intent is Intent.KILL
        reason = DownReason.KILLED if killed else DownReason.SHUTDOWN
        if self.state is State.WAITING:
            if intent is not Intent.RESTART:
                self._end_between_lives(reason)
            return
        self._end(Exit(reason))
        if killed:
            for child in tuple(self.children.values()):
                child.request(Intent.KILL)

    # Restarts.

    async def _recover(self, child: Child) -> None:
        """Answer the end of a child that is to come back."""
        if child.down is not None or child.last_exit is None:
            # Somebody stopped it for good before its turn came.
            return
        now = trio.current_time()
        if not self._window_of(child).admit(now):
            self._give_up(child, child.last_exit)
            return
        others = self._companions(child)
        lived = child.ended - child.running_since if child.running_since is not None else 0.0
        backoff = self._plan.restarts.backoff
        child.attempt = 1 if child.attempt and lived >= backoff.reset_after else child.attempt + 1
        delay = backoff.delay(child.attempt, self._draw)
        child.publish(
            events.RestartScheduled(
                delay=delay,
                attempt=child.attempt,
                along=tuple(other.name for other in others),
                reason=child.last_exit.reason,
                cause=in_words(child.last_exit.cause),
            )
        )
        members = [child]
        if self._plan.strategy is not Strategy.ONE_FOR_ONE:
            await self._take_down(others, Intent.RESTART)
            members = self._regroup({child, *others})
        self._revivals.schedule(now + delay, members)

    def _regroup(self, affected: set[Child]) -> list[Child]:
        """Those of a group that are still there, in start order; whatever else was to be done about them is answered by this."""
        self._failures = deque(child for child in self._failures if child not in affected)
        # A group is down as a whole, so any other revival is of children after the one that failed now.
        self._revivals.forget(affected)
        return [child for child in self.children.values() if child in affected]

    def _draw(self) -> float:
        # A source of its own, so that restarts elsewhere in the system do not change the delays here.
        if self._random is None:
            self._random = Random(f"{self.system.seed} {self.path}")  # noqa: S311 - jitter is no secret
        return self._random.random()

    def _window_of(self, child: Child) -> RestartWindow:  # noqa: ARG002 - the root has one per child
        return self._window

    def _give_up(self, child: Child, last: Exit) -> None:
        self._publish_limit(child, last)
        self._end(Exit(DownReason.RESTART_LIMIT, last.cause))
        self.discard(child, last)

    def _publish_limit(self, child: Child, last: Exit) -> None:
        policy = self._plan.restarts
        self.publish(
            events.RestartLimitReached(
                child=child.name,
                max_restarts=policy.max_restarts,
                within=policy.within,
                reason=last.reason,
                cause=in_words(last.cause),
            )
        )

    def _companions(self, child: Child) -> list[Child]:
        """Siblings that are taken down and started again with `child`, in start order."""
        if self._plan.strategy is Strategy.ONE_FOR_ONE:
            return []
        siblings = list(self.children.values())
        place = siblings.index(child)
        after = siblings[place + 1 :]
        return after if self._plan.strategy is Strategy.REST_FOR_ONE else siblings[:place] + after

    async def _revive(self, members: list[Child]) -> None:
        """Start children again: one alone without waiting for it, a group in order."""
        for place, child in enumerate(members):
            if self._ending is not None:
                return
            if child.state is not State.WAITING:
                continue
            self._restarts += child.incarnation >= 0
            if self._plan.strategy is Strategy.ONE_FOR_ONE:
                self._launch(child)
                continue
            await self._start_in_turn(child)
            if child in self._failures and child.running_since is None:
                # Its failure is answered first, and takes the rest along; unless it is stopped for good before that.
                self._revivals.schedule(trio.current_time(), members[place + 1 :])
                return

    def _launch(self, child: Child) -> None:
        assert self._nursery is not None
        again = child.incarnation >= 0
        child.launch(self._nursery)
        if again:
            child.publish(events.ActorRestarted(delay=trio.current_time() - child.ended))

    async def _start_in_turn(self, child: Child) -> None:
        self._launch(child)
        self._in_turn = child
        while child.state is State.STARTING and not self._start_is_off():
            await self._poked()
        self._in_turn = None

    async def _take_down(self, children: Iterable[Child], intent: Intent) -> None:
        """Stop children in this supervisor's order, each within its own grace, and wait until they have ended."""
        backwards = list(children)[::-1]
        if self._plan.stop_order is StopOrder.TOGETHER:
            for child in backwards:
                self._request(child, intent)
        for child in backwards:
            self._request(child, intent)
            while child.state not in {State.WAITING, State.GONE}:
                await self._poked()

    @staticmethod
    def _request(child: Child, intent: Intent) -> None:
        # A drain has no time limit and is final anyway: a group that restarts does not wait for it.
        draining = child.intent is Intent.DRAIN
        child.request(Intent.STOP if draining else intent)

    # What children and callers report; none of it waits.

    def poke(self) -> None:
        """Something has changed: the loop looks again."""
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    async def _poked(self, until: float = math.inf) -> None:
        self._wake = trio.Event()
        with trio.move_on_at(until):
            await self._wake.wait()

    def child_started(self, child: Child) -> None:
        """A child's start has succeeded: news for the loop only if it waits for that."""
        if child is self._in_turn:
            self.poke()

    def child_exited(self, child: Child, ended: Exit) -> None:
        """A child's life is over: settle what is final, leave the rest to the loop."""
        by_itself = child.intent is Intent.LIVE or ended.reason is DownReason.NORMAL
        never_began = ended.reason is DownReason.START_FAILED and not child.has_run
        if self._ending is not None or child.intent >= Intent.DRAIN or never_began:
            back = False
        elif by_itself:
            back = child.spec.restart.brings_back(ended.reason)
        else:
            # Taken along by a sibling's restart; one whose first start that interrupted gets it yet.
            back = child.spec.restart is not Restart.TEMPORARY or not child.has_run
        if back:
            child.enter(State.WAITING)
            if child.intent is Intent.LIVE:
                self._failures.append(child)
            self.poke()
        else:
            self.discard(child, ended)
            if by_itself and child.has_run and child.spec.significant:
                self._shut_down_after_significant()

    def _shut_down_after_significant(self) -> None:
        others = any(other.spec.significant for other in self.children.values())
        if self._plan.auto_shutdown is AutoShutdown.ANY_SIGNIFICANT or not others:
            self._end(Exit(DownReason.NORMAL))

    def discard(self, child: Child, ended: Exit) -> None:
        """A child is gone for good."""
        del self.children[child.name]
        child.finish(ended)
        self.poke()

    # New children.

    def _adopt(self, spec: ChildSpec) -> Child:
        kind = Supervisor if isinstance(spec.start, SupervisorSpec) else ActorCell
        child = self.children[spec.name] = kind(self.system, self, spec)
        self._started += 1
        return child

    async def start_child(self, spec: ChildSpec) -> Child:
        """Start a further child, the last in start order, and wait until it has started."""
        self._plan.check(spec)
        if self._nursery is None or self._ending is not None:
            raise StartFailed(
                f"{self.name} is {self.down.reason if self.down else 'stopping'}; it starts no more children"
            )
        if spec.name in self.children:
            raise NameTaken(
                f"{self.name} has a child named {spec.name!r} already", todo="stop that one, or take another name"
            )
        child = self._adopt(spec)
        # Where a group is down, it belongs to that: it comes up with it, in its turn.
        if self._plan.strategy is Strategy.ONE_FOR_ONE or not self._revivals.join(child):
            self._launch(child)
        try:
            await child.wait_first_start()
        except BaseException:
            # Restores: nobody waits for this child any more, so it is not left behind half started.
            child.request(Intent.KILL)
            raise
        if not child.has_run:
            assert child.down is not None
            cause = child.down.cause
            why = in_words(cause) or f"it was stopped ({child.down.reason})"
            raise StartFailed(f"{child.path} did not start: {why}", cause) from cause
        return child

    def refuse_wait(self, *, what: str = "wait for its end", instead: str = "") -> None:
        """Refuse a wait of something below this supervisor for the supervisor's end.

        Raises:
            WouldDeadlock: the calling task belongs to one of its descendants.
        """
        nursery = trio.lowlevel.current_task().parent_nursery
        while nursery is not None:
            if nursery is self._nursery:
                raise WouldDeadlock(
                    f"an actor below {self.name} is about to {what}, which has to wait for that actor",
                    todo=instead or "make the actor significant and use auto_shutdown, or let somebody outside stop it",
                )
            nursery = nursery.parent_task.parent_nursery

    def _last_words(self, down: Down) -> None:
        self.system.registry.remove(self.path)
        self.publish(events.SupervisorStopped(reason=down.reason, note=self._note, cause=in_words(down.cause)))

    def note(self, text: str) -> None:
        """Remember what the one who stops it says."""
        self._note = self._note or text

    def info(self) -> ChildInfo:
        """What it and all below it are like at this moment."""
        return self._info("supervisor", children=tuple(child.info() for child in self.children.values()))

    def statistics(self) -> SupervisorStatistics:
        """Counters of this moment."""
        return SupervisorStatistics(
            children=len(self.children),
            running=sum(child.state is State.RUNNING for child in self.children.values()),
            started=self._started,
            restarts=self._restarts,
            queued=sum(len(child.mailbox.queue) for child in self.children.values() if isinstance(child, ActorCell)),
        )
