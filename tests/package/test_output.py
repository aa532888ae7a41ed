"""The manifest that is written, and the files that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coworld_actors.package.output import Carried, carried_files, checked, write_manifest
from coworld_protocol.errors import ManifestRefused, PreconditionMissing, Refused
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
    carried = carried_files(document, source, source="m", output=output)
    write_manifest(output, b"{}\n", directory=source, carried=carried)
    assert {str(path.relative_to(output.parent)) for path in output.parent.rglob("*") if path.is_file()} == {
        "m.json",
        "bots/a.py",
        "view/index.html",
        "view/js/x.js",
    }
    assert (output.parent / "bots/a.py").read_text() == "bots/a.py"


@pytest.mark.parametrize(
    "file", ["../outside", "none", "link", "folder", "/etc/passwd", "linked/inside", "a\0b", "x" * 5000]
)
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
        carried_files(document, source, source="m", output=tmp_path / "dist" / "m.json")
    assert [each.path for each in caught.value.problems] == ["$.player[0].file"]


def test_a_viewer_with_a_link_in_it_is_refused(tmp_path: Path) -> None:
    """Whatever it points at, and whether it is a file or a folder."""
    for name, target in (("a", "/etc/passwd"), ("b", "/etc")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text("")
        (tmp_path / name / "x").symlink_to(target)
        with pytest.raises(ManifestRefused):
            carried_files(
                manifest(replay_viewer={"bundle": name}), tmp_path, source="m", output=tmp_path / "dist" / "m.json"
            )


def test_nothing_half_is_left(tmp_path: Path) -> None:
    """The old manifest stays when the new one cannot be written, and no partial file is there."""
    output = tmp_path / "m.json"
    output.write_text("old")
    with pytest.raises(PreconditionMissing, match="cannot be written"):
        write_manifest(output, b"new", directory=tmp_path / "none", carried=Carried(files=(Path("missing.py"),)))
    assert output.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]
    write_manifest(output, b"new", directory=tmp_path)
    assert output.read_text() == "new"
    assert output.stat().st_mode & 0o777 == 0o644
    with pytest.raises(PreconditionMissing, match="cannot be written"):
        write_manifest(output / "below" / "m.json", b"new", directory=tmp_path)


class Viewer:
    """A package whose manifest names a viewer's directory, and what a build makes of it."""

    def __init__(self, tmp_path: Path, bundle: str = "view", output: str = "dist/m.json") -> None:
        self.root = tmp_path / "package"
        self.document = manifest(replay_viewer={"bundle": bundle})
        self.output = self.root / output
        self.write("view/index.html", "first")
        self.write(".env", "secret")

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def build(self) -> None:
        carried = carried_files(self.document, self.root, source="m", output=self.output)
        data, _ = checked(self.document, source="m", directory=self.root)
        write_manifest(self.output, data, directory=self.root, carried=carried)

    def built(self) -> set[str]:
        beside = self.output.parent
        return {str(path.relative_to(beside)) for path in beside.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("bundle", ["", ".", "./", "dist", "dist/view"])
def test_a_viewer_that_is_the_package_or_was_built_is_refused(tmp_path: Path, bundle: str) -> None:
    """It would publish what lies in the package, secrets too, and what was published before."""
    viewer = Viewer(tmp_path, bundle)
    viewer.write("dist/view/index.html", "built")
    with pytest.raises(ManifestRefused) as caught:
        viewer.build()
    assert [each.path for each in caught.value.problems] == ["$.game.replay_viewer.bundle"]
    assert not any(path.name == ".env" for path in (viewer.root / "dist").rglob("*"))


def test_a_viewer_with_the_output_in_it_is_refused(tmp_path: Path) -> None:
    """Each build would have the one before in it; and where it would take its own source's place, so is it."""
    with pytest.raises(ManifestRefused):
        Viewer(tmp_path, output="view/dist/m.json").build()
    viewer = Viewer(tmp_path / "two")
    viewer.root = viewer.root.rename(viewer.root.with_name("view"))
    viewer.output = viewer.root.parent / "m.json"
    with pytest.raises(ManifestRefused):
        viewer.build()
    assert (viewer.root / ".env").exists()


def test_a_viewer_that_is_built_again_keeps_nothing_of_before(tmp_path: Path) -> None:
    """What its source has lost, it has lost; players that are files within it come with it."""
    viewer = Viewer(tmp_path)
    viewer.write("view/old.js", "old")
    viewer.document["player"].append({**viewer.document["player"][0], "id": "f", "file": "view/index.html"})
    carried = carried_files(viewer.document, viewer.root, source="m", output=viewer.output)
    assert (carried.files, carried.bundle) == ((), Path("view"))
    viewer.document["player"].pop()
    viewer.build()
    assert viewer.built() == {"m.json", "view/index.html", "view/old.js"}
    (viewer.root / "view/old.js").unlink()
    viewer.write("view/index.html", "second")
    viewer.build()
    assert viewer.built() == {"m.json", "view/index.html"}
    assert (viewer.output.parent / "view/index.html").read_text() == "second"


def test_a_manifest_beside_its_template_leaves_the_viewer_where_it_is(tmp_path: Path) -> None:
    """There is nothing to copy."""
    viewer = Viewer(tmp_path, output="m.json")
    viewer.build()
    assert viewer.built() == {"m.json", "view/index.html", ".env"}


def test_a_failure_in_the_middle_leaves_the_old_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The viewer and the manifest are both of before, whichever of the steps fails."""
    viewer = Viewer(tmp_path)
    viewer.build()
    before = viewer.output.read_bytes()
    viewer.write("view/index.html", "second")
    viewer.document["game"]["version"] = "0.2.0"
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target == viewer.output:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(PreconditionMissing, match="cannot be written"):
        viewer.build()
    assert (viewer.output.parent / "view/index.html").read_text() == "first"
    assert viewer.output.read_bytes() == before
    assert viewer.built() == {"m.json", "view/index.html"}


@pytest.mark.parametrize("planted", ["view", "deep"])
def test_nothing_is_written_through_a_link(tmp_path: Path, planted: str) -> None:
    """One in the place of the viewer's directory or above it would lead elsewhere."""
    bundle = "view" if planted == "view" else "deep/view"
    viewer = Viewer(tmp_path, bundle)
    viewer.write(f"{bundle}/index.html", "first")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    viewer.output.parent.mkdir()
    (viewer.output.parent / planted).symlink_to(elsewhere)
    with pytest.raises(Refused, match="through a link"):
        viewer.build()
    carried = Carried(bundle=Path(bundle), bundle_files=(Path("index.html"),))
    with pytest.raises(Refused, match="through a link"):
        write_manifest(viewer.output, b"{}", directory=viewer.root, carried=carried)
    assert list(elsewhere.iterdir()) == []


def test_a_directory_that_no_build_has_made_is_not_replaced(tmp_path: Path) -> None:
    """Nor is a file where a directory has to be."""
    viewer = Viewer(tmp_path)
    viewer.write("dist/view/mine", "precious")
    with pytest.raises(Refused, match="no manifest says"):
        viewer.build()
    assert viewer.built() == {"view/mine"}
    (viewer.root / "dist/view/mine").unlink()
    (viewer.root / "dist/view").rmdir()
    viewer.write("dist/view", "a file")
    with pytest.raises(Refused, match="in the way"):
        viewer.build()
