"""Compiling the C programs."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from coworld_bench.programs import compiled


@pytest.mark.parametrize("name", ["load", "ceiling"])
def test_a_program_compiles_without_a_warning(name: str, tmp_path) -> None:
    """Both sources satisfy the compiler with all usual warnings as errors."""
    from pathlib import Path

    import coworld_bench

    source = Path(coworld_bench.__file__).with_name(f"{name}.c")
    command = ["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(tmp_path / name), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def test_a_program_is_made_once() -> None:
    """The second time the kept one is taken, and nothing is left of the making."""
    first = compiled.__wrapped__("load")
    assert first is not None
    made = first.stat().st_mtime_ns
    assert compiled.__wrapped__("load") == first
    assert first.stat().st_mtime_ns == made
    assert {path.name.partition("-")[0] for path in first.parent.iterdir()} <= {"load", "ceiling"}


def test_without_a_compiler_there_is_no_program(monkeypatch, tmp_path) -> None:
    """No compiler, or one that refuses, is no error: there is a load generator in Python."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    assert compiled.__wrapped__("load") is None
    refusing = shutil.which("false")
    assert refusing is not None
    monkeypatch.setenv("CC", refusing)
    assert compiled.__wrapped__("load") is None
    assert list(tmp_path.rglob("load*")) == []
