"""The documents of a batch as JSON Schemas, for readers in other languages: `python -m coworld_actors.batch.schemas docs/schemas`.

They are made from the types themselves, so that they cannot say anything else. Unknown fields are allowed: a later version of a
document may have more, and only its `version` says that it means something else.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from coworld_actors.batch.records import LINE_VERSION, EpisodeLine
from coworld_actors.batch.statistics.summary import SUMMARY_VERSION, Summary
from coworld_actors.batch.store import HEAD_VERSION, BatchHead

__all__ = ["DOCUMENTS", "schema_files", "write_schemas"]

DOCUMENTS: Final[dict[str, tuple[type[msgspec.Struct], int, str]]] = {
    "summary": (Summary, SUMMARY_VERSION, "summary.json: what a batch's episodes say about its players"),
    "episode-line": (EpisodeLine, LINE_VERSION, "one line of episodes.jsonl: an episode that has ended"),
    "batch-head": (BatchHead, HEAD_VERSION, "batch.json: what a batch plays"),
}
"""Name of the schema to its type, the version it describes, and what it is of."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_files() -> dict[str, bytes]:
    """The text of every schema by its file's name; equal types give equal bytes."""
    return {f"{name}.schema.json": _text(*found) for name, found in DOCUMENTS.items()}


def write_schemas(directory: Path) -> list[Path]:
    """Write every schema; returns where they are."""
    directory.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for name, data in schema_files().items():
        path = directory / name
        path.write_bytes(data)
        paths.append(path)
    return paths


def _text(document: type[msgspec.Struct], version: int, title: str) -> bytes:
    made = msgspec.json.schema(document)
    described: dict[str, Any] = {"$schema": _DIALECT, "title": f"{title}, version {version}", **made}
    return msgspec.json.format(msgspec.json.encode(described), indent=2) + b"\n"


if __name__ == "__main__":
    for written in write_schemas(Path(sys.argv[1])):
        sys.stdout.write(f"{written}\n")
