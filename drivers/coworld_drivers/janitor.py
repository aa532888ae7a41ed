"""The janitor: a tiny process that outlives a run by seconds and ends whatever the run could not end itself.

Run as `python -I -S -E janitor.py MARK PARENT` in a session of its own, standard library only. Standard input is the lifeline,
a pipe whose other end only the runtime holds:

    +123    process group 123 was started
    -123    it has ended
    *{...}  a will: {"list": [...], "remove": [...], "environ": {...}}
    .       everything was ended in good order

End of file without `.` means that the runtime is dead, however it died. Then every group still open and every process that
carries the mark gets SIGTERM, after `TERM_SECONDS` SIGKILL, and after `GIVE_UP_SECONDS` no more.

At the same time the wills are done, one after the other: `list` is called, the words it prints are put after those of `remove`,
and that is called. This is repeated, for what the dead runtime's last calls have ordered may appear later than its end: until
all of them list nothing for as long as an order may take, and for at most `WILL_SECONDS`. Then the janitor ends too. After an
end in good order there is no inheritance.
"""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

__all__ = ["GIVE_UP_SECONDS", "MARK", "SETTLE_SECONDS", "TERM_SECONDS", "WILL_SECONDS", "marked", "signal_marked"]

MARK = "COWORLD_ACTORS_RUN"
"""Variable by which everything that descends from a run is found: `RUN`, then `.SITE`, then `.ROLE`, nested runs prefixed."""

TERM_SECONDS = 1.0
SETTLE_SECONDS = 0.5
"""How long to look for late comers: a process forked before the runtime's death carries the mark only once it has exec'd."""
GIVE_UP_SECONDS = 4.0
_LOOK_SECONDS = 0.05

WILL_SECONDS = 60.0
"""How long the wills may take altogether, with a far end that is slow, or away and coming back."""
_LATE_SECONDS = 2.0
"""How long nothing may be listed before the wills are done, and twice the slowest call: that is how quick the far end is."""
_LIST_SECONDS = 10.0
_REMOVE_SECONDS = 20.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_MOST_BYTES = 1 << 20
_MOST_WORDS = 200
"""Things removed in one call: their names have to fit into one command line, and its time has to do."""


def marked(mark: str) -> list[int]:
    """The ids of all living processes whose environment carries `mark` or a mark below it, ours excepted.

    Sees what the process was started with: a process that wiped its own environment before it escaped its group is not found.
    """
    wanted = f"\0{MARK}={mark}".encode()
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    return [pid for pid in pids if pid != os.getpid() and _carries(pid, wanted)]


def _carries(pid: int, wanted: bytes) -> bool:
    try:
        with io.FileIO(f"/proc/{pid}/environ") as file:
            environ = b"\0" + file.read()
    except OSError:
        return False
    at = environ.find(wanted)
    return at >= 0 and environ[at + len(wanted) : at + len(wanted) + 1] in (b"\0", b".", b"")


def signal_marked(mark: str, number: int, spare: Collection[int] = ()) -> list[int]:
    """Send a signal to everything that `marked` finds; returns the ids it was sent to.

    Each process is held by a pidfd while its mark is read again, so that a recycled id is never hit.
    """
    wanted = f"\0{MARK}={mark}".encode()
    sent: list[int] = []
    for pid in marked(mark):
        if pid in spare:
            continue
        with suppress(OSError):
            if _send(pid, wanted, number):
                sent.append(pid)
    return sent


def _send(pid: int, wanted: bytes, number: int) -> bool:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        # A sandbox without pidfds: the mark was read microseconds ago, and ids are given out in turn.
        os.kill(pid, number)
        return True
    try:
        found = _carries(pid, wanted)
        if found:
            signal.pidfd_send_signal(pidfd, number)
        return found
    finally:
        os.close(pidfd)


def _signal_groups(groups: set[int], number: int) -> None:
    """Signal every group; forget those that are gone, before their ids can be used again."""
    for group in tuple(groups):
        try:
            os.killpg(group, number)
        except OSError:
            groups.discard(group)


def _listen(parent: int) -> tuple[set[int], list[dict[str, Any]], bool]:
    """Follow the lifeline until it ends: the groups still open, the wills, and whether the end was orderly."""
    groups: set[int] = set()
    wills: list[dict[str, Any]] = []
    rest = b""
    while True:
        ready, _, _ = select.select([0], [], [], 1.0)
        if ready:
            data = os.read(0, 65536)
            if not data:
                return groups, wills, False
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line == b".":
                    return groups, wills, True
                if line[:1] == b"+":
                    groups.add(int(line[1:]))
                elif line[:1] == b"-":
                    groups.discard(int(line[1:]))
                elif line[:1] == b"*":
                    wills.append(_will(line[1:]))
        elif os.getppid() != parent:
            # A fork of the runtime that never exec'd can hold the pipe open; the runtime itself is dead all the same.
            return groups, wills, False


def _sweep(mark: str, groups: set[int], settle: float) -> None:
    start = time.monotonic()
    asked: set[int] = set()
    _signal_groups(groups, signal.SIGTERM)
    while True:
        age = time.monotonic() - start
        if age >= TERM_SECONDS:
            _signal_groups(groups, signal.SIGKILL)
            alive = signal_marked(mark, signal.SIGKILL)
        else:
            _signal_groups(groups, 0)
            alive = marked(mark)
            if set(alive) - asked:
                asked.update(signal_marked(mark, signal.SIGTERM, spare=asked))
        if (not groups and not alive and age >= settle) or age >= GIVE_UP_SECONDS:
            return
        time.sleep(_LOOK_SECONDS)


def _will(text: bytes) -> dict[str, Any]:
    # Both are wanted only where there are wills, and loaded while there is an installation to load them from.
    import json  # noqa: PLC0415

    import_module("subprocess")
    will: dict[str, Any] = json.loads(text)
    # Our own calls must not be found by a sweep, this one or that of an outer run.
    will["environ"].pop(MARK, None)
    return will


def _do(wills: Sequence[Mapping[str, Any]], swept: Any) -> None:
    """Do the wills, again and again, until nothing comes any more.

    Args:
        wills: in this order.
        swept: an event: who could have ordered something is gone.
    """
    start = busy = time.monotonic()
    slowest = 0.0
    pause = _FIRST_PAUSE
    while True:
        quiet, answered = swept.is_set(), True
        for will in wills:
            before = time.monotonic()
            if before - start > WILL_SECONDS:
                return
            words = _call(will["list"], will["environ"], _LIST_SECONDS)
            slowest = max(slowest, time.monotonic() - before)
            answered = answered and words is not None
            quiet = quiet and words == []
            # What begins with a dash would be an option.
            names = [word for word in words or () if word[:1] != "-"]
            for first in range(0, len(names), _MOST_WORDS):
                _call([*will["remove"], *names[first : first + _MOST_WORDS]], will["environ"], _REMOVE_SECONDS)
        now = time.monotonic()
        if not quiet:
            busy = now
        elif now - busy >= _LATE_SECONDS + 2 * slowest:
            return
        pause = _FIRST_PAUSE if answered else min(2 * pause, _LONGEST_PAUSE)
        time.sleep(pause)


def _call(argv: Sequence[str], environ: Mapping[str, str], seconds: float) -> list[str] | None:
    """What a program prints, as words; None when it fails, or takes too long, or says too much."""
    import subprocess  # noqa: PLC0415

    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env=environ,
        )
    except (OSError, ValueError):
        return None
    assert process.stdout is not None
    with process.stdout as out:
        end = time.monotonic() + seconds
        said = b""
        closed = False
        while (
            not closed
            and len(said) <= _MOST_BYTES
            and select.select([out], [], [], max(0.0, end - time.monotonic()))[0]
        ):
            piece = os.read(out.fileno(), 65536)
            said += piece
            closed = not piece
        if closed:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
        if process.returncode is None:
            # Not reaped yet: its group is nobody else's.
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return said.decode(errors="replace").split() if closed and process.returncode == 0 else None


def main(mark: str, parent: int) -> None:
    """Watch the lifeline, then sweep."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    groups, wills, orderly = _listen(parent)
    if orderly or not wills:
        _sweep(mark, groups, 0.0 if orderly else SETTLE_SECONDS)
        return
    # A far end may be slow, and processes must not have to wait for it.
    import threading  # noqa: PLC0415

    swept = threading.Event()
    executor = threading.Thread(target=_do, args=(wills, swept))
    executor.start()
    _sweep(mark, groups, SETTLE_SECONDS)
    swept.set()
    executor.join()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
