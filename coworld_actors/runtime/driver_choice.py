"""Where roles run: the drivers by the names that the command line has for them."""

from __future__ import annotations

from collections.abc import Callable

from coworld_actors.runtime.opening import OpenDriver
from coworld_drivers.images import ImageMap
from coworld_drivers.process import ProcessDriver

__all__ = ["choose_driver"]


def choose_driver(name: str, images: ImageMap, log: Callable[[str], None], *, warm: bool = False) -> OpenDriver:
    """The driver of that name.

    Args:
        name: `process` or `inproc`.
        images: where the files of images are.
        log: takes a sentence that a user should see.
        warm: whether a role may be forked from a process that has already imported what it needs.
    """
    if name == "inproc":
        from coworld_drivers.inproc import InprocDriver  # noqa: PLC0415 - others do not pay for the SDK

        return InprocDriver(images)
    return ProcessDriver(images, log=log, warm=True) if warm else ProcessDriver(images, log=log)
