"""How a task sleeps until another one wakes it: `trio.lowlevel.wait_task_rescheduled`, without what it makes anew for each wait.

A round trip of a message is two of these waits and little else, so they are its price. Two facts make them cheap:

- A task sleeps by yielding a request to trio's loop. The request only names a function that aborts the wait, so where that
  function is always the same, one request serves all waits. Ours is taken out of `wait_task_rescheduled` itself.
- What the sleeper is sent when it is woken is for the two sides to agree on; only a cancellation brings an outcome with it.

Neither is promised by trio. The first is looked at when this module is imported: with a trio whose request is anything else than
that one function, tasks sleep by `wait_task_rescheduled` itself, as its documentation says, a third more per round trip.

Who is asleep is told by `Task.custom_sleep_data`: the sleeper leaves its reason there, and trio clears it when the task is
scheduled again, by a wake or by a cancellation. So a waker that finds its own reason there can be sure that nobody was faster.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple, cast

import trio
from trio.lowlevel import Task, reschedule

__all__ = ["LEAN", "PLAIN", "Way", "park", "wake"]


class Way(NamedTuple):
    """One way of sleeping: whoever parks with its one half is woken with the other. After a cancellation no wake is pending."""

    park: Callable[[Task, object], Awaitable[None]]
    wake: Callable[[Task, object], bool]


def _abort(_: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.SUCCEEDED


def _plain() -> Way:
    async def park(task: Task, reason: object) -> None:
        """Sleep until the `wake` of this task, which is the calling one, and this reason; a checkpoint as every other."""
        task.custom_sleep_data = reason
        await trio.lowlevel.wait_task_rescheduled(_abort)

    def wake(task: Task, reason: object) -> bool:
        """Wake a task that is parked for this reason; False if it is not, because it was woken or cancelled before."""
        if task.custom_sleep_data is not reason:
            return False
        reschedule(task)
        return True

    return Way(park, wake)


def _lean() -> Way | None:
    """The cheap way; None with a trio that does not have it."""
    coroutine = trio.lowlevel.wait_task_rescheduled(_abort)  # noqa: ASYNC105 - begun, asked for its request, and closed
    try:
        request = coroutine.send(None)
    except Exception:  # noqa: BLE001 - a trio that wants to be asked inside a run only
        return None
    finally:
        coroutine.close()
    if getattr(request, "__dict__", None) != {"abort_func": _abort}:
        return None

    @types.coroutine
    def park(task: Task, reason: object) -> Generator[Any, Any, None]:
        """Sleep until the `wake` of this task, which is the calling one, and this reason; a checkpoint as every other."""
        task.custom_sleep_data = reason
        outcome = yield request
        if outcome is not None:
            outcome.unwrap()

    def wake(task: Task, reason: object) -> bool:
        """Wake a task that is parked for this reason; False if it is not, because it was woken or cancelled before."""
        if task.custom_sleep_data is not reason:
            return False
        reschedule(task, cast("Any", None))
        return True

    return Way(park, wake)


PLAIN = _plain()
"""By `wait_task_rescheduled` alone."""

LEAN = _lean()
"""By one request for all waits."""

park, wake = LEAN or PLAIN
