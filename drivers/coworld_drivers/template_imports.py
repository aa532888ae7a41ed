"""Importing beforehand what a role imports, and seeing whether that can be done beforehand. Standard library only, Python from 3.9.

A module can be imported once for many processes only if its import does nothing that belongs to one process. `Watch` sees what an
import does: whether it reads variables that differ from start to start, starts threads, handles signals, keeps descriptors open,
writes output, asks for its process id. A module that does is left out: the role imports it by itself, and so does everything that
imports it. Of the role's own modules more is asked, for there a start is an episode: they may not look at the clock, draw random
numbers or read files either. An installed package may: it makes itself a name or a table. Random generators are no reason, whoever
makes them: those that the system seeds are seeded again in every child.
"""

# Without pathlib, which would be an import that the role has not made:
# ruff: noqa: PTH118, PTH120, PTH208
# What the interpreter and libraries keep of a process has no public name:
# ruff: noqa: SLF001
from __future__ import annotations

import _thread
import builtins
import fcntl
import gc
import os
import posix
import sys
import termios
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType
    from typing import Any

_signal = __import__("_signal")
"""The interpreter's own; `signal` would bring `enum` with it."""

__all__ = ["LeftOut", "Recorder", "Watch", "is_standard"]

_STDLIB = os.path.dirname(os.__file__) + "/"
_PACKAGES = ("/site-packages/", "/dist-packages/")


class LeftOut(BaseException):
    """Not an error of the module's, nor an `ImportError` that a fallback would catch: this import has to wait for the child."""


class Recorder:
    """A finder that finds nothing and writes down what is looked for.

    Args:
        memory: receives every name, each followed by a newline: `template_fork.Shared`.
    """

    def __init__(self, memory: Any) -> None:
        self._memory = memory
        self._pid = os.getpid()
        self._seen: set[str] = set()

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Write the name down if it is to be imported, and not only looked up, by this process."""
        del path, target
        if name in self._seen or not _imports(sys._getframe(2)) or os.getpid() != self._pid:
            return
        self._seen.add(name)
        try:
            self._memory.write(name.encode() + b"\n")
        except ValueError:
            # Full: what is missing is imported by every child itself.
            return


def _imports(frame: FrameType) -> bool:
    return frame.f_code.co_name == "_find_and_load_unlocked"


class Watch:
    """Imports modules and keeps what speaks against it.

    Args:
        root: the role's own directory: its modules may not read files either, which may change from start to start.
        varying: whether a variable differs from start to start.
        leave_out: modules not to import.

    Attributes:
        taints: modules that have to be left out next time, and why. Unless it is empty this process is of no more use.
        generators: instances of `random.Random` that the system has seeded, to be seeded again in a child.
        numpy: the module `numpy.random.mtrand` if its generator is as numpy left it, to be seeded again in a child.
        chosen: the state of the module `random` if an import has chosen its seed.
    """

    def __init__(self, root: str, varying: Any, leave_out: set[str]) -> None:
        self.taints: dict[str, str] = {}
        self.generators: list[Any] = []
        self.numpy: Any = None
        self._root = os.path.join(os.path.realpath(root), "")
        self._varying = varying
        self._leave_out = leave_out
        self._step = ""
        self._swallowed = False
        self._numpy_state: object = None
        self.chosen: object = None
        self._seeded: Any = None
        kind = vars(type(os.environ))
        self._environ = {id(kind[name].__code__) for name in ("__getitem__", "__iter__", "copy", "__repr__")}
        self._clocks = {
            getattr(time, name)
            for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time", "localtime", "gmtime")
        } | {getattr(time, name) for name in ("time_ns", "monotonic_ns", "perf_counter_ns", "process_time_ns")}
        self._own: dict[Any, str] = {
            **dict.fromkeys(self._clocks, "looks at the clock"),
            **dict.fromkeys((builtins.open, posix.open, posix.listdir, posix.scandir), "reads files"),
            posix.urandom: "draws random bytes",
        }
        if hasattr(posix, "getrandom"):
            self._own[posix.getrandom] = "draws random bytes"
        self._foreign: dict[Any, str] = {
            posix.getpid: "asks for its process id",
            posix.getppid: "asks for its parent's process id",
        }
        self._never: dict[Any, str] = {
            _signal.signal: "handles signals",
            _signal.set_wakeup_fd: "handles signals",
            _signal.setitimer: "sets a timer",
            _signal.alarm: "sets a timer",
            _thread.start_new_thread: "starts a thread",
            posix.fork: "forks",
            posix.chdir: "changes the directory",
            posix.umask: "changes the umask",
            posix.dup2: "moves descriptors",
        }
        joinable = getattr(_thread, "start_joinable_thread", None)
        if joinable is not None:
            self._never[joinable] = "starts a thread"

    def run(self, names: list[str]) -> None:
        """Import these, in this order."""
        sys.meta_path.insert(0, self)
        try:
            for name in names:
                if name not in sys.modules and name not in self._leave_out:
                    self._one(name)
        finally:
            sys.meta_path.remove(self)
        if self._seeded is not None:
            self.chosen = self._seeded.getstate()
        self._find_numpy_generators()

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """As a finder: let nobody import what is left out.

        Raises:
            LeftOut: this is.
        """
        del path, target
        self._look_at_numpy()
        frame = sys._getframe(2)
        if name in self._leave_out and _imports(frame):
            self._swallowed = True
            # Whoever was importing it has been executed up to here, which must not happen twice: it is left out too.
            while frame.f_back is not None:
                module = frame.f_globals.get("__name__", "")
                if frame.f_code.co_name == "<module>" and module != "__main__":
                    self._taint(module, f"imports {name}")
                frame = frame.f_back
            raise LeftOut(name)

    def _one(self, name: str) -> None:
        self._step = name
        self._swallowed = False
        before = self._traces()
        drawn = None if self._numpy_state is None else _fingerprint(self.numpy)
        sys.setprofile(self._profile)
        try:
            __import__(name)
        except LeftOut:
            self._swallowed = False
        except ImportError:
            # As it was for the role, which has a way around it.
            pass
        except BaseException as error:  # noqa: BLE001 - whatever a stranger's import raises
            self._taint(name, f"raises {type(error).__name__}")
        finally:
            sys.setprofile(None)
        if self._swallowed:
            self._taint(name, "does without what it cannot import")
        after = self._traces()
        for kind, trace in after.items():
            if trace != before[kind]:
                self._taint(name, kind)
        if self._numpy_state is not None and _fingerprint(self.numpy) != (drawn or self._numpy_state):
            self._taint(name, "uses numpy's generator")

    def _traces(self) -> dict[str, object]:
        """What an import can have left behind in this process."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        return {
            "opens descriptors": sorted(os.listdir("/proc/self/fd")),
            "starts a thread": len(os.listdir("/proc/self/task")),
            "handles signals": [_signal.getsignal(number) for number in range(1, _signal.NSIG)],
            "writes output": [fcntl.ioctl(number, termios.FIONREAD, bytes(4)) for number in (1, 2)],
        }

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            try:
                self._called(frame, argument)
            except TypeError:
                # A method of an object that cannot be hashed; none of those looked for is.
                return
        elif event == "call":
            code = frame.f_code
            if id(code) in self._environ:
                self._read(frame, code)
            elif code.co_name == "seed" and code.co_filename.endswith("/random.py"):
                self._seed(frame)

    def _called(self, frame: FrameType, function: Any) -> None:
        if (reason := self._never.get(function)) is not None:
            self._taint(self._culprit(frame)[0], reason)
        elif (reason := self._foreign.get(function)) is not None:
            name, file = self._culprit(frame)
            if not is_standard(file):
                self._taint(name, reason)
        elif (reason := self._own.get(function) or self._draws_or_dates(function)) is not None:
            name, file = self._culprit(frame)
            # The import system itself reads files, too.
            if self._is_own(file) and not frame.f_code.co_filename.startswith("<frozen importlib"):
                self._taint(name, reason)

    def _draws_or_dates(self, function: Any) -> str | None:
        owner = getattr(function, "__self__", None)
        if owner is None or type(owner) is type(sys):
            return None
        if function.__name__ in ("random", "getrandbits"):
            return "draws random numbers" if any(owner is each for each in self.generators) else None
        if function.__name__ in ("now", "utcnow", "today") and isinstance(owner, type):
            return "looks at the clock" if owner.__module__ == "datetime" else None
        return None

    def _read(self, frame: FrameType, code: CodeType) -> None:
        if frame.f_locals.get("self") is not os.environ:
            return
        key = frame.f_locals.get("key") if code.co_name == "__getitem__" else None
        if key is None:
            self._taint(self._culprit(frame)[0], "reads the whole environment")
        elif isinstance(key, str) and self._varying(key) and not (key == "HOME" and _for_user_base(frame)):
            self._taint(self._culprit(frame)[0], f"reads {key}")

    def _seed(self, frame: FrameType) -> None:
        generator = frame.f_locals.get("self")
        if "a" not in frame.f_locals or generator is None:
            return
        self.generators = [each for each in self.generators if each is not generator]
        if frame.f_locals["a"] is None:
            self.generators.append(generator)
        elif generator is getattr(sys.modules.get("random"), "_inst", None):
            self._seeded = generator

    def _culprit(self, frame: FrameType | None) -> tuple[str, str]:
        """Name and file of the module that is being executed, innermost first."""
        while frame is not None:
            if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") != "__main__":
                return frame.f_globals.get("__name__", ""), frame.f_code.co_filename
            frame = frame.f_back
        return self._step, "<frozen"

    def _is_own(self, file: str) -> bool:
        return file.startswith(self._root) and not any(part in file[len(self._root) - 1 :] for part in _PACKAGES)

    def _taint(self, name: str, reason: str) -> None:
        self.taints.setdefault(name or self._step, reason)

    def _look_at_numpy(self) -> None:
        # At the first import after numpy's own random module is there: nobody else can have used it yet.
        if self.numpy is None:
            module = sys.modules.get("numpy.random.mtrand")
            if hasattr(module, "_rand"):
                self.numpy = module
                self._numpy_state = _fingerprint(module)

    def _find_numpy_generators(self) -> None:
        if self.numpy is None:
            return
        ours = self.numpy._rand
        found = [
            each
            for each in gc.get_objects()
            if type(each).__name__ in ("Generator", "RandomState")
            and type(each).__module__.startswith("numpy.random")
            and each is not ours
        ]
        for each in found:
            for name, module in list(sys.modules.items()):
                if any(value is each for value in vars(module).values()):
                    self._taint(name, "makes a generator of numpy's")
                    break
            else:
                self._taint(self._step, "makes a generator of numpy's")


def _fingerprint(module: Any) -> object:
    state = module._rand.get_state(legacy=False)
    return state["bit_generator"], state["state"]["key"].tobytes(), state["state"]["pos"]


def _for_user_base(frame: FrameType | None) -> bool:
    """Whether `sysconfig` asks where the user's own packages are, which is put right in every child."""
    while frame is not None and frame.f_code.co_name != "<module>":
        if frame.f_code.co_name == "_getuserbase" and is_standard(frame.f_code.co_filename):
            return True
        frame = frame.f_back
    return False


def is_standard(file: str) -> bool:
    """Whether a file belongs to the standard library."""
    if file.startswith("<frozen"):
        return True
    return file.startswith(_STDLIB) and not any(part in file for part in _PACKAGES)
