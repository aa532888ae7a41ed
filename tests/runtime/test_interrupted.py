"""Whoever opens a runtime may be cancelled or interrupted at any moment: nothing hangs, and nothing is left."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from coworld_actors.actors import Record
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.runtime.admission import Admission
from coworld_actors.runtime.events import EpisodeClosed, RuntimeStopped
from coworld_actors.runtime.handle import EpisodeHandle, EpisodeState
from coworld_actors.runtime.opening import open_runtime
from coworld_actors.runtime.runtime import Runtime
from coworld_actors.testing import FakeDriver, hangs
from tests.coworlds import scripted_manifest, write_coworld

SpecOf = Callable[..., EpisodeSpec]
PROGRAM = Path(__file__).parent / "programs" / "interrupted.py"
LONG = 120.0
NEVER = 1_000_000


class At(trio.abc.Instrument):
    """Cancels a scope at one step of the scheduler."""

    def __init__(self, step: int, scope: trio.CancelScope) -> None:
        self.steps = 0
        self._step = step
        self._scope = scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        if self.steps == self._step:
            self._scope.cancel()


class Host:
    """Opens a runtime with an attachment; with specs it plays one, has another in the queue, and drains them for a moment."""

    def __init__(self, *specs: EpisodeSpec) -> None:
        self.attached: list[str] = []
        self.records: list[Record] = []
        self.handles: list[EpisodeHandle] = []
        self.scope = trio.CancelScope()
        self._specs = specs

    @asynccontextmanager
    async def attachment(self, runtime: Runtime) -> AsyncGenerator[None]:
        runtime.system.events.subscribe(self.records.append)
        self.attached.append("in")
        try:
            await trio.lowlevel.checkpoint()
            yield
            await trio.lowlevel.checkpoint()
        finally:
            self.attached.append("out")

    async def run(self) -> None:
        driver = FakeDriver({"game": hangs(), "player": hangs()})
        with self.scope:
            async with open_runtime(driver, admission=Admission(parallel=1), attach=[self.attachment]) as runtime:
                for spec in self._specs:
                    self.handles.append(await runtime.start_episode(spec))
                await trio.sleep(0.01)
                await runtime.stop(drain=True, deadline=0.02)

    def cancelled_at(self, step: int) -> int:
        """Run, cancelled at a step; how many there were."""
        instrument = At(step, self.scope)
        # Shields defeat deadlines: what hangs is reported by the suite's own clock.
        trio.run(self.run, instruments=[instrument])
        return instrument.steps

    def check(self, step: int) -> None:
        assert self.attached in ([], ["in", "out"]), step
        assert all(handle.state is EpisodeState.OVER for handle in self.handles), step
        closed = [record.scope for record in self.records if isinstance(record.event, EpisodeClosed)]
        assert sorted(closed) == sorted(handle.id for handle in self.handles), step
        if self.attached:
            assert any(isinstance(record.event, RuntimeStopped) for record in self.records), step


def sweep(make: Callable[[int], Host]) -> None:
    total = make(NEVER).cancelled_at(NEVER)
    assert total > 10
    for step in range(1, total + 1):
        host = make(step)
        host.cancelled_at(step)
        host.check(step)


def test_opening_and_leaving_can_be_cancelled_at_every_step() -> None:
    """Also in the one step between a task's start and its first word."""
    sweep(lambda step: Host())


def test_playing_and_stopping_can_be_cancelled_at_every_step(spec_of: SpecOf, tmp_path: Path) -> None:
    """However far a drain was: every accepted episode is over and closed once, and the runtime has said that it stopped."""
    plan = spec_of().plan

    def make(step: int) -> Host:
        return Host(*(EpisodeSpec(id=f"e-{n}", plan=plan, directory=tmp_path / f"{step}-{n}") for n in range(2)))

    sweep(make)


def test_a_second_interrupt_does_not_wait_for_an_orderly_end(tmp_path: Path) -> None:
    """SIGINT while the first one is being answered: nothing hangs or is left, and `KeyboardInterrupt` leaves the run, bare."""
    config: dict[str, Any] = {"ticks": 100_000}
    write_coworld(tmp_path / "coworld", scripted_manifest("ignores_sigterm", ("plays",), config=config))
    command = [sys.executable, "-W", "error", str(PROGRAM), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted 0\n", "")
