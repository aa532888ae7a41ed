"""The reporter's request, as the one-shot process finds it in its environment. Unknown keys are ignored by either side."""

from __future__ import annotations

from typing import Literal

import msgspec

from coworld_protocol.messages.bundle import BundleManifest, EpisodeStatus

__all__ = [
    "POINTER_SUFFIXES",
    "Artifact",
    "Artifacts",
    "EpisodeInput",
    "ErrorInfo",
    "InlineJson",
    "ReportManifest",
    "ReportRequest",
]


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """Where one artifact can be read.

    Attributes:
        uri: `file://` or `http(s)://`.
        media_type: its content type.
        encoding: `zlib` when the bytes behind the URI are compressed.
    """

    uri: str
    media_type: str
    encoding: Literal["identity", "zlib"] = "identity"


class Artifacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that is left of an episode; what is absent was not available."""

    results: Artifact | None = None
    replay: Artifact | None = None
    game_logs: dict[str, Artifact] = {}
    player_logs: dict[str, Artifact] = {}
    player_artifact: dict[str, Artifact] = {}


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Why an episode failed."""

    error_type: str | None = None
    error: str | None = None
    failed_policy_index: int | None = None
    failed_agent_index: int | None = None


class InlineJson(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Small artifacts carried in the request itself."""

    error_info: ErrorInfo | None = None


class EpisodeInput(msgspec.Struct, frozen=True, kw_only=True):
    """One episode to report on."""

    episode_request_id: str
    status: EpisodeStatus
    manifest: BundleManifest
    artifacts: Artifacts
    inline_json: InlineJson = InlineJson()


class ReportRequest(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="report_request"):
    """What a reporter is asked to do: read `episodes`, write one zip to `report_uri`."""

    request_id: str
    report_uri: str
    episodes: tuple[EpisodeInput, ...]


POINTER_SUFFIXES = {"render": (".md", ".html"), "event_log": (".parquet",), "trace": (".jsonl", ".json")}
"""What an entry may be called that a pointer of `ReportManifest` names, in lower case."""


class ReportManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`manifest.json` of a report zip: who wrote it and which entries matter."""

    reporter_id: str
    render: str | None = None
    event_log: str | None = None
    trace: str | None = None
