"""The safe render profile: which pages of a report may be shown. Pure: text in, problems out.

Two readers of broken HTML can see two pages in it, and what a check has seen is then not what a browser shows. So nothing is
repaired here: a page is read by a grammar so small that every tokenizer reads it the same way, and what does not fit is a problem
with its line. Text that no browser would take for anything else than text, such as `a < b`, fits.

The profile keeps what the contract allows, inline charts, files of the zip, `data:` images and links that somebody has to click,
and goes beyond the contract's list where that leaves a way out. It is still a best effort about a language that grows: scripts
that lie in the zip pass it, as the contract says. Whoever shows a page puts it into a sandboxed frame, always.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from contextlib import suppress
from html import unescape
from urllib.parse import unquote, urlsplit

import msgspec

__all__ = ["MAX_PROBLEMS", "Page", "check_page", "check_stylesheet"]

MAX_PROBLEMS = 100
"""Problems of one text that are listed; nobody reads more, and a page of a stranger can have millions."""

BANNED_ELEMENTS = frozenset(
    # The contract's: they embed, navigate, or change what every other address means.
    {"iframe", "frame", "frameset", "object", "embed", "applet", "base", "form"}
    # Others that embed.
    | {"portal", "fencedframe"}
    # Their content is text for one tokenizer and markup for the next, or for the same one with scripting off.
    | {"textarea", "xmp", "noscript", "noembed", "noframes", "plaintext", "listing"}
    # They write attributes after every check.
    | {"animate", "animatecolor", "animatemotion", "animatetransform", "set"}
)
RAW_ELEMENTS = frozenset({"script", "style", "title"})
"""Raw in HTML and not in SVG; the same in both as long as there is no `<` in them."""

BANNED_ATTRIBUTES = frozenset(
    {"action", "attributionsrc", "dynsrc", "formaction", "lowsrc", "manifest", "ping", "srcdoc", "xml:base"}
)
RESOURCE_ATTRIBUTES = frozenset({"src", "poster", "background", "data"})
RESOURCE_LISTS = frozenset({"srcset", "imagesrcset"})
REFERENCES = frozenset({"href", "xlink:href"})
LINKS = frozenset({"a", "area"})
"""Elements whose `href` is followed by a reader's click; every other element follows its own at once."""
PICTURES = frozenset({"image", "feimage"})
LINK_ATTRIBUTES = frozenset({"cite", "longdesc"})
LINK_SCHEMES = frozenset({"http", "https", "mailto"})
LINK_DATA = re.compile(
    r"data:(?:image/(?:avif|gif|jpeg|png|webp)|text/(?:csv|plain)|application/(?:json|octet-stream|zip))[;,]"
)
"""Media types that a browser never takes for a document with scripts."""

CSS_ATTRIBUTES = frozenset(
    {"style", "fill", "stroke", "filter", "mask", "clip-path", "cursor"}
    | {"marker", "marker-start", "marker-mid", "marker-end"}
)
CSS_BANNED = re.compile(r"javascript:|expression\(|@import|image-set\(|image\(|src\(", re.IGNORECASE)
CSS_ESCAPE = re.compile(r"\\([0-9a-fA-F]{0,6})")
CSS_URL = re.compile(r"url\(", re.IGNORECASE)
CSS_ADDRESS = re.compile(
    r"url\([ \t\n\r\f]*+(?:\"([^\"\\\n\r\f]*)\"|'([^'\\\n\r\f]*)'|([^\"'()\\\s]*))[ \t\n\r\f]*\)", re.IGNORECASE
)

CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
LONG_REFERENCE = re.compile(r"&#[xX]?[0-9a-fA-F]{9}")
LESS_THAN = re.compile(r"<(?=[ \t\n\r\f0-9=])")
DOCTYPE = re.compile(r"<!doctype[ \t\n\r\f]+html[ \t\n\r\f]*>", re.IGNORECASE | re.ASCII)
COMMENT = re.compile(r"<!--(?:[^<>-][^<>]*)?-->")
END_TAG = re.compile(r"</([a-zA-Z][a-zA-Z0-9:._-]*)[ \t\n\r\f]*>")
TAG_OPEN = re.compile(r"<([a-zA-Z][a-zA-Z0-9:._-]*)")
ATTRIBUTE = re.compile(
    r"[ \t\n\r\f]+([a-zA-Z_][a-zA-Z0-9:._-]*)"
    r"(?:[ \t\n\r\f]*=[ \t\n\r\f]*(?:\"([^\"]*)\"|'([^']*)'|([^ \t\n\r\f\"'=<>`][^ \t\n\r\f\"'<>`]*)))?"
)
TAG_CLOSE = re.compile(r"[ \t\n\r\f]*(/?)>")
OPEN_REFERENCE = re.compile(r"&(?:#[xX]?[0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*)(?![0-9a-zA-Z;])")
SCHEME = re.compile(r"([^/?#]*?):")


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page that was looked at.

    Attributes:
        problems: everything in it that the profile refuses, each with its line.
        stylesheets: the entries of the zip that it applies; they have to be looked at, too.
    """

    problems: tuple[str, ...]
    stylesheets: tuple[str, ...]


def check_page(name: str, text: str, entries: frozenset[str]) -> Page:
    """Look at an HTML page.

    Args:
        name: its name in the zip; relative addresses start there.
        text: the page.
        entries: every name in the zip.
    """
    scan = _Scan(name, text, entries)
    with suppress(_Enough):
        scan.page()
    return Page(problems=tuple(scan.problems), stylesheets=tuple(dict.fromkeys(scan.stylesheets)))


def check_stylesheet(name: str, text: str, entries: frozenset[str]) -> tuple[str, ...]:
    """Look at a stylesheet that a page applies; returns the problems. The arguments are those of `check_page`."""
    scan = _Scan(name, text, entries)
    with suppress(_Enough):
        scan.stylesheet()
    return tuple(scan.problems)


class _Enough(Exception):
    """So many problems that the rest of the text is not looked at."""


class _Scan:
    """One walk through one text."""

    def __init__(self, name: str, text: str, entries: frozenset[str]) -> None:
        self.problems: list[str] = []
        self.stylesheets: list[str] = []
        self._name = name
        self._text = text
        self._folder = posixpath.dirname(name)
        self._entries = entries
        self._line, self._counted = 1, 0

    def page(self) -> None:
        self._characters()
        position = 0
        while (position := self._text.find("<", position)) >= 0:
            position = self._markup(position)

    def stylesheet(self) -> None:
        self._characters()
        for offset, what in self._css(self._text):
            self._refuse(offset, what)

    def _refuse(self, position: int, what: str) -> None:
        if position < self._counted:
            self._line, self._counted = 1, 0
        self._line += self._text.count("\n", self._counted, position)
        self._counted = position
        self.problems.append(f"{self._name} line {self._line}: {what}")
        if len(self.problems) == MAX_PROBLEMS:
            self.problems.append(f"{self._name}: what follows was not looked at")
            raise _Enough

    def _characters(self) -> None:
        if found := CONTROL.search(self._text):
            self._refuse(found.start(), f"the control character {found.group()!r}")
        # Python converts no number with thousands of digits, and no character has one with nine.
        if found := LONG_REFERENCE.search(self._text):
            self._refuse(found.start(), "a character reference to no character")
            raise _Enough

    def _markup(self, position: int) -> int:
        """Look at what a `<` begins; returns where to go on."""
        for harmless in (LESS_THAN, DOCTYPE, COMMENT, END_TAG):
            if found := harmless.match(self._text, position):
                return found.end()
        opened = TAG_OPEN.match(self._text, position)
        if opened is None:
            what = f"{self._text[position : position + 20]!r} is neither a tag nor text"
            if self._text.startswith("<!", position):
                what = "a `<!` that is neither `<!doctype html>` nor a comment without `<` and `>` in it"
            self._refuse(position, what)
            return position + 1
        tag, at = opened.group(1).lower(), opened.end()
        values: dict[str, str] = {}
        twice: list[str] = []
        while attribute := ATTRIBUTE.match(self._text, at):
            name = attribute.group(1).lower()
            if name in values:
                twice.append(name)
            values[name] = next((value for value in attribute.groups()[1:] if value is not None), "")
            at = attribute.end()
        closed = TAG_CLOSE.match(self._text, at)
        if closed is None:
            self._refuse(position, f"the tag <{tag}> is not written so that it can be read in one way only")
            return position + 1
        for name in twice:
            self._refuse(position, f"attribute {name} twice in one tag")
        self._element(position, tag, values)
        if tag not in RAW_ELEMENTS:
            return closed.end()
        if closed.group(1):
            self._refuse(position, f"<{tag}/>, which some read as closed and some do not")
        return self._raw(tag, closed.end())

    def _raw(self, tag: str, start: int) -> int:
        """Look at the content of an element that has only text."""
        end = self._text.find("<", start)
        end = len(self._text) if end < 0 else end
        closing = END_TAG.match(self._text, end)
        if closing is None or closing.group(1).lower() != tag:
            self._refuse(end, f"<{tag}> with more than text in it, or without its end")
        content = self._text[start:end]
        if tag == "script" and content.strip():
            self._refuse(start, "<script> with a content")
        if tag == "style":
            problems = list(self._css(content))
            # Inside of SVG a character reference in a style is decoded, outside of it is not.
            known = {what for _, what in problems}
            problems += [(0, what) for _, what in self._css(unescape(content)) if what not in known]
            for offset, what in problems:
                self._refuse(start + offset, what)
        return end if closing is None else closing.end()

    def _element(self, position: int, tag: str, values: dict[str, str]) -> None:
        if tag in BANNED_ELEMENTS:
            self._refuse(position, f"element <{tag}>")
        if tag == "meta" and "http-equiv" in values:
            self._refuse(position, "<meta http-equiv>")
        if tag == "meta" and values.get("charset", "utf-8").strip().lower() not in {"utf-8", "utf8"}:
            self._refuse(position, "<meta charset> that is not utf-8")
        if tag == "script" and not values.get("src"):
            self._refuse(position, "<script> without src")
        if tag == "link":
            words = set(unescape(values.get("rel", "")).lower().split())
            if "stylesheet" not in words or not words <= {"stylesheet", "alternate"}:
                self._refuse(position, "<link> that is no stylesheet")
        for name, value in values.items():
            for what in self._attribute(tag, name, value):
                self._refuse(position, what)

    def _attribute(self, tag: str, name: str, written: str) -> Iterator[str]:
        value = unescape(written)
        if name.startswith("on") or name in BANNED_ATTRIBUTES:
            yield f"attribute {name}"
        elif name in LINK_ATTRIBUTES or (name == "href" and tag in LINKS):
            # In an attribute a browser leaves some references without a semicolon as they are: both readings have to be harmless.
            yield from dict.fromkeys(
                f"{name} with {bad!r}" for each in (written, value) if (bad := _refused_scheme(each))
            )
        elif name in CSS_ATTRIBUTES or name in RESOURCE_ATTRIBUTES | RESOURCE_LISTS | REFERENCES:
            if any(unescape(found) != found for found in OPEN_REFERENCE.findall(written)):
                yield f"{name} with a character reference without its semicolon"
            if name in CSS_ATTRIBUTES:
                yield from (what for _, what in self._css(value))
            elif name in RESOURCE_LISTS:
                for part in value.split(","):
                    if (words := part.split()) and not self._is_inside(words[0]):
                        yield f"{name} leads out of the report: {words[0][:80]!r}"
            elif not self._may_load(tag, name, value):
                inside = self._is_inside(value)
                what = f"of <{tag}> names no file of the report" if inside else "leads out of the report"
                yield f"{name} {what}: {value[:80]!r}"

    def _may_load(self, tag: str, name: str, value: str) -> bool:
        """Whether an element may load what this attribute names as soon as it is shown."""
        if tag == "link" and name == "href":
            entry = self._entry(value)
            if entry is not None:
                self.stylesheets.append(entry)
            return entry is not None or not value
        if tag == "script":
            return self._entry(value) is not None
        if tag in LINKS and name == "xlink:href":
            return self._is_inside(value) and not _refused_scheme(value)
        if name in REFERENCES and tag not in PICTURES:
            return value.startswith("#")
        return self._is_inside(value)

    def _css(self, text: str) -> Iterator[tuple[int, str]]:
        """Everything in a piece of CSS that is refused, each with its place."""
        for found in CSS_BANNED.finditer(text):
            yield found.start(), f"CSS with {found.group().lower()!r}"
        for found in CSS_ESCAPE.finditer(text):
            # An escape for a character outside of ASCII, as in `content: "\2022"`, can spell none of the words that count.
            if int(found.group(1) or "0", 16) < 0x80:
                yield found.start(), "CSS with an escaped character"
        for found in CSS_URL.finditer(text):
            address = CSS_ADDRESS.match(text, found.start())
            target = None if address is None else next(group for group in address.groups() if group is not None)
            if target is None:
                yield found.start(), "CSS url() that is not written so that it can be read in one way only"
            elif not self._is_inside(target):
                yield found.start(), f"CSS url() leads out of the report: {target[:80]!r}"

    def _is_inside(self, target: str) -> bool:
        target = target.strip(" \t\n\r\f")
        return not target or target.startswith("#") or target[:5].lower() == "data:" or self._entry(target) is not None

    def _entry(self, target: str) -> str | None:
        """The entry of the zip that a relative address names."""
        target = target.strip(" \t\n\r\f")
        # A browser drops line ends and tabs from an address and takes a backslash for a slash.
        if not target or "\\" in target or re.search(r"[\x00-\x1f\x7f]", target):
            return None
        try:
            parts = urlsplit(target)
        except ValueError:
            return None
        if parts.scheme or parts.netloc or not parts.path or parts.path.startswith("/") or parts.path.endswith("/"):
            return None
        entry = posixpath.normpath(posixpath.join(self._folder, unquote(parts.path)))
        return entry if entry in self._entries else None


def _refused_scheme(target: str) -> str:
    """What is wrong with the address of a link; empty for one that a reader may click."""
    # A browser drops blanks around an address, line ends and tabs in it.
    lowered = re.sub(r"[\x00-\x20\x7f]", "", target).lower()
    found = SCHEME.match(lowered)
    if found is None or found.group(1) in LINK_SCHEMES or LINK_DATA.match(lowered):
        return ""
    return lowered.split(",")[0][:40]
