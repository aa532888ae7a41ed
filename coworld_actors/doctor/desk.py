"""What a person sits in front of: the terminal, and a browser for the pages of games."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from coworld_actors.doctor.finding import Finding, Status, Surroundings

__all__ = ["FoundBrowser", "check_browser", "check_terminal", "find_browser"]

_OPENERS = (
    *("xdg-open", "gio", "gvfs-open", "sensible-browser", "x-www-browser", "www-browser", "firefox", "firefox-esr"),
    *("chromium", "chromium-browser", "google-chrome", "chrome", "microsoft-edge", "epiphany", "opera", "open"),
)


async def check_terminal(here: Surroundings) -> Sequence[Finding]:
    """Whether progress can be drawn and every name be shown."""
    encoding = (getattr(sys.stdout, "encoding", None) or "none").lower()
    interactive = sys.stdout is not None and sys.stdout.isatty()
    term = here.environ.get("TERM", "")
    words = ["a terminal" if interactive else "no terminal: a line for each episode instead of a screen", encoding]
    if interactive:
        words.append(f"TERM={term or 'not set'}")
    words += ["NO_COLOR is set"] if here.environ.get("NO_COLOR") else []
    text = ", ".join(words)
    if encoding.replace("-", "") not in {"utf8", "none"}:
        todo = "set PYTHONIOENCODING=utf-8 or a locale with UTF-8; until then other letters are shown as escapes"
        return [Finding(name="terminal", status=Status.WARN, text=text, todo=todo)]
    if interactive and term in {"", "dumb"}:
        todo = "set TERM to what the terminal is, for a screen that moves"
        return [Finding(name="terminal", status=Status.WARN, text=text, todo=todo)]
    return [Finding(name="terminal", status=Status.OK, text=text)]


async def check_browser(here: Surroundings) -> Sequence[Finding]:
    """Whether `play` and `replay` can open a page; without, they print its address."""
    found = find_browser(here.environ)
    named = here.environ.get("BROWSER", "")
    if found.program:
        text = f"pages are opened with {found.program}"
    else:
        text = f"{found.reason}: play and replay print the addresses of their pages"
        if _is_remote(here.environ):
            text += "; to see them at home, forward their port with ssh -L"
    if named and not _named(here.environ):
        text += f"; BROWSER={named} names nothing that is on PATH"
        todo = "set BROWSER to a program that is there, or unset it"
        return [Finding(name="browser", status=Status.WARN, text=text, todo=todo)]
    return [Finding(name="browser", status=Status.OK, text=text)]


class FoundBrowser(NamedTuple):
    """The program that opens a page, or in a few words why there is none."""

    program: str = ""
    reason: str = ""


def find_browser(environ: Mapping[str, str], *, platform: str = sys.platform) -> FoundBrowser:
    """What would open a page from here: the one that is named, else one that is installed where somebody would see it.

    Args:
        environ: of the command.
        platform: as `sys.platform` says it.
    """
    if named := _named(environ):
        return FoundBrowser(program=named)
    if _is_remote(environ):
        return FoundBrowser(reason="this terminal is of another machine (ssh)")
    if platform == "darwin":
        return FoundBrowser(program="open")
    if platform.startswith("linux") and not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        return FoundBrowser(reason="there is no screen here")
    path = environ.get("PATH", os.defpath)
    program = next((name for name in _OPENERS if shutil.which(name, path=path)), "")
    return FoundBrowser(program=program, reason="" if program else "no browser is on PATH")


def _is_remote(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"))


def _named(environ: Mapping[str, str]) -> str:
    """The first program of BROWSER that is there: it may name several, each with arguments."""
    for command in environ.get("BROWSER", "").split(os.pathsep):
        try:
            words = shlex.split(command)
        except ValueError:
            continue
        if words and shutil.which(words[0], path=environ.get("PATH", os.defpath)):
            return words[0]
    return ""
