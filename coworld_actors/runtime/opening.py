"""A runtime: one driver and one tree of actors, in which episodes are played as their turn comes, for the time of a block.

    async with open_runtime(driver) as runtime:
        verdict = await runtime.run_episode(EpisodeSpec(plan=plan, directory=directory))

It is made to be embedded: it installs no signal handler and configures no logging, an episode that goes wrong is a value and
never takes the host along, and when the block is left - by return, exception or cancellation - everything that it started is
stopped in order within a deadline; what did not stop in time is killed and named.
"""

from __future__ import annotations

import math
import random as random_module
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

import trio

from coworld_actors.actors import open_system
from coworld_actors.runtime.admission import Admission
from coworld_actors.runtime.runtime import KILL_SECONDS, Runtime
from coworld_actors.runtime.watchdog import Watchdog
from coworld_drivers.driver import Driver
from coworld_protocol.errors import Refused

__all__ = ["Attachment", "OpenDriver", "open_runtime"]


class OpenDriver(Driver, AbstractAsyncContextManager["Driver"], Protocol):
    """A driver that is entered for the time of a run."""


Attachment = Callable[[Runtime], AbstractAsyncContextManager[object]]
"""Something beside the episodes - a control socket, metrics - that is there from a runtime's opening until after its stop."""


@asynccontextmanager
async def open_runtime(
    driver: OpenDriver,
    *,
    name: str = "runtime",
    admission: Admission | None = None,
    stop_deadline: float = 30.0,
    blocked_after: float = 1.0,
    attach: Sequence[Attachment] = (),
    random: random_module.Random | None = None,
) -> AsyncGenerator[Runtime]:
    """Open a runtime for the time of a block. Nothing of it outlives the block.

    Args:
        driver: where the roles run; entered and left by the runtime.
        name: for sentences, events and the control socket; several runtimes of a process need names of their own.
        admission: how many episodes at once, how many in the queue.
        stop_deadline: seconds that episodes have to end in order when the runtime is stopped; then they are killed.
        blocked_after: seconds for which something has to block the event loop to be reported as `LoopBlocked`.
        attach: what else is there as long as the runtime is: control socket, metrics, traces.
        random: source of jitter; a seeded one makes runs repeatable.

    Raises:
        Refused: a number of seconds that is none.
    """
    if not 0 <= stop_deadline < math.inf:
        raise Refused(f"stop_deadline={stop_deadline!r} is no time for a stop", todo="give seconds, 0 or more")
    async with driver, open_system(name, random=random, shutdown_deadline=KILL_SECONDS) as system:
        watchdog = Watchdog(system.events, blocked_after=blocked_after)
        left_by: BaseException | None = None
        async with trio.open_nursery() as nursery:
            runtime = Runtime(
                name, driver, system, admission or Admission(), nursery, stop_deadline=stop_deadline, watchdog=watchdog
            )
            # Whatever is raised here is kept and raised below, bare: out of the nursery it would come in a group.
            try:
                async with AsyncExitStack() as attached:
                    try:
                        await attached.enter_async_context(watchdog)
                        for attachment in attach:
                            runtime.attached.append(await attached.enter_async_context(attachment(runtime)))
                        yield runtime
                    except trio.Cancelled:
                        # Goes out through the attachments: the scope that catches it may be one of theirs.
                        raise
                    except BaseException as error:  # noqa: BLE001
                        left_by = error
                    finally:
                        # Restores: everything is stopped in order before the attachments are left.
                        await runtime._close()  # noqa: SLF001 - hidden from everybody else
            except BaseException as error:  # noqa: BLE001
                if left_by is None:
                    left_by = error
                else:
                    left_by.add_note(f"besides, leaving the runtime raised {error!r}")
        if left_by is not None:
            raise left_by
