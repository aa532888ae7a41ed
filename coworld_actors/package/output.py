"""The manifest that a build leaves: checked as any other, written at once or not at all, with the files that it names beside it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from coworld_actors.manifest.document import SIZE_LIMIT, json_path, parse_json, printable
from coworld_actors.manifest.load import LoadedManifest, check_manifest
from coworld_protocol.errors import ManifestRefused, PreconditionMissing, Problem, Refused

__all__ = ["Carried", "carried_files", "checked", "write_manifest"]

MOST_FILES: Final = 4096
"""Files of a viewer's directory; the contract's own bound (8.9)."""

_PINNED: Final = re.compile(r"sha256:[0-9a-f]{64}")


def checked(document: dict[str, Any], *, source: str, directory: Path) -> tuple[bytes, LoadedManifest]:
    """The text of a manifest, and what `load_manifest` would make of it.

    Raises:
        ManifestRefused: it breaks rules; all of them are named.
        Refused: it is too large.
    """
    data = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    return data, check_manifest(parse_json(data, source=source), source=source, directory=directory)


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """What a manifest names relative to itself; paths are relative to it.

    Attributes:
        files: players that are files; those within the bundle are left out.
        bundle: the viewer's directory; None without one.
        bundle_files: its files, relative to it.
    """

    files: tuple[Path, ...] = ()
    bundle: Path | None = None
    bundle_files: tuple[Path, ...] = ()


def carried_files(document: dict[str, Any], directory: Path, *, source: str, output: Path) -> Carried:
    """Files that a manifest names relative to itself: players that are files, and a viewer's directory.

    Args:
        document: the manifest.
        directory: where they are.
        source: how errors name the manifest.
        output: where the manifest goes, and they beside it.

    Raises:
        ManifestRefused: one is not there, is a link, or lies outside of the directory; or the viewer's directory has the package
            or what a build leaves in it, or is in it.
        Refused: what is there now, and none of an earlier build's, would be replaced.
    """
    root = directory.resolve()
    files: list[Path] = []
    bundle: Path | None = None
    bundle_files: tuple[Path, ...] = ()
    problems: list[Problem] = []
    for place, text, is_directory in _named(document):
        allowed = f"{'a directory with files, without links' if is_directory else 'a file'} below {root}"
        allowed += f", at most {MOST_FILES} files"
        try:
            found = _found(root, text, is_directory)
            mingled = is_directory and _mingled(root, Path(text), output)
        except (OSError, ValueError):
            # A name that no file can have.
            found, mingled = (), False
        if not found:
            problems.append(Problem(path=json_path(place), found=printable(text)[:200], allowed=allowed))
        elif mingled:
            allowed = "a directory of its own, apart from the package and from what a build leaves"
            problems.append(Problem(path=json_path(place), found=printable(text), allowed=allowed))
        elif is_directory:
            bundle, bundle_files = Path(text), found
        else:
            files.append(Path(text))
    if problems:
        raise ManifestRefused(source, problems)
    alone = (each for each in dict.fromkeys(files) if bundle is None or not each.is_relative_to(bundle))
    carried = Carried(files=tuple(alone), bundle=bundle, bundle_files=bundle_files)
    _check_places(output, root, carried)
    return carried


def _found(root: Path, text: str, is_directory: bool) -> tuple[Path, ...]:
    """The files behind a name, relative to it; nothing when one of them cannot be carried."""
    path = root / text
    if ".." in Path(text).parts or Path(text).is_absolute() or path.resolve() != path:
        return ()
    files = list(_files_of(path)) if is_directory else [path]
    if len(files) > MOST_FILES or not all(each.is_file() for each in files):
        return ()
    return tuple(each.relative_to(path) for each in files)


def _mingled(root: Path, bundle: Path, output: Path) -> bool:
    """Whether carrying a directory would carry the package, or what was carried before, or would replace its source."""
    source, beside = root / bundle, output.parent.resolve()
    target = beside / bundle
    built = beside != root and beside.is_relative_to(root) and source.is_relative_to(beside)
    around = target != source and (target in source.parents or source in target.parents)
    return source == root or built or around


def write_manifest(output: Path, data: bytes, *, directory: Path, carried: Carried = Carried()) -> None:  # noqa: B008 - a value
    """Write the files that a manifest names, then the manifest: all of them, or it is as it was before.

    The viewer's directory is replaced as a whole, so nothing of an earlier build stays in it.

    Args:
        output: where the manifest goes.
        data: its text.
        directory: where the files are now.
        carried: those files; they will be the same relative to the manifest.

    Raises:
        Refused: they would go through a link, or replace what is none of an earlier build's.
        PreconditionMissing: the place cannot be written to.
    """
    root = directory.resolve()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _check_places(output, root, carried)
        with contextlib.ExitStack() as stack:
            ready: list[tuple[Path, Path]] = []
            for name in (carried.bundle, *carried.files):
                if name is None or _lies_there(output, root, name):
                    continue
                target = output.parent / name
                target.parent.mkdir(parents=True, exist_ok=True)
                # Beside the target: renaming works within one file system only.
                place = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}-", dir=target.parent))
                stack.callback(shutil.rmtree, place, ignore_errors=True)
                _copy(root / name, place / "new", carried.bundle_files if name == carried.bundle else None)
                ready.append((target, place))
            with _whole(output) as partial:
                partial.write_bytes(data)
                _exchange(ready, partial, output)
    except OSError as error:
        raise PreconditionMissing(
            f"{output} cannot be written",
            evidence=error.strerror or str(error),
            todo="make room there, or name another place with --output",
        ) from error


def _check_places(output: Path, root: Path, carried: Carried) -> None:
    """Nothing is written through a link, and no directory is replaced that nobody knows to be an earlier build's."""
    beside = output.parent.resolve()
    for name in (carried.bundle, *carried.files):
        if name is None or _lies_there(output, root, name):
            continue
        target = output.parent / name
        if not target.parent.resolve().is_relative_to(beside) or (name == carried.bundle and target.is_symlink()):
            raise Refused(
                f"{target} would be written through a link",
                evidence=f"it leads to {target.resolve()}",
                todo="remove the link, or name another place with --output",
            )
        expected = name == carried.bundle
        if os.path.lexists(target) and target.is_dir() != expected:
            raise Refused(f"{target} is in the way", todo="remove it, or name another place with --output")
        if expected and target.is_dir() and any(target.iterdir()) and not _names_bundle(output, name):
            raise Refused(
                f"{target} would be replaced, and no manifest says that a build has made it",
                evidence=f"{output} does not name it",
                todo="remove that directory, or name another place with --output",
            )


def _lies_there(output: Path, root: Path, name: Path) -> bool:
    """Whether a file is its own target: the manifest goes beside its template."""
    return output.parent.resolve() == root and (root / name).resolve() == root / name


def _names_bundle(output: Path, bundle: Path) -> bool:
    """Whether the manifest that is there now has this viewer's directory."""
    try:
        with output.open("rb") as file:
            document = msgspec.json.decode(file.read(SIZE_LIMIT + 1))
    except (OSError, msgspec.DecodeError, RecursionError):
        return False
    return isinstance(document, dict) and any(of and Path(text) == bundle for _, text, of in _named(document))


def _copy(source: Path, target: Path, files: tuple[Path, ...] | None) -> None:
    """Copy a file, or of a directory these files."""
    if files is None:
        shutil.copy(source, target)
        _keep(target)
        return
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / file, target / file)
        _keep(target / file)


def _keep(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _exchange(ready: list[tuple[Path, Path]], partial: Path, output: Path) -> None:
    """Put what is ready in its places, the manifest last; what was there goes back when one of them fails."""
    with contextlib.ExitStack() as undo:
        for target, place in ready:
            if os.path.lexists(target):
                target.rename(place / "old")
                undo.callback((place / "old").rename, target)
            (place / "new").rename(target)
            undo.callback(target.rename, place / "new")
        _keep(partial)
        partial.replace(output)
        undo.pop_all()


@contextlib.contextmanager
def _whole(target: Path) -> Generator[Path]:
    """A file beside the target, for the block to rename; gone when it did not."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:100]}-", dir=target.parent)
    partial = Path(name)
    try:
        os.close(descriptor)
        partial.chmod(0o644)
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _named(document: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str, bool]]:
    """Place, path and whether it is a directory, of whatever is not named by its content."""
    players = document.get("player")
    for index, player in enumerate(players if isinstance(players, list) else []):
        file = player.get("file") if isinstance(player, dict) else None
        if isinstance(file, str) and not _PINNED.fullmatch(file):
            yield ("player", index, "file"), file, False
    game = document.get("game")
    viewer = game.get("replay_viewer") if isinstance(game, dict) else None
    bundle = viewer.get("bundle") if isinstance(viewer, dict) else None
    if isinstance(bundle, str) and not _PINNED.fullmatch(bundle):
        yield ("game", "replay_viewer", "bundle"), bundle, True


def _files_of(directory: Path) -> Iterator[Path]:
    count = 0
    for folder, folders, names in os.walk(directory):
        # A link in the place of a folder is no file, which the caller refuses.
        for name in (*names, *(each for each in folders if (Path(folder) / each).is_symlink())):
            path = Path(folder) / name
            yield path if not path.is_symlink() else directory
            count += 1
            if count > MOST_FILES:
                return
