"""The terminal and the browser are told, and never a reason not to play."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from coworld_actors.doctor.desk import check_browser, check_terminal, find_browser
from coworld_actors.doctor.finding import Status, Surroundings
from tests.doctor.clients import script


class Terminal(io.StringIO):
    def __init__(self, encoding: str, interactive: bool) -> None:
        super().__init__()
        self._encoding, self._interactive = encoding, interactive

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._interactive


@pytest.mark.parametrize(
    ("encoding", "interactive", "environ", "status", "words"),
    [
        ("utf-8", True, {"TERM": "xterm"}, Status.OK, "a terminal, utf-8, TERM=xterm"),
        ("UTF8", True, {"TERM": "xterm", "NO_COLOR": "1"}, Status.OK, "NO_COLOR is set"),
        ("utf-8", True, {"TERM": "dumb"}, Status.WARN, "TERM=dumb"),
        ("utf-8", True, {}, Status.WARN, "TERM=not set"),
        ("utf-8", False, {}, Status.OK, "no terminal"),
        ("ascii", False, {}, Status.WARN, "ascii"),
    ],
)
async def test_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
    interactive: bool,
    environ: dict[str, str],
    status: Status,
    words: str,
) -> None:
    """What it cannot show is a warning; a pipe is none."""
    monkeypatch.setattr(sys, "stdout", Terminal(encoding, interactive))
    (finding,) = await check_terminal(Surroundings(environ=environ))
    assert (finding.status, words in finding.text) == (status, True), finding


async def test_no_output_at_all_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed stdout has no encoding to complain about."""
    monkeypatch.setattr(sys, "stdout", None)
    (finding,) = await check_terminal(Surroundings(environ={}))
    assert finding.status is Status.OK


async def test_the_browser(tmp_path: Path) -> None:
    """The one that is named, else one that is installed where there is a display, else addresses are printed."""
    path = str(script(tmp_path, "xdg-open", "true"))

    async def text(**environ: str) -> str:
        (finding,) = await check_browser(Surroundings(environ=environ))
        assert finding.status is Status.OK
        return finding.text

    assert "with xdg-open" in await text(BROWSER="xdg-open --new-tab %s", PATH=path, SSH_TTY="/dev/pts/1")
    assert "with xdg-open" in await text(PATH=path, DISPLAY=":0")
    assert "print the addresses" in await text(PATH=path)
    assert "print the addresses" in await text(PATH=str(tmp_path / "empty"), WAYLAND_DISPLAY="w")
    assert "ssh -L" in await text(SSH_CONNECTION="1.2.3.4")


async def test_a_browser_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Whoever has named it wants it."""
    (finding,) = await check_browser(Surroundings(environ={"BROWSER": "nope-nope", "PATH": str(tmp_path)}))
    assert (finding.status, "nope-nope" in finding.text) == (Status.WARN, True)
    assert finding.todo


@pytest.mark.parametrize(
    ("environ", "platform", "words"),
    [
        ({}, "linux", "no screen"),
        ({"DISPLAY": ":0"}, "linux", ""),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", ""),
        ({"DISPLAY": ":0", "PATH": "/nowhere"}, "linux", "on PATH"),
        ({}, "darwin", ""),
        ({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "a b c d"}, "linux", "ssh"),
        ({"SSH_TTY": "/dev/pts/1"}, "darwin", "ssh"),
        ({"SSH_CONNECTION": "a b c d", "BROWSER": "xdg-open"}, "linux", ""),
        ({"SSH_CONNECTION": "a b c d", "BROWSER": "nope:xdg-open"}, "linux", ""),
        ({"SSH_CONNECTION": "a b c d", "BROWSER": "'unclosed"}, "linux", "ssh"),
    ],
)
def test_where_no_browser_can_be_seen_none_is_tried(
    tmp_path: Path, environ: dict[str, str], platform: str, words: str
) -> None:
    """No screen, or the terminal of another machine; somebody who has named a browser that is there knows better."""
    path = str(script(tmp_path, "xdg-open", "true"))
    found = find_browser({"PATH": path, **environ}, platform=platform)
    assert words in found.reason
    assert bool(words) is bool(found.reason) is not bool(found.program)
