"""Kubernetes quantities: what they amount to, and what is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coworld_actors.manifest.load import LoadedManifest
from coworld_actors.manifest.resources import BadQuantity, parse_bytes, parse_cpus

Raw = dict[str, Any]


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("500m", 0.5), ("2", 2.0), ("0.1", 0.1), ("1500m", 1.5), ("1e1", 10.0), ("+.5", 0.5), ("100u", 0.001), ("0", 0.0)],
)
def test_processors(text: str, cpus: float) -> None:
    """In thousandths, rounded up."""
    assert parse_cpus(text) == cpus


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("128974848", 128_974_848),
        ("1Gi", 2**30),
        ("1.5Gi", 3 * 2**29),
        ("512Mi", 2**29),
        ("4Ki", 4096),
        ("1Ei", 2**60),
        ("100M", 100_000_000),
        ("2k", 2000),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("5e-1", 1),
        ("129e6", 129_000_000),
        ("128974848000m", 128_974_848),
        ("1.", 1),
        ("0", 0),
    ],
)
def test_bytes(text: str, size: int) -> None:
    """Decimal and binary suffixes, exponents, and parts of a byte rounded up."""
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text",
    ["", " ", "1 Gi", "Gi", "1gi", "1GB", "1Gib", "-1", "1e", "1e3Mi", "1,5", "0x10", ".", "1e99", "9Ei", "1_000", "NaN",
     "\N{ARABIC-INDIC DIGIT ONE}", "1" * 5000, "1Gi\n"],
)  # fmt: skip
def test_what_is_no_quantity(text: str) -> None:
    """Nor more than Kubernetes can hold."""
    with pytest.raises(BadQuantity):
        parse_bytes(text)
    with pytest.raises(BadQuantity):
        parse_cpus(text)


def test_a_manifest_with_a_bad_quantity_is_refused_where_it_is(raw: Raw, refusal: Callable[[], list[str]]) -> None:
    """Every one of them at once, whichever role it belongs to."""
    raw["game"]["runnable"]["resources"] = {"requests": {"cpu": "two", "memory": "1Gi"}}
    raw["player"][1]["resources"] = {
        "requests": {"cpu": "500m", "ephemeral-storage": "2GB"},
        "limits": {"memory": "-5"},
    }
    assert refusal() == [
        '$.game.runnable.resources.requests.cpu: found "two"; allowed: a quantity of processors such as `500m` or `2`',
        '$.player[1].resources.requests["ephemeral-storage"]: found "2GB"; allowed: a quantity of bytes such as `2Gi`',
        '$.player[1].resources.limits.memory: found "-5"; allowed: a quantity of bytes such as `512Mi` or `1G`',
    ]


def test_good_quantities_are_taken(raw: Raw, load: Callable[[], LoadedManifest]) -> None:
    """And kept as they are spelled."""
    raw["game"]["runnable"]["resources"] = {"requests": {"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "1e9"}}
    resources = load().manifest.game.runnable.resources
    assert resources is not None
    assert resources.requests.ephemeral_storage == "1e9"
