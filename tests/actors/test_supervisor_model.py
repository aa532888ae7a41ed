"""P06: generated trees and fault scripts, the real supervisors against a pure model of OTP's rules.

The model below knows nothing of trio, tasks or time's passing: it is the table of `sup_princ`, plus the two rules by which this
runtime differs on purpose (a restart limit is an abnormal end for the parent; what has ended for good is gone).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from coworld_actors.actors import (
    Actor,
    AutoShutdown,
    ChildSpec,
    Restart,
    RestartPolicy,
    StartFailed,
    Strategy,
    SupervisorSpec,
    events,
    open_system,
)

# What is generated. A tree is a supervisor of leaves and supervisors, up to three supervisors deep.


@dataclass(frozen=True)
class Leaf:
    name: str
    restart: Restart
    significant: bool


@dataclass(frozen=True)
class Branch:
    name: str
    restart: Restart
    significant: bool
    strategy: Strategy
    auto_shutdown: AutoShutdown
    max_restarts: int
    within: float
    children: tuple[Leaf | Branch, ...]


@dataclass(frozen=True)
class Fault:
    """After `gap` seconds something happens to the `target`-th of all paths (modulo their number)."""

    gap: float
    target: int
    kind: str  # crash, end, stop, drain, kill, add
    failing_starts: int  # so many of the target's next starts fail


def nodes(children):
    return st.tuples(
        st.sampled_from(list(Restart)),
        st.booleans(),
        children,
    )


def build(name, drawn, parent_auto) -> Leaf | Branch:
    restart, significant, inner = drawn
    significant = significant and restart is not Restart.PERMANENT and parent_auto is not AutoShutdown.NEVER
    if inner is None:
        return Leaf(name, restart, significant)
    strategy, auto, max_restarts, within, below = inner
    children = tuple(build(f"{name}{letter}", child, auto) for letter, child in zip("abcd", below, strict=False))
    return Branch(name, restart, significant, strategy, auto, max_restarts, within, children)


def branches(children):
    return st.tuples(
        st.sampled_from(list(Strategy)),
        st.sampled_from(list(AutoShutdown)),
        st.integers(0, 4),
        st.sampled_from([0.0, 1.0, 5.0]),
        st.lists(children, min_size=1, max_size=4),
    )


leaves = nodes(st.none())
trees = branches(leaves | nodes(branches(leaves | nodes(branches(leaves))))).map(
    lambda inner: build("t", (Restart.TEMPORARY, False, inner), AutoShutdown.NEVER)
)
faults = st.lists(
    st.builds(
        Fault,
        st.sampled_from([0.0, 0.5, 1.0, 4.0, 5.0, 6.0]),
        st.integers(0, 30),
        st.sampled_from(["crash", "crash", "crash", "end", "stop", "drain", "kill", "add"]),
        st.sampled_from([0, 0, 0, 1, 2, 5]),
    ),
    min_size=1,
    max_size=8,
)

# The model.

ORDERLY = {"normal", "shutdown"}


@dataclass(eq=False)
class Node:
    spec: Leaf | Branch
    path: str
    parent: Node | None
    up: bool = False
    begun: bool = False
    children: list[Node] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)


class Model:
    """What OTP's rules say that happens, as a log of (what, path)."""

    def __init__(self, tree: Branch) -> None:
        self.log: list[tuple[str, str]] = []
        self.now = 0.0
        self.failing: dict[str, int] = {}
        self.top: Node | None = Node(tree, tree.name, None)
        self.start(self.top)

    def find(self, path: str) -> Node | None:
        def below(node: Node):
            yield node
            for child in node.children:
                yield from below(child)

        return next((node for node in below(self.top) if node.path == path), None) if self.top else None

    def start(self, node: Node) -> bool:
        if isinstance(node.spec, Leaf):
            if self.failing.get(node.path, 0) > 0:
                self.failing[node.path] -= 1
                return False
        else:
            node.restarts = []
            for spec in node.spec.children:
                child = Node(spec, f"{node.path}/{spec.name}", node)
                node.children.append(child)
                if not self.start(child):
                    self.gone(child, "start_failed")
                    self.stop_all(node, final=True)
                    return False
        node.up = node.begun = True
        self.log.append(("started", node.path))
        return True

    def gone(self, node: Node, reason: str) -> None:
        if node.parent is None:
            self.top = None
        else:
            node.parent.children.remove(node)
        self.log.append((reason, node.path))

    def take_down(self, node: Node) -> None:
        """Stop one life of a node, leaving it in its parent's list."""
        if node.up and isinstance(node.spec, Leaf):
            self.log.append(("leaves", node.path))
        self.stop_all(node, final=True)
        node.up = False

    def stop_all(self, node: Node, *, final: bool, which: list[Node] | None = None) -> None:
        for child in reversed(node.children if which is None else which):
            self.take_down(child)
            if final or child.spec.restart is Restart.TEMPORARY:
                self.gone(child, "shutdown")

    def ended(self, node: Node, reason: str) -> None:
        """A node that ran has ended by itself."""
        node.up = False
        restart = node.spec.restart
        if restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and reason not in ORDERLY):
            self.recover(node, reason)
            return
        parent = node.parent
        self.gone(node, reason)
        if parent is None or not node.spec.significant:
            return
        auto = parent.spec.auto_shutdown
        others = any(child.spec.significant for child in parent.children)
        if auto is AutoShutdown.ANY_SIGNIFICANT or (auto is AutoShutdown.ALL_SIGNIFICANT and not others):
            self.end(parent, "normal")

    def end(self, node: Node, reason: str) -> None:
        self.stop_all(node, final=True)
        self.ended(node, reason)

    def recover(self, node: Node, reason: str) -> None:
        parent = node.parent
        spec = parent.spec
        recent = [then for then in parent.restarts if self.now - then <= spec.within]
        if len(recent) >= spec.max_restarts:
            self.log.append(("limit", parent.path))
            self.gone(node, reason)
            self.end(parent, "restart_limit")
            return
        parent.restarts.append(self.now)
        place = parent.children.index(node)
        others = {
            Strategy.ONE_FOR_ONE: [],
            Strategy.ONE_FOR_ALL: [child for child in parent.children if child is not node],
            Strategy.REST_FOR_ONE: parent.children[place + 1 :],
        }[spec.strategy]
        self.stop_all(parent, final=False, which=others)
        for child in [child for child in parent.children if child is node or child in others]:
            self.log.append(("restarted", child.path))
            if not self.start(child):
                self.recover(child, "start_failed")
                return

    def apply(self, fault: Fault, path: str) -> None:
        node = self.find(path)
        if node is None:
            return
        if fault.kind == "add" and isinstance(node.spec, Branch):
            spec = added(node.spec, fault)
            if any(child.spec.name == spec.name for child in node.children):
                return
            child = Node(spec, f"{path}/{spec.name}", node)
            self.failing[child.path] = fault.failing_starts
            node.children.append(child)
            if not self.start(child):
                self.gone(child, "start_failed")
        elif fault.kind == "stop" or (fault.kind == "drain" and isinstance(node.spec, Leaf)):
            self.take_down(node)
            self.gone(node, "shutdown")
        elif fault.kind == "kill" and isinstance(node.spec, Leaf):
            self.gone(node, "killed")
        elif isinstance(node.spec, Leaf) and fault.kind in {"crash", "end"}:
            self.failing[path] = fault.failing_starts
            if fault.kind == "end":
                self.log.append(("leaves", path))
            self.ended(node, "crashed" if fault.kind == "crash" else "normal")


def added(parent: Branch, fault: Fault) -> Leaf:
    """The child that an `add` adds: a restart type of its own, significant where that is allowed."""
    restart = list(Restart)[fault.target % 3]
    significant = restart is not Restart.PERMANENT and parent.auto_shutdown is not AutoShutdown.NEVER
    return Leaf(f"x{fault.target % 2}", restart, significant)


# The real thing.


class Crash(msgspec.Struct, frozen=True):
    pass


class End(msgspec.Struct, frozen=True):
    pass


class Player(Actor[Crash | End]):
    def __init__(self, log, failing) -> None:
        self.log = log
        self.failing = failing

    async def on_start(self) -> None:
        path = self.context.path
        if self.failing.get(path, 0) > 0:
            self.failing[path] -= 1
            raise ValueError("cannot start")

    async def handle(self, message: Crash | End) -> None:
        if type(message) is Crash:
            raise ValueError("told to")
        self.context.stop()

    async def on_stop(self, reason) -> None:
        self.log.append(("leaves", self.context.path))


def child_spec(tree: Leaf | Branch, log, failing) -> ChildSpec:
    start = (lambda: Player(log, failing)) if isinstance(tree, Leaf) else supervisor_spec(tree, log, failing)
    return ChildSpec(name=tree.name, start=start, restart=tree.restart, significant=tree.significant)


def supervisor_spec(tree: Branch, log, failing) -> SupervisorSpec:
    return SupervisorSpec(
        strategy=tree.strategy,
        auto_shutdown=tree.auto_shutdown,
        restarts=RestartPolicy(max_restarts=tree.max_restarts, within=tree.within),
        children=tuple(child_spec(child, log, failing) for child in tree.children),
    )


def all_paths(tree: Leaf | Branch, prefix: str = "") -> list[str]:
    path = f"{prefix}/{tree.name}" if prefix else tree.name
    below = [inner for child in getattr(tree, "children", ()) for inner in all_paths(child, path)]
    extra = [f"{path}/x0", f"{path}/x1"] if isinstance(tree, Branch) else []
    return [path, *below, *extra]


def translate(record) -> tuple[str, str] | None:
    match record.event:
        case events.ActorStarted() | events.SupervisorStarted():
            return "started", record.actor
        case events.ActorStopped(reason=reason) | events.SupervisorStopped(reason=reason):
            return str(reason), record.actor
        case events.RestartLimitReached():
            return "limit", record.actor
        case events.ActorRestarted():
            return "restarted", record.actor
    return None


async def play(tree: Branch, script: list[Fault]) -> None:
    model = Model(tree)
    log: list[tuple[str, str]] = []
    failing: dict[str, int] = {}
    paths = all_paths(tree)
    specs = {}

    def remember(branch: Branch, path: str) -> None:
        specs[path] = branch
        for child in branch.children:
            if isinstance(child, Branch):
                remember(child, f"{path}/{child.name}")

    remember(tree, tree.name)
    async with open_system() as system:
        system.events.subscribe(lambda record: log.append(step) if (step := translate(record)) else None)
        await system.root.start_child(child_spec(tree, log, failing))
        for fault in script:
            await trio.sleep(fault.gap)
            model.now += fault.gap
            path = paths[fault.target % len(paths)]
            ref = system.registry.find(path)
            assert (ref is None) == (model.find(path) is None)
            if ref is None:
                continue
            model.apply(fault, path)
            if fault.kind == "add" and path in specs:
                leaf = added(specs[path], fault)
                if leaf.name not in [info.name for info in ref.children()]:
                    failing[f"{path}/{leaf.name}"] = fault.failing_starts
                    try:
                        await ref.start_child(child_spec(leaf, log, failing))
                    except StartFailed:
                        assert fault.failing_starts
            elif fault.kind == "stop" or (fault.kind in {"drain", "kill"} and path not in specs):
                # Who kills a supervisor kills all below it at once, in no order that a model could tell.
                await getattr(ref, fault.kind)()
            elif path not in specs and fault.kind in {"crash", "end"}:
                failing[path] = fault.failing_starts
                ref.tell_nowait(Crash() if fault.kind == "crash" else End())
            await trio.testing.wait_all_tasks_blocked()
            assert log == model.log
        up = {path for path in system.registry if path}
        assert up == {path for path in [*paths, *up] if model.find(path) is not None}


def check(tree: Branch, script: list[Fault]) -> None:
    trio.run(play, tree, script, clock=MockClock(autojump_threshold=0))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trees, faults)
def test_supervisors_do_what_the_model_says(tree, script):
    """Every start, stop, end, restart and limit, in the model's order, after every fault."""
    check(tree, script)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trees, faults)
def test_supervisors_do_what_the_model_says_ten_thousand_times(tree, script):
    """The same, many more."""
    check(tree, script)
