"""How a task sleeps until another one wakes it: `trio.lowlevel.wait_task_rescheduled`, without what it makes anew for each wait.

A round trip of a message is two of these waits and little else, so they are its price. Two facts make them cheap:

- A task sleeps by yielding a request to trio's loop. The request only names a function that aborts the wait, so where that
  function is always the same, one request serves all waits. Ours is taken out of `wait_task_rescheduled` itself.
- What the sleeper is sent when it is woken is for the two sides to agree on; only a cancellation brings an outcome with it.

Who is asleep is told by `Task.custom_sleep_data`: the sleeper leaves its reason there, and trio clears it when the task is
scheduled again, by a wake or by a cancellation. So a waker that finds its own reason there can be sure that nobody was faster.
"""

from __future__ import annotations

import types
from collections.abc import Generator
from typing import Any, cast

import trio
from trio.lowlevel import Task, reschedule

__all__ = ["park", "wake"]


def _abort(_: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.SUCCEEDED


def _request() -> object:
    coroutine = trio.lowlevel.wait_task_rescheduled(_abort)  # noqa: ASYNC105 - begun, asked for its request, and closed
    try:
        return coroutine.send(None)
    finally:
        coroutine.close()


_SLEEP = _request()


@types.coroutine
def park(task: Task, reason: object) -> Generator[Any, Any, None]:
    """Sleep until `wake(task, reason)`. `task` is the calling one.

    Raises:
        Cancelled: as at every checkpoint; no wake is lost, none is pending.
    """
    task.custom_sleep_data = reason
    outcome = yield _SLEEP
    if outcome is not None:
        outcome.unwrap()


def wake(task: Task, reason: object) -> bool:
    """Wake a task that is parked for this reason; False if it is not, because it was woken or cancelled before."""
    if task.custom_sleep_data is not reason:
        return False
    reschedule(task, cast("Any", None))
    return True
