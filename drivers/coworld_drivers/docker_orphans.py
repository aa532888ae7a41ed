"""Containers that nobody waits for any more, and that the engine may yet make: its answer was lost, or we were cancelled."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager

import trio

from coworld_drivers.docker_client import LOOK_SECONDS, Docker, DockerRefused, Trouble
from coworld_drivers.labels import of_this_run

__all__ = ["Orphans"]

SETTLE_SECONDS = 3.0
"""How long an engine may go on making a container after its client was killed, or as long as it took for the slowest of this run if
that is longer; 2 s were seen with 64 at once."""

REMOVAL_SECONDS = 20.0
"""For the removal of all that is found."""

_PAUSE = 0.2


class Orphans:
    """What of a run's containers may be left when every site has removed its own.

    Args:
        docker: the engine.
        run: the run's id, which every container has as a label.
    """

    def __init__(self, docker: Docker, run: str) -> None:
        self._docker = docker
        self._run = run
        self._any = False
        self._last = -math.inf
        self._slowest = 0.0

    @contextmanager
    def making(self) -> Generator[None]:
        """A container is being made in the body; unless that ends well, one may appear later."""
        self._any = True
        start = trio.current_time()
        try:
            yield
        except BaseException:
            self._last = trio.current_time()
            raise
        self._slowest = max(self._slowest, trio.current_time() - start)

    async def remove(self) -> None:
        """Remove every container of the run, also one that appears only now. Bounded.

        Raises:
            DockerRefused: some may be left; they carry the run's label.
            MachineFault: the client cannot be started any more.
        """
        if not self._any:
            return
        left: list[str] = []
        with trio.move_on_after(REMOVAL_SECONDS) as limit:
            while True:
                listed = await self._docker.ask(
                    *("ps", "--all", "--quiet", "--no-trunc", *of_this_run(self._run)),
                    what="what is left of this run cannot be listed",
                    timeout=LOOK_SECONDS,
                    again=lambda trouble: trouble in {Trouble.BUSY, Trouble.ENGINE_AWAY, Trouble.NOT_FOUND},
                )
                left = listed.text.split()
                settled = self._last + max(SETTLE_SECONDS, min(self._slowest, REMOVAL_SECONDS / 2))
                if not left and trio.current_time() >= settled:
                    return
                if left:
                    await self._docker.client.call("rm", "--force", "--volumes", *left, timeout=REMOVAL_SECONDS)
                await trio.sleep(_PAUSE)
        if limit.cancelled_caught:
            raise DockerRefused(
                f"{len(left)} containers of this run are not removed",
                Trouble.BUSY,
                evidence=f"the engine did not do it within {REMOVAL_SECONDS:g} s",
            )
