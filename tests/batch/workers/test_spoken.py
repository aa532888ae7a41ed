"""A worker's output: line by line, bounded, and what it says about an end."""

from __future__ import annotations

import trio

from coworld_actors.batch.workers.spoken import LINE_WIDTH, LINES, Spoken


async def test_lines_are_put_together() -> None:
    """Pieces become lines with a name in front, the unfinished one comes at the end, and control codes are written out."""
    notes: list[str] = []
    spoken = Spoken("worker 1", notes.append)
    spoken.take(b"one\ntw")
    spoken.take(b"o\n\x1b[31mthree")
    assert notes == ["worker 1: one", "worker 1: two"]
    spoken.close()
    assert notes[2:] == ["worker 1: \\u001b[31mthree"]


async def test_a_flood_is_cut_and_counted(autojump_clock) -> None:
    """So many lines in ten seconds, then a number; later there is room again."""
    notes: list[str] = []
    spoken = Spoken("w", notes.append)
    spoken.take(b"x\n" * (LINES + 7))
    assert len(notes) == LINES
    await trio.sleep(11)
    spoken.take(b"y\n")
    assert notes[LINES:] == ["w: 7 more lines are left out", "w: y"]
    spoken.take(b"z" * 100 * LINE_WIDTH + b"\n")
    assert len(notes[-1]) <= LINE_WIDTH + 3


def words_after(text: str) -> str:
    spoken = Spoken("w", lambda _: None)
    spoken._kept += text.encode()
    return spoken.last_words()


def test_the_last_words_name_what_matters() -> None:
    """Who blocked the loop, where it crashed, where it stood when it was asked, or simply the last line."""
    assert words_after("") == ""
    assert words_after("one\ntwo\n\n") == "two"
    blocked = 'the event loop has been blocked for 1.00 s by a task in x.py:3 think\n  File "x.py"\nmore\n'
    assert words_after(f"chatter\n{blocked}") == "the event loop has been blocked for 1.00 s by a task in x.py:3 think"
    fatal = (
        "Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n"
        '  File "c.py", line 9 in call\n  File "d.py", line 1 in main\n\nExtension modules: a (total: 1)\n'
    )
    assert words_after(fatal) == 'Fatal Python error: Segmentation fault, File "c.py", line 9 in call'
    stack = (
        'Current thread 0x1 (most recent call first):\n  File "c.py", line 9 in call\n  File "d.py", line 1 in main\n'
    )
    assert words_after(f"chatter\n{stack}") == 'File "c.py", line 9 in call'
