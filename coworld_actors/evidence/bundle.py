"""The episode bundle: one deterministic zip of what an episode left, for the roles that read one."""

from __future__ import annotations

import zipfile
from pathlib import Path

import msgspec

from coworld_actors.episode.workspace import FileRefused, Workspace, read_role_file
from coworld_protocol import contract
from coworld_protocol.messages.bundle import BUNDLE_MANIFEST, BundleManifest, BundleToken

__all__ = ["build_bundle"]

ENTRY_TIME = (1980, 1, 1, 0, 0, 0)
"""The zip format's first moment: the same episode always makes the same bytes."""

ENTRY_LIMIT = 2 * 1024 * 1024 * 1024
"""Bytes of one file that goes into a bundle."""


def build_bundle(workspace: Workspace, episode: str) -> BundleManifest:
    """Write `bundle.zip` of a good episode; what is absent is left out without an error.

    Raises:
        OSError: it cannot be written; the partial file is gone.
    """
    files: dict[BundleToken, str | dict[str, str]] = {}
    entries: list[tuple[str, bytes]] = []

    def take(entry: str, *sources: Path) -> bool:
        parts = [data for source in sources if (data := _read(source)) is not None]
        if parts:
            entries.append((entry, b"".join(parts)))
        return bool(parts)

    if take(contract.FILE_RESULTS, workspace.results):
        files["results"] = contract.FILE_RESULTS
    if take(contract.FILE_REPLAY, workspace.replay):
        files["replay"] = contract.FILE_REPLAY
    if take("logs/game.log", workspace.game_stdout, workspace.game_stderr):
        files["game_logs"] = {"combined": "logs/game.log"}
    slots = range(workspace.slots)
    logs = {
        str(s): contract.player_log_name(s) for s in slots if take(contract.player_log_name(s), workspace.player_log(s))
    }
    if logs:
        files["player_logs"] = logs
    artifacts = {
        str(s): name
        for s in slots
        if take(name := f"artifacts/{contract.player_artifact_name(s)}", workspace.player_artifact(s))
    }
    if artifacts:
        files["player_artifact"] = artifacts
    manifest = BundleManifest(ereq_id=episode, status="success", include=tuple(files), files=files)
    workspace.free(workspace.bundle)
    try:
        with zipfile.ZipFile(workspace.bundle, "x", zipfile.ZIP_DEFLATED) as archive:
            for name, data in [(BUNDLE_MANIFEST, msgspec.json.encode(manifest)), *entries]:
                archive.writestr(zipfile.ZipInfo(name, ENTRY_TIME), data, zipfile.ZIP_DEFLATED)
    except OSError:
        workspace.bundle.unlink(missing_ok=True)
        raise
    return manifest


def _read(path: Path) -> bytes | None:
    try:
        return read_role_file(path, ENTRY_LIMIT)
    except FileRefused:
        return None
