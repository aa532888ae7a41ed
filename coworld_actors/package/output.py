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

from coworld_actors.manifest.document import json_path, parse_json
from coworld_actors.manifest.load import LoadedManifest, check_manifest
from coworld_protocol.errors import ManifestRefused, PreconditionMissing, Problem

__all__ = ["carried_files", "checked", "write_manifest"]

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


def carried_files(document: dict[str, Any], directory: Path, *, source: str) -> tuple[Path, ...]:
    """Files that a manifest names relative to itself: players that are files, and a viewer's directory.

    Args:
        document: the manifest.
        directory: where they are.
        source: how errors name the manifest.

    Returns:
        Paths below `directory`, relative to it.

    Raises:
        ManifestRefused: one is not there, is a link, or lies outside of the directory.
    """
    root = directory.resolve()
    found: list[Path] = []
    problems: list[Problem] = []
    for place, text, is_directory in _named(document):
        path = root / text
        files = list(_files_of(path)) if is_directory else [path]
        inside = ".." not in Path(text).parts and not Path(text).is_absolute() and path.resolve() == path
        if not inside or not files or len(files) > MOST_FILES or not all(each.is_file() for each in files):
            allowed = "a directory with files, without links" if is_directory else "a file"
            problems.append(
                Problem(
                    path=json_path(place), found=text, allowed=f"{allowed} below {root}, at most {MOST_FILES} files"
                )
            )
            continue
        found += [each.relative_to(root) for each in files]
    if problems:
        raise ManifestRefused(source, problems)
    return tuple(dict.fromkeys(found))


def write_manifest(output: Path, data: bytes, *, directory: Path, files: tuple[Path, ...] = ()) -> None:
    """Write the files that a manifest names, then the manifest, each whole or not at all.

    Args:
        output: where the manifest goes.
        data: its text.
        directory: where the files are now.
        files: relative to it; they will be the same relative to the manifest.

    Raises:
        PreconditionMissing: the place cannot be written to.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        for file in files:
            target = output.parent / file
            if target.resolve() != (directory / file).resolve():
                target.parent.mkdir(parents=True, exist_ok=True)
                with _whole(target) as partial:
                    shutil.copy(directory / file, partial)
        with _whole(output) as partial:
            partial.write_bytes(data)
    except OSError as error:
        raise PreconditionMissing(
            f"{output} cannot be written",
            evidence=error.strerror or str(error),
            todo="make room there, or name another place with --output",
        ) from error


@contextlib.contextmanager
def _whole(target: Path) -> Generator[Path]:
    """A file beside the target that takes its place when the block ends well, and is gone otherwise."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    partial = Path(name)
    try:
        os.close(descriptor)
        partial.chmod(0o644)
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


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
