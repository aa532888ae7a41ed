"""What a run's images are checked for, on a real engine; a scripted client where the engine would have to misbehave."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coworld_drivers import docker_images
from coworld_drivers.docker_client import Docker, DockerRefused, EngineGone
from coworld_drivers.docker_images import Images
from coworld_drivers.driver import Pull, Wanted
from coworld_protocol.errors import PreconditionMissing
from tests.docker_engine import Engine
from tests.fake_dockers import FakeDocker

HOSTED = "img_01234567-89ab-cdef-0123-456789abcdef"
NO_REGISTRY = "127.0.0.1:9"
"""The discard port of this machine: nobody listens there, and no name has to be looked up."""


@pytest.fixture
def made(engine: Engine) -> Iterator[Callable[..., str]]:
    """Makes images without files; they go with the test."""
    names: list[str] = []

    def make(**about: object) -> str:
        name = f"coworld-test-empty:{uuid.uuid4().hex}"
        engine.load(name, **{"architecture": engine.architecture, **about})
        names.append(name)
        return name

    yield make
    if names:
        engine.run("image", "rm", "--force", *names)


def images(docker: Docker | None = None, **options: object) -> Images:
    return Images(docker or Docker(patience=0.5), **{"environ": {}, **options})


async def refusal(checked: Images, *wanted: Wanted) -> PreconditionMissing:
    with pytest.raises(PreconditionMissing) as caught:
        await checked.check(wanted)
    return caught.value


async def test_what_is_known_of_an_image(engine: Engine, made: Callable[..., str]):
    """Everything a driver decides by, in Python's own types."""
    name = made(
        User="12:13",
        Entrypoint=["/bin/game"],
        Cmd=["--fast"],
        WorkingDir="/app",
        Env=["A=1", "EMPTY=", "TWO=a=b"],
        Volumes={"/data": {}},
    )
    checked = images()
    assert checked.facts(name) is None
    await checked.check([Wanted(name, (), "game")])
    facts = checked.facts(name)
    assert facts is not None
    assert facts.id == engine.run("image", "inspect", "--format", "{{.Id}}", name).stdout.strip()
    assert (facts.os, facts.architecture, facts.user, facts.workdir) == ("linux", engine.architecture, "12:13", "/app")
    assert (facts.entrypoint, facts.cmd, facts.volumes) == (("/bin/game",), ("--fast",), ("/data",))
    assert facts.env == {"A": "1", "EMPTY": "", "TWO": "a=b"}


async def test_a_built_image_is_good(orchard_image: str):
    """The image of the example has a command and knows where it works."""
    checked = images(pull=Pull.NEVER)
    await checked.check([Wanted(orchard_image, (), "game"), Wanted(orchard_image, ("python", "-m", "x"), "player a")])
    facts = checked.facts(orchard_image)
    assert facts is not None
    assert facts.cmd == ("python", "-m", "orchard.game")
    assert facts.workdir == "/app"


async def test_each_image_is_looked_at_once(engine: Engine, made: Callable[..., str], tmp_path: Path):
    """However many roles want it, and however often it is asked for; the engine says once what it is."""
    fake = FakeDocker(tmp_path / "fake")
    names = [made(Cmd=["a"]), made(Cmd=["b"])]
    checked = images(Docker(fake.environ))
    for _ in range(2):
        await checked.check([Wanted(name, (), f"player {number}") for name in names for number in range(3)])
    asked = sorted(call[-1] for call in fake.calls if call[:2] == ["image", "inspect"])
    assert asked == sorted(names)
    assert sum(call[0] == "version" for call in fake.calls) == 1
    assert len(fake.calls) == 3


async def test_an_image_that_is_nowhere(engine: Engine):
    """What the registry said, and every way out."""
    name = f"{NO_REGISTRY}/nobody/has-this:1"
    error = await refusal(images(), Wanted(name, (), "game"), Wanted(name, (), "player a"))
    assert error.what == f"image {name!r} (for game, player a) is not on this engine and cannot be pulled"
    assert "connection refused" in error.evidence
    assert "check the network and the registry's name" in error.todo
    assert "coworld-actors build" in error.todo
    assert "--driver process" in error.todo
    assert not isinstance(error, DockerRefused)


@pytest.mark.parametrize(
    ("image", "first"),
    [
        ("game:1", "build it"),
        ("somebody/game:1", "build it"),
        ("registry.example/game:1", "log in"),
        ("localhost/game:1", "log in"),
        ("host:5000/game@sha256:0", "log in"),
    ],
)
async def test_the_likeliest_step_comes_first(tmp_path: Path, image: str, first: str):
    """What names no registry was probably to be built here; what names one, to be fetched from there."""
    fake = FakeDocker(
        tmp_path / "fake",
        {"match": "^image", "code": 1, "stderr": "Error: No such image"},
        {"match": "^pull", "code": 1, "stderr": "pull access denied for x, repository does not exist"},
    )
    error = await refusal(images(Docker(fake.environ)), Wanted(image, (), "game"))
    assert error.todo.startswith(first)
    assert "docker login" in error.todo


async def test_an_image_that_is_not_to_be_pulled(engine: Engine, tmp_path: Path):
    """No registry is asked; the command that would is named."""
    fake = FakeDocker(tmp_path / "fake")
    error = await refusal(images(Docker(fake.environ), pull=Pull.NEVER), Wanted("nobody/has-this:1", (), "game"))
    assert "is not on this engine" in error.what
    assert "docker pull nobody/has-this:1" in error.todo
    assert not [call for call in fake.calls if call[0] == "pull"]


async def test_a_digest_is_not_advised_to_be_built(engine: Engine):
    """Nobody can build what a digest names."""
    name = f"{NO_REGISTRY}/a@sha256:{'0' * 64}"
    error = await refusal(images(), Wanted(name, (), "game"))
    assert "cannot be pulled" in error.what
    assert "build" not in error.todo


async def test_an_id_is_never_pulled(engine: Engine, made: Callable[..., str], tmp_path: Path):
    """The id of what is there is good; that of anything else can only be built again."""
    fake = FakeDocker(tmp_path / "fake")
    checked = images(Docker(fake.environ), pull=Pull.ALWAYS)
    here = engine.run("image", "inspect", "--format", "{{.Id}}", made(Cmd=["a"])).stdout.strip()
    await checked.check([Wanted(here, (), "game")])
    error = await refusal(checked, Wanted(f"sha256:{'0' * 64}", (), "game"))
    assert "an id cannot be pulled" in error.todo
    assert not [call for call in fake.calls if call[0] == "pull"]


async def test_always_asks_the_registry(engine: Engine, made: Callable[..., str]):
    """Also for what is there; what was built here has no registry, which is said."""
    local = made(Cmd=["a"])
    name = f"{NO_REGISTRY}/{local}"
    engine.run("tag", local, name)
    try:
        await images().check([Wanted(name, (), "game")])
        error = await refusal(images(pull=Pull.ALWAYS), Wanted(name, (), "game"))
    finally:
        engine.run("image", "rm", name)
    assert error.what == f"image {name!r} cannot be pulled"
    assert "`missing`" in error.todo


@pytest.mark.parametrize("image", [HOSTED, "", "-v", "--help", "a\nb", "a\x00b"])
async def test_names_that_docker_never_sees(tmp_path: Path, image: str):
    """Ids of hosted images and what a client would take for an option are refused without a call."""
    fake = FakeDocker(tmp_path / "fake", real="/bin/false")
    error = await refusal(images(Docker(fake.environ)), Wanted(image, (), "game"))
    assert repr(image) in error.what
    assert "(for game)" in error.what
    assert fake.calls == []
    assert ("hosts" in error.what) is (image == HOSTED)


async def test_a_name_that_only_looks_like_an_id(engine: Engine):
    """`img_game:latest` is an ordinary name."""
    error = await refusal(images(pull=Pull.NEVER), Wanted("img_game:latest", (), "game"))
    assert "is not on this engine" in error.what


@pytest.mark.parametrize("image", ["UPPER Case:", "UPPER", "a:b:c", "a@sha256:12"])
async def test_bad_syntax_has_dockers_reason(engine: Engine, image: str):
    """The engine knows its own rules best."""
    error = await refusal(images(), Wanted(image, (), "game"))
    assert error.what == f"image {image!r} (for game) is no reference to an image"
    assert "invalid reference format" in error.evidence
    assert "manifest" in error.todo


async def test_everything_that_is_missing_is_told_at_once(made: Callable[..., str]):
    """Four different troubles in one error, each with its next step."""
    idle = made()
    wanted = [
        Wanted(HOSTED, (), "game"),
        Wanted("nobody/has-this:1", (), "player a"),
        Wanted("UPPER", (), "player b"),
        Wanted(idle, (), "player c"),
    ]
    error = await refusal(images(pull=Pull.NEVER), *wanted)
    assert error.what.startswith("4 things this run needs are missing: ")
    for image, _, role in wanted:
        assert repr(image) in error.what
        assert f"(for {role})" in error.what
    assert "docker pull" in error.todo
    assert "CMD" in error.todo


async def test_nothing_to_run(made: Callable[..., str]):
    """Only for the role without `run`; a command or an entry point of the image is enough."""
    idle = made()
    checked = images()
    await checked.check([Wanted(idle, ("a",), "game"), Wanted(made(Entrypoint=["a"]), (), "player b")])
    error = await refusal(checked, Wanted(idle, ("a",), "game"), Wanted(idle, (), "player a"))
    assert error.what.startswith(f"image {idle!r} (for player a) has nothing to run")


@pytest.fixture
def emulators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the kernel would list its emulators; none is there."""
    place = tmp_path / "binfmt_misc"
    place.mkdir()
    monkeypatch.setattr(docker_images, "_EMULATORS", place)
    return place


async def test_another_architecture(engine: Engine, made: Callable[..., str], emulators: Path):
    """Refused with the way to the right one, where the kernel has no emulator for it."""
    name = made(architecture="riscv64", Cmd=["a"])
    checked = images()
    (emulators / "qemu-riscv64").write_text("disabled\ninterpreter /usr/bin/qemu-riscv64\n")
    error = await refusal(checked, Wanted(name, (), "game"))
    assert f"made for linux/riscv64, and this engine runs linux/{engine.architecture}" in error.what
    assert f"docker pull --platform linux/{engine.architecture} {name}" in error.todo
    assert checked.facts(name) is None


async def test_another_architecture_that_is_emulated(made: Callable[..., str], emulators: Path):
    """The kernel has an emulator: it may work, and a sentence says at what price."""
    name = made(architecture="riscv64", Cmd=["a"])
    (emulators / "qemu-riscv64").write_text("enabled\ninterpreter /usr/bin/qemu-riscv64\n")
    notes: list[str] = []
    await images(log=notes.append).check([Wanted(name, (), "game")])
    (note,) = notes
    assert "emulator" in note
    assert "slow" in note


async def test_another_architecture_that_is_wished_for(made: Callable[..., str]):
    """DOCKER_DEFAULT_PLATFORM leaves it to the engine, and a sentence says so."""
    name = made(architecture="riscv64", Cmd=["a"])
    notes: list[str] = []
    checked = images(environ={"DOCKER_DEFAULT_PLATFORM": "linux/riscv64"}, log=notes.append)
    await checked.check([Wanted(name, (), "game")])
    (note,) = notes
    assert "linux/riscv64" in note
    assert "the engine decides" in note


async def test_another_architecture_on_another_machine(engine: Engine, made: Callable[..., str], tmp_path: Path):
    """An engine with a kernel that is not ours may have an emulator that cannot be seen from here."""
    said = f'{{"Os":"linux","Arch":"{engine.architecture}","KernelVersion":"another"}}'
    fake = FakeDocker(tmp_path / "fake", {"match": "^version", "stdout": said})
    notes: list[str] = []
    checked = images(Docker(fake.environ), log=notes.append)
    await checked.check([Wanted(made(architecture="riscv64", Cmd=["a"]), (), "game")])
    assert "emulator" in notes[0]


async def test_another_system(made: Callable[..., str], tmp_path: Path):
    """An image for Windows is refused even where an architecture is wished for."""
    said = '[{"Id":"sha256:1","Os":"windows","Architecture":"amd64","Config":{"Cmd":["a"]}}]'.strip("[]")
    fake = FakeDocker(tmp_path / "fake", {"match": "^image inspect", "stdout": said})
    checked = images(Docker(fake.environ), environ={"DOCKER_DEFAULT_PLATFORM": "windows/amd64"})
    error = await refusal(checked, Wanted("w:1", (), "game"))
    assert "windows/amd64" in error.what


async def test_an_engine_that_does_not_answer(tmp_path: Path):
    """Said once, as the engine's absence and not as a missing image."""
    docker = Docker({**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}, patience=0.2)
    with pytest.raises(EngineGone) as caught:
        await images(docker).check([Wanted("a:1", (), "game"), Wanted("b:1", (), "player b")])
    assert "systemctl start docker" in caught.value.todo


@pytest.mark.parametrize("said", ["", '{"Id":"sha256:1","Os":"li', "null", "[]", "\udcff"])
async def test_answers_that_cannot_be_read(tmp_path: Path, said: str):
    """Half a document or none is the engine's trouble, nobody's image."""
    fake = FakeDocker(tmp_path / "fake", {"match": "^image", "stdout": said.encode(errors="replace").decode()})
    with pytest.raises(EngineGone, match="cannot be read"):
        await images(Docker(fake.environ)).check([Wanted("a:1", (), "game")])


async def test_a_missing_image_is_fetched(made: Callable[..., str], tmp_path: Path):
    """And looked at again, for what came is what will run."""
    fake = FakeDocker(
        tmp_path / "fake",
        {"match": "^image inspect", "times": 1, "code": 1, "stderr": "Error: No such image: a:1"},
        {"match": "^pull a:1$", "stdout": "1: Pulling from a\n"},
        {"match": "^image inspect", "stdout": '{"Id":"sha256:1","Config":{"Cmd":["a"]}}'},
    )
    notes: list[str] = []
    checked = images(Docker(fake.environ), log=notes.append)
    await checked.check([Wanted("a:1", (), "game"), Wanted("a:1", (), "player a")])
    assert [call[0] for call in fake.calls if call[0] != "version"] == ["image", "pull", "image"]
    assert notes[0] == "pulling image a:1"
    assert notes[-1].startswith("pulled image a:1 in ")


async def test_several_images_are_fetched_at_once(tmp_path: Path):
    """Three pulls wait for each other: each ends when the other two have begun."""
    place = tmp_path / "fake"
    fake = FakeDocker(place)
    program = tmp_path / "pull"
    program.write_text(
        f"#!/bin/sh\ncase $1 in\n"
        f"pull) while [ $(grep -c pull {place}/calls) -lt 3 ]; do sleep 0.05; done; touch {tmp_path}/$2;;\n"
        f'image) [ -e {tmp_path}/$5 ] || {{ echo "No such image" >&2; exit 1; }}; echo \'{{"Id":"1","Config":{{"Cmd":["a"]}}}}\';;\n'
        "version) echo '{}';;\nesac\n"
    )
    program.chmod(0o755)
    fake.environ["FAKE_DOCKER_REAL"] = str(program)
    await images(Docker(fake.environ)).check([Wanted(name, (), name) for name in "abc"])
    assert sorted(call[1] for call in fake.calls if call[0] == "pull") == ["a", "b", "c"]
