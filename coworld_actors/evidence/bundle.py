"""The episode bundle: one deterministic zip of what an episode left, for the roles that read one."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import msgspec

from coworld_actors.episode.workspace import FileRefused, Workspace, open_role_file
from coworld_protocol import contract
from coworld_protocol.messages.bundle import BUNDLE_MANIFEST, BundleManifest, BundleToken

__all__ = ["ENTRY_LIMIT", "TOTAL_LIMIT", "build_bundle"]

ENTRY_TIME = (1980, 1, 1, 0, 0, 0)
"""The zip format's first moment: the same episode always makes the same bytes."""

ENTRY_LIMIT = 2 * 1024 * 1024 * 1024
"""Bytes of one file that goes into a bundle; a larger one is left out."""

TOTAL_LIMIT = 4 * 1024 * 1024 * 1024
"""Bytes of all of them together; what no longer fits is left out, results and replay come first."""

CHUNK = 1024 * 1024
"""Bytes that are packed at a time: some 20 ms of work, after which it can be called off."""


def build_bundle(workspace: Workspace, episode: str, pause: Callable[[], None] = lambda: None) -> BundleManifest:
    """Write `bundle.zip` of a good episode; what is absent is left out without an error.

    Args:
        workspace: the episode's files.
        episode: its id.
        pause: called after every mebibyte; calls it off by raising.

    Raises:
        OSError: it cannot be written; as after any other exception, the partial file is gone.
    """
    workspace.free(workspace.bundle)
    try:
        with zipfile.ZipFile(workspace.bundle, "x", zipfile.ZIP_DEFLATED) as archive:
            return _fill(_Packer(archive, pause), workspace, episode)
    except BaseException:
        # A file of that name is a whole bundle.
        workspace.bundle.unlink(missing_ok=True)
        raise


class _Packer:
    """Puts files into an archive, a piece at a time."""

    def __init__(self, archive: zipfile.ZipFile, pause: Callable[[], None]) -> None:
        self._archive = archive
        self._pause = pause
        self._room = TOTAL_LIMIT

    def take(self, entry: str, *sources: Path) -> bool:
        """Join the files that are there into one entry; returns whether there was one."""
        with ExitStack() as stack:
            found = [(stack.enter_context(file), size) for file, size in map(self._open, sources) if file is not None]
            if not found:
                return False
            info = zipfile.ZipInfo(entry, ENTRY_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            # The zip format has to know beforehand whether an entry may need more than 32 bits.
            info.file_size = sum(size for _, size in found)
            with self._archive.open(info, "w") as target:
                for file, size in found:
                    left = size
                    while data := file.read(min(CHUNK, left)):
                        left -= len(data)
                        target.write(data)
                        self._pause()
        return True

    def put(self, entry: str, data: bytes) -> None:
        self._archive.writestr(zipfile.ZipInfo(entry, ENTRY_TIME), data, zipfile.ZIP_DEFLATED)

    def _open(self, path: Path) -> tuple[BinaryIO | None, int]:
        try:
            file = open_role_file(path, min(ENTRY_LIMIT, self._room))
        except FileRefused:
            return None, 0
        size = 0 if file is None else os.fstat(file.fileno()).st_size
        self._room -= size
        return file, size


def _fill(packer: _Packer, workspace: Workspace, episode: str) -> BundleManifest:
    """Pack everything that is there, and at the end what says where it is."""
    files: dict[BundleToken, str | dict[str, str]] = {}
    if packer.take(contract.FILE_RESULTS, workspace.results):
        files["results"] = contract.FILE_RESULTS
    if packer.take(contract.FILE_REPLAY, workspace.replay):
        files["replay"] = contract.FILE_REPLAY
    if packer.take("logs/game.log", workspace.game_stdout, workspace.game_stderr):
        files["game_logs"] = {"combined": "logs/game.log"}
    slots = range(workspace.slots)
    logs = {str(s): name for s in slots if packer.take(name := contract.player_log_name(s), workspace.player_log(s))}
    if logs:
        files["player_logs"] = logs
    artifacts = {
        str(s): name
        for s in slots
        if packer.take(name := f"artifacts/{contract.player_artifact_name(s)}", workspace.player_artifact(s))
    }
    if artifacts:
        files["player_artifact"] = artifacts
    manifest = BundleManifest(ereq_id=episode, status="success", include=tuple(files), files=files)
    packer.put(BUNDLE_MANIFEST, msgspec.json.encode(manifest))
    return manifest
