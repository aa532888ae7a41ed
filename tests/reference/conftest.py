"""The public reference's Paint Arena as an author would have it on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.references import ARENA_IMAGE, VERSION, Reference

__all__ = ["arena"]


@pytest.fixture
def arena(reference: Reference, tmp_path: Path) -> Path:
    """The package's own manifest with its blanks filled in, and nothing else changed; returns its path, no image is mapped yet.

    The commissioner's image exists nowhere: a role that is not run needs none.
    """
    template = (reference.paint_arena / "coworld_manifest_template.json").read_text(encoding="utf-8")
    filled = template.replace("{{PAINTARENA_IMAGE}}", ARENA_IMAGE).replace("{{COMMISSIONER_IMAGE}}", "nowhere:1")
    assert "{{" not in filled
    manifest = json.loads(filled)
    manifest["game"]["version"] = VERSION
    path = tmp_path / "arena" / "coworld_manifest.json"
    path.parent.mkdir()
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return path
