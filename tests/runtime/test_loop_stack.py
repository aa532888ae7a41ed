"""Looking at a loop's thread from another: idle or busy, which task, where."""

from __future__ import annotations

import threading

import trio

from coworld_actors.runtime.loop_stack import STACK_CHARACTERS, STACK_FRAMES, look, suspect

PATIENCE = 30.0


class Blockade:
    """Something that a task runs into, and stays in as long as somebody looks."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()

    def block(self, depth: int = 0) -> None:
        if depth:
            self.block(depth - 1)
        else:
            self.entered.set()
            assert self.leave.wait(PATIENCE)


def looked_at(main, blockade):
    """Run `main` in a loop of a thread, and look at it from here while it is in the blockade."""
    roots = []

    async def outer() -> None:
        roots.append(trio.lowlevel.current_root_task())
        await main()

    thread = threading.Thread(target=trio.run, args=(outer,))
    thread.start()
    assert blockade.entered.wait(PATIENCE)
    try:
        seen = look(thread.ident)
        return seen, suspect(seen, roots[0])
    finally:
        blockade.leave.set()
        thread.join(PATIENCE)


def test_a_blocking_task_is_found_in_the_tree():
    """The frames are the task's own, its outermost last; the line is its innermost outside of libraries."""
    blockade = Blockade()

    async def wait_in_vain() -> None:
        blockade.block()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_in_vain, name="patience")

    seen, found = looked_at(main, blockade)
    assert (seen.idle, seen.scheduled) == (False, True)
    assert seen.root is not None
    assert seen.root.f_code.co_name == "wait_in_vain"
    assert found.where.startswith("task patience in test_loop_stack.py:")
    assert found.where.endswith(" block")
    assert (found.life, found.place) == (None, None)
    assert "in wait_in_vain" in found.stack
    assert "trio.run" not in found.stack


def test_an_idle_loop_is_seen_to_be_idle():
    """A loop that waits for the system has no frames to blame."""
    token = []
    done = []

    async def main() -> None:
        event = trio.Event()
        done.append(event)
        token.append(trio.lowlevel.current_trio_token())
        await event.wait()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    waited = threading.Event()
    for _ in range(int(PATIENCE / 0.01)):
        if token and look(thread.ident).idle:
            break
        waited.wait(0.01)
    seen = look(thread.ident)
    token[0].run_sync_soon(done[0].set)
    thread.join(PATIENCE)
    assert seen.idle
    assert seen.root is None


def test_a_callback_into_the_loop_is_a_task_of_the_loops():
    """What `run_sync_soon` brought in blocks in trio's own task; the line is the callback's."""
    blockade = Blockade()

    async def main() -> None:
        trio.lowlevel.current_trio_token().run_sync_soon(blockade.block)
        await trio.sleep(0.01)

    _, found = looked_at(main, blockade)
    assert found.where.startswith("task <TrioToken.run_sync_soon task> in ")
    assert found.where.endswith(" block")


def test_a_deep_stack_is_cut_at_its_outer_end():
    """At most so many frames and characters, and the innermost call is among them."""
    blockade = Blockade()

    async def main() -> None:
        blockade.block(depth=200)

    seen, found = looked_at(main, blockade)
    assert len(seen.frames) > 200
    assert found.stack.count("  File ") <= STACK_FRAMES
    assert len(found.stack) <= STACK_CHARACTERS
    assert "self.leave.wait" in found.stack


def test_a_thread_without_a_loop_is_the_program_around_it():
    """In guest mode the host's own code may block: its whole stack is shown."""
    blockade = Blockade()
    thread = threading.Thread(target=blockade.block)
    thread.start()
    assert blockade.entered.wait(PATIENCE)
    seen = look(thread.ident)
    blockade.leave.set()
    root = []

    async def main() -> None:
        root.append(trio.lowlevel.current_root_task())

    trio.run(main)
    assert (seen.idle, seen.scheduled) == (False, False)
    assert suspect(seen, root[0]).where.startswith("the program around the event loop in test_loop_stack.py:")
    thread.join(PATIENCE)


def test_a_thread_that_is_gone_has_nothing_to_show():
    """An id that no thread has is no error."""
    seen = look(-1)
    assert seen.frames == ()
    assert not seen.idle
