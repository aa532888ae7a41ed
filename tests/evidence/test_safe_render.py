"""The safe render profile: what passes, what is named with its line, and that no second reading of a page is left."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coworld_actors.evidence.safe_render import MAX_PROBLEMS, check_page, check_stylesheet

ENTRIES = frozenset({"manifest.json", "r/index.html", "r/pic.png", "r/my pic.svg", "style.css", "r/code.js"})

CHART = """<svg viewBox="0 0 720 300" role="img" aria-label="scores over time" font-size="12" fill="#7b776a">
<defs><linearGradient id="g" href="#h"><stop offset="0" stop-color="#fff"/></linearGradient></defs>
<line x1="40" x2="708" y1="12.0" y2="12.0" stroke="#e2dccb"/><text x="34" text-anchor="end">7</text>
<polyline points="40.0,12.0 50,13" fill="none" stroke="hsl(205 62% 46%)"><title>Bo &quot;&amp;&quot; Co</title></polyline>
<rect fill="url(#g)" clip-path="url(#c)" width='3'></rect><use xlink:href="#mark" x="1"/>
<image href="data:image/png;base64,AA==" width="10"/></svg>"""


def problems(html: str) -> tuple[str, ...]:
    return check_page("r/index.html", html, ENTRIES).problems


@pytest.mark.parametrize(
    "html",
    [
        '<p style="color:red">text</p><img src="data:image/png;base64,AA==">',
        '<img src="pic.png"><img src="my%20pic.svg"><img src="my pic.svg"><img src="pic.png?v=1#top"><img src="">',
        '<link rel="stylesheet" href="../style.css"><a href="https://example.org">out</a>',
        '<a href="https://example.org/?a=1&copy=2&amp;param=3">out</a><a href="pic.png" download>in</a><area href="#top">',
        '<svg><rect width="1"/></svg><a href="#top">top</a><a href="mailto:me@example.org">m</a>',
        '<a href="data:text/csv;charset=utf-8,a%2Cb" download="scores.csv">scores</a>',
        "<style>p { background: url(pic.png) } q::before { content: '\\201C' } b { background: url( \"data:image/png,x\" ) }</style>",
        '<img srcset="pic.png 1x, ./pic.png 2x">',
        '<script src="code.js"></script><script defer src=code.js> </script>',
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="UTF-8"><title>A &amp; B</title></head><!-- a plain - comment --><!---->',
        "<p>1 < 2 and 3 <= 4 and <3</p><br/><hr /><INPUT DISABLED VALUE=x><p class=a>",
        '<p title="a > b, <i>, c:\\d" data-x=\'"\' @alt_=""'.replace(" @alt_", " alt_") + ">",
        CHART,
        "\ufeff<p>Ünïcode 日本語</p>",
        "",
    ],
)
def test_harmless_pages_pass(html: str) -> None:
    """Charts, pictures, files of the zip, links to be clicked, and text that happens to have a `<` in it."""
    assert problems(html) == ()


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
def test_everything_on_the_contracts_list_is_refused(html: str) -> None:
    """What runs, fetches or leaves the report is named with its line."""
    found = problems("<p>\n" + html)
    assert found
    assert all(problem.startswith("r/index.html line 2: ") for problem in found)


@pytest.mark.parametrize(
    ("html", "words"),
    [
        # The first attribute counts for a browser, the last one for a dictionary.
        ('<img src="http://example.org/p.png" src="pic.png">', "attribute src twice"),
        ('<a href="javascript:alert(1)" HREF="#">x</a>', "attribute href twice"),
        # Comments and declarations that end elsewhere for the next reader.
        ("<!--><img src=x onerror=alert(1)>-->", "a `<!`"),
        ("<!---><img src=x onerror=alert(1)>-->", "a `<!`"),
        ("<!-- --!><img src=x onerror=alert(1)>-->", "a `<!`"),
        ("<!-- <!-- --><img src=x onerror=alert(1)>", "a `<!`"),
        ("<!-- never closed", "a `<!`"),
        ("<![CDATA[><img src=x onerror=alert(1)>]]>", "a `<!`"),
        ("<svg><![CDATA[><script>alert(1)</script>]]></svg>", "a `<!`"),
        ("<![1 foo]>", "a `<!`"),
        ("<!>", "a `<!`"),
        ('<!doctype html [<!ENTITY x "y">]>', "a `<!`"),
        ('<!doctype html public "x">', "a `<!`"),
        ("<?xml-stylesheet href='http://example.org/x.css'?>", "neither a tag nor text"),
        ("</ p><img src=x>", "neither a tag nor text"),
        ("</p x='>'>", "neither a tag nor text"),
        ("<", "neither a tag nor text"),
        # Raw text for one reader, markup for the next.
        ('<textarea><img title="</textarea><img src=x onerror=alert(1)>"></textarea>', "element <textarea>"),
        *((f"<{tag}></{tag}>", f"element <{tag}>") for tag in ("xmp", "noscript", "noembed", "noframes", "plaintext")),
        ('<title><img title="</title><img src=x onerror=alert(1)>"></title>', "<title> with more than text"),
        ("<style><img title='</style><img src=x onerror=alert(1)>'></style>", "<style> with more than text"),
        ("<title>never closed", "<title> with more than text"),
        ("<svg><style/><img src=x></style></svg>", "<style/>"),
        ('<script src="code.js">alert(1)</script>', "<script> with a content"),
        ('<svg><script href="http://example.org/x.js"></script></svg>', "<script> without src"),
        ('<script src="code.js" href="http://example.org/x.js"></script>', "href leads out"),
        ('<script src="data:text/javascript,alert(1)"></script>', "src of <script> names no file"),
        # Tags that are mended in more than one way.
        ('<img src="pic.png"onerror=alert(1)>', "one way only"),
        ("<img/src=pic.png/onerror=alert(1)>", "one way only"),
        ('<p title="never closed>', "one way only"),
        ("<p title=a'b>", "one way only"),
        ("<p title==x>", "one way only"),
        ("<p\x0bonclick=alert(1)>", "one way only"),
        ("<p <img src=x onerror=alert(1)>", "one way only"),
        ("<p\u00a0onclick=x>", "one way only"),
        ("<p>a\0b</p>", "control character"),
        ("<p>\x1b$B</p>", "control character"),
        ('<meta charset="iso-2022-jp">', "not utf-8"),
        ('<meta charset="utf-7">', "not utf-8"),
        # References that are followed without a click.
        ('<svg><image href="http://example.org/p.png"/></svg>', "href leads out"),
        ('<svg><use href="http://example.org/x.svg#y"/></svg>', "href leads out"),
        ('<svg><use href="data:image/svg+xml,x#y"/></svg>', "href of <use> names no file"),
        ('<svg><feImage href="//example.org/p.png"/></svg>', "href leads out"),
        ('<svg><a xlink:href="data:text/html,x"></a></svg>', "xlink:href of <a>"),
        ('<svg><a xlink:href="javascript:x"></a></svg>', "xlink:href leads out"),
        ('<svg><a href="javascript:alert(1)">x</a></svg>', "href with 'javascript:alert(1)'"),
        ('<svg><a><animate attributeName="href" to="javascript:alert(1)"/></a></svg>', "element <animate>"),
        ('<svg><a><set attributeName="href" to="javascript:alert(1)"/></a></svg>', "element <set>"),
        ('<svg fill="url(http://example.org/x#y)"></svg>', "url() leads out"),
        ('<svg><g filter="\\75rl(http://example.org/x#y)"/></svg>', "escaped character"),
        ('<a href="#" ping="http://example.org/">x</a>', "attribute ping"),
        ('<img src="pic.png" attributionsrc="http://example.org/">', "attribute attributionsrc"),
        ('<button formaction="javascript:alert(1)">', "attribute formaction"),
        ('<svg xml:base="http://example.org/"></svg>', "attribute xml:base"),
        ('<link rel="stylesheet" href="data:text/css,x">', "href of <link> names no file"),
        ('<link rel="stylesheet preload" imagesrcset="http://example.org/p.png">', "no stylesheet"),
        ('<link rel="stylesheet preconnect" href="../style.css">', "no stylesheet"),
        # Addresses that a browser reads otherwise than their letters say.
        ('<img src="\\\\example.org\\p.png">', "src leads out"),
        ('<img src="ht\ntp://example.org/p.png">', "src leads out"),
        ('<img src="&#104;ttp://example.org/p.png">', "src leads out"),
        ('<img src="%2e%2e/%2e%2e/up.png">', "src leads out"),
        ("<img src=pic.png/>", "src leads out"),
        ('<img src="pic.png&lt">', "without its semicolon"),
        ('<a href="javascript&colon;alert(1)">x</a>', "href with 'javascript:alert(1)'"),
        ('<a href="&#1;java&Tab;script:alert(1)">x</a>', "href with 'javascript:alert(1)'"),
        ('<a href="data:image/svg+xml,<svg onload=alert(1)>">x</a>', "href with 'data:image/svg+xml'"),
        ('<a href="blob:x">x</a>', "href with 'blob:x'"),
        ("<a href='&#" + "9" * 5000 + ";'>x</a>", "no character"),
        # Style sheets that say a word in another way.
        ("<style>p { background: \\75rl(http://example.org/p.png) }</style>", "escaped character"),
        ("<style>@\\69mport 'http://example.org/x.css'</style>", "escaped character"),
        ("<style>@\\i\\mport 'http://example.org/x.css'</style>", "escaped character"),
        ('<style>p { background: image-set("http://example.org/p.png" 1x) }</style>', "'image-set('"),
        ("<p style='background: -webkit-image-set(\"http://example.org/p.png\" 1x)'>", "'image-set('"),
        ('<style>p { background: src("http://example.org/p.png") }</style>', "'src('"),
        ("<style>p { background: url(http://example.org/p.png", "url() that is not written"),
        ("<style>p { background: url('pic.png' x) }</style>", "url() that is not written"),
        ("<svg><style>&#64;import 'http://example.org/x.css'</style></svg>", "'@import'"),
        ("<p style='background: u&#114;l(http://example.org/p.png)'>", "url() leads out"),
    ],
)
def test_every_way_around_the_list_is_refused(html: str, words: str) -> None:
    """A page that could be read in two ways is not read at all, and what is followed at once stays in the zip."""
    found = problems("<p>\n\n" + html)
    assert any(words in problem for problem in found), found
    assert all(re.match(r"r/index\.html line [34]: ", problem) for problem in found), found
    assert all(problem.isprintable() for problem in found)


def test_all_violations_of_a_page_are_listed_with_their_lines() -> None:
    """The author sees everything at once, not only the first violation, also what follows something unreadable."""
    found = problems(
        "<iframe></iframe>\n<form></form>\n<p onclick=x>\n<![x]>\n<style>\np { x: \\41 }\nq { x: url(up) }\n</style>\n<embed>"
    )
    assert [int(problem.split()[2].rstrip(":")) for problem in found] == [1, 2, 3, 4, 6, 7, 9]


def test_the_list_of_violations_has_an_end() -> None:
    """A page of a stranger can have millions, and each of them is a line in somebody's record."""
    found = problems("<iframe>" * 100_000)
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == "r/index.html: what follows was not looked at"


def test_stylesheets_that_are_applied_are_named() -> None:
    """Each once, by its name in the zip, so that it can be looked at."""
    link = '<link rel="alternate Stylesheet" href="../style.css"><link rel=stylesheet href="/top/style.css">'
    assert check_page("r/index.html", link * 2, ENTRIES).stylesheets == ("style.css",)


def test_a_stylesheet_is_looked_at_from_where_it_lies() -> None:
    """Addresses in it are relative to itself, and problems have its own lines."""
    text = "@charset \"utf-8\";\np { background: url('r/pic.png') }\nq { background: url(pic.png) }"
    assert check_stylesheet("style.css", text, ENTRIES) == (
        "style.css line 3: CSS url() leads out of the report: 'pic.png'",
    )
    assert check_stylesheet("r/x.css", "/* < > & */ a > b { content: '<' }", ENTRIES) == ()
    assert "'@import'" in check_stylesheet("x.css", "@IMPORT 'http://example.org/x.css'", ENTRIES)[0]


PIECES = [
    "<",
    ">",
    "/",
    "!",
    "--",
    "-",
    "=",
    '"',
    "'",
    " ",
    "\n",
    "&",
    "&lt",
    ";",
    "#",
    "\\",
    "(",
    ")",
    "[",
    "]",
    "?",
    "\0",
]
WORDS = [
    "p",
    "svg",
    "style",
    "title",
    "script",
    "a",
    "img",
    "src",
    "href",
    "url(",
    "http://e/",
    "pic.png",
    "@import",
    "onx",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES + WORDS)).map("".join))
def test_no_text_raises(text: str) -> None:
    """Whatever a stranger wrote is a list of problems in printable characters."""
    assert all(problem.isprintable() for problem in problems(text))
    assert all(problem.isprintable() for problem in check_stylesheet("x.css", text, ENTRIES))


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES + WORDS)).map("".join))
def test_what_passes_has_no_markup_but_what_was_understood(text: str) -> None:
    """A page that passes has no handler and no foreign address in a tag, whatever quotes and comments it plays with."""
    if not problems(text):
        assert not re.search(r"<[^<>\"']*[\s/]onx\s*=", text)
        assert not re.search(r"<(?:img|script)\b[^<>\"']*\ssrc=[\"']?http:", text)


@pytest.mark.parametrize(
    "text",
    [
        "<p a='",
        "<p" + " " * 20,
        "<!--",
        "<!doctype" + " " * 20,
        "</p" + " " * 20,
        "<style>",
        "<style>url(" + " " * 20,
        "<p style='url(" + " " * 20,
        "<a href='&" + "a" * 20,
        "<p a=b ",
    ],
)
def test_the_time_it_takes_grows_with_the_page_and_no_faster(text: str) -> None:
    """Neither many broken pieces nor a long one send the scan into going back and forth."""
    started = time.process_time()
    problems(text * (1024 * 1024 // len(text)))
    problems(text + text[-1] * 1024 * 1024)
    problems(text + " " * 1024 * 1024)
    # Half a second here; going back and forth over a mebibyte takes hours.
    assert time.process_time() - started < 60
