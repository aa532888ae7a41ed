"""The end of a forked role: everything that a process does at its end, without taking the interpreter apart.

Taking it apart touches every object there is, and what a child shares with its template has to be copied for that: 15 ms of a
processor for a player that has imported trio, ten times what its start costs. So at the very end, when threads have been waited
for and everybody else's `atexit` functions have run, this one clears the modules that the child itself has executed, collects what
is garbage then, flushes every open file, and leaves. What is not done is to destroy objects that modules imported beforehand still
hold, and to let C libraries free their memory (OpenSSL takes 4 ms for that). Standard library only, Python from 3.9.
"""

from __future__ import annotations

import gc
import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["QuickExit"]


class QuickExit:
    """Leaves with the right status once that is known. To be made in the template, when it has imported everything.

    Args:
        leave: ends the process, with a status.

    Attributes:
        status: with which to leave; None leaves the end to the interpreter.
    """

    def __init__(self, leave: Callable[[int], object]) -> None:
        self.status: int | None = None
        self._leave = leave
        self._pid = 0
        self._shared = set(sys.modules)

    def arm(self) -> None:
        """To be called in the child, before anything of the role's is executed: what is registered first is called last."""
        import atexit  # noqa: PLC0415 - a module of the interpreter itself, which the role may import as if it were new

        self._pid = os.getpid()
        atexit.register(self._finish)

    def ended(self, error: BaseException | None) -> None:
        """The role's program is over, with an exception or without."""
        if error is None:
            self.status = 0
        elif isinstance(error, SystemExit):
            code = error.code
            if code is None:
                self.status = 0
            elif isinstance(code, int):
                self.status = code & 0xFF if -(1 << 31) <= code < 1 << 31 else None
            else:
                self.status = 1
        elif not isinstance(error, KeyboardInterrupt):
            self.status = 1

    def _finish(self) -> None:
        # A child of the role's own goes the whole way.
        if self.status is None or os.getpid() != self._pid:
            return
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None and not stream.closed:
                    stream.flush()
        except Exception:  # noqa: BLE001 - the interpreter will find the same, say so and choose the status
            return
        # Before the garbage is collected, which may destroy a file's parts in the wrong order, and again for what that has written.
        _flush_files()
        self._let_go()
        _flush_files()
        self._leave(self.status)

    def _let_go(self) -> None:
        """Forget the modules that this process has executed: nearly all are garbage then, and what is not is cleared."""
        import _weakref  # noqa: PLC0415 - of the interpreter itself, as above

        for name in ("last_exc", "last_type", "last_value", "last_traceback"):
            if hasattr(sys, name):
                setattr(sys, name, None)
        left = []
        for name in ("__main__", *reversed([name for name in sys.modules if name not in self._shared])):
            module = sys.modules.pop(name, None)
            if type(module) is type(sys):
                left.append(_weakref.ref(module))
            # It may be the last reference.
            module = None
        gc.collect()
        for reference in left:
            _clear(reference())
        gc.collect()


def _flush_files() -> None:
    # The collector does not list what is frozen: what existed before the fork has nothing to flush.
    for each in gc.get_objects():
        if isinstance(each, (io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper)):
            try:
                each.flush()
            except Exception:  # noqa: BLE001, S112 - closed, or its file is gone: nobody is left to be told
                continue


def _clear(module: object) -> None:
    """As the interpreter clears a module that somebody still holds: private names first."""
    names = {} if module is None else vars(module)
    for private in (True, False):
        for name in list(names):
            if name != "__builtins__" and (not private or (name.startswith("_") and not name.startswith("__"))):
                names[name] = None
