"""Forking a child whose parent is not the template but the template's own parent. Standard library only, Python from 3.9.

With `CLONE_PARENT` the runtime is the parent of every role, forked or not: it waits for it, reaps it, knows its end at first hand,
and the death of a template changes nothing for those that it has forked. `os.fork` cannot do that, so the system call is made
directly, between the same two calls by which the interpreter prepares for its own forks. What the C library's `fork` does beyond
the system call is of no use in a process of one thread, except for one word: the thread's number, which the kernel is asked to
put in its place.
"""

# Without pathlib, which would be an import that the role has not made:
# ruff: noqa: PTH123
from __future__ import annotations

import ctypes
import os
import struct

__all__ = ["Fork", "Memory", "Shared", "Unfit"]

_CLONE_PARENT = 0x00008000
_CLONE_CHILD_CLEARTID = 0x00200000
_CLONE_CHILD_SETTID = 0x01000000
_PR_GET_TID_ADDRESS = 40
_PR_SET_MM = 35
_PR_SET_MM_MAP = 14
_SIGCHLD = 17
_PROT_READ_WRITE = 3
_MAP_SHARED = 1

# Number of the system call, and at which place of its five arguments the address of the child's thread number is.
_CLONE = {"x86_64": (56, 3), "aarch64": (220, 4)}


class Unfit(Exception):
    """This interpreter or this machine cannot be warmed; the text says why."""


class Fork:
    """A function that forks.

    Raises:
        Unfit: this machine is not one of those on which it is known to work.
    """

    def __init__(self) -> None:
        machine = os.uname().machine
        if machine not in _CLONE or ctypes.sizeof(ctypes.c_void_p) != 8:
            raise Unfit(f"no clone for {machine}")
        # PyDLL keeps the interpreter's lock: nothing else may run between the preparation and the fork.
        libc = ctypes.PyDLL(None, use_errno=True)
        address = ctypes.c_uint64()
        if libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0) or not address.value:
            raise Unfit("the kernel does not tell where the thread's number is")
        # Where another C library keeps something else there, the fork would destroy it.
        if ctypes.c_int.from_address(address.value).value != os.getpid():
            raise Unfit("the C library keeps the thread's number elsewhere")
        number, place = _CLONE[machine]
        flags = _CLONE_PARENT | _CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID | _SIGCHLD
        arguments = [flags, 0, 0, 0, 0]
        arguments[place] = address.value
        libc.syscall.restype = ctypes.c_long
        self._flush = libc.fflush
        self._syscall = libc.syscall
        self._arguments = [ctypes.c_long(number), *map(ctypes.c_uint64, arguments)]
        self._before = ctypes.pythonapi.PyOS_BeforeFork
        self._in_parent = ctypes.pythonapi.PyOS_AfterFork_Parent
        self._in_child = ctypes.pythonapi.PyOS_AfterFork_Child
        for function in (self._before, self._in_parent, self._in_child):
            function.restype = None

    def __call__(self) -> int:
        """The child's process id; 0 in the child.

        Raises:
            OSError: there is no child.
        """
        self._before()
        pid = int(self._syscall(*self._arguments))
        if pid == 0:
            self._in_child()
            return 0
        code = ctypes.get_errno()
        self._in_parent()
        if pid < 0:
            raise OSError(code, os.strerror(code))
        return pid

    def leave(self, status: int) -> None:
        """End this process without asking anybody; only what the C library has still to write is written."""
        self._flush(None)
        os._exit(status)


class Memory:
    """Where the kernel looks when somebody reads `/proc/PID/cmdline` and `/proc/PID/environ` of this process.

    Raises:
        Unfit: the kernel does not tell.
    """

    def __init__(self) -> None:
        with open("/proc/self/stat", "rb") as file:
            field = file.read().rpartition(b")")[2].split()
        # After the command in parentheses comes field 3; 48 to 51 are the ends of both places.
        self._argv, argv_end, self._env, env_end = map(int, field[45:49])
        # Code, data, heap and stack, as the kernel wants to be told them again.
        self._rest = [int(field[number - 3]) for number in (26, 27, 45, 46, 47, 28)]
        # Made here and not in every child: it costs a hundred page faults.
        self._libc = ctypes.PyDLL(None)
        self._libc.sbrk.restype = ctypes.c_void_p
        self.argv_room = argv_end - self._argv
        self.env_room = env_end - self._env
        if not self._argv or not self._env or self.argv_room <= 0 or self.env_room <= 0:
            raise Unfit("the kernel does not tell where the environment is")

    def fits(self, argv: bytes, env: bytes) -> bool:
        """Whether there is room for both."""
        return len(argv) <= self.argv_room and len(env) <= self.env_room

    def write(self, argv: bytes, env: bytes) -> None:
        """Show these instead. The C library's environment, whose texts are in the same place, is empty then.

        Args:
            argv: words, each ended by NUL; it has to fit.
            env: `NAME=value`, each ended by NUL; it has to fit.
        """
        # First, as long as it can be read: what it points to would be the middle of other variables.
        self._libc.clearenv()
        ctypes.memmove(self._argv, argv.ljust(self.argv_room, b"\0"), self.argv_room)
        ctypes.memmove(self._env, env.ljust(self.env_room, b"\0"), self.env_room)
        # Where the kernel lets us say that it ends there, the rest of the room is not shown either.
        code, code_end, data, data_end, heap, stack = self._rest
        addresses = [code, code_end, data, data_end, heap, self._libc.sbrk(0), stack]
        addresses += [self._argv, self._argv + len(argv), self._env, self._env + len(env)]
        layout = struct.pack("=11QQIi", *addresses, 0, 0, -1)
        self._libc.prctl(_PR_SET_MM, _PR_SET_MM_MAP, ctypes.c_char_p(layout), ctypes.c_ulong(len(layout)), 0)


class Shared:
    """Memory that is shared through a file, without keeping the file open as `mmap` does; to be written from begin to end.

    Args:
        descriptor: the file.
        size: its size in bytes.

    Raises:
        OSError: it cannot be mapped.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        libc = ctypes.PyDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        at = libc.mmap(None, ctypes.c_size_t(size), _PROT_READ_WRITE, _MAP_SHARED, descriptor, ctypes.c_long(0))
        if at is None or at == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "the memory for the imports cannot be mapped")
        self._at = at
        self._end = at + size

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            ValueError: it is full.
        """
        if self._at + len(data) > self._end:
            raise ValueError("full")
        ctypes.memmove(self._at, data, len(data))
        self._at += len(data)
