"""Masks of client frames: applying one, and drawing new ones.

The C helper of the `websockets` library is taken when it is installed (extra `speed`): on CPython 3.11 it masked 16 bytes in
0.06 us and 32 KiB in 0.6 us, where the integer XOR below needed 0.26 us and 41 us. It is loaded without the rest of that package,
whose import takes longer than most players' whole start.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from importlib.machinery import PathFinder

__all__ = ["ACCELERATED", "apply_mask", "new_mask"]

_POOL_BYTES = 4096


def xor_mask(data: bytes, mask: bytes) -> bytes:
    """`data` XOR the four bytes of `mask`, repeated: once masks, twice gives the data back."""
    length = len(data)
    key = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(length, "little")


def _accelerated() -> Callable[[bytes, bytes], bytes] | None:
    package = PathFinder.find_spec("websockets")
    if package is None or not package.submodule_search_locations:
        return None
    spec = PathFinder.find_spec("websockets.speedups", package.submodule_search_locations)
    if spec is None or spec.loader is None:
        return None
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        helper: Callable[[bytes, bytes], bytes] = module.apply_mask
        return helper if helper(b"abcde", b"1234") == xor_mask(b"abcde", b"1234") else None
    except (ImportError, AttributeError):
        return None


_helper = _accelerated()

ACCELERATED = _helper is not None
"""Whether the C helper was found."""

apply_mask: Callable[[bytes, bytes], bytes] = _helper or xor_mask
"""`data` XOR the four bytes of the mask, repeated."""

_pool = b""
_used = 0


def new_mask() -> bytes:
    """Four bytes that a peer cannot predict (RFC 6455, 10.3); one system call serves a thousand."""
    global _pool, _used  # noqa: PLW0603 - one pool per process
    if _used >= len(_pool):
        _pool = os.urandom(_POOL_BYTES)
        _used = 0
    _used += 4
    return _pool[_used - 4 : _used]


def _forget() -> None:
    global _pool, _used
    _pool, _used = b"", 0


# A forked child would draw the same masks as its parent.
os.register_at_fork(after_in_child=_forget)
