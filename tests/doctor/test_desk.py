"""The terminal and the browser are told, and never a reason not to play."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from coworld_actors.doctor.desk import check_browser, check_terminal
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

    assert "with mine" in await text(BROWSER="mine")
    assert "with xdg-open" in await text(PATH=path, DISPLAY=":0")
    assert "print the addresses" in await text(PATH=path)
    assert "print the addresses" in await text(PATH=str(tmp_path / "empty"), WAYLAND_DISPLAY="w")
    assert "ssh -L" in await text(SSH_CONNECTION="1.2.3.4")
