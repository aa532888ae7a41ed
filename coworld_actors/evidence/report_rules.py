"""The rules for a report zip. Pure: bytes in, problems out.

A report comes from a stranger and ends up in somebody's browser. HTML has to obey the safe render profile: nothing that runs,
nothing that is fetched, nothing that leaves the zip. Whoever shows it still puts it into a sandboxed frame.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from html.parser import HTMLParser
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import msgspec

from coworld_protocol.messages.reporter import ReportManifest

__all__ = ["MAX_ENTRIES", "MAX_UNPACKED", "Report", "check_report"]

MAX_ENTRIES = 1000
"""Entries of a report zip; the contract sets no limit, a directory listing has to."""

MAX_UNPACKED = 256 * 1024 * 1024
"""Bytes of all entries together once unpacked: a zip of 256 KiB can hold as much."""

SUFFIXES = {"render": (".md", ".html"), "event_log": (".parquet",), "trace": (".jsonl", ".json")}

BANNED_ELEMENTS = frozenset({"iframe", "frame", "frameset", "object", "embed", "applet", "base", "form"})
RESOURCE_ATTRIBUTES = frozenset({"src", "srcset", "poster", "background", "data", "xlink:href"})
LINK_ATTRIBUTES = frozenset({"href", "cite", "longdesc"})
CSS_BANNED = ("javascript:", "expression(", "@import")
CSS_URL = re.compile(r"url\(\s*(?:\"([^\"]*)\"|'([^']*)'|([^)]*))\s*\)", re.IGNORECASE)


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
    """Look at a report zip and list every rule it breaks."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
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
            manifest = msgspec.json.decode(_read(archive, "manifest.json"), type=ReportManifest)
        except (msgspec.DecodeError, zipfile.BadZipFile, RecursionError, _Unreadable) as error:
            return Report(problems=(f"manifest.json of the report: {error}",), entries=names)
        for field, suffixes in SUFFIXES.items():
            pointer: str | None = getattr(manifest, field)
            if pointer is None:
                continue
            if pointer not in names:
                problems.append(f"manifest.json names {field} {pointer!r}, which is not in the report")
            elif not pointer.lower().endswith(suffixes):
                problems.append(f"{field} {pointer!r} does not end in {' or '.join(suffixes)}")
            elif field == "render":
                problems += _render_problems(archive, pointer, frozenset(names))
    return Report(problems=tuple(problems), manifest=manifest, entries=names)


class _Unreadable(Exception):
    """An entry that cannot be unpacked."""


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
    for info in infos[:MAX_ENTRIES]:
        path = PurePosixPath(info.filename)
        is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
        if path.is_absolute() or ".." in path.parts or "\\" in info.filename or "\0" in info.filename or is_link:
            problems.append(f"the entry {info.filename!r} would leave the report's directory")
        if info.flag_bits & 1:
            problems.append(f"the entry {info.filename!r} is encrypted")
    return problems


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        with archive.open(name) as entry:
            # The declared size may lie; never unpack more than all entries together may have.
            data = entry.read(MAX_UNPACKED + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise _Unreadable(str(error)) from error
    except Exception as error:  # zlib.error, lzma.LZMAError: each decompressor has its own
        raise _Unreadable(f"{type(error).__name__}: {error}") from error
    if len(data) > MAX_UNPACKED:
        raise _Unreadable("it unpacks to more than its declared size")
    return data


def _render_problems(archive: zipfile.ZipFile, name: str, entries: frozenset[str]) -> list[str]:
    try:
        text = _read(archive, name).decode("utf-8")
    except UnicodeDecodeError as error:
        return [f"render {name!r} is not UTF-8: {error.reason} at byte {error.start}"]
    except _Unreadable as error:
        return [f"render {name!r} cannot be unpacked: {error}"]
    if not name.lower().endswith(".html"):
        return []
    profile = _SafeRender(name, entries)
    profile.feed(text)
    profile.close()
    return profile.problems


class _SafeRender(HTMLParser):
    """Collects every violation of the safe render profile."""

    def __init__(self, name: str, entries: frozenset[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.problems: list[str] = []
        self._name = name
        self._folder = posixpath.dirname(name)
        self._entries = entries
        self._style: list[str] | None = None

    def _refuse(self, what: str) -> None:
        line, _ = self.getpos()
        self.problems.append(f"{self._name} line {line}: {what}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in BANNED_ELEMENTS:
            self._refuse(f"element <{tag}>")
        if tag == "meta" and "http-equiv" in values:
            self._refuse("<meta http-equiv>")
        if tag == "script" and not values.get("src"):
            self._refuse("<script> without src")
        if tag == "link" and "stylesheet" not in values.get("rel", "").lower().split():
            self._refuse("<link> that is no stylesheet")
        if tag == "style":
            self._style = []
        for name, value in values.items():
            self._attribute(tag, name, value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        if self._style is not None:
            self._style.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "style" and self._style is not None:
            self._css("".join(self._style))
            self._style = None

    def close(self) -> None:
        """An element that is never closed is looked at, too."""
        super().close()
        # The parser of Python 3.11.7 keeps the text of an unclosed <style> back; a browser applies it.
        self.handle_data(self.rawdata)
        self.handle_endtag("style")

    def _attribute(self, tag: str, name: str, value: str) -> None:
        if name.startswith("on"):
            self._refuse(f"attribute {name}")
        if name == "style":
            self._css(value)
        if name in RESOURCE_ATTRIBUTES or (name == "href" and tag == "link"):
            candidates = [part.split() for part in value.split(",")] if name == "srcset" else [[value]]
            for words in candidates:
                if words and not self._is_inside(words[0]):
                    self._refuse(f"{name} leads out of the report: {words[0][:80]!r}")
        elif name in LINK_ATTRIBUTES:
            target = "".join(value.split()).lower()
            if target.startswith(("javascript:", "vbscript:", "data:text/html")):
                self._refuse(f"{name} with {target.split(',')[0][:40]!r}")

    def _css(self, text: str) -> None:
        lowered = text.lower()
        for banned in CSS_BANNED:
            if banned in lowered:
                self._refuse(f"CSS with {banned!r}")
        for match in CSS_URL.finditer(text):
            target = next((group for group in match.groups() if group is not None), "").strip()
            if not self._is_inside(target):
                self._refuse(f"CSS url() leads out of the report: {target[:80]!r}")

    def _is_inside(self, target: str) -> bool:
        target = target.strip()
        if not target or target.startswith("#") or target.lower().startswith("data:"):
            return True
        try:
            parts = urlsplit(target)
        except ValueError:
            return False
        if parts.scheme or parts.netloc or target.startswith(("/", "\\")):
            return False
        return posixpath.normpath(posixpath.join(self._folder, unquote(parts.path))) in self._entries
