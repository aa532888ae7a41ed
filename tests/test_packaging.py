"""What gets shipped: exactly four packages, typed, without tests or examples."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from this checkout."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_the_wheel_holds_exactly_our_packages(wheel: zipfile.ZipFile) -> None:
    """No `drivers`, `protocol`, `tests` or `examples` at the top level of anybody's site-packages."""
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        "coworld_actors",
        "coworld_bench",
        "coworld_drivers",
        "coworld_protocol",
    }


def test_the_wheel_is_typed_and_complete(wheel: zipfile.ZipFile) -> None:
    """Every module of the checkout is in the wheel, with the marker that makes type checkers look."""
    names = set(wheel.namelist())
    for folder, package in (
        ("", "coworld_actors"),
        ("bench", "coworld_bench"),
        ("drivers", "coworld_drivers"),
        ("protocol", "coworld_protocol"),
    ):
        assert f"{package}/py.typed" in names
        for path in (ROOT / folder / package).rglob("*.py"):
            assert str(path.relative_to(ROOT / folder)) in names


def test_the_wheel_has_what_init_writes(wheel: zipfile.ZipFile) -> None:
    """Every template file, though none of them is a module."""
    files = [path for path in (ROOT / "coworld_actors/package/templates").rglob("*") if path.is_file()]
    assert len(files) > 20
    assert {str(path.relative_to(ROOT)) for path in files} <= set(wheel.namelist())


def test_the_wheel_has_the_console_script(wheel: zipfile.ZipFile) -> None:
    """`coworld-actors` is installed as a command."""
    entry_points = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "coworld-actors = coworld_actors.cli:main" in wheel.read(entry_points).decode()


def test_the_top_level_folders_are_the_agreed_ones() -> None:
    """A new top-level folder is a decision, not an accident."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = {line.partition("/")[0] for line in tracked.splitlines() if "/" in line}
    assert folders - {".ci"} == {
        "bench",
        "coworld_actors",
        "docs",
        "drivers",
        "examples",
        "protocol",
        "tests",
    }
