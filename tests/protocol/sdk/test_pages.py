"""`coworld_protocol.sdk.pages`."""

from __future__ import annotations

import pytest

from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.sdk.pages import load_pages


def test_files_are_served_by_name_with_their_type(tmp_path):
    """Known suffixes are loaded; other files, hidden ones and directories are not."""
    for name in ("a.html", "b.JS", "c.css", "d.key", ".hidden.html", "e"):
        (tmp_path / name).write_text(name)
    (tmp_path / "sub.html").mkdir()
    pages = load_pages(tmp_path)
    assert {name: page.content_type for name, page in pages.items()} == {
        "a.html": "text/html; charset=utf-8",
        "b.JS": "text/javascript; charset=utf-8",
        "c.css": "text/css; charset=utf-8",
    }
    assert pages["a.html"].body == b"a.html"


def test_pages_may_load_nothing_from_outside(tmp_path):
    """Every page forbids outside scripts and styles, and allows sockets anywhere, because `address` may point anywhere."""
    (tmp_path / "a.html").write_text("")
    policy = dict(load_pages(tmp_path)["a.html"].headers)["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "ws: wss:" in policy


def test_a_missing_directory_is_a_sentence(tmp_path):
    """Pages that are not there end the game at its start."""
    with pytest.raises(PreconditionMissing, match="nowhere"):
        load_pages(tmp_path / "nowhere")
