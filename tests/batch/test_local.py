"""The table of this process: real episodes, each called off alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from coworld_actors.batch.local import LocalTable
from coworld_actors.episode.spec import EpisodeSpec, Limits
from coworld_actors.episode.verdict import EndReason
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import EpisodePlan, build_plan
from coworld_actors.runtime.admission import Admission
from coworld_actors.runtime.opening import open_runtime
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import Refused
from tests.coworlds import IMAGE, PROGRAMS, scripted_manifest, write_coworld


@pytest.fixture
def driver() -> ProcessDriver:
    """Knows the scripted programs."""
    return ProcessDriver(load_images(None, {IMAGE: str(PROGRAMS)}))


def plan_of(tmp_path: Path, behaviour: str = "plays") -> EpisodePlan:
    return build_plan(load_manifest(write_coworld(tmp_path / "coworld", scripted_manifest(behaviour, ("plays",)))))


def spec(episode: str, plan: EpisodePlan, directory: Path) -> EpisodeSpec:
    return EpisodeSpec(id=episode, plan=plan, directory=directory, limits=Limits(timeout=60), reports=False)


async def test_an_episode_is_played_and_says_when_it_has_started(tmp_path: Path, driver: ProcessDriver) -> None:
    """Its record is returned, and `playing` was called once before that."""
    calls: list[float] = []
    async with open_runtime(driver, admission=Admission(parallel=2)) as runtime:
        with LocalTable.open(runtime, spec) as table:
            directory = tmp_path / "run"
            plan = plan_of(tmp_path)
            record = await table.play("e-1", plan, directory, playing=lambda: calls.append(trio.current_time()))
            assert record.verdict.good
            assert record.id == "e-1"
            assert len(calls) == 1
            with pytest.raises(Refused, match="not empty"):
                await table.play("e-2", plan, directory, playing=lambda: None)


async def test_a_cancelled_call_has_ended_its_episode(tmp_path: Path, driver: ProcessDriver) -> None:
    """The other one at the table plays on."""
    records = []
    playing = trio.Event()
    async with open_runtime(driver, admission=Admission(parallel=2)) as runtime:
        with LocalTable.open(runtime, spec) as table:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def cancelled() -> None:
                        await table.play(
                            "hung", plan_of(tmp_path / "a", "endless"), tmp_path / "hung", playing=playing.set
                        )

                    nursery.start_soon(cancelled)
                    await playing.wait()
                    scope.cancel()
            assert runtime.episodes() == []
            records.append(await table.play("e-1", plan_of(tmp_path / "b"), tmp_path / "run", playing=lambda: None))
    assert [each.verdict.reason for each in records] == [EndReason.COMPLETED]
    assert '"cancelled"' in (tmp_path / "hung" / "episode.json").read_text()
