"""The report rules: what passes, and that every violation is named."""

import io
import json
import stat
import zipfile

import pytest

from coworld_actors.evidence.report_rules import MAX_ENTRIES, check_report


def report(entries: dict[str, bytes | str], manifest: object = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        if manifest is not None:
            archive.writestr("manifest.json", json.dumps(manifest))
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def page(html: str, **others: str) -> tuple[str, ...]:
    data = report({"r/index.html": html, **others}, {"reporter_id": "r", "render": "r/index.html"})
    return check_report(data).problems


def test_a_good_report_has_no_problems_and_names_its_entries() -> None:
    """A report with every pointer right passes, and its manifest and entries are handed on."""
    manifest = {"reporter_id": "r", "render": "a.md", "event_log": "b.parquet", "trace": "c.jsonl"}
    found = check_report(report({"a.md": "# hi", "b.parquet": b"PAR1", "c.jsonl": "{}"}, manifest))
    assert found.problems == ()
    assert found.manifest is not None
    assert found.manifest.render == "a.md"
    assert set(found.entries) == {"manifest.json", "a.md", "b.parquet", "c.jsonl"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no zip at all", "no readable zip"),
        (report({"a.md": "x"}), "no manifest.json"),
        (report({}, {"render": "a.md"}), "reporter_id"),
        (report({}, {"reporter_id": "r", "extra": 1}), "extra"),
        (report({}, {"reporter_id": "r", "render": "a.md"}), "not in the report"),
        (report({"a.txt": "x"}, {"reporter_id": "r", "render": "a.txt"}), "does not end in .md or .html"),
        (report({"a.md": b"\xff\xfe"}, {"reporter_id": "r", "render": "a.md"}), "not UTF-8"),
        (report({"e.csv": "x"}, {"reporter_id": "r", "event_log": "e.csv"}), "does not end in .parquet"),
        (report({"../up.txt": "x"}, {"reporter_id": "r"}), "would leave"),
        (report({"/abs.txt": "x"}, {"reporter_id": "r"}), "would leave"),
        (report({f"{n}.txt": "" for n in range(MAX_ENTRIES)}, {"reporter_id": "r"}), "entries"),
    ],
)
def test_each_rule_is_named_when_broken(data: bytes, words: str) -> None:
    """A broken rule is a problem that says which."""
    problems = check_report(data).problems
    assert any(words in problem for problem in problems), problems


def test_a_link_in_the_zip_is_refused() -> None:
    """An entry that is a symbolic link would lead out of the directory when unpacked by others."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert "would leave" in check_report(buffer.getvalue()).problems[0]


def test_two_entries_of_one_name_are_refused() -> None:
    """Readers disagree about which of two entries counts, so there may be only one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a.txt", "1")
        archive.writestr("a.txt", "2")
    assert "two entries" in check_report(buffer.getvalue()).problems[0]


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    """A small zip that unpacks to more than the limit is refused by its declared sizes."""
    data = report({f"{n}.bin": bytes(64 * 1024 * 1024) for n in range(5)}, {"reporter_id": "r"})
    assert len(data) < 1024 * 1024
    assert "unpacks to" in check_report(data).problems[0]


@pytest.mark.parametrize(
    "html",
    [
        '<p style="color:red">text</p><img src="data:image/png;base64,AA==">',
        '<img src="pic.png"><link rel="stylesheet" href="../style.css"><a href="https://example.org">out</a>',
        '<svg><rect width="1"/></svg><a href="#top">top</a><a href="mailto:me@example.org">m</a>',
        "<style>p { background: url(pic.png) }</style>",
        '<img srcset="pic.png 1x, ./pic.png 2x">',
    ],
)
def test_harmless_pages_pass(html: str) -> None:
    """What stays inside the report and runs nothing is allowed."""
    assert page(html, **{"r/pic.png": "p", "style.css": "s"}) == ()


@pytest.mark.parametrize(
    "html",
    [
        *(f"<{tag}></{tag}>" for tag in ("iframe", "frame", "frameset", "object", "embed", "applet", "base", "form")),
        '<meta http-equiv="refresh" content="0">',
        "<script>alert(1)</script>",
        '<script src=""></script>',
        '<link rel="icon" href="pic.png">',
        '<p onclick="x()">',
        "<P ONMOUSEOVER=x()>",
        '<img src="https://example.org/p.png">',
        '<img src="//example.org/p.png">',
        '<img src="/etc/passwd">',
        '<img src="../../up.png">',
        '<img src="missing.png">',
        '<img srcset="pic.png 1x, http://example.org/p.png 2x">',
        '<video poster="http://example.org/p.png"></video>',
        '<body background="http://example.org/p.png">',
        '<a href="javascript:alert(1)">x</a>',
        '<a href=" java\tscript:alert(1)">x</a>',
        '<a href="vbscript:x">x</a>',
        '<a href="data: text/html,<p>">x</a>',
        '<blockquote cite="javascript:x">',
        '<style>@import "x.css"</style>',
        "<style>p { background: url(http://example.org/p.png) }</style>",
        "<style>p { width: expression(alert(1)) }",
        "<p style=\"background: url('https://example.org/p.png')\">",
        '<svg><use xlink:href="http://example.org/x#y"/></svg>',
    ],
)
def test_each_dangerous_page_is_refused(html: str) -> None:
    """What runs, fetches or leaves the report is named with its line."""
    problems = page(html, **{"r/pic.png": "p"})
    assert problems
    assert all("line 1" in problem for problem in problems)


def test_all_violations_of_a_page_are_listed() -> None:
    """The author sees everything at once, not only the first violation."""
    assert len(page("<iframe></iframe>\n<form></form>\n<p onclick=x>")) == 3


def test_markdown_is_not_scanned_as_html() -> None:
    """Whoever shows markdown turns raw HTML off, so it is not looked into."""
    data = report({"a.md": "<script>alert(1)</script>"}, {"reporter_id": "r", "render": "a.md"})
    assert check_report(data).problems == ()
