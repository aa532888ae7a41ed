"""Who may import whom: read from the sources, not from anybody's promise."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "coworld_protocol": ROOT / "protocol/coworld_protocol",
    "coworld_drivers": ROOT / "drivers/coworld_drivers",
    "coworld_actors": ROOT / "coworld_actors",
    "coworld_bench": ROOT / "bench/coworld_bench",
}
OURS = {*PACKAGES, "examples", "bench", "tests"}

BELOW = {"coworld_protocol", "coworld_drivers"}
INNER = BELOW | {f"coworld_actors/{room}" for room in ("actors", "manifest", "traffic", "episode", "evidence")}
VALUES = {f"coworld_actors/batch/{module}" for module in ("records", "schedule", "options")}
RUNTIME = INNER | {"coworld_actors/runtime"}

MAY_IMPORT = {
    "coworld_protocol/ws": {
        "coworld_protocol/ws",
        "coworld_protocol/errors",
        "coworld_protocol/printable",
        "coworld_protocol/switches",
    },
    "coworld_protocol": {"coworld_protocol"},
    "coworld_drivers": BELOW,
    "coworld_actors/actors": {"coworld_protocol", "coworld_actors/actors"},
    "coworld_actors/manifest": {"coworld_protocol", "coworld_actors/manifest"},
    "coworld_actors/traffic": {"coworld_protocol", "coworld_actors/traffic"},
    "coworld_actors/package": BELOW | {"coworld_actors/manifest", "coworld_actors/package"},
    "coworld_actors/episode": INNER,
    "coworld_actors/evidence": INNER,
    "coworld_actors/testing": INNER | {"coworld_actors/testing"},
    "coworld_actors/runtime": RUNTIME,
    "coworld_actors/observe": RUNTIME | {"coworld_actors/observe"},
    "coworld_actors/control": RUNTIME | {"coworld_actors/control"},
    "coworld_actors/batch/statistics": {
        "coworld_protocol",
        *VALUES,
        "coworld_actors/episode/verdict",
        "coworld_actors/batch/statistics",
    },
    "coworld_actors/batch/pages": {
        "coworld_protocol",
        "coworld_actors/traffic/report",
        *VALUES,
        "coworld_actors/batch/statistics",
        "coworld_actors/batch/pages",
    },
    "coworld_actors/batch/pacing": RUNTIME | {"coworld_actors/batch/records", "coworld_actors/batch/pacing"},
    "coworld_actors/batch/workers": RUNTIME | {"coworld_actors/batch/local", "coworld_actors/batch/workers"},
    "coworld_actors/batch": RUNTIME | {"coworld_actors/batch", "coworld_actors/observe"},
    "coworld_actors/doctor": RUNTIME
    | {"coworld_actors/control", "coworld_actors/batch/pacing", "coworld_actors/doctor"},
    "coworld_actors/cli": BELOW | {"coworld_actors", "coworld_bench"},
    "coworld_bench": RUNTIME | {"coworld_actors/observe", "coworld_actors/batch", "coworld_bench"},
    "coworld_actors/__main__.py": {"coworld_actors/cli"},
    "coworld_actors": RUNTIME,
}
"""A room of the house to the rooms it may import; the longest key that fits a module is its room."""


def sources() -> list[tuple[str, Path]]:
    return [
        (f"{package}/{path.relative_to(folder)}", path)
        for package, folder in PACKAGES.items()
        for path in sorted(folder.rglob("*.py"))
    ]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name.replace(".", "/") for name in names if name.partition(".")[0] in OURS}


def room(module: str) -> str:
    return max((key for key in MAY_IMPORT if module == key or module.startswith(key + "/")), key=len)


@pytest.mark.parametrize(("module", "path"), sources(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_module_imports_only_what_its_room_may(module: str, path: Path) -> None:
    """Arrows point down: protocol, drivers, actor core, the rest; nothing imports examples, bench or tests."""
    allowed = MAY_IMPORT[room(module)]
    for name in imported(path):
        if name == "coworld_actors":
            continue
        assert any(name == target or name.startswith(target + "/") for target in allowed), f"{module} imports {name}"
