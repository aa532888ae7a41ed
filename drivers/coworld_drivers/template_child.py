"""What makes a forked child the process that the role would have been, started by itself. Standard library only, Python from 3.9."""

# Without pathlib, which would be an import that the role has not made:
# ruff: noqa: PTH109, PTH112, PTH118, PTH120, PTH123
# What the interpreter and libraries keep of a process has no public name:
# ruff: noqa: SLF001
from __future__ import annotations

import os
import posix
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType, TracebackType
    from typing import Any

    from coworld_drivers.template_exit import QuickExit
    from coworld_drivers.template_imports import Watch

__all__ = ["Role", "become", "fresh_main", "prepare_path", "run"]


class Role:
    """What to run.

    Args:
        kind: `module`, `script` or `code`, as after `-m`, as a file, as after `-c`.
        what: the module, the file or the code.
        arguments: of the role.
        argv: the whole command, the interpreter first.
    """

    def __init__(self, kind: str, what: str, arguments: list[str], argv: list[str]) -> None:
        self.kind = kind
        self.what = what
        self.arguments = arguments
        self.argv = argv


def prepare_path(role: Role) -> None:
    """Put the first entry of `sys.path` there as the interpreter does, if its options let it."""
    flags = sys.flags
    if getattr(flags, "safe_path", False) or flags.isolated:
        return
    first = ""
    if role.kind == "module":
        first = os.getcwd()
    elif role.kind == "script":
        first = os.path.dirname(os.path.realpath(role.what))
    sys.path.insert(0, first)


def fresh_main() -> ModuleType:
    """An empty `__main__`, which takes the place of the template's; returns the template's, which has to be kept."""
    old = sys.modules["__main__"]
    main = type(sys)("__main__")
    vars(main).update(
        __annotations__={},
        __builtins__=sys.modules["builtins"],
        __loader__=sys.modules["_frozen_importlib"].BuiltinImporter,
    )
    sys.modules["__main__"] = main
    return old


def become(role: Role, environ: list[bytes], watch: Watch) -> None:
    """Take on the environment, and leave nothing of the template that two processes must not share.

    Args:
        role: what will be run.
        environ: `NAME=value`.
        watch: knows what the imports have left.
    """
    # Another one than the template has had: that one is frozen, and would not be garbage at the end.
    fresh_main()
    os.environ.clear()
    posix.environ.clear()
    for item in environ:
        name, _, value = item.partition(b"=")
        posix.environ[name] = value
        os.environ[os.fsdecode(name)] = os.fsdecode(value)
    sys.argv = [{"module": "-m", "code": "-c"}.get(role.kind, role.what), *role.arguments]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[:] = role.argv
    _seed(watch)
    modules = sys.modules
    logging: Any = modules.get("logging")
    if logging is not None:
        logging._startTime = time.time_ns() if isinstance(logging._startTime, int) else time.time()
    threading: Any = modules.get("threading")
    if threading is not None and hasattr(threading.main_thread(), "_set_native_id"):
        threading.main_thread()._set_native_id()
    processes: Any = modules.get("multiprocessing.process")
    if processes is not None:
        processes.current_process()._config["authkey"] = processes.AuthenticationString(os.urandom(32))
    sysconfig: Any = modules.get("sysconfig")
    if sysconfig is not None and "userbase" in (getattr(sysconfig, "_CONFIG_VARS", None) or {}):
        sysconfig._CONFIG_VARS["userbase"] = sysconfig._getuserbase()
    site: Any = modules.get("site")
    if site is not None and getattr(site, "USER_BASE", None) is not None:
        old = site.USER_SITE
        site.USER_BASE = site.USER_SITE = None
        new = site.getusersitepackages()
        if site.ENABLE_USER_SITE and (os.path.isdir(new) or old in sys.path):
            raise OSError("the user's own packages are elsewhere")


def _seed(watch: Watch) -> None:
    for generator in watch.generators:
        generator.seed()
    if watch.chosen is not None:
        # The module itself seeds its generator after every fork; the role would have found it as its import has left it.
        sys.modules["random"].setstate(watch.chosen)
    if watch.numpy is not None:
        watch.numpy._rand.seed()


def run(role: Role, end: QuickExit) -> None:
    """Run it as the interpreter would; what it raises, it raises here."""
    try:
        if role.kind == "module":
            import runpy  # noqa: PLC0415 - the interpreter imports it at this place, too

            runpy._run_module_as_main(role.what)  # type: ignore[attr-defined]
        elif role.kind == "script":
            _script(role.what)
        else:
            exec(compile(role.what, "<string>", "exec", dont_inherit=True), vars(sys.modules["__main__"]))  # noqa: S102
        end.ended(None)
    except SystemExit as error:
        end.ended(error)
        raise
    except BaseException as error:
        end.ended(error)
        # The interpreter goes on from here as it would without us: it prints, and it ends with the right status.
        _hide_our_frames()
        raise


def _script(file: str) -> None:
    path = os.path.join(os.getcwd(), file)
    namespace = vars(sys.modules["__main__"])
    with open(path, "rb") as stream:
        source = stream.read()
    loader = sys.modules["_frozen_importlib_external"].SourceFileLoader("__main__", path)
    namespace.update(__file__=path, __cached__=None, __loader__=loader)
    exec(compile(source, path, "exec", dont_inherit=True), namespace)  # noqa: S102
    namespace.pop("__cached__", None)


def _hide_our_frames() -> None:
    hook = sys.excepthook

    def without_ours(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        sys.excepthook = hook
        here = os.path.dirname(__file__)
        while traceback is not None and os.path.dirname(traceback.tb_frame.f_code.co_filename) == here:
            traceback = traceback.tb_next
        error.__traceback__ = sys.last_traceback = traceback
        hook(kind, error, traceback)

    sys.excepthook = without_ours
