"""`coworld_protocol.ws.web`: the values that application and transport exchange."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from coworld_protocol.ws import web
from coworld_protocol.ws.web import Limits, Response


def test_an_answer_is_a_value():
    """Equal answers are equal, and none can be changed after it was given."""
    assert Response(body=b"a") == Response(body=b"a")
    with pytest.raises(AttributeError):
        Response().status = 500


def test_every_limit_is_finite_and_positive():
    """A connection can never cost more than somebody has thought about, and compression is for whoever asks for it."""
    limits = Limits()
    assert not limits.deflate
    assert all(0 < getattr(limits, name) < float("inf") for name in Limits.__struct_fields__ if name != "deflate")


def test_nothing_in_the_interface_awaits():
    """Application and transport meet in plain calls, so that either can be replaced."""
    tree = ast.parse(Path(web.__file__).read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]
    assert "trio" not in {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
