"""One-shot roles: a reporter reads a request and writes a zip, a grader reads a bundle and writes a score. Both then end.

    request = read_report_request()
    replay = read_artifact(request.episodes[0].artifacts.replay)
    write_report(request.report_uri, ReportManifest(reporter_id="mine", render="report.html"), {"report.html": html})

The functions block: such a process has nothing else to do.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec

from coworld_protocol import contract
from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused
from coworld_protocol.messages.bundle import BUNDLE_MANIFEST, BundleManifest
from coworld_protocol.messages.reporter import POINTER_SUFFIXES, Artifact, ReportManifest, ReportRequest
from coworld_protocol.sdk.environment import environment
from coworld_protocol.sdk.uris import inflate, read_uri, write_uri

__all__ = [
    "Bundle",
    "Grade",
    "deterministic_zip",
    "open_bundle",
    "read_artifact",
    "read_report_request",
    "report_zip",
    "run_role",
    "write_grade",
    "write_report",
]

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def read_report_request(environ: Mapping[str, str] | None = None) -> ReportRequest:
    """The request in the reporter's environment.

    Raises:
        PreconditionMissing: there is none.
        Refused: it is not a report request.
    """
    try:
        return msgspec.json.decode(_variable(environ, contract.ENV_REPORT_REQUEST), type=ReportRequest)
    except msgspec.MsgspecError as error:
        todo = "start the reporter with coworld-actors run"
        raise Refused(f"{contract.ENV_REPORT_REQUEST} is no report request.", evidence=str(error), todo=todo) from error


def read_artifact(artifact: Artifact | None) -> bytes:
    """The bytes of an artifact, with its encoding undone.

    Raises:
        Refused: the episode left no such artifact.
        UriFailed: it cannot be read.
    """
    if artifact is None:
        raise Refused("The episode left no such artifact.", todo="ask for a report on an episode that succeeded")
    return inflate(read_uri(artifact.uri), artifact.encoding)


def deterministic_zip(entries: Mapping[str, bytes]) -> bytes:
    """A zip whose bytes depend on nothing but names and contents: order as given, 1980-01-01, deflate, mode 0644.

    Raises:
        Refused: a name is absolute, leads out of the archive, or is empty.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            parts = PurePosixPath(name).parts
            if not parts or name.startswith("/") or "\\" in name or ".." in parts:
                raise Refused(
                    f"{name!r} cannot name an entry of a zip.", todo="use a relative path with forward slashes"
                )
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, data)
    return buffer.getvalue()


def report_zip(manifest: ReportManifest, entries: Mapping[str, bytes]) -> bytes:
    """A report's zip: `manifest.json` first, then the entries in the order given.

    Raises:
        Refused: a pointer of the manifest names no entry or one with a wrong suffix, or the render is not UTF-8.
    """
    for pointer, suffixes in POINTER_SUFFIXES.items():
        name = getattr(manifest, pointer)
        if name is None:
            continue
        if name not in entries:
            raise Refused(
                f"The report's {pointer} names {name!r}, which is no entry.", todo="add the entry or drop the pointer"
            )
        if not name.lower().endswith(suffixes):
            raise Refused(f"The report's {pointer} {name!r} has a wrong suffix.", todo=f"use {' or '.join(suffixes)}")
    if manifest.render is not None:
        try:
            entries[manifest.render].decode()
        except UnicodeDecodeError as error:
            raise Refused(
                "The report's render is not UTF-8.", evidence=str(error), todo="encode it as UTF-8"
            ) from error
    head = msgspec.json.encode(manifest, order="sorted")
    return deterministic_zip(
        {BUNDLE_MANIFEST: head} | {name: data for name, data in entries.items() if name != BUNDLE_MANIFEST}
    )


def write_report(uri: str, manifest: ReportManifest, entries: Mapping[str, bytes]) -> None:
    """Write a report where the request wants it.

    Raises:
        Refused: the report breaks a rule of report zips.
        UriFailed: it could not be written.
    """
    write_uri(uri, report_zip(manifest, entries), "application/zip")


class Bundle:
    """An episode bundle, opened. Entries are found through its manifest, never by a fixed name."""

    def __init__(self, data: bytes) -> None:
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            self.manifest = msgspec.json.decode(self._archive.read(BUNDLE_MANIFEST), type=BundleManifest)
        except (zipfile.BadZipFile, KeyError, msgspec.MsgspecError) as error:
            todo = "name a bundle that a runner made"
            raise Refused("This is no episode bundle.", evidence=str(error), todo=todo) from error

    def read(self, token: str, key: str | None = None) -> bytes | None:
        """An entry's bytes; None when the bundle was delivered without it.

        Args:
            token: `results`, `replay`, `game_logs`, ...
            key: for the maps: `combined` of the game logs, the slot of the others.

        Raises:
            Refused: the manifest names an entry that is not there.
        """
        entry = msgspec.to_builtins(self.manifest.files).get(token)
        name = entry.get(key) if isinstance(entry, dict) else entry
        if name is None:
            return None
        try:
            return self._archive.read(name)
        except KeyError as error:
            raise Refused(
                f"The bundle has no {name!r}, which its manifest names.", todo="make the bundle again"
            ) from error


def open_bundle(environ: Mapping[str, str] | None = None) -> Bundle:
    """The bundle that a grader or diagnoser is started with.

    Raises:
        PreconditionMissing: none is named.
        Refused: it is no bundle.
        UriFailed: it cannot be read.
    """
    return Bundle(read_uri(_variable(environ, contract.ENV_EPISODE_BUNDLE_URI)))


class Grade(msgspec.Struct, frozen=True, kw_only=True):
    """What a grader says; a grader adds keys by inheriting.

    Attributes:
        grader_id: the manifest's id of the grader.
        score: the grade.
    """

    grader_id: str
    score: float


def write_grade(grade: Grade, environ: Mapping[str, str] | None = None) -> None:
    """Write the grade where the runner wants it.

    Raises:
        PreconditionMissing: no place is named.
        UriFailed: it could not be written.
    """
    write_uri(_variable(environ, contract.ENV_GRADE_URI), msgspec.json.encode(grade), "application/json")


def run_role(main: Callable[[], Any]) -> int:
    """Run a one-shot role and return its exit status; a failure is one to four lines on stderr."""
    try:
        main()
    except KeyboardInterrupt:
        return 130
    except CoworldError as error:
        print(*error.lines(), sep="\n", file=sys.stderr, flush=True)  # noqa: T201 - stderr is where a role reports its end
        return error.exit_code
    return 0


def _variable(environ: Mapping[str, str] | None, name: str) -> str:
    value = (environment() if environ is None else environ).get(name)
    if not value:
        raise PreconditionMissing(
            f"{name} is not set.", todo="start the role with coworld-actors run, or set it by hand"
        )
    return value
