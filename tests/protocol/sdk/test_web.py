"""`coworld_protocol.sdk.web`: the values that game and transport exchange."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from coworld_protocol.sdk import web
from coworld_protocol.sdk.web import Limits, Response


def test_an_answer_is_a_value():
    """Equal answers are equal, and none can be changed after it was given."""
    assert Response(body=b"a") == Response(body=b"a")
    with pytest.raises(AttributeError):
        Response().status = 500


def test_every_limit_is_finite_and_positive():
    """A connection can never cost more than somebody has thought about."""
    assert all(0 < getattr(Limits(), name) < float("inf") for name in Limits.__struct_fields__)


def test_nothing_in_the_interface_awaits():
    """Game and transport meet in plain calls, so that either can be replaced."""
    tree = ast.parse(Path(web.__file__).read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]
    assert "trio" not in {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
