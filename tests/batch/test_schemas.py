"""The published schemas: current, valid themselves, and true of what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from coworld_actors.batch.records import LINE_VERSION
from coworld_actors.batch.schemas import DOCUMENTS, schema_files, write_schemas
from tests.batches import HEAD
from tests.summaries import batch_lines, batch_summary

PUBLISHED = Path(__file__).parents[2] / "docs" / "schemas"


def documents() -> dict[str, msgspec.Struct]:
    """One of each, with something in every field."""
    lines = batch_lines(3, 5)
    summary = batch_summary(["a", "b", "c"], lines, blocks=5)
    return {"summary": summary, "episode-line": lines[0], "batch-head": HEAD}


def validator(name: str) -> Any:
    return jsonschema_rs.validator_for(json.loads((PUBLISHED / f"{name}.schema.json").read_bytes()))


def test_the_published_files_are_current() -> None:
    """What is in docs/schemas is what the types say now, and nothing else is there."""
    found = {path.name: path.read_bytes() for path in PUBLISHED.iterdir()}
    assert found == schema_files(), "run: python -m coworld_actors.batch.schemas docs/schemas"


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_real_documents_are_valid(name: str) -> None:
    """A schema of a current dialect, which takes what we write, with a field that a later version may add."""
    check = validator(name)
    document = json.loads(msgspec.json.encode(documents()[name]))
    assert [error.message for error in check.iter_errors(document)] == []
    assert check.is_valid({**document, "from a later version": 1})


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("summary", "players", [{"entrant": 0}]),
        ("summary", "blocks", "ten"),
        ("episode-line", "status", "lost"),
        ("episode-line", "seats", None),
        ("batch-head", "options", {}),
    ],
)
def test_wrong_documents_are_not(name: str, field: str, value: object) -> None:
    """A missing name, a wrong type, an unknown status."""
    document = json.loads(msgspec.json.encode(documents()[name]))
    assert not validator(name).is_valid({**document, field: value})


def test_a_schema_says_which_version_it_is_of(tmp_path: Path) -> None:
    """In its title; written anew it is the same."""
    paths = write_schemas(tmp_path / "new")
    assert sorted(path.name for path in paths) == sorted(schema_files())
    text = json.loads((tmp_path / "new" / "episode-line.schema.json").read_bytes())
    assert text["title"].endswith(f"version {LINE_VERSION}")
