"""The episode bundle: a zip whose `manifest.json` says which entry holds what. Readers go through `files`, never by name."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["BUNDLE_MANIFEST", "BundleManifest", "BundleToken", "EpisodeStatus"]

BUNDLE_MANIFEST = "manifest.json"

BundleToken = Literal["results", "replay", "error_info", "game_logs", "player_logs", "player_artifact"]
EpisodeStatus = Literal["success", "failed"]


class BundleManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The root entry of a bundle.

    Attributes:
        ereq_id: id of the episode.
        status: whether it produced a result that counts.
        include: what was delivered; anything else was not available.
        files: token to entry name, or to a map of key to entry name for the logs and artifacts.
    """

    ereq_id: str
    status: EpisodeStatus
    include: tuple[BundleToken, ...]
    files: dict[BundleToken, str | dict[str, str]]
