"""The tests mirror the source tree: whoever changes a module knows where its tests are."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"

MIRRORS = {
    ROOT / "protocol/coworld_protocol": TESTS / "protocol",
    ROOT / "drivers/coworld_drivers": TESTS / "drivers",
    ROOT / "coworld_actors": TESTS,
    ROOT / "bench/coworld_bench": TESTS / "bench",
}

PLAYED_ELSEWHERE = {
    "coworld_actors/episode/findings.py": "tests/episode/test_judge.py",
    "coworld_actors/episode/verdict.py": "tests/episode/test_judge.py",
    "coworld_actors/episode/events.py": "tests/episode/test_record.py",
    "coworld_actors/episode/spec.py": "tests/episode/test_launches.py",
    "coworld_actors/episode/tap_link.py": "tests/episode/test_tap_relay.py",
    "coworld_actors/episode/tap_doors.py": "tests/episode/test_tap_relay.py",
    "coworld_actors/episode/player.py": "tests/episode/test_conductor.py",
    "coworld_actors/episode/play.py": "tests/episode/test_conductor.py",
    "coworld_actors/testing/fake_handle.py": "tests/testing/test_fake_driver.py",
    "coworld_actors/runtime/opening.py": "tests/runtime/test_interrupted.py",
    "coworld_actors/runtime/events.py": "tests/runtime/test_runtime.py",
    "coworld_actors/runtime/statistics.py": "tests/runtime/test_runtime.py",
    "coworld_actors/batch/events.py": "tests/batch/test_runner.py",
    "coworld_actors/batch/conclusion.py": "tests/batch/test_session.py",
    "coworld_actors/batch/records.py": "tests/batch/test_lines.py",
    "coworld_actors/episode/game.py": "tests/episode/test_conductor.py",
    "coworld_actors/episode/viewer.py": "tests/episode/test_conductor.py",
    "drivers/coworld_drivers/template.py": "tests/drivers/test_warm.py",
    "drivers/coworld_drivers/template_child.py": "tests/drivers/test_warm.py",
    "drivers/coworld_drivers/template_exit.py": "tests/drivers/test_warm.py",
    "drivers/coworld_drivers/template_fork.py": "tests/drivers/test_warm.py",
    "drivers/coworld_drivers/template_imports.py": "tests/drivers/test_warm.py",
    "drivers/coworld_drivers/warm_process.py": "tests/drivers/test_warm.py",
    "drivers/coworld_drivers/warm_template.py": "tests/drivers/test_warm.py",
    "bench/coworld_bench/python_load.py": "tests/bench/test_load.py",
    "bench/coworld_bench/docker_by_hand.py": "tests/bench/test_containers.py",
    "bench/coworld_bench/relays.py": "tests/bench/test_tap.py",
    "bench/coworld_bench/rivals/aiohttp.py": "tests/bench/rivals/test_rivals.py",
    "bench/coworld_bench/rivals/connection.py": "tests/bench/rivals/test_rivals.py",
    "bench/coworld_bench/rivals/fastapi.py": "tests/bench/rivals/test_rivals.py",
    "bench/coworld_bench/rivals/picows.py": "tests/bench/rivals/test_rivals.py",
    "bench/coworld_bench/rivals/pump.py": "tests/bench/rivals/test_rivals.py",
    "bench/coworld_bench/rivals/raw_epoll.py": "tests/bench/rivals/test_rivals.py",
    "bench/coworld_bench/rivals/raw_trio.py": "tests/bench/rivals/test_rivals.py",
    "bench/coworld_bench/rivals/trio_websocket.py": "tests/bench/rivals/test_rivals.py",
    "bench/coworld_bench/rivals/websockets.py": "tests/bench/rivals/test_rivals.py",
    "bench/coworld_bench/rivals/websockets_trio.py": "tests/bench/rivals/test_rivals.py",
    "bench/coworld_bench/rivals/sdk.py": "tests/bench/scenarios/test_lockstep.py",
    "bench/coworld_bench/rivals/orchard_fastapi.py": "tests/bench/scenarios/test_orchard.py",
    "bench/coworld_bench/rivals/orchard_websockets.py": "tests/bench/scenarios/test_orchard.py",
}
"""Modules that hold plain values or are only alive inside an episode, and the test module that exercises them."""


def sources() -> list[Path]:
    return sorted(
        path for folder in MIRRORS for path in folder.rglob("*.py") if path.name not in {"__init__.py", "__main__.py"}
    )


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_its_test_module(path: Path) -> None:
    """`coworld_actors/x/y.py` is tested by `tests/x/test_y.py`, or the exception is written down above."""
    name = str(path.relative_to(ROOT))
    if name in PLAYED_ELSEWHERE:
        expected = ROOT / PLAYED_ELSEWHERE[name]
    else:
        folder = next(folder for folder in MIRRORS if path.is_relative_to(folder))
        relative = path.relative_to(folder)
        expected = MIRRORS[folder] / relative.with_name(f"test_{relative.name}")
    assert expected.exists(), f"{name} has no {expected.relative_to(ROOT)}"


def test_no_exception_outlives_its_module() -> None:
    """Every module excused above still exists."""
    for name in PLAYED_ELSEWHERE:
        assert (ROOT / name).exists(), name


def test_every_test_says_what_it_shows() -> None:
    """Each test function has a docstring in one sentence or more."""
    import ast

    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{path.relative_to(ROOT)}::{node.name} has no docstring"
