"""One template as the runtime sees it: a process to which requests to fork are sent, one at a time."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

import trio

from coworld_drivers import template
from coworld_drivers.lifeline import Lifeline
from coworld_drivers.template_words import LIMIT, pack, unpack
from coworld_drivers.warm_process import WarmProcess
from coworld_drivers.warm_recipe import VARYING, VARYING_PREFIXES, Recipe

__all__ = ["ForkFailed", "Tainted", "Template", "Unfit"]

READY_SECONDS = 60.0
"""How long a template may take to import everything, on a machine that does other things besides."""

FORK_SECONDS = 10.0
"""How long a fork may take; a thousandth of that is usual."""

LEAVE_SECONDS = 1.0
"""How long a template may take to see that nobody wants it."""

BURY_SECONDS = 5.0
"""How long what was killed may take to be gone."""

ENVIRONMENT_ROOM = 4096
"""Bytes by which an environment may be longer than that of the start for which the template was made."""


class Unfit(Exception):
    """There can be no template for this role; the text says why."""


class Tainted(Exception):
    """Some modules do what cannot be done beforehand.

    Args:
        modules: the modules and what each does.
    """

    def __init__(self, modules: Mapping[str, str]) -> None:
        super().__init__(", ".join(f"{name} {reason}" for name, reason in modules.items()))
        self.modules = modules


class ForkFailed(Exception):
    """A template did not give a child; the text says why."""


class Template:
    """A started template; made by `open`.

    Attributes:
        process: its process.
        modules: how many modules it was told to import.
        dead: it can fork no more.
        retired: because we have no more use for it.
        fate: why it ended, unless we had no more use for it.
    """

    def __init__(
        self, process: trio.Process, ours: socket.socket, output: int, lifeline: Lifeline, modules: int
    ) -> None:
        self.process = process
        self.modules = modules
        self.dead = False
        self.retired = False
        self.fate = "its template was ended by somebody"
        self._socket = trio.socket.from_stdlib_socket(ours)
        self._lifeline = lifeline
        self._output = output
        self._one = trio.Lock()
        self._retire = trio.Event()
        self._files: list[tuple[str, int, int]] = []
        lifeline.started(process.pid)

    @classmethod
    async def open(
        cls,
        recipe: Recipe,
        env: Mapping[str, str],
        lifeline: Lifeline,
        *,
        modules: Sequence[str] = (),
        leave_out: Collection[str] = (),
    ) -> Template:
        """Start a template and wait until it has imported everything.

        Args:
            recipe: what it is for.
            env: the environment in which it imports, with the driver's own mark.
            lifeline: of the driver.
            modules: what to import, in this order.
            leave_out: what not to.

        Raises:
            Unfit: it cannot be used for this role.
            Tainted: it cannot be used with these modules.
            OSError: it cannot be started.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        read = -1
        try:
            # A pipe, as its children will have one, and nobody reads: an import that writes there is not done beforehand.
            read, write = os.pipe()
            try:
                process = await _spawn(recipe, env, theirs, write)
            finally:
                os.close(write)
            made = cls(process, ours, read, lifeline, len(modules))
        except BaseException:
            ours.close()
            if read >= 0:
                os.close(read)
            raise
        finally:
            theirs.close()
        try:
            with trio.fail_after(READY_SECONDS):
                await made._prepare(recipe, modules, leave_out)
        except trio.TooSlowError:
            await made.aclose()
            raise Unfit(f"its imports take more than {READY_SECONDS:g} s") from None
        except BaseException:
            # Restores: no process of ours is left. Bounded inside.
            await made.aclose()
            raise
        return made

    async def _prepare(self, recipe: Recipe, modules: Sequence[str], leave_out: Collection[str]) -> None:
        words = [recipe.kind, recipe.what, recipe.root, str(len(recipe.arguments)), *recipe.arguments, *recipe.argv]
        try:
            await self._socket.send(
                pack(*(map(os.fsencode, each) for each in (words, VARYING, VARYING_PREFIXES, leave_out, modules)))
            )
            answer = await self._socket.recv(LIMIT)
        except ConnectionError:
            answer = b""
        except OSError as error:
            raise Unfit(f"its template cannot be spoken to: {error.strerror}") from error
        if not answer:
            raise Unfit("its template did not get ready")
        try:
            self._hear(answer)
        except ValueError as error:
            # The socket was there for the role's modules to find, too.
            raise Unfit("what its template says is not understood") from error

    def _hear(self, answer: bytes) -> None:
        (verb, *rest), *lists = unpack(answer)
        if verb != b"ready":
            raise Unfit(b" ".join(rest).decode(errors="replace"))
        taints, files = lists
        if taints:
            texts = [os.fsdecode(word) for word in taints]
            raise Tainted(dict(zip(texts[::2], texts[1::2], strict=True)))
        self._files = [
            (os.fsdecode(path), int(mtime), int(size))
            for path, mtime, size in zip(files[::3], files[1::3], files[2::3], strict=True)
        ]

    def stale(self) -> bool:
        """Whether the source of a module that it has imported is not what it was."""
        for path, mtime, size in self._files:
            try:
                found = os.stat(path)  # noqa: PTH116 - hundreds of them at every start
            except OSError:
                return True
            if (found.st_mtime_ns, found.st_size) != (mtime, size):
                return True
        return False

    async def fork(self, env: Mapping[str, str], descriptors: Sequence[int]) -> int:
        """Have a child forked, in a session of its own, which is then ours to reap.

        Args:
            env: its environment.
            descriptors: its standard output and error; for a child that is to be recorded also memory for that.

        Returns:
            Its process id.

        Raises:
            ForkFailed: there is no child.
        """
        async with self._one:
            if self.dead:
                raise ForkFailed("its template is gone")
            born: list[int] = []
            answered = False
            failure = f"its template did not fork within {FORK_SECONDS:g} s"
            # Restores: no child that nobody knows of. What is asked for is waited for, cancelled or not.
            with trio.move_on_after(FORK_SECONDS, shield=True):
                try:
                    failure = await self._exchange(env, descriptors, born)
                    answered = True
                except OSError as error:
                    failure = f"its template cannot be spoken to: {error.strerror}"
                except ValueError:
                    failure = "what its template says is not understood"
            if not failure:
                return born[0]
            if not answered:
                # What it says later would be taken for the answer to the next request.
                self.fate = failure
                self.kill()
            # Restores: the same. Bounded inside.
            await self._bury(born)
            raise ForkFailed(failure)

    async def _exchange(self, env: Mapping[str, str], descriptors: Sequence[int], born: list[int]) -> str:
        """Ask for a child and hear of it; returns why there is none of use, or nothing. Keeps what was born in `born`."""
        data = pack([os.fsencode(f"{name}={value}") for name, value in env.items()])
        rights = b"".join(number.to_bytes(4, sys.byteorder) for number in descriptors)
        try:
            await self._socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                return "its environment is too long"
            raise
        end: str | None = None
        while end is None or not born:
            answer = await self._socket.recv(LIMIT)
            if not answer:
                self.kill()
                return "its template is gone"
            ((verb, word),) = unpack(answer)
            if verb == b"pid":
                born.append(int(word))
            elif verb == b"ok":
                end = ""
            else:
                end = word.decode(errors="replace")
                if verb == b"refused":
                    break
        return end

    async def _bury(self, born: list[int]) -> None:
        """End the children that came to nothing; with a template that is dead, also those that it could not tell of."""
        with trio.move_on_after(BURY_SECONDS, shield=True):
            if self.dead:
                with suppress(OSError, ValueError):
                    while answer := await self._socket.recv(LIMIT):
                        ((verb, word),) = unpack(answer)
                        if verb in (b"pid", b"ok") and int(word) not in born:
                            born.append(int(word))
            for pid in born:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                await WarmProcess(pid, None, None, lambda: None).wait()

    def kill(self) -> None:
        """End it at once, with whatever it has forked that is not a role yet."""
        self.dead = True
        if self.process.returncode is None and self._lifeline.owner.here:
            with suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def retire(self) -> None:
        """Have it end as soon as nobody is speaking to it."""
        self.retired = True
        self._retire.set()

    async def wait(self) -> None:
        """Return when it has ended or is to end."""
        async with trio.open_nursery() as nursery:

            async def ended() -> None:
                await self.process.wait()
                self.dead = True
                nursery.cancel_scope.cancel()

            nursery.start_soon(ended)
            await self._retire.wait()
            nursery.cancel_scope.cancel()
        # Whoever is speaking to it is heard out.
        async with self._one:
            self.dead = True

    async def aclose(self) -> None:
        """End it; its children go on. Any number of times."""
        self.dead = True
        here = self._lifeline.owner.here
        if here:
            await self._hear_out()
        self._socket.close()
        if self._output >= 0:
            os.close(self._output)
            self._output = -1
        if not here:
            return
        # Restores: no process of ours is left, cancelled or not.
        with trio.move_on_after(LEAVE_SECONDS, shield=True):
            await self.process.wait()
        if self.process.returncode is None:
            self.kill()
            with trio.move_on_after(LEAVE_SECONDS, shield=True):
                await self.process.wait()
        with suppress(ChildProcessError):
            # Killed in the middle of a fork, it has left a child in its group that nobody has heard of.
            while os.waitid(os.P_PGID, self.process.pid, os.WEXITED | os.WNOHANG) is not None:  # noqa: ASYNC222 - WNOHANG
                pass
        self._lifeline.ended(self.process.pid)

    async def _hear_out(self) -> None:
        """Return when nobody is speaking to it; one that does not answer is killed, which ends the conversation."""
        # Restores: no child that nobody knows of, whoever is cancelled first.
        with trio.move_on_after(LEAVE_SECONDS, shield=True) as limit:
            async with self._one:
                return
        if limit.cancelled_caught:
            self.kill()
            with trio.move_on_after(2 * BURY_SECONDS, shield=True):
                async with self._one:
                    return


async def _spawn(recipe: Recipe, env: Mapping[str, str], theirs: socket.socket, output: int) -> trio.Process:
    """Start it, with the variables that do not vary first: their place in its memory is then never written to again."""
    static = dict(recipe.static)
    ordered = {**static, **{name: value for name, value in env.items() if name not in static}}
    return await trio.lowlevel.open_process(
        [
            recipe.argv[0],
            *recipe.options,
            template.__file__,
            str(theirs.fileno()),
            "-" * sum(len(os.fsencode(word)) + 1 for word in recipe.argv),
        ],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        cwd=recipe.root,
        env={**ordered, template.ROOM: "-" * ENVIRONMENT_ROOM},
        pass_fds=[theirs.fileno()],
    )
