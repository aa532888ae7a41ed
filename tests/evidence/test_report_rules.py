"""The report rules: what passes, and that every violation is named."""

import io
import json
import stat
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coworld_actors.evidence.report_rules import MAX_ENTRIES, check_report


def report(entries: dict[str, bytes | str], manifest: object = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        if manifest is not None:
            archive.writestr("manifest.json", json.dumps(manifest))
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def page(html: str, **others: bytes | str) -> tuple[str, ...]:
    entries: dict[str, bytes | str] = {"r/index.html": html, **others}
    data = report(entries, {"reporter_id": "r", "render": "r/index.html"})
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


def test_an_entry_without_a_name_is_refused() -> None:
    """A damaged directory of a zip can have one; it is no file."""
    (problem,) = check_report(report({"nameless": "x"}).replace(b"nameless", b"\0ameless")).problems
    assert problem == "the report has an entry without a name"


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    """A small zip that unpacks to more than the limit is refused by its declared sizes."""
    data = report({f"{n}.bin": bytes(64 * 1024 * 1024) for n in range(5)}, {"reporter_id": "r"})
    assert len(data) < 1024 * 1024
    assert "unpacks to" in check_report(data).problems[0]


def test_a_broken_page_is_a_problem_of_the_report() -> None:
    """The page that the manifest points to is looked at, with its line; another one is not."""
    assert page("<p>fine</p>", **{"r/other.html": "<iframe></iframe>"}) == ()
    assert page("<p>fine</p>\n<iframe></iframe>") == ("r/index.html line 2: element <iframe>",)


def test_what_crashes_a_lenient_parser_is_a_problem() -> None:
    """The bytes of a stranger never raise."""
    (problem,) = page("<![1 foo]>")
    assert problem.startswith("r/index.html line 1: a `<!`")


def test_stylesheets_that_the_page_applies_are_looked_at() -> None:
    """A rule is not walked round by moving the text into a file of the zip; a file that no page applies does not matter."""
    link = '<link rel="stylesheet" href="../style.css">'
    bad = "p {\n background: url(http://example.org/p.png) }"
    assert page(link, **{"style.css": "p { background: url(r/index.html) }"}) == ()
    assert page("<p>", **{"style.css": bad}) == ()
    assert page(link, **{"style.css": bad}) == (
        "style.css line 2: CSS url() leads out of the report: 'http://example.org/p.png'",
    )
    assert "'style.css' is not UTF-8" in page(link, **{"style.css": b"\xff"})[0]


@pytest.mark.parametrize("name", ["a\x1b]0;owned\x07.txt", "a\u202etxt.exe", "a\nb", "dir\x9b/a"])
def test_names_that_cannot_be_shown_are_refused(name: str) -> None:
    """A name ends up on terminals and in listings; what these would obey is no part of one."""
    (problem,) = check_report(report({name: "x"}, {"reporter_id": "r"})).problems
    assert "characters that cannot be shown" in problem
    assert problem.isprintable()


@pytest.mark.parametrize(
    "manifest",
    [
        {"reporter_id": "r", "\x1b[31m": 1},
        {"reporter_id": "r", "render": "\x1b[31m.html"},
        {"reporter_id": "r", "\u202e" * 100_000: 1},
        {"reporter_id": "r", "trace": "\x07" * 100_000},
    ],
)
def test_messages_about_a_manifest_can_be_shown_anywhere(manifest: dict[str, object]) -> None:
    """What a stranger wrote is quoted in short and in printable characters."""
    (problem,) = check_report(report({}, manifest)).problems
    assert problem.isprintable()
    assert len(problem) < 2000


def test_a_report_with_very_many_problems_lists_the_first_hundred() -> None:
    """What is wrong is counted to its end, and the message stays one that can be kept."""
    problems = check_report(report({f"../{n}": "" for n in range(200)}, {"reporter_id": "r"})).problems
    assert len(problems) == 101
    assert problems[-1] == "and 100 more"


def test_a_page_too_large_to_be_read_in_seconds_is_refused() -> None:
    """A small zip can hold a page of hundreds of megabytes."""
    (problem,) = page("<br>" * (8 * 1024 * 1024 + 1))
    assert "unpacks to more than" in problem


@settings(deadline=None, max_examples=300)
@given(st.integers(min_value=0), st.binary(min_size=1, max_size=8))
def test_a_damaged_zip_is_looked_at_or_refused(where: int, what: bytes) -> None:
    """Whatever bytes are changed, the answer is a list of problems and never an exception."""
    data = bytearray(report({"r/index.html": "<p>x</p>"}, {"reporter_id": "r", "render": "r/index.html"}))
    where %= len(data)
    data[where : where + len(what)] = what
    assert all(problem.isprintable() for problem in check_report(bytes(data)).problems)


def test_markdown_is_not_scanned_as_html() -> None:
    """Whoever shows markdown turns raw HTML off, so it is not looked into."""
    data = report({"a.md": "<script>alert(1)</script>"}, {"reporter_id": "r", "render": "a.md"})
    assert check_report(data).problems == ()
