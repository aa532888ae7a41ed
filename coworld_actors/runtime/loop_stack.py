"""What the thread of an event loop is doing at this moment, seen from another thread, and on whose behalf."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import trio

import coworld_actors.actors
from coworld_actors.actors.current import RUNNING, Place
from coworld_actors.actors.incarnation import Incarnation

__all__ = ["STACK_CHARACTERS", "STACK_FRAMES", "Look", "Suspect", "look", "suspect"]

STACK_FRAMES = 20
"""Innermost frames that a formatted stack shows."""
STACK_CHARACTERS = 8_000
"""Characters of a formatted stack; what is cut is cut from the outer end."""
_TREE_ATTEMPTS = 3

_LIBRARIES = tuple({sysconfig.get_path(name) + "/" for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_CORE = (str(Path(trio.__file__).parent) + "/", str(Path(coworld_actors.actors.__file__).parent) + "/")
_METHODS = {"start": "on_start", "handle": "the handler", "stop": "on_stop"}


class Look(NamedTuple):
    """A thread's stack at one moment.

    Attributes:
        idle: the loop waits for the system and has nothing to do.
        scheduled: the loop is in the middle of its tasks; False where a guest's host runs, or the loop's own glue.
        frames: of the running task if `scheduled`, else of the whole thread; innermost first.
    """

    idle: bool
    scheduled: bool
    frames: tuple[FrameType, ...]

    @property
    def root(self) -> FrameType | None:
        """The outermost frame of the running task: the same object as long as it is the same task."""
        return self.frames[-1] if self.scheduled and self.frames else None


class Suspect(NamedTuple):
    """Who runs, in words.

    Attributes:
        life: the incarnation of the actor on whose behalf the task runs; None for others.
        place: that actor.
        where: `the handler of greeter in game.py:12 poll`.
        stack: formatted as in a traceback, innermost call last.
    """

    life: Incarnation | None
    place: Place | None
    where: str
    stack: str


def look(thread: int) -> Look:
    """Look at a thread; works while it is blocked.

    The names below are trio's own. Were they others, an idle loop would count as busy and a task's stack would reach out to
    the program's start; nothing would break.
    """
    frames: list[FrameType] = []
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented, and for this use
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module == "trio._core._run" and frame.f_code.co_name == "unrolled_run":
            return Look(idle=False, scheduled=True, frames=tuple(frames))
        if not frames and frame.f_code.co_name == "get_events" and str(module).startswith("trio._core._io_"):
            return Look(idle=True, scheduled=False, frames=())
        frames.append(frame)
        frame = frame.f_back
    return Look(idle=False, scheduled=False, frames=tuple(frames))


def suspect(seen: Look, root_task: trio.lowlevel.Task) -> Suspect:
    """Say who was seen.

    Args:
        seen: a look at a loop's thread.
        root_task: that loop's root task; its tree is searched for the running one.
    """
    task = _task_of(seen.root, root_task) if seen.root is not None else None
    life = task.context.get(RUNNING) if task is not None else None
    place = life.place if life is not None else None
    at = _spot(seen.frames)
    if place is not None and life is not None:
        method = _METHODS.get(life._phase) if task is life.task else "a background task"  # noqa: SLF001 - one house, and nobody else needs it
        who = f"{method or 'the task'} of {place.path}"
    elif task is not None:
        who = f"task {task.name}"
    elif seen.scheduled:
        who = "a task that could not be named" if seen.frames else "the event loop's own work"
    else:
        who = "the program around the event loop"
    return Suspect(life, place, f"{who}{at}", _stack(seen.frames))


def _task_of(root: FrameType, root_task: trio.lowlevel.Task) -> trio.lowlevel.Task | None:
    for _ in range(_TREE_ATTEMPTS):
        try:
            return _search(root, root_task)
        except RuntimeError:
            # A set of tasks changed while it was read: the loop is alive again.
            continue
    return None


def _search(root: FrameType, task: trio.lowlevel.Task) -> trio.lowlevel.Task | None:
    left = [task]
    while left:
        task = left.pop()
        if getattr(task.coro, "cr_frame", None) is root:
            return task
        for nursery in task.child_nurseries:
            left.extend(nursery.child_tasks)
    return None


def _spot(frames: tuple[FrameType, ...]) -> str:
    """The innermost frame that belongs to neither a library nor the runtime's core; the innermost if all do."""
    own = (frame for frame in frames if not frame.f_code.co_filename.startswith((*_LIBRARIES, *_CORE, "<frozen")))
    frame = next(own, frames[0] if frames else None)
    if frame is None:
        return ""
    return f" in {Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"


def _stack(frames: tuple[FrameType, ...]) -> str:
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in reversed(frames[:STACK_FRAMES]))
    return "".join(summary.format())[-STACK_CHARACTERS:].rstrip("\n")
