"""The manifest that is written, and the files that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coworld_actors.package.output import carried_files, checked, write_manifest
from coworld_protocol.errors import ManifestRefused, PreconditionMissing
from tests.packages import template


def manifest(**game: Any) -> dict[str, Any]:
    document = template("a:1", "b:1")
    document["game"].update({"version": "0.1.0", **game})
    return document


def test_the_loader_has_the_last_word(tmp_path: Path) -> None:
    """A good one becomes a text that reads back the same; a bad one is refused with everything that is wrong."""
    data, loaded = checked(manifest(), source="m", directory=tmp_path)
    assert loaded.raw == manifest()
    assert data.endswith(b"}\n")
    with pytest.raises(ManifestRefused) as caught:
        checked(manifest(owner="", version="x y"), source="m", directory=tmp_path)
    assert {each.path for each in caught.value.problems} == {"$.game.owner", "$.game.version"}


def test_files_that_a_manifest_names_come_along(tmp_path: Path) -> None:
    """Players that are files and a viewer's directory lie as they did beside the template; what is pinned has no file."""
    source, output = tmp_path / "source", tmp_path / "dist" / "m.json"
    (source / "view" / "js").mkdir(parents=True)
    for name in ("bots/a.py", "view/index.html", "view/js/x.js"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(name)
    document = manifest(replay_viewer={"bundle": "view"})
    document["player"] = [{"file": "bots/a.py"}, {"file": "sha256:" + "0" * 64}, {"image": "x"}]
    files = carried_files(document, source, source="m")
    write_manifest(output, b"{}\n", directory=source, files=files)
    assert {str(path.relative_to(output.parent)) for path in output.parent.rglob("*") if path.is_file()} == {
        "m.json",
        "bots/a.py",
        "view/index.html",
        "view/js/x.js",
    }
    assert (output.parent / "bots/a.py").read_text() == "bots/a.py"


@pytest.mark.parametrize("file", ["../outside", "none", "link", "folder", "/etc/passwd", "linked/inside"])
def test_files_that_are_none_or_lie_elsewhere_are_refused(tmp_path: Path, file: str) -> None:
    """By the place that names them."""
    source = tmp_path / "source"
    (source / "folder").mkdir(parents=True)
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "inside").write_text("secret")
    (source / "link").symlink_to(tmp_path / "outside")
    (source / "linked").symlink_to(tmp_path / "other")
    document = manifest()
    document["player"] = [{"file": file}]
    with pytest.raises(ManifestRefused) as caught:
        carried_files(document, source, source="m")
    assert [each.path for each in caught.value.problems] == ["$.player[0].file"]


def test_a_viewer_with_a_link_in_it_is_refused(tmp_path: Path) -> None:
    """Whatever it points at, and whether it is a file or a folder."""
    for name, target in (("a", "/etc/passwd"), ("b", "/etc")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text("")
        (tmp_path / name / "x").symlink_to(target)
        with pytest.raises(ManifestRefused):
            carried_files(manifest(replay_viewer={"bundle": name}), tmp_path, source="m")


def test_nothing_half_is_left(tmp_path: Path) -> None:
    """The old manifest stays when the new one cannot be written, and no partial file is there."""
    output = tmp_path / "m.json"
    output.write_text("old")
    with pytest.raises(PreconditionMissing, match="cannot be written"):
        write_manifest(output, b"new", directory=tmp_path / "none", files=(Path("missing.py"),))
    assert output.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]
    write_manifest(output, b"new", directory=tmp_path)
    assert output.read_text() == "new"
    assert output.stat().st_mode & 0o777 == 0o644
    with pytest.raises(PreconditionMissing, match="cannot be written"):
        write_manifest(output / "below" / "m.json", b"new", directory=tmp_path)
