"""The rules for a report zip. Pure: bytes in, problems out.

A report comes from a stranger and ends up in somebody's browser; a page of it has to obey the safe render profile.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePosixPath

import msgspec

from coworld_actors.evidence.safe_render import MAX_PROBLEMS, check_page, check_stylesheet
from coworld_protocol.messages.reporter import POINTER_SUFFIXES, ReportManifest
from coworld_protocol.printable import printable

__all__ = ["MAX_ENTRIES", "MAX_UNPACKED", "Report", "check_report"]

MAX_ENTRIES = 1000
"""Entries of a report zip; the contract sets no limit, a directory listing has to."""

MAX_UNPACKED = 256 * 1024 * 1024
"""Bytes of all entries together once unpacked: a zip of 256 KiB can hold as much."""

MAX_TEXT = 32 * 1024 * 1024
"""Bytes of the manifest, of the page and of each of its stylesheets: what is looked into has to be read in seconds."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A report zip that was looked at.

    Attributes:
        problems: every broken rule; empty for a report that may be used.
        manifest: its manifest, where that could be read.
        entries: the names in it.
    """

    problems: tuple[str, ...]
    manifest: ReportManifest | None = None
    entries: tuple[str, ...] = ()


def check_report(data: bytes) -> Report:
    """Look at a report zip and list every rule it breaks, in text that can be shown anywhere."""
    report = _check(data)
    problems = [printable(problem) for problem in report.problems[:MAX_PROBLEMS]]
    if more := len(report.problems) - len(problems):
        problems.append(f"and {more} more")
    return msgspec.structs.replace(report, problems=tuple(problems))


def _check(data: bytes) -> Report:
    try:
        archive = _open(data)
    except _Unreadable as error:
        return Report(problems=(f"the report is no readable zip: {error}",))
    with archive:
        infos = archive.infolist()
        problems = _archive_problems(infos)
        if problems:
            return Report(problems=tuple(problems))
        names = tuple(info.filename for info in infos if not info.is_dir())
        if "manifest.json" not in names:
            return Report(problems=("the report has no manifest.json at its root",), entries=names)
        try:
            manifest = msgspec.json.decode(_read(archive, "manifest.json", MAX_TEXT), type=ReportManifest)
        except (msgspec.DecodeError, RecursionError, _Unreadable) as error:
            return Report(problems=(f"manifest.json of the report: {str(error)[:200]}",), entries=names)
        for field, suffixes in POINTER_SUFFIXES.items():
            pointer: str | None = getattr(manifest, field)
            if pointer is None:
                continue
            if pointer not in names:
                problems.append(f"manifest.json names {field} {pointer[:80]!r}, which is not in the report")
            elif not pointer.lower().endswith(suffixes):
                problems.append(f"{field} {pointer[:80]!r} does not end in {' or '.join(suffixes)}")
            elif field == "render":
                problems += _render_problems(archive, pointer, frozenset(names))
    return Report(problems=tuple(problems), manifest=manifest, entries=names)


class _Unreadable(Exception):
    """A zip, or an entry of it, that cannot be read."""


def _open(data: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(data))
    except (
        Exception
    ) as error:  # BadZipFile, ValueError, NotImplementedError, struct.error: whatever the directory's bytes lead to
        raise _Unreadable(str(error)) from error


def _archive_problems(infos: list[zipfile.ZipInfo]) -> list[str]:
    problems: list[str] = []
    if len(infos) > MAX_ENTRIES:
        problems.append(f"the report has {len(infos)} entries; {MAX_ENTRIES} are allowed")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > MAX_UNPACKED:
        problems.append(f"the report unpacks to {unpacked} bytes; {MAX_UNPACKED} are allowed")
    names = [info.filename for info in infos]
    if len(set(names)) != len(names):
        problems.append("the report has two entries of one name")
    if "" in names:
        problems.append("the report has an entry without a name")
    for info in infos[:MAX_ENTRIES]:
        path = PurePosixPath(info.filename)
        shown = repr(info.filename[:80])
        is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
        if path.is_absolute() or ".." in path.parts or "\\" in info.filename or "\0" in info.filename or is_link:
            problems.append(f"the entry {shown} would leave the report's directory")
        if not info.filename.isprintable():
            problems.append(f"the entry {shown} has a name with characters that cannot be shown")
        if info.flag_bits & 1:
            problems.append(f"the entry {shown} is encrypted")
    return problems


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    try:
        with archive.open(name) as entry:
            # The declared size may lie.
            data = entry.read(limit + 1)
    except Exception as error:  # zlib.error, lzma.LZMAError: each decompressor has its own
        raise _Unreadable(str(error) or type(error).__name__) from error
    if len(data) > limit:
        raise _Unreadable(f"it unpacks to more than {limit} bytes")
    return data


def _text(archive: zipfile.ZipFile, name: str) -> str:
    """An entry that a browser is given as text.

    Raises:
        _Unreadable: the rest of a sentence that begins with its name.
    """
    try:
        data = _read(archive, name, MAX_TEXT)
    except _Unreadable as error:
        raise _Unreadable(f"cannot be unpacked: {error}") from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Unreadable(f"is not UTF-8: {error.reason} at byte {error.start}") from error


def _render_problems(archive: zipfile.ZipFile, name: str, entries: frozenset[str]) -> list[str]:
    try:
        text = _text(archive, name)
    except _Unreadable as error:
        return [f"render {name[:80]!r} {error}"]
    if not name.lower().endswith(".html"):
        return []
    page = check_page(name, text, entries)
    problems = list(page.problems)
    for stylesheet in page.stylesheets:
        if len(problems) > MAX_PROBLEMS:
            break
        try:
            text = _text(archive, stylesheet)
        except _Unreadable as error:
            problems.append(f"stylesheet {stylesheet[:80]!r} {error}")
        else:
            problems += check_stylesheet(stylesheet, text, entries)
    return problems
