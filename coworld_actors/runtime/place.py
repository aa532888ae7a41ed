"""Where roles run, as a user says it; nothing that plays is imported for it."""

from __future__ import annotations

import msgspec

from coworld_drivers.driver import Pull
from coworld_protocol.errors import Refused

__all__ = ["DRIVERS", "Place"]

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
