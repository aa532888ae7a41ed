"""What a runtime answers, on real episodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from coworld_actors.actors import Actor, ChildSpec, Event, MailboxPolicy
from coworld_actors.control import answers
from coworld_actors.control.answers import Answers
from coworld_actors.control.messages import (
    Anomalies,
    AnomaliesFound,
    AnyRequest,
    Cancel,
    ControlStatistics,
    Done,
    EpisodeList,
    Episodes,
    Events,
    Failure,
    Reply,
    SetParallel,
    Statistics,
    StatisticsReply,
    Tree,
    TreeReply,
)
from coworld_actors.episode.spec import EpisodeSpec, Limits
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from coworld_actors.runtime.admission import Admission
from coworld_actors.runtime.runtime import Runtime
from tests.coworlds import scripted_manifest, write_coworld
from tests.hosts import controlled


class Noise(Event, frozen=True):
    """Something that happens."""

    number: int


class Sitter(Actor[str]):
    """Works on its first message until it is stopped, and then for a while longer."""

    async def handle(self, message: str) -> None:
        await trio.sleep_forever()


class Clinger(Actor[str]):
    """Takes its time to stop."""

    def __init__(self, let_go: trio.Event) -> None:
        self.let_go = let_go

    async def handle(self, message: str) -> None:
        await trio.lowlevel.checkpoint()

    async def on_stop(self, reason: object) -> None:
        await self.let_go.wait()


@pytest.fixture
def spec_of(tmp_path: Path) -> Callable[[str], EpisodeSpec]:
    """Makes episodes that do not end by themselves."""
    plan = build_plan(load_manifest(write_coworld(tmp_path / "coworld", scripted_manifest("endless", ["plays"]))))

    def make(name: str) -> EpisodeSpec:
        limits = Limits(timeout=300, startup=60, player_grace=10)
        return EpisodeSpec(id=name, plan=plan, directory=tmp_path / name, limits=limits, reports=False)

    return make


def asking(runtime: Runtime) -> Callable[[AnyRequest], Reply]:
    return Answers(runtime, [], ControlStatistics).to


async def test_an_episode_is_listed_and_called_off_by_its_whole_id(home: Path, spec_of) -> None:
    """A beginning is nobody, also if only one has it; the reason is in its record, and a second time is no news."""
    async with controlled(name="farm", admission=Admission(parallel=1)) as (runtime, _):
        ask = asking(runtime)
        first = await runtime.start_episode(spec_of("farm-1"))
        second = await runtime.start_episode(spec_of("farm-10"))
        listed = ask(Episodes())
        assert isinstance(listed, EpisodeList)
        assert [each.id for each in listed.episodes] == ["farm-1", "farm-10"]
        unknown = ask(Cancel(id="other"))
        assert isinstance(unknown, Failure)
        assert unknown.exit_code == 2
        assert ask(Cancel(id="farm-10", reason="enough")).changed
        with trio.fail_after(60):
            record = await second.wait()
        assert record.verdict.reason == "cancelled"
        assert "enough" in record.verdict.message + record.verdict.evidence
        with trio.fail_after(60):
            while not ask(Tree(prefix="episode-farm-1/play/game")).actors:
                await trio.sleep(0.01)
        assert ask(Cancel(id="farm-1")).changed
        assert not ask(Cancel(id="farm-1")).changed
        with trio.fail_after(60):
            await first.settled()
        # Over between somebody's look and the request: no other one is hit in its place.
        third = await runtime.start_episode(spec_of("farm-11"))
        assert ask(Cancel(id="farm-1")).exit_code == 2
        assert not third.status().cancelled


async def test_a_tree_has_actors_with_queue_and_capacity(home: Path) -> None:
    """And says how many it leaves out."""
    async with controlled(name="farm") as (runtime, _):
        ask = asking(runtime)
        for number in range(3):
            spec = ChildSpec(name=f"sitter-{number}", start=Sitter, shutdown=0.0, mailbox=MailboxPolicy(capacity=4))
            sitter = await runtime.system.start_actor(spec)
            for _ in range(4):
                sitter.tell_nowait("work")
            await trio.testing.wait_all_tasks_blocked()
        tree = ask(Tree())
        assert isinstance(tree, TreeReply)
        assert [(each.path, each.kind, each.queued, each.capacity) for each in tree.actors] == [
            (f"sitter-{number}", "Sitter", 3, 4) for number in range(3)
        ]
        assert tree.left_out == 0


async def test_a_listing_that_is_capped_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Actors and findings beyond the limit are counted."""
    monkeypatch.setattr(answers, "ACTORS_LISTED", 2)
    monkeypatch.setattr(answers, "FINDINGS_LISTED", 1)
    async with controlled(name="farm") as (runtime, _):
        ask = asking(runtime)
        for number in range(5):
            spec = ChildSpec(name=f"s{number}", start=Sitter, shutdown=0.0, mailbox=MailboxPolicy(capacity=1))
            sitter = await runtime.system.start_actor(spec)
            sitter.tell_nowait("work")
            await trio.testing.wait_all_tasks_blocked()
            sitter.tell_nowait("more")
        tree = ask(Tree())
        assert (len(tree.actors), tree.left_out) == (2, 3)
        found = ask(Anomalies(over=1000))
        assert isinstance(found, AnomaliesFound)
        assert (len(found.findings), found.left_out) == (1, 4)
        assert found.findings[0].trouble == "nearly_full"


async def test_what_takes_long_is_found(home: Path, spec_of) -> None:
    """A message in hand, a stop that lasts, an episode that is still there, one that cannot begin."""
    let_go = trio.Event()
    async with controlled(name="farm", admission=Admission(parallel=1)) as (runtime, _):
        ask = asking(runtime)
        sitter = await runtime.system.start_actor(ChildSpec(name="sitter", start=Sitter, shutdown=0.0))
        sitter.tell_nowait("work")
        spec = ChildSpec(name="clinger", start=lambda: Clinger(let_go), shutdown=math.inf)
        await runtime.system.start_actor(spec)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runtime.system.root.stop_child, "clinger")
            runtime.pause()
            await runtime.start_episode(spec_of("patient"))
            with trio.fail_after(60):
                while True:
                    found = ask(Anomalies(over=0.05))
                    assert isinstance(found, AnomaliesFound)
                    seen = {(str(finding.trouble), finding.subject) for finding in found.findings}
                    if {("busy", "sitter"), ("stopping", "clinger"), ("paused", "")} <= seen:
                        break
                    await trio.sleep(0.01)
            let_go.set()
        assert [(each.id, each.state) for each in found.running] == [("patient", "queued")]
        assert ask(Anomalies(over=1000)).running == ()


async def test_counters_are_those_of_runtime_and_socket(home: Path) -> None:
    """Of this moment."""
    async with controlled(name="farm") as (runtime, _):
        reply = Answers(runtime, [], lambda: ControlStatistics(lost=7)).to(Statistics())
        assert isinstance(reply, StatisticsReply)
        assert reply.runtime.name == "farm"
        assert reply.control.lost == 7


async def test_a_defect_is_an_answer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a type and a text, exit code 4, and nothing is raised."""
    async with controlled(name="farm") as (runtime, _):

        def broken(_: int) -> None:
            raise ZeroDivisionError("by zero")

        monkeypatch.setattr(runtime, "set_parallel", broken)
        reply = asking(runtime)(SetParallel(parallel=2))
        assert isinstance(reply, Failure)
        assert (reply.exit_code, reply.what) == (4, "internal error: ZeroDivisionError: by zero")
        assert isinstance(asking(runtime)(Events()), Failure)


async def test_what_is_kept_is_the_rings_and_the_living_episodes(home: Path, spec_of) -> None:
    """By number, each once: an episode's own records are still there when everybody else's have pushed them out of the ring."""
    async with controlled(name="farm", admission=Admission(parallel=1)) as (runtime, _):
        ring = []
        runtime.system.events.subscribe(ring.append)
        replies = Answers(runtime, ring, ControlStatistics)
        runtime.pause()
        await runtime.start_episode(spec_of("old"))
        await runtime.start_episode(spec_of("other"))
        last_of_episodes = ring[-1].seq
        for number in range(3):
            runtime.system.events.publish(Noise(number=number))
        last = ring[-1].seq
        everything = list(ring)
        assert await replies.kept(0, last, "") == everything
        del ring[:-2]
        kept = await replies.kept(0, last, "")
        assert [each.seq for each in kept] == sorted({each.seq for each in kept})
        assert {each.scope for each in kept} == {"", "old", "other"}
        assert kept[-2:] == everything[-2:]
        assert {each.scope for each in await replies.kept(0, last, "o")} == {"old", "other"}
        assert {each.scope for each in await replies.kept(0, last, "ol")} == {"old"}
        assert await replies.kept(last_of_episodes, last, "") == everything[-2:]
        assert await replies.kept(0, last - 1, "") == kept[:-1]
        assert await replies.kept(last, last, "") == []
        assert isinstance(replies.to(SetParallel(parallel=2)), Done)
