"""What a person sits in front of: the terminal, and a browser for the pages of games."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence

from coworld_actors.doctor.finding import Finding, Status, Surroundings

__all__ = ["check_browser", "check_terminal"]

_OPENERS = ("xdg-open", "gio", "sensible-browser", "www-browser", "firefox", "chromium", "google-chrome", "open")


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
    opener = _opener(here.environ)
    if opener:
        return [Finding(name="browser", status=Status.OK, text=f"pages are opened with {opener}")]
    text = "none can be opened from here: play and replay print the addresses of their pages"
    if "SSH_CONNECTION" in here.environ:
        text += "; to see them at home, forward their port with ssh -L"
    return [Finding(name="browser", status=Status.OK, text=text)]


def _opener(environ: Mapping[str, str]) -> str:
    path = environ.get("PATH")
    if named := environ.get("BROWSER"):
        return named
    if sys.platform != "darwin" and not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        return ""
    return next((name for name in _OPENERS if shutil.which(name, path=path)), "")
