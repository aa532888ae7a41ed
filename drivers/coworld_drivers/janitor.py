"""The janitor: a tiny process that outlives a run by seconds and ends whatever the run could not end itself.

Run as `python -I -S -E janitor.py MARK PARENT` in a session of its own, standard library only. Standard input is the lifeline,
a pipe whose other end only the runtime holds:

    +123    process group 123 was started
    -123    it has ended
    .       everything was ended in good order

End of file without `.` means that the runtime is dead, however it died. Then every group still open and every process that
carries the mark gets SIGTERM, after `TERM_SECONDS` SIGKILL, and after `GIVE_UP_SECONDS` the janitor ends too.
"""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import sys
import time
from collections.abc import Collection
from contextlib import suppress

__all__ = ["GIVE_UP_SECONDS", "MARK", "SETTLE_SECONDS", "TERM_SECONDS", "marked", "signal_marked"]

MARK = "COWORLD_ACTORS_RUN"
"""Variable by which everything that descends from a run is found: `RUN`, then `.SITE`, then `.ROLE`, nested runs prefixed."""

TERM_SECONDS = 1.0
SETTLE_SECONDS = 0.5
"""How long to look for late comers: a process forked before the runtime's death carries the mark only once it has exec'd."""
GIVE_UP_SECONDS = 4.0
_LOOK_SECONDS = 0.05


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


def _listen(parent: int) -> tuple[set[int], bool]:
    """Follow the lifeline until it ends: the groups still open, and whether the end was orderly."""
    groups: set[int] = set()
    rest = b""
    while True:
        ready, _, _ = select.select([0], [], [], 1.0)
        if ready:
            data = os.read(0, 65536)
            if not data:
                return groups, False
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line == b".":
                    return groups, True
                if line[:1] == b"+":
                    groups.add(int(line[1:]))
                elif line[:1] == b"-":
                    groups.discard(int(line[1:]))
        elif os.getppid() != parent:
            # A fork of the runtime that never exec'd can hold the pipe open; the runtime itself is dead all the same.
            return groups, False


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


def main(mark: str, parent: int) -> None:
    """Watch the lifeline, then sweep."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    groups, orderly = _listen(parent)
    _sweep(mark, groups, 0.0 if orderly else SETTLE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
