"""Where roles run: the drivers by the names that the command line has for them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from coworld_actors.runtime.opening import OpenDriver
from coworld_drivers.docker_images import Pull
from coworld_drivers.images import ImageMap
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import Refused

__all__ = ["DRIVERS", "Place", "choose_driver"]

DRIVERS = ("process", "docker", "inproc")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where roles run, and how freely.

    Attributes:
        driver: one of `DRIVERS`.
        trust: containers are kept from the machine by nothing but limits on what they use.
        outside: containers reach the network outside.
        pull: when a registry is asked for an image.

    Raises:
        Refused: trust or pulling where there are no containers.
    """

    driver: str = "process"
    trust: bool = False
    outside: bool = False
    pull: Pull = Pull.MISSING

    def __post_init__(self) -> None:
        for option, said in (("--trust", self.trust), ("--pull", self.pull is not Pull.MISSING)):
            if said and self.driver != "docker":
                raise Refused(
                    f"{option} is for containers, and with --driver {self.driver} there are none",
                    todo=f"add --driver docker, or leave {option} out",
                )


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
