from __future__ import annotations

import os
import subprocess
import sys

import pytest

from coworld_protocol.ws import masking
from coworld_protocol.ws.masking import ACCELERATED, apply_mask, new_mask, xor_mask

SIZES = [*range(70), 125, 126, 127, 1023, 65535, 65536, 65537]
WITHOUT_HELPER = """
import importlib.machinery
import sys

found = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = staticmethod(lambda name, *rest: None if "websockets" in name else found(name, *rest))
from coworld_protocol.ws.masking import ACCELERATED, apply_mask, xor_mask

assert not ACCELERATED
assert apply_mask is xor_mask
print(apply_mask(b"hello", b"1234").hex(), "websockets" in sys.modules)
"""

FORKING = """
import os
from coworld_protocol.ws.masking import new_mask

new_mask()
for _ in range(2):
    child = os.fork()
    if child == 0:
        os.write(1, b"".join(new_mask() for _ in range(8)).hex().encode() + b"\\n")
        os._exit(0)
    os.waitpid(child, 0)
os.write(1, b"".join(new_mask() for _ in range(8)).hex().encode() + b"\\n")
"""


def by_the_book(data: bytes, mask: bytes) -> bytes:
    """RFC 6455, 5.3, letter by letter."""
    return bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


@pytest.mark.parametrize("mask", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\x02\x03\x80", b"\0\0\0\x01"])
@pytest.mark.parametrize("function", [apply_mask, xor_mask])
def test_masks_are_those_of_the_book(function, mask: bytes) -> None:
    """C helper and fallback give RFC 6455's bytes for every length class, and back again."""
    for size in SIZES:
        data = os.urandom(size)
        masked = function(data, mask)
        assert masked == by_the_book(data, mask)
        assert function(masked, mask) == data
        assert type(masked) is bytes


def test_the_helper_is_taken_here() -> None:
    """The development environment has the helper; it would be noticed if its place in the library moved."""
    assert ACCELERATED
    assert apply_mask is not xor_mask


def test_the_fallback_stands_in_when_the_helper_is_absent() -> None:
    """A process without the library masks by integers, and never imports the library."""
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HELPER],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.stdout.split() == [by_the_book(b"hello", b"1234").hex(), "False"]


def test_masks_are_fresh() -> None:
    """Thousands of masks are four bytes each and do not repeat beyond chance."""
    masks = [new_mask() for _ in range(5000)]
    assert {len(mask) for mask in masks} == {4}
    assert len(set(masks)) > 4990


def test_the_pool_is_refilled_from_the_system(monkeypatch) -> None:
    """Masks are cut from what the kernel gives, in order, and no byte is used twice."""
    blocks: list[bytes] = []

    def random(size: int) -> bytes:
        blocks.append(bytes((len(blocks) + index) % 251 for index in range(size)))
        return blocks[-1]

    monkeypatch.setattr(masking.os, "urandom", random)
    monkeypatch.setattr(masking, "_pool", b"")
    monkeypatch.setattr(masking, "_used", 0)
    drawn = b"".join(new_mask() for _ in range(2000))
    monkeypatch.setattr(masking, "_pool", b"")
    monkeypatch.setattr(masking, "_used", 0)
    assert len(blocks) == 2
    assert b"".join(blocks).startswith(drawn)


def test_a_forked_child_draws_its_own_masks() -> None:
    """Parent and children that share a half-used pool do not draw the same masks."""
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", FORKING],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    drawn = done.stdout.split()
    assert {len(each) for each in drawn} == {64}
    assert len(set(drawn)) == len(drawn) == 3
