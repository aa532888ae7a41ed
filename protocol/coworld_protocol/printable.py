"""Text of strangers, made fit for a terminal, a log line and a message."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """A stranger's text without what a terminal obeys or hides: control codes, line ends, changes of direction."""
    return "".join(each if each.isprintable() else _escape(ord(each)) for each in text)


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
