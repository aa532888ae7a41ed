"""A template: a Python process that has imported what a role imports, and forks a ready child when it is told to.

Run by path, by the role's own interpreter with the role's own options, in the role's directory: `python OPTIONS template.py
DESCRIPTOR PADDING`. The descriptor is a socket to the runtime; its end ends the template. Standard library only, Python from 3.9:
the role's interpreter need not have this package. The padding makes room for the role's command line.

The runtime sends once (see `template_words`) kind, what, arguments and argv of the role, root, names of variables that differ from
start to start, prefixes of such, modules to leave out, modules to import. The answer is `ready` with the modules that must be left
out and why (then this process is of no more use), and the files that were executed; or `unfit` with a reason.

Then, for every child, it sends the environment with two or three descriptors: standard output, standard error, and memory for the
names of what the child imports. The answers are `pid`, from the template, and `ok` or `failed`, from the child, in any
order; or only `refused`.
"""

# Without pathlib, which would be an import that the role has not made:
# ruff: noqa: PTH100, PTH116, PTH120, PTH208
from __future__ import annotations

import gc
import os
import sys

# As `typing` has it, whose import would be felt in every template.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, NoReturn

    from coworld_drivers.template_child import Role
    from coworld_drivers.template_imports import Watch

__all__ = ["ROOM", "main"]

ROOM = "COWORLD_ACTORS_ROOM"
"""A variable that only takes up room, for environments that are longer than the one the template was started with."""

_MSG_CMSG_CLOEXEC = 0x40000000


class _Template:
    def __init__(self, descriptor: int) -> None:
        import _socket  # noqa: PLC0415

        from coworld_drivers import template_child, template_exit, template_fork, template_imports, template_words  # noqa: PLC0415

        self.child = template_child
        self.imports = template_imports
        self.words = template_words
        self.unfit = template_fork.Unfit
        self.socket = _socket.socket(fileno=descriptor)
        self.scm_rights = _socket.SCM_RIGHTS
        self.sol_socket = _socket.SOL_SOCKET
        self.memory: Any = None
        self.fork: Any = None
        self.forks = template_fork
        self.exits = template_exit
        self.end: Any = None

    def say(self, *lists: list[bytes]) -> None:
        self.socket.send(self.words.pack(*lists))

    def prepare(self, before: set[str]) -> tuple[Role, Watch]:
        """Import what was asked for."""
        words, varying, prefixes, leave_out, names = self.words.unpack(self.socket.recv(self.words.LIMIT))
        text = [os.fsdecode(word) for word in words]
        count = int(text[3])
        role = self.child.Role(text[0], text[1], text[4 : 4 + count], text[4 + count :])
        fixed = {os.fsdecode(word) for word in varying}
        starts = tuple(os.fsdecode(word) for word in prefixes)

        def varies(name: str) -> bool:
            return name in fixed or name.startswith(starts)

        if sys.getprofile() is not None or sys.gettrace() is not None:
            raise self.unfit("the interpreter is profiled or traced")
        if len(os.listdir("/proc/self/task")) > 1:
            raise self.unfit("the interpreter starts threads before it runs anything")
        if role.kind == "code" and sys.version_info >= (3, 13):
            raise self.unfit("this version shows the lines of -c in tracebacks")
        self.memory = self.forks.Memory()
        self.fork = self.forks.Fork()
        watch = self.imports.Watch(text[2], varies, {os.fsdecode(name) for name in leave_out})
        # What only this program has imported is not there for anybody else; the role imports its own.
        for name in set(sys.modules) - before:
            del sys.modules[name]
        self.child.prepare_path(role)
        if role.kind == "module":
            # What the interpreter needs for -m.
            __import__("runpy")
        sys.argv = [{"module": "-m", "code": "-c"}.get(role.kind, role.what), *role.arguments]
        watch.run([os.fsdecode(name) for name in names])
        self.end = self.exits.QuickExit(self.fork.leave)
        return role, watch

    def ready(self, watch: Watch) -> None:
        """Say what came of it."""
        taints: list[bytes] = []
        for name, reason in watch.taints.items():
            taints += [os.fsencode(name), os.fsencode(reason)]
        files: list[bytes] = []
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and not self.imports.is_standard(file):
                try:
                    found = os.stat(file)
                except OSError:
                    continue
                files += [os.fsencode(file), b"%d" % found.st_mtime_ns, b"%d" % found.st_size]
        self.say([b"ready"], taints, files)

    def serve(self, role: Role, watch: Watch) -> None:
        """Fork until the runtime is gone; returns in every child, ready to run the role."""
        argv = b"".join(os.fsencode(word) + b"\0" for word in role.argv)
        while True:
            data, ancillary, _, _ = self.socket.recvmsg(self.words.LIMIT, 256, _MSG_CMSG_CLOEXEC)
            if not data:
                os._exit(0)
            descriptors = [
                int.from_bytes(part[at : at + 4], sys.byteorder)
                for level, kind, part in ancillary
                if (level, kind) == (self.sol_socket, self.scm_rights)
                for at in range(0, len(part) - 3, 4)
            ]
            (environ,) = self.words.unpack(data)
            shown = b"".join(item + b"\0" for item in environ)
            try:
                pid = self.fork() if self.memory.fits(argv, shown) else -1
            except OSError as error:
                self.say([b"refused", os.fsencode(str(error))])
            else:
                if pid == 0:
                    self.start(role, watch, environ, (argv, shown), descriptors)
                    return
                if pid > 0:
                    self.say([b"pid", b"%d" % pid])
                else:
                    self.say([b"refused", b"its environment is too long"])
            for descriptor in descriptors:
                os.close(descriptor)

    def start(
        self, role: Role, watch: Watch, environ: list[bytes], shown: tuple[bytes, bytes], descriptors: list[int]
    ) -> None:
        """Make a child of this process, or end it."""
        try:
            os.setsid()
            for number, descriptor in enumerate(descriptors, 1):
                if number < 3:
                    os.dup2(descriptor, number)
                elif number == 3:
                    recorder = self.imports.Recorder(self.forks.Shared(descriptor, os.fstat(descriptor).st_size))
                    sys.meta_path.insert(0, recorder)
                os.close(descriptor)
            self.memory.write(*shown)
            self.child.become(role, environ, watch)
            self.end.arm()
            self.say([b"ok", b"%d" % os.getpid()])
            self.socket.close()
        except BaseException as error:  # noqa: BLE001 - the runtime starts it in the other way
            self.say([b"failed", os.fsencode(f"{type(error).__name__}: {error}")])
            os._exit(0)


def main() -> None:
    """Be a template, and in a child the role."""
    here = os.path.dirname(os.path.abspath(__file__))
    if sys.path and sys.path[0] in (here, os.path.dirname(__file__)):
        del sys.path[0]
    before = set(sys.modules)
    finders = set(sys.path_importer_cache)
    os.environ.pop(ROOM, None)
    sys.path.insert(0, os.path.dirname(here))
    template = _Template(int(sys.argv[1]))
    del sys.path[0]
    for place in set(sys.path_importer_cache) - finders:
        del sys.path_importer_cache[place]
    _Kept.main = template.child.fresh_main()
    try:
        role, watch = template.prepare(before)
        template.ready(watch)
    except BaseException as error:  # noqa: BLE001 - whatever it is, this role starts cold
        _leave(template, error)
    gc.collect()
    # Nobody's collector walks through what all share: that would copy it.
    gc.freeze()
    template.serve(role, watch)
    template.child.run(role, template.end)


class _Kept:
    """What must not go away with its last name: the interpreter clears a module's values then."""

    main: ModuleType | None = None


def _leave(template: _Template, error: BaseException) -> NoReturn:
    reason = str(error) if isinstance(error, template.unfit) else f"{type(error).__name__}: {error}"
    template.say([b"unfit", os.fsencode(reason[:500])])
    os._exit(0)


if __name__ == "__main__":
    main()
