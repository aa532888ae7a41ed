"""What a specification refuses: a Struct takes whatever it is given, and a supervisor would stumble over it much later."""

from __future__ import annotations

import enum
import math

from coworld_actors.actors.errors import SpecRefused

__all__ = ["refuse_other_kind", "refuse_other_number"]


def refuse_other_kind(owner: str, field: str, value: object, kind: type) -> None:
    """Refuse a value that is no `kind`.

    Args:
        owner: whose value it is, as a sentence's subject.
        field: the attribute's name.
        value: what was given.
        kind: an enum, whose members' plain texts are refused too, or any other class.

    Raises:
        SpecRefused: it is something else; says what to write instead.
    """
    if isinstance(value, kind):
        return
    instead = f"a value of type {kind.__name__}"
    if issubclass(kind, enum.Enum):
        meant = [member for member in kind if member.value == value] or list(kind)
        instead = " or ".join(f"{kind.__name__}.{member.name}" for member in meant)
    raise SpecRefused(f"{owner} has {field}={value!r}, of type {type(value).__name__}; use {instead}")


def refuse_other_number(owner: str, field: str, value: object, *, least: float = 0.0, endless: bool = False) -> None:
    """Refuse what is no number of at least `least`; NaN and truth values are none.

    Args:
        owner: whose value it is, as a sentence's subject.
        field: the attribute's name.
        value: what was given.
        least: the smallest allowed.
        endless: whether infinity is allowed. Where the number goes into events it is not: JSON has none.

    Raises:
        SpecRefused: it is not.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and value >= least
    if not number or (value == math.inf and not endless):
        raise SpecRefused(
            f"{owner} has {field}={value!r}; use a {'' if endless else 'finite '}number of at least {least:g}"
        )
