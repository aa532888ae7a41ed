"""Every module says what it offers, and offers what it says."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = [ROOT / "protocol", ROOT / "drivers", ROOT]
PACKAGES = ["coworld_protocol", "coworld_drivers", "coworld_actors"]
MODULES = sorted(
    ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
    for folder, package in zip(FOLDERS, PACKAGES, strict=True)
    for path in (folder / package).rglob("*.py")
    if path.name != "__main__.py"
)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_defines_what_it_exports(name: str) -> None:
    """`__all__` exists wherever something is defined, is sorted as the linter sorts, and every name in it is there."""
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text())
    defines = any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) for node in tree.body)
    exported = getattr(module, "__all__", None)
    assert exported is not None or not defines, f"{name} has no __all__"
    for entry in exported or ():
        assert hasattr(module, entry), f"{name}.__all__ names {entry}, which is not there"


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_and_class_is_described(name: str) -> None:
    """What a module exports has a docstring."""
    module = importlib.import_module(name)
    for entry in getattr(module, "__all__", ()):
        value = getattr(module, entry)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert value.__doc__, f"{name}.{entry} has no docstring"
