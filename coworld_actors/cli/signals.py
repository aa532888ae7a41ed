"""Two signals: the first SIGINT or SIGTERM ends a command in order, the second one at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import trio

from coworld_actors.cli.exits import Interrupted, Outcome, answer

__all__ = ["HARD_STOP", "watch_signals"]

HARD_STOP = 1.5
"""Seconds that a second signal leaves for the rest; then the process ends and the janitor sweeps."""


async def watch_signals(
    received: list[int],
    stop: Callable[[str], object],
    kill: Callable[[], object],
    farewell: Callable[[str], Interrupted],
    as_json: bool,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Wait for signals until it is cancelled. A second one ends the process from here.

    Args:
        received: gets the number of every signal.
        stop: told the name of the first one.
        kill: ends what runs, without asking it.
        farewell: told the name of the second one, once that is done; the last word on stderr.
        as_json: whether it is said as a document, too.
        task_status: told once a signal would be heard.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            received.append(number)
            name = signal.Signals(number).name
            if len(received) == 1:
                stop(name)
                continue
            kill()
            await trio.sleep(HARD_STOP)
            os._exit(answer(Outcome(exit_code=128 + received[0], error=farewell(name)), as_json=as_json))
