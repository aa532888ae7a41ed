"""Where roles run: the drivers by the names that the command line has for them."""

from __future__ import annotations

from collections.abc import Callable

from coworld_actors.runtime.opening import OpenDriver
from coworld_actors.runtime.place import Place
from coworld_drivers.images import ImageMap
from coworld_drivers.process import ProcessDriver

__all__ = ["choose_driver"]


def choose_driver(place: Place, images: ImageMap, log: Callable[[str], None], *, warm: bool = False) -> OpenDriver:
    """The driver of a place.

    Args:
        place: where roles run.
        images: where the files of images are, for drivers without containers.
        log: takes a sentence that a user should see.
        warm: whether a process may be forked from one that has already imported what it needs.
    """
    match place.driver:
        case "inproc":
            from coworld_drivers.inproc import InprocDriver  # noqa: PLC0415 - others do not pay for the SDK

            return InprocDriver(images)
        case "docker":
            from coworld_drivers.docker import DockerDriver  # noqa: PLC0415 - others do not pay for it

            return DockerDriver(log=log, trust=place.trust, outside=place.outside, pull=place.pull)
        case _:
            return ProcessDriver(images, log=log, warm=True) if warm else ProcessDriver(images, log=log)
