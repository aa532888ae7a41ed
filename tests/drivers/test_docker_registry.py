"""Images that come from a registry: real pulls by a real engine, from a registry that a test can stop or spoil."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from coworld_drivers import docker_pull
from coworld_drivers.docker_client import Docker
from coworld_drivers.docker_images import Images
from coworld_drivers.driver import Pull, Wanted
from coworld_protocol.errors import PreconditionMissing
from tests.docker_engine import Engine
from tests.registries import LABEL, Registry, registry


def images(**options: object) -> Images:
    return Images(Docker(patience=0.5), **{"environ": {}, **options})


async def refusal(checked: Images, *wanted: Wanted) -> PreconditionMissing:
    with pytest.raises(PreconditionMissing) as caught:
        await checked.check(wanted)
    return caught.value


@pytest.fixture
def shelf(engine: Engine) -> Iterator[Registry]:
    """A real registry's place; what was pulled from it goes with the test."""
    with registry() as opened:
        yield opened
        there = engine.run("image", "ls", "--all", "--quiet", "--filter", f"label={LABEL}={opened.host}").stdout.split()
        if there:
            engine.run("image", "rm", "--force", *dict.fromkeys(there))


async def test_a_real_pull(engine: Engine, shelf: Registry):
    """From a registry with a port, by tag, by digest and out of a list of platforms, all at once."""
    digest = shelf.add("deep/pinned", "1", architecture=engine.architecture, Cmd=["a"])
    shelf.add("tagged", "coworld-0123456789ab", layers=4, architecture=engine.architecture, Cmd=["b"])
    shelf.add("listed", "latest", architecture=engine.architecture, listed=True, Entrypoint=["c"])
    names = [
        f"{shelf.host}/deep/pinned@{digest}",
        f"{shelf.host}/tagged:coworld-0123456789ab",
        f"{shelf.host}/listed",
    ]
    notes: list[str] = []
    checked = images(log=notes.append)
    await checked.check([Wanted(name, (), "game") for name in names])
    assert [(facts.entrypoint + facts.cmd) for name in names if (facts := checked.facts(name))] == [
        ("a",),
        ("b",),
        ("c",),
    ]
    assert {note.split(" in ")[0] for note in notes} == {
        f"{word} image {name}" for name in names for word in ("pulling", "pulled")
    }
    asked = len(shelf.asked)
    await images().check([Wanted(name, (), "game") for name in names])
    assert len(shelf.asked) == asked


async def test_an_image_that_became_another_one(engine: Engine, shelf: Registry):
    """With `always` the newer one is what will run; without, the older."""
    name = f"{shelf.host}/moving:1"
    ids = []
    for policy in (Pull.MISSING, Pull.MISSING, Pull.ALWAYS):
        shelf.add("moving", "1", architecture=engine.architecture, Cmd=["a"])
        checked = images(pull=policy)
        await checked.check([Wanted(name, (), "game")])
        facts = checked.facts(name)
        assert facts is not None
        ids.append(facts.id)
    assert ids[0] == ids[1] != ids[2]


async def test_a_registry_that_is_busy(engine: Engine, shelf: Registry, monkeypatch: pytest.MonkeyPatch):
    """It is asked again, and the run begins after all."""
    monkeypatch.setattr(docker_pull, "_FIRST_PAUSE", 0.1)
    shelf.add("busy", "1", architecture=engine.architecture, Cmd=["a"])
    shelf.statuses = [503, 503]
    notes: list[str] = []
    await images(log=notes.append).check([Wanted(f"{shelf.host}/busy:1", (), "game")])
    assert any("again" in note for note in notes)


@pytest.mark.parametrize(("status", "said"), [(404, "docker login|coworld-actors build"), (401, "docker login")])
async def test_what_a_registry_refuses(engine: Engine, shelf: Registry, status: int, said: str):
    """What it does not have, and what it does not show to everybody."""
    shelf.statuses = [status] * 20
    error = await refusal(images(), Wanted(f"{shelf.host}/hidden:1", (), "game"))
    assert "cannot be pulled" in error.what
    assert re.search(said, error.todo)


async def test_a_registry_without_this_platform(engine: Engine, shelf: Registry):
    """The engine's own words, and what helps."""
    shelf.add("foreign", "1", architecture="s390x", listed=True, Cmd=["a"])
    error = await refusal(images(), Wanted(f"{shelf.host}/foreign:1", (), "game"))
    assert "no matching manifest" in error.evidence
    assert "architecture" in error.todo


async def test_a_pull_that_is_stuck(engine: Engine, shelf: Registry):
    """Has an end of its own, which leaves nothing half done that would be taken for the image."""
    shelf.add("stuck", "1", layers=2, architecture=engine.architecture, Cmd=["a"])
    name = f"{shelf.host}/stuck:1"
    shelf.gate.clear()
    error = await refusal(images(pull_seconds=3.0), Wanted(name, (), "game"))
    assert "not on this engine and cannot be pulled" in error.what
    assert "not here after 3 s" in error.evidence
    assert not engine.has(name)
    shelf.gate.set()
    await images().check([Wanted(name, (), "game")])
