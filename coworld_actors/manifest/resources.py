"""Kubernetes quantities in `resources`: `500m`, `2`, `1Gi`, `128974848`, `1e3`, `100M`.

The notation is that of Kubernetes' `resource.Quantity`: a decimal number, then nothing, a decimal exponent, a decimal suffix
(`n u m k M G T P E`) or a binary one (`Ki Mi Gi Ti Pi Ei`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final

from coworld_actors.manifest.document import describe, json_path
from coworld_protocol.errors import Problem

__all__ = ["BadQuantity", "parse_bytes", "parse_cpus", "resource_problems"]

_QUANTITY: Final = re.compile(
    r"\+?([0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})([eE][+-]?[0-9]{1,2}|[numkMGTPE]|[KMGTPE]i)?"
)
_DECIMAL: Final = {"": 0, "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}

_MOST: Final = Decimal(2**63 - 1)
"""What Kubernetes can hold; also more than any machine has."""

_MEANT: Final = {
    "cpu": "a quantity of processors such as `500m` or `2`",
    "memory": "a quantity of bytes such as `512Mi` or `1G`",
    "ephemeral-storage": "a quantity of bytes such as `2Gi`",
}


class BadQuantity(ValueError):
    """A text that is no quantity, or more than any machine has."""


def parse_cpus(text: str) -> float:
    """Processors, rounded up to thousandths as Kubernetes does.

    Raises:
        BadQuantity: it is no quantity.
    """
    return float(_amount(text).quantize(Decimal("0.001"), ROUND_CEILING))


def parse_bytes(text: str) -> int:
    """Bytes, rounded up.

    Raises:
        BadQuantity: it is no quantity.
    """
    return int(_amount(text).to_integral_value(ROUND_CEILING))


def resource_problems(resources: Mapping[str, Any], path: tuple[str | int, ...]) -> Iterator[Problem]:
    """Every quantity of a runnable's `resources` that means nothing.

    Args:
        resources: as read; values of wrong types are left to others.
        path: where it is.
    """
    for part in ("requests", "limits"):
        wanted = resources.get(part)
        if not isinstance(wanted, dict):
            continue
        for name, meant in _MEANT.items():
            text = wanted.get(name)
            if isinstance(text, str) and not _is_quantity(text):
                yield Problem(path=json_path((*path, part, name)), found=describe(text), allowed=meant)


def _is_quantity(text: str) -> bool:
    try:
        _amount(text)
    except BadQuantity:
        return False
    return True


def _amount(text: str) -> Decimal:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise BadQuantity(f"{text!r} is no quantity")
    suffix = match[2] or ""
    amount = Decimal(match[1])
    if suffix in _BINARY:
        amount *= 2 ** _BINARY[suffix]
    else:
        # `E` alone is the suffix for 10^18; followed by digits it is an exponent.
        amount = amount.scaleb(_DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:]))
    if amount > _MOST:
        raise BadQuantity(f"{text!r} is out of range")
    return amount
