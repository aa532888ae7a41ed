"""Images of Coworlds for tests: fixtures of the whole session, each built where its content is not on the engine yet."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.docker_engine import ROOT, Engine, alone, python_base
from tests.references import ARENA_IMAGE, Reference
from tests.wheels import installed, needed, write_wheel

__all__ = ["orchard_image", "orchard_manifest", "paint_arena_image", "pip_base", "pip_image", "sdk_image"]

ORCHARD = ROOT / "examples" / "orchard"
BUILD_TOOLS = ("pip", "hatchling")
LABEL = "LABEL coworld-test=image"

PIP = f"""
ARG BASE
FROM ${{BASE}}
COPY wheels /wheels
ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 /wheels/$(cd /wheels && echo pip-*.whl)/pip install pip
{LABEL}
"""

SDK = f"""
ARG BASE
FROM ${{BASE}}
COPY wheels /wheels
{LABEL}
"""


def _digest(*parts: str | Path) -> str:
    """Twelve digits of texts and of files, directories with everything in them but compiled modules."""
    found = hashlib.blake2b(digest_size=6)
    for part in parts:
        if isinstance(part, str):
            found.update(part.encode() + b"\0")
            continue
        files = [part] if part.is_file() else sorted(path for path in part.rglob("*") if path.is_file())
        for path in files:
            if "__pycache__" not in path.parts:
                found.update(f"{path.relative_to(part)}\0{path.stat().st_mode & 0o777:o}\0".encode())
                found.update(path.read_bytes())
    return found.hexdigest()


@functools.cache
def pip_base(engine: Engine, python: str, places: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    """The name of an image with pip and the wheels of some of the packages that are installed for an interpreter."""
    base = python_base(engine, python)
    version = subprocess.run(
        [python, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2], '%d.%d.%d' % sys.version_info[:3])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    environment = {"python_version": version[0], "python_full_version": version[1]}
    here = installed(places)
    packages = needed(wanted, here, environment)
    packages.pop("coworld-actors", None)
    content = sorted(f"{name} {each.version}" for name, each in packages.items())
    name = f"coworld-test-pip:{_digest(base, PIP, Path(write_wheel.__code__.co_filename), *content)}"
    with alone("docker-images"), tempfile.TemporaryDirectory() as context:
        if not engine.has(name):
            wheels = Path(context) / "wheels"
            wheels.mkdir()
            for each in packages.values():
                write_wheel(each, wheels)
            _build(engine, name, PIP, Path(context), BASE=base)
    return name


def _build(engine: Engine, tag: str, dockerfile: str, context: Path, **arguments: str) -> None:
    path = context / "Dockerfile.test"
    path.write_text(dockerfile)
    engine.build(tag, path, context, **arguments)


@pytest.fixture(scope="session")
def pip_image(engine: Engine) -> str:
    """`python_image` with pip, which finds by itself, without an index, what Orchard and a project of hatchling's need.

    Dockerfiles whose first stage is `FROM python:3.11-slim` build on it: `ARG BASE=python:3.11-slim`, `FROM ${BASE}`.
    """
    return pip_base(engine, sys.executable, tuple(sys.path), ("coworld-actors[examples]", *BUILD_TOOLS))


@pytest.fixture(scope="session")
def sdk_image(engine: Engine, pip_image: str) -> str:
    """`pip_image` whose pip also finds `coworld-actors`, as this checkout has it."""
    packages = [
        ROOT / path for path in ("coworld_actors", "drivers", "protocol", "bench/coworld_bench", "pyproject.toml")
    ]
    name = f"coworld-test-sdk:{_digest(pip_image, SDK, *packages)}"
    with alone("docker-images"), tempfile.TemporaryDirectory() as context:
        if not engine.has(name):
            out = str(Path(context) / "wheels")
            command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, str(ROOT)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            _build(engine, name, SDK, Path(context), BASE=pip_image)
    return name


@pytest.fixture(scope="session")
def orchard_image(engine: Engine, pip_image: str) -> str:
    """Orchard as its own Dockerfile makes it; also under the name that its manifest uses, whatever had that name before.

    Sessions of different checkouts take that name from each other: who needs just this content uses `orchard_manifest`.
    """
    dockerfile = ORCHARD / "Dockerfile"
    sources = (ROOT / "protocol" / "coworld_protocol", ORCHARD / "orchard", dockerfile, ROOT / ".dockerignore")
    name = f"coworld-test-orchard:{_digest(pip_image, *sources)}"
    with alone("docker-images"):
        if not engine.has(name):
            engine.build(name, dockerfile, ROOT, BASE=pip_image)
        manifest = json.loads((ORCHARD / "coworld_manifest.json").read_text(encoding="utf-8"))
        for image in _images(manifest):
            engine.run("tag", name, image)
    return name


@pytest.fixture
def orchard_manifest(orchard_image: str, tmp_path: Path) -> Path:
    """A copy of Orchard's manifest that names the image of just this content; nothing is beside it."""
    text = (ORCHARD / "coworld_manifest.json").read_text(encoding="utf-8")
    for image in _images(json.loads(text)):
        text = text.replace(json.dumps(image), json.dumps(orchard_image))
    path = tmp_path / "orchard" / "coworld_manifest.json"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    return path


def _images(manifest: object) -> list[str]:
    """Every `image` of a manifest."""
    found: dict[str, None] = {}
    waiting = [manifest]
    while waiting:
        match waiting.pop():
            case dict(entries):
                waiting += entries.values()
                if isinstance(image := entries.get("image"), str):
                    found[image] = None
            case list(items):
                waiting += items
    return list(found)


@pytest.fixture(scope="session")
def paint_arena_image(engine: Engine, reference: Reference) -> str:
    """The public reference's Paint Arena as its own Dockerfile makes it, under the name that the manifest of `arena` uses.

    Only the base is another, and packages have the versions that the reference is installed with here.
    """
    places = tuple(str(path) for path in reference.venv.glob("lib/python3*/site-packages"))
    text = (reference.paint_arena / "Dockerfile").read_text(encoding="utf-8")
    text, bases = re.subn(r"(?m)^FROM .*$", "ARG BASE\nFROM ${BASE}", text)
    (install,) = re.findall(r"(?m)^RUN pip install .*$", text)
    packages = re.findall(r"([a-z]+(?:\[[a-z]+\])?)==[0-9.]+", install)
    assert bases == 1, text
    assert packages, install
    text = text.replace(install, re.sub(r"==[0-9.]+", "", install)) + f"{LABEL}\n"
    base = pip_base(engine, str(reference.python), places, (*packages, "pip"))
    name = f"coworld-test-paintarena:{_digest(base, text, reference.paint_arena)}"
    with alone("docker-images"), tempfile.TemporaryDirectory() as context:
        if not engine.has(name):
            place = Path(context) / "paintarena"
            shutil.copytree(reference.paint_arena, place, ignore=shutil.ignore_patterns("__pycache__"))
            _build(engine, name, text, place, BASE=base)
        engine.run("tag", name, ARENA_IMAGE)
    return name
