"""Building on a real engine: a Dockerfile, a compose file, and what keeps either from becoming a manifest."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio

from coworld_actors.manifest.load import load_manifest
from coworld_actors.package.build import Wishes, build_package
from coworld_actors.package.sources import find_sources
from coworld_drivers.docker_client import EngineGone
from coworld_protocol.errors import ManifestRefused, PreconditionMissing, Refused
from tests.docker_engine import Engine
from tests.packages import scripted_docker, template, with_compose, write_template

DOCKERFILE = """
ARG BASE
FROM ${BASE}
LABEL coworld-test=image
COPY content /content
"""


def write_package(
    directory: Path, document: Mapping[str, Any], *steps: str, compose: Mapping[str, Any] | None = None
) -> Path:
    """A package with a Dockerfile, further steps of it, and a compose file if there are services."""
    write_template(directory, document)
    (directory / "content").write_text("berries")
    (directory / "Dockerfile").write_text(DOCKERFILE + "\n".join(steps))
    if compose is not None:
        (directory / "compose.yaml").write_text(json.dumps({"services": compose}))
    return directory


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Where images get their name from: one that says whose they are, and that is the same in every session."""
    return tmp_path / "coworld-test-built"


def wishes(base: str, **more: Any) -> Wishes:
    return Wishes(**{"version": "1.0", "build_args": (f"BASE={base}",), **more})


async def test_a_dockerfile_becomes_an_image_and_a_manifest(engine: Engine, python_image: str, package: Path) -> None:
    """The image is tagged by its content, so the same sources give the same manifest, and others another."""
    write_package(package, template("{{IMAGE}}", "{{COWORLD_TEST_BUILT_IMAGE}}"))
    said: list[str] = []
    built = await build_package(find_sources(package), wishes(python_image), log=said.append)
    assert any("COPY content" in line for line in said)
    (image,) = built.images
    assert image.image == f"coworld-test-built:coworld-{image.id.removeprefix('sha256:')[:12]}"
    assert engine.run("image", "inspect", "--format", "{{.Id}}", image.image).stdout.strip() == image.id
    loaded = load_manifest(package / "dist" / "coworld_manifest.json")
    assert loaded.manifest.game.version == "1.0"
    assert {loaded.manifest.game.runnable.image, loaded.manifest.player[0].image} == {image.image}
    again = await build_package(find_sources(package), wishes(python_image), log=said.append)
    assert again.images == built.images
    (package / "content").write_text("cherries")
    other = await build_package(find_sources(package), wishes(python_image, version="1.1"), log=said.append)
    assert other.images[0].image != image.image


async def test_a_compose_file_becomes_its_images(
    engine: Engine, python_image: str, package: Path, tmp_path: Path
) -> None:
    """Services that are built, one that is there already, and one that no placeholder names."""
    services = {
        "game": {"build": {"context": "."}},
        "my-bot": {"image": "coworld-test-bot:dev", "build": {"context": "."}},
        "cache": {"image": python_image},
        "spare": {"image": "coworld-test-none:1"},
    }
    write_package(package, template(player="{{MY_BOT_IMAGE}}", readme="on {{CACHE_IMAGE}}"), compose=services)
    environ = {**os.environ, **with_compose(tmp_path / "bin")}
    built = await build_package(find_sources(package), wishes(python_image), log=print, environ=environ)
    images = {each.service: each for each in built.images}
    assert images["game"].image.startswith("coworld-test-built-game:coworld-")
    assert images["my-bot"].image.startswith("coworld-test-bot:coworld-")
    assert images["cache"].image.startswith("coworld-test-python:coworld-")
    assert [each.built for each in (images["game"], images["cache"])] == [True, False]
    assert built.unused == ("spare",)
    loaded = load_manifest(package / "dist")
    assert loaded.manifest.player[0].image == images["my-bot"].image
    assert images["cache"].image in json.dumps(loaded.raw["game"]["docs"])


async def test_with_the_real_compose_plugin(engine: Engine, python_image: str, package: Path) -> None:
    """What the scripted one does, the real one does."""
    if engine.run("compose", "version", check=False).returncode != 0:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("there is no compose plugin: docker-compose of Debian 13, or docker-compose-plugin")
    services = {
        "game": {"build": {"context": "."}},
        "bot": {"image": "coworld-test-bot:dev", "build": {"context": "."}},
    }
    write_package(package, template(player="{{BOT_IMAGE}}"), compose=services)
    built = await build_package(find_sources(package), wishes(python_image), log=print)
    repositories = {each.image.partition(":coworld-")[0] for each in built.images}
    assert repositories == {"coworld-test-built-game", "coworld-test-bot"}
    assert load_manifest(package / "dist").manifest.game.runnable.image.startswith("coworld-test-built-game:coworld-")


async def test_a_package_without_a_template_is_its_images(engine: Engine, python_image: str, package: Path) -> None:
    """A player's, for example: nothing is written, and a version has nowhere to go."""
    write_package(package, {}).joinpath("coworld_manifest_template.json").unlink()
    before = names(package)
    built = await build_package(find_sources(package), wishes(python_image, version=None), log=print)
    assert built.images[0].image.startswith("coworld-test-built:coworld-")
    assert (built.manifest, names(package)) == (None, before)
    with pytest.raises(Refused, match="no manifest template"):
        await build_package(find_sources(package), wishes(python_image), log=print)


@pytest.mark.parametrize(
    ("document", "version", "match"),
    [
        (template("{{OTHER_IMAGE}}", "x"), "1.0", "is refused: 1 problem"),
        (template("{{IMAGE}}", ""), "1.0", "is refused: 1 problem"),
        (template("{{IMAGE}}", "x"), None, "no version"),
        (template("{{IMAGE}}", "x"), "one", "is no version"),
        (template("x", "x"), "1.0", "has no placeholder"),
    ],
)
async def test_what_can_be_refused_is_refused_before_anything_is_built(
    package: Path, tmp_path: Path, document: dict[str, Any], version: str | None, match: str
) -> None:
    """Without as much as a call of docker."""
    write_package(package, document)
    environ = scripted_docker(tmp_path / "bin", "import os; os.abort()")
    with pytest.raises(Refused, match=match):
        await build_package(find_sources(package), Wishes(version=version), log=print, environ=environ)
    assert not (package / "dist").exists()


async def test_a_dry_run_checks_and_does_nothing(package: Path, tmp_path: Path) -> None:
    """It needs no engine, and finds what a build would find."""
    write_package(package, template("{{IMAGE}}", "{{IMAGE}}"))
    environ = scripted_docker(tmp_path / "bin", "import os; os.abort()")
    built = await build_package(find_sources(package), Wishes(version="1", dry_run=True), log=print, environ=environ)
    assert (built.dry_run, built.images[0].image, built.images[0].id) == (True, "coworld-test-built", "")
    assert not (package / "dist").exists()
    write_template(package, template("{{IMAGE}}", ""))
    with pytest.raises(ManifestRefused):
        await build_package(find_sources(package), Wishes(version="1", dry_run=True), log=print, environ=environ)


async def test_a_step_that_fails_is_named(engine: Engine, python_image: str, package: Path) -> None:
    """With docker's last words as the evidence, the old manifest as it was, and no container of the step left."""
    step = "RUN python3 -c \"import sys; print(chr(27) + str('[2J')); sys.exit('no berries today')\""
    write_package(package, template("{{IMAGE}}", "{{IMAGE}}"), step)
    output = package / "dist" / "coworld_manifest.json"
    output.parent.mkdir()
    output.write_text("old")
    said: list[str] = []
    with pytest.raises(Refused, match="was not built") as caught:
        await build_package(find_sources(package), wishes(python_image), log=said.append)
    assert "non-zero code: 1" in caught.value.evidence or "exit code: 1" in caught.value.evidence
    assert any("no berries today" in line for line in said)
    assert not any("\x1b" in line for line in said)
    assert output.read_text() == "old"
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    assert not containers(engine, "no berries today")


async def test_a_base_image_that_is_nowhere_is_a_precondition(engine: Engine, package: Path) -> None:
    """It is no fault of the Dockerfile's."""
    write_package(package, template("{{IMAGE}}", "{{IMAGE}}"))
    base = "localhost:9/coworld-test-none:1"
    with pytest.raises(PreconditionMissing, match="cannot be pulled") as caught:
        await build_package(find_sources(package), wishes(base), log=print)
    assert "--build-arg" in caught.value.todo


@pytest.mark.parametrize(
    "said",
    [
        "dial tcp: no such host\nThe command '/bin/sh -c go get' returned a non-zero code: 1",
        'ERROR: process "/bin/sh -c go get" did not complete successfully: exit code: 1\ndial tcp: no such host',
        "dial tcp: no such host\nCOPY failed: file not found in build context",
    ],
)
async def test_a_step_that_finds_no_host_is_no_missing_base(package: Path, tmp_path: Path, said: str) -> None:
    """Its own words sound like those of a registry; what fails is the Dockerfile, and its last words are told."""
    write_package(package, template("{{IMAGE}}", "{{IMAGE}}"))
    environ = scripted_docker(tmp_path / "bin", f"import sys; print('go get'); sys.exit({said!r})")
    with pytest.raises(Refused, match="was not built") as caught:
        await build_package(find_sources(package), Wishes(version="1"), log=print, environ=environ)
    assert "dial tcp: no such host" in caught.value.evidence
    assert "above" not in caught.value.todo


async def test_an_engine_that_is_away(package: Path) -> None:
    """Is said to be."""
    write_package(package, template("{{IMAGE}}", "{{IMAGE}}"))
    environ = {**os.environ, "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    with pytest.raises(EngineGone):
        await build_package(find_sources(package), wishes("x"), log=print, environ=environ)


async def test_an_image_for_another_platform_is_refused(engine: Engine, python_image: str, package: Path) -> None:
    """An engine may take a base image that is here, whatever it is for: what came out of it is looked at."""
    write_package(package, template("{{IMAGE}}", "{{IMAGE}}"))
    other = "linux/s390x" if engine.architecture != "s390x" else "linux/amd64"
    with pytest.raises((Refused, PreconditionMissing)):
        await build_package(find_sources(package), wishes(python_image, platform=other), log=print)
    assert not (package / "dist").exists()
    own = f"linux/{engine.architecture}"
    built = await build_package(find_sources(package), wishes(python_image, platform=own), log=print)
    assert built.images[0].platform == own


async def test_a_build_that_is_called_off_leaves_nothing(engine: Engine, python_image: str, package: Path) -> None:
    """Neither a manifest, nor a client, nor the container of the step that was under way."""
    mark = f"called-off-{os.getpid()}-{time.monotonic_ns()}"
    step = f'RUN python3 -c "import time; print(str({mark!r}), flush=True); time.sleep(600)"'
    write_package(package, template("{{IMAGE}}", "{{IMAGE}}"), step)
    seen = trio.Event()

    def log(line: str) -> None:
        if mark in line and "RUN" not in line:
            seen.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_build_quietly, package, wishes(python_image), log)
        with trio.fail_after(120):
            await seen.wait()
        # The newer builder's containers are none of the engine's.
        assert containers(engine, mark) or engine.has_buildx()
        nursery.cancel_scope.cancel()
    assert not (package / "dist").exists()
    with trio.fail_after(60):
        while containers(engine, mark):
            await trio.sleep(0.2)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def _build_quietly(package: Path, wished: Wishes, log: Any) -> None:
    await build_package(find_sources(package), wished, log=log)


def containers(engine: Engine, words: str) -> list[str]:
    """Those whose command has some words in it, running or not."""
    listed = engine.run("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Command}}").stdout
    return [line.split()[0] for line in listed.splitlines() if words in line]
