"""Prints, as one JSON object, what a process can see of itself; then ends in the way its first word says."""

# ruff: noqa: PTH109, PTH115, PTH123, SIM115

import atexit
import gc
import json
import locale
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
import traceback
import warnings

import helpful


def links():
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[int(number)] = os.readlink(f"/proc/self/fd/{number}").partition(":")[0]
        except OSError:
            continue
    return found


def status(*names):
    with open("/proc/self/status") as file:
        return {line.split(":")[0]: line.split()[1:] for line in file if line.split(":")[0] in names}


def environ():
    with open("/proc/self/environ", "rb") as file:
        return sorted(file.read().decode().split("\0"))


def mask():
    return sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def in_a_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(threading.current_thread().name))
    thread.start()
    thread.join()
    return found


def sends_to_main():
    """Whether another thread can reach this one by its number, which the C library keeps."""
    got = []
    signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
    thread = threading.Thread(target=lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1))
    thread.start()
    thread.join()
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    return got


def main():
    handlers = {number: str(signal.getsignal(number)) for number in range(1, 65)}
    seen = {
        "argv": sys.argv,
        "orig_argv": sys.orig_argv,
        "executable": sys.executable,
        "path": sys.path,
        "flags": repr(sys.flags),
        "warnoptions": sys.warnoptions,
        "xoptions": sys._xoptions,
        "meta_path": [str(finder).partition(" at ")[0] for finder in sys.meta_path],
        "path_hooks": len(sys.path_hooks),
        "hooks": [
            sys.excepthook is sys.__excepthook__,
            sys.displayhook is sys.__displayhook__,
            sys.unraisablehook.__name__,
        ],
        "profile": [sys.getprofile(), sys.gettrace()],
        "main": sorted(globals()),
        "main_values": {
            name: str(globals().get(name)) for name in ("__file__", "__package__", "__cached__", "__doc__")
        },
        "main_spec": str(getattr(__spec__, "name", None)),
        "loader": type(__loader__).__name__,
        "main_is": sys.modules["__main__"].__dict__ is globals(),
        "cwd": os.getcwd(),
        "umask": [os.umask(0o22), os.umask(0o22)][0],
        "environ": dict(os.environ),
        "proc_environ": environ(),
        "cmdline": open("/proc/self/cmdline").read(),
        "comm": open("/proc/self/comm").read(),
        "fds": links(),
        "inheritable": [os.get_inheritable(number) for number in (0, 1, 2)],
        "blocking": [os.get_blocking(number) for number in (0, 1, 2)],
        "status": status(
            "SigBlk", "SigIgn", "SigCgt", "SigPnd", "Threads", "Uid", "Gid", "Groups", "NoNewPrivs", "CapEff"
        ),
        "handlers": handlers,
        "mask": mask(),
        "leads": [os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid()],
        "main_thread": [
            threading.current_thread() is threading.main_thread(),
            threading.main_thread().name,
            threading.get_native_id() == os.getpid(),
            threading.main_thread().native_id == os.getpid(),
            threading.active_count(),
            in_a_thread(),
            sends_to_main(),
        ],
        "gc": [gc.isenabled(), gc.get_threshold(), gc.get_debug()],
        "warnings": [str(each) for each in warnings.filters],
        "locale": [locale.setlocale(locale.LC_ALL), sys.getfilesystemencoding(), locale.getpreferredencoding()],
        "streams": [
            [
                stream.name,
                stream.mode,
                stream.encoding,
                stream.errors,
                stream.line_buffering,
                stream.write_through,
                stream.isatty(),
            ]
            for stream in (sys.stdin, sys.stdout, sys.stderr)
        ],
        "seekable": [stream.seekable() for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "stdin": sys.stdin.read(),
        "recursion": sys.getrecursionlimit(),
        "switch": sys.getswitchinterval(),
        "digits": getattr(sys, "get_int_max_str_digits", int)(),
        "limits": open("/proc/self/limits").read(),
        "oom": open("/proc/self/oom_score_adj").read(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "affinity": sorted(os.sched_getaffinity(0)),
        "logging": [logging.root.level, len(logging.root.handlers)],
        "helpful": [helpful.CHOSEN, helpful.NAME],
        "timeout": socket.getdefaulttimeout(),
        "last": hasattr(sys, "last_value"),
    }
    each_its_own = {
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "random": random.random(),
        "own_random": helpful.GENERATOR.random(),
        "age": time.time() - logging._startTime,
    }
    print(json.dumps({"seen": seen, "own": each_its_own}))


atexit.register(print, "atexit ran")


def fail():
    raise ValueError("on purpose")


class Late:
    def __del__(self):
        os.write(1, b"deleted\n")


if __name__ == "__main__":
    main()
    how = sys.argv[1]
    kept = Late()
    unflushed = open(os.environ["HOME"] + "/unflushed", "w")
    unflushed.write("written")
    if how == "raise":
        fail()
    if how == "chain":
        try:
            fail()
        except ValueError as error:
            raise KeyError("worse") from error
    if how == "code":
        sys.exit(7)
    if how == "text":
        sys.exit("a text")
    if how == "none":
        sys.exit(None)
    if how == "large":
        sys.exit(259)
    if how == "hard":
        os._exit(9)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "thread":
        threading.Thread(target=lambda: (time.sleep(0.05), print("thread done"))).start()
    if how == "stack":
        traceback.print_exc()
    if how == "hooked":
        sys.excepthook = lambda kind, error, trace: print("hook", kind.__name__, len(traceback.extract_tb(trace)))
        fail()
    if how == "forks" and os.fork() == 0:
        print("child")
        sys.exit(3)
    if how == "forks":
        print("status", os.waitstatus_to_exitcode(os.wait()[1]))
    if how == "closed":
        sys.stdout.close()
    sys.stdout.write("last words")
