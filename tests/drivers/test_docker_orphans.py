"""What an engine may yet make for a client that is gone: it is removed however late it appears."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
import trio

from coworld_drivers import docker_orphans
from coworld_drivers.docker_client import Docker, DockerRefused, EngineGone
from coworld_drivers.docker_orphans import Orphans
from coworld_drivers.labels import RUN, name_prefix
from tests.docker_engine import Engine
from tests.fake_dockers import FakeDocker

LATE = 1.0
"""Seconds after its client's end at which a container appears here: less than is waited for, and far more than a removal takes."""


def words(image: str, run: str, number: int = 0) -> tuple[str, ...]:
    """A container of a run, never started."""
    name = f"{name_prefix(run)}{number}-x"
    return ("create", "--name", name, "--label", f"{RUN}={run}", "--pull", "never", image, "true")


def listed(engine: Engine, run: str) -> str:
    """The containers of a run."""
    return engine.run("ps", "--all", "--quiet", "--filter", f"label={RUN}={run}").stdout


@pytest.fixture
def run(engine: Engine) -> str:
    """The id of a run; nothing has it."""
    name = uuid.uuid4().hex
    assert not listed(engine, name)
    return name


async def test_a_container_that_appears_late_is_removed(engine: Engine, python_image: str, run: str):
    """The engine makes it when everything that was there has been removed already."""
    orphans = Orphans(Docker(), run)
    engine.run(*words(python_image, run))
    with pytest.raises(KeyError), orphans.making():
        raise KeyError
    seen: list[str] = []

    async def make_late() -> None:
        await trio.sleep(LATE)
        made = await trio.to_thread.run_sync(engine.run, *words(python_image, run, 1))
        seen.append(made.stdout)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(make_late)
        await orphans.remove()
        assert seen, "it was not waited for"
    assert not listed(engine, run)


async def test_creations_killed_at_any_moment_leave_nothing(engine: Engine, python_image: str, run: str):
    """Some of them are made all the same, and nobody learns their names."""
    docker = Docker()
    orphans = Orphans(docker, run)

    async def create(number: int, seconds: float) -> None:
        with trio.move_on_after(seconds), orphans.making():
            await docker.client.call(*words(python_image, run, number), timeout=60)

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(create, number, 0.02 * (1 + number))
    await orphans.remove()
    assert not listed(engine, run)
    await trio.sleep(LATE)
    assert not listed(engine, run)


async def test_what_is_not_of_this_run_stays(engine: Engine, python_image: str, run: str):
    """Whatever it is called."""
    orphans = Orphans(Docker(), run)
    other = uuid.uuid4().hex
    engine.run(*words(python_image, other))
    try:
        with orphans.making():
            pass
        await orphans.remove()
        assert listed(engine, other)
    finally:
        engine.run("rm", "--force", *listed(engine, other).split())


async def test_who_has_made_nothing_asks_nothing(tmp_path: Path, run: str):
    """No call is made for a run without containers."""
    fake = FakeDocker(tmp_path / "fake")
    await Orphans(Docker(fake.environ), run).remove()
    assert fake.calls == []


async def test_after_good_ends_nothing_is_waited_for(tmp_path: Path, run: str):
    """One look is enough when every creation was answered."""
    fake = FakeDocker(tmp_path / "fake", {"match": "^ps ", "stdout": ""})
    orphans = Orphans(Docker(fake.environ), run)
    with orphans.making():
        pass
    await orphans.remove()
    assert [call[0] for call in fake.calls] == ["ps"]


async def test_a_slow_engine_is_waited_for_longer(tmp_path: Path, run: str, monkeypatch: pytest.MonkeyPatch):
    """As long as its slowest creation took."""
    monkeypatch.setattr(docker_orphans, "SETTLE_SECONDS", 0.0)
    fake = FakeDocker(tmp_path / "fake", {"match": "^ps ", "stdout": ""})
    orphans = Orphans(Docker(fake.environ), run)
    with orphans.making():
        await trio.sleep(1.5)
    with pytest.raises(KeyError), orphans.making():
        raise KeyError
    start = trio.current_time()
    await orphans.remove()
    assert trio.current_time() - start > 1.4
    assert len(fake.calls) > 1


async def test_what_cannot_be_removed_is_said(tmp_path: Path, run: str, monkeypatch: pytest.MonkeyPatch):
    """With how many there are; it was tried more than once, and not for ever."""
    monkeypatch.setattr(docker_orphans, "REMOVAL_SECONDS", 2.0)
    fake = FakeDocker(
        tmp_path / "fake",
        {"match": "^ps ", "stdout": "0a1b\n2c3d\n"},
        {"match": "^rm ", "stderr": "Error response from daemon: driver failed", "code": 1},
    )
    orphans = Orphans(Docker(fake.environ), run)
    with orphans.making():
        pass
    with trio.fail_after(60), pytest.raises(DockerRefused, match="2 containers of this run are not removed"):
        await orphans.remove()
    removals = [call for call in fake.calls if call[0] == "rm"]
    assert len(removals) > 1
    assert removals[0] == ["rm", "--force", "--volumes", "0a1b", "2c3d"]


async def test_an_engine_that_is_away_is_told_from_one_that_has_nothing(tmp_path: Path, run: str):
    """No answer is no empty list."""
    said = "Cannot connect to the Docker daemon. Is the docker daemon running?"
    fake = FakeDocker(tmp_path / "fake", {"match": "^ps ", "stderr": said, "code": 1})
    orphans = Orphans(Docker(fake.environ, patience=0.5), run)
    with orphans.making():
        pass
    with pytest.raises(EngineGone):
        await orphans.remove()
