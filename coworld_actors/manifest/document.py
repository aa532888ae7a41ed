"""JSON of strangers: bytes to values with line and column for a mistake, bounded in size and depth, and JSON paths."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, Final, NoReturn

from coworld_protocol.errors import Refused
from coworld_protocol.printable import printable

__all__ = ["DEPTH_LIMIT", "SIZE_LIMIT", "describe", "json_path", "parse_json", "printable"]

SIZE_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of a manifest or an episode request; documents with their texts inlined are a few hundred KiB."""

DEPTH_LIMIT: Final = 128
"""Levels of nesting. The validators recurse in native code and stop at 255; the deepest schema seen in the wild has 20."""

_FOUND_WIDTH: Final = 60
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


def parse_json(data: bytes, *, source: str, size_limit: int = SIZE_LIMIT) -> Any:
    """The value that a JSON text spells.

    Stricter than Python's reader: no NaN or infinity, no key twice in an object, no half of a surrogate pair, nesting up to
    `DEPTH_LIMIT`. What comes back can be given to any validator and written again.

    Args:
        data: the text, UTF-8.
        source: how errors name the document.
        size_limit: bytes.

    Raises:
        Refused: it is too large or not JSON; the evidence has line and column.
    """
    if len(data) > size_limit:
        raise Refused(
            f"{source} is too large to be read",
            evidence=f"{len(data)} bytes; the limit is {size_limit}",
            todo="move long texts behind addresses and give those",
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        raise Refused(
            f"{source} is not UTF-8",
            evidence=f"line {line}, byte {column}: 0x{data[error.start]:02x}",
            todo="save it as UTF-8",
        ) from error
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        raise Refused(
            f"{source} is not JSON",
            evidence=f"line {error.lineno}, column {error.colno}: {error.msg}{_excerpt(text, error.lineno, error.colno)}",
            todo="correct it there and run the command again",
        ) from error
    except RecursionError as error:
        raise _too_deep(source) from error
    except ValueError as error:
        raise Refused(
            f"{source} is not JSON", evidence=str(error), todo="correct it and run the command again"
        ) from error
    _check_values(value, source)
    return value


def describe(value: Any) -> str:
    """A value as a message shows it: its JSON, shortened, with what it is where the JSON alone does not tell."""
    match value:
        case dict():
            return "an empty object" if not value else f"an object with {_listing(value)}"
        case list():
            return "an empty list" if not value else f"a list of {len(value)}"
        case str():
            return _quoted(value) + (f" ({len(value)} characters)" if len(value) > _FOUND_WIDTH else "")
        case int() if not isinstance(value, bool) and value.bit_length() > 200:
            return f"an integer of {value.bit_length()} bits"
        case _:
            return json.dumps(value)


def json_path(parts: Iterable[str | int], root: str = "$") -> str:
    """A JSON path: `$.player[0].id`, with `["..."]` for keys that are no plain names."""
    path = root
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif len(part) <= _FOUND_WIDTH and _PLAIN_KEY.fullmatch(part):
            path += f".{part}"
        else:
            path += f"[{_quoted(part)}]"
    return path


def _quoted(text: str) -> str:
    shown = text if len(text) <= _FOUND_WIDTH else text[:_FOUND_WIDTH] + "..."
    return printable(json.dumps(shown, ensure_ascii=False))


def _listing(value: dict[str, Any]) -> str:
    keys = ", ".join(printable(key if len(key) <= 20 else key[:20] + "...") for key in list(value)[:4])
    return f"{keys}, ..." if len(value) > 4 else keys


def _excerpt(text: str, line: int, column: int) -> str:
    around = text.split("\n")[line - 1][max(0, column - 21) : column + 19].strip()
    return f" near `{printable(around)}`" if around else ""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) != len(pairs):
        seen: set[str] = set()
        double = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"an object has the key {describe(double)} twice; the first would be lost")
    return built


def _too_deep(source: str) -> Refused:
    return Refused(
        f"{source} is nested too deeply",
        evidence=f"more than {DEPTH_LIMIT} levels",
        todo="flatten it; no schema or configuration needs as many",
    )


def _check_values(value: Any, source: str) -> None:
    """Depth, numbers and texts of a parsed document, level by level so that no nesting can exhaust the stack."""
    level: list[Any] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > DEPTH_LIMIT:
            raise _too_deep(source)
        below: list[Any] = []
        for item in level:
            match item:
                case dict():
                    for key in item:
                        _check_text(key, source)
                    below.extend(item.values())
                case list():
                    below.extend(item)
                case str():
                    _check_text(item, source)
                case float() if not math.isfinite(item):
                    raise Refused(
                        f"{source} has a number too large to be kept", todo="write a number below 1.8e308 or a text"
                    )
                case _:
                    pass
        level = below


def _check_text(text: str, source: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Refused(
            f"{source} has half of a surrogate pair in a text",
            evidence=f"\\u{ord(text[error.start]):04x}",
            todo="write the character itself or both halves",
        ) from error
