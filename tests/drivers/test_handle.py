"""One real process: its exact end, its last words, its relatives, its port."""

from __future__ import annotations

import errno
import os
import signal
import socket

import trio
import trio.testing

from coworld_drivers import handle as handles
from coworld_drivers import oom
from coworld_drivers.driver import ExitKind, ExitStatus
from tests.disks import is_full, small_disk

PATIENCE = 30.0


async def test_exit_code_is_exact(bench):
    """A role that exits with 7 has ended by itself with code 7."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", "exit 7"))
        assert await handle.wait() == ExitStatus(kind=ExitKind.EXITED, code=7)
        assert handle.status == await handle.wait()


async def test_signal_is_exact(bench):
    """A role that dies of a signal we did not send is signalled, not stopped."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", "kill -SEGV $$"))
        assert await handle.wait() == ExitStatus(kind=ExitKind.SIGNALLED, signal=signal.SIGSEGV)


async def test_stop_says_that_we_asked(bench, said):
    """A role that ends on SIGTERM within its grace keeps its own exit code and is marked as stopped."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done"))
        await said(handle, "up")
        assert await handle.stop(PATIENCE) == ExitStatus(kind=ExitKind.EXITED, code=3, stopped=True)


async def test_stop_of_what_has_ended_changes_nothing(bench):
    """A role that ended before stop was called is not called stopped, even when we have not noticed its end yet."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", "exit 9"))
        os.waitid(os.P_PID, handle.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - trio must not see the end
        expected = ExitStatus(kind=ExitKind.EXITED, code=9)
        assert await handle.stop(PATIENCE) == expected
        assert await handle.stop(0) == expected


async def test_a_leader_that_ignores_sigterm_is_killed_after_its_grace(bench, said):
    """SIGKILL follows when the grace is over."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.01; done"))
        await said(handle, "up")
        assert await handle.stop(0.2) == ExitStatus(kind=ExitKind.SIGNALLED, signal=signal.SIGKILL, stopped=True)


async def test_many_may_stop_and_the_shortest_grace_counts(bench, said):
    """Concurrent stops end together, when the first grace is over."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.01; done"))
        await said(handle, "up")
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for grace in (1000, 0.1, 1000):
                    nursery.start_soon(handle.stop, grace)


async def test_a_cancelled_stop_kills(bench, said):
    """Whoever gives up on a stop leaves no role behind that was only asked."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.01; done"))
        await said(handle, "up")
        with trio.move_on_after(0.1) as scope:
            await handle.stop(1000)
        assert scope.cancelled_caught
        with trio.fail_after(PATIENCE):
            assert (await handle.wait()).signal == signal.SIGKILL


async def test_a_grandchild_that_ignores_sigterm_dies_with_its_leader(bench, said, running, gone):
    """The group is killed when its leader has gone, although the grace is not over."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("python", "family.py", "stubborn", "wait"))
        relative = int(await said(handle, "relative"))
        status = await handle.stop(1000)
        assert status == ExitStatus(kind=ExitKind.SIGNALLED, signal=signal.SIGTERM, stopped=True)
        gone(lambda: not running(relative), PATIENCE)


async def test_a_grandchild_that_holds_the_pipe_does_not_delay_the_end(bench, said, running, gone):
    """The end is known at once, with the last words, whoever still holds the output open."""
    async with bench.site() as site:
        for relative in ("holder", "holding-escapee"):
            handle = await site.start(bench.launch("python", "family.py", relative, "leave", name=relative))
            with trio.fail_after(PATIENCE):
                assert await handle.wait() == ExitStatus(kind=ExitKind.EXITED, code=4)
            assert handle.tail().endswith("goodbye\n")
            assert (bench.logs / f"{relative}.log").read_text().endswith("goodbye\n")
        escaped = int(await said(handle, "relative"))
        assert running(escaped)
    gone(lambda: not running(escaped), PATIENCE)


async def test_flood_is_cut_and_never_blocks(bench):
    """150 MB of output end in bounded time and disk: the start, a marker, and the last words."""
    flood = "import os\nfor i in range(2400): os.write(1, b'x' * 65536)\nos.write(1, b'last words')"
    async with bench.site() as site:
        handle = await site.start(bench.launch("python", "-c", flood, log_limit=1_000_000))
        with trio.fail_after(PATIENCE * 2):
            assert (await handle.wait()).ok
    log = (bench.logs / "role.log").read_bytes()
    assert handle.tail(10) == "last words"
    assert log.startswith(b"x" * 1_000_000 + b"\n[coworld-actors: output cut here, after 1000000 bytes]\n")
    assert log.endswith(b"last words")
    assert len(log) < 1_100_000
    assert handle.log_error is None


async def test_last_words_of_the_killed_are_kept(bench, said):
    """What a role wrote just before SIGKILL is on disk."""
    async with bench.site() as site:
        code = "import os, signal; os.write(1, b'y' * 60000 + b'\\nfarewell'); os.kill(os.getpid(), signal.SIGKILL)"
        handle = await site.start(bench.launch("python", "-c", code))
        assert (await handle.wait()).signal == signal.SIGKILL
    assert (bench.logs / "role.log").read_bytes().endswith(b"farewell")


async def test_standard_error_apart(bench, tmp_path):
    """With a file of its own, standard error is kept apart and preferred by `tail`."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", "echo out; echo bad >&2", stderr=tmp_path / "err.log"))
        await handle.wait()
    assert (bench.logs / "role.log").read_text() == "out\n"
    assert (tmp_path / "err.log").read_text() == "bad\n"
    assert handle.tail() == "bad\n"


async def test_a_full_disk_is_recorded_and_harms_nobody(bench, tmp_path):
    """A log that cannot be written ends neither the role nor us; the handle tells, `tail` still works."""
    with small_disk(tmp_path / "small") as small:
        async with bench.site() as site:
            code = "import os\nfor i in range(100): os.write(1, b'z' * 65536)\nprint('done')"
            handle = await site.start(bench.launch("python", "-c", code, stdout=small / "log"))
            with trio.fail_after(PATIENCE):
                assert (await handle.wait()).ok
        assert handle.log_error is not None
        assert is_full(handle.log_error.evidence)
        assert handle.tail().endswith("done\n")


async def test_owns_address_only_when_it_listens(bench, said):
    """Before it listens a role does not own its address, afterwards it does, after its end it does not."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", "sleep 600", serves=True))
        assert handle.address is not None
        assert handle.peer_address == handle.address
        assert not await handle.owns_address()
        assert not await handle.port_taken()
        await handle.stop(0)
        handle = await site.start(bench.launch("python", "server.py", serves=True))
        await said(handle, "listening")
        assert await handle.owns_address()
        assert not await handle.port_taken()
        await handle.stop(0)
        assert not await handle.owns_address()
        assert not await handle.port_taken()


async def test_a_grandchild_that_listens_is_ours(bench, said):
    """A server behind a wrapper is still the role's own."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("python", "server.py", "child", serves=True))
        await said(handle, "listening")
        assert await handle.owns_address()
        assert not await handle.port_taken()


async def test_a_stranger_on_the_port_is_seen(bench):
    """Somebody else listens first: the address is not ours, and the port counts as taken after the role has died of it."""
    async with bench.site() as site:
        gate = bench.logs / "gate"
        handle = await site.start(
            bench.launch("sh", "-c", f"while [ ! -e {gate} ]; do sleep 0.01; done; exec python server.py", serves=True)
        )
        with socket.socket() as stranger:
            stranger.bind((handle.address.host, handle.address.port))
            stranger.listen()
            assert not await handle.owns_address()
            assert await handle.port_taken()
            gate.touch()
            with trio.fail_after(PATIENCE):
                assert (await handle.wait()).code == 1
        assert "Address already in use" in handle.tail()
        assert await handle.port_taken()


async def test_a_stranger_that_shares_the_port_is_seen(bench, said):
    """With SO_REUSEPORT two servers get half of the connections each: then the address is not ours."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("python", "server.py", "reuseport", serves=True))
        await said(handle, "listening")
        assert await handle.owns_address()
        with socket.socket() as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            stranger.bind((handle.address.host, handle.address.port))
            stranger.listen()
            assert not await handle.owns_address()
            assert await handle.port_taken()
        assert await handle.owns_address()


async def test_a_crash_with_the_port_free_is_not_blamed_on_the_port(bench, until):
    """A server that ends by itself, with connections just closed, did not lose its port."""
    code = (
        "import os, socket\n"
        "s = socket.create_server(('127.0.0.1', int(os.environ['COGAME_PORT']))); print('listening', flush=True)\n"
        "c, _ = s.accept(); c.close(); os._exit(5)"
    )
    async with bench.site() as site:
        handle = await site.start(bench.launch("python", "-c", code, serves=True))
        with trio.fail_after(PATIENCE):
            await until(handle.owns_address)
            stream = await trio.open_tcp_stream(handle.address.host, handle.address.port)
            async with stream:
                assert await stream.receive_some(1) == b""
            assert (await handle.wait()).code == 5
        assert not await handle.port_taken()


async def test_a_role_that_does_not_serve_has_no_address(bench):
    """No address, nothing owned, nothing taken."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", "true"))
        assert handle.address is None
        assert not await handle.owns_address()
        assert not await handle.port_taken()


async def test_output_is_on_disk_while_it_runs(bench, until):
    """A line is in the log file while the role that wrote it still runs."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", "echo $((1+1)); sleep 600"))
        await until(lambda: (bench.logs / "role.log").read_text() == "2\n")
        assert handle.status is None


def test_a_role_inherits_no_file(bench):
    """A role finds its three standard streams open and nothing else of ours."""

    async def main() -> str:
        async with bench.site() as site:
            code = "import os; print(*sorted(os.listdir('/proc/self/fd'), key=int), os.readlink('/proc/self/fd/0'))"
            handle = await site.start(bench.launch("python", "-c", code))
            await handle.wait()
            return handle.tail()

    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        # The fourth is the directory that is being listed.
        assert trio.run(main).split() == ["0", "1", "2", "3", "/dev/null"]
    finally:
        os.close(read)
        os.close(write)


async def test_without_pidfds_everything_works_too(bench, said, monkeypatch, running, until):
    """In a sandbox that has no pidfd the end is as exact, and group and escapees die as surely."""

    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", "echo last; exit 7"))
        assert await handle.wait() == ExitStatus(kind=ExitKind.EXITED, code=7)
        assert handle.tail() == "last\n"
        stubborn = await site.start(bench.launch("python", "family.py", "stubborn", "wait", name="s"))
        escapee = await site.start(bench.launch("python", "family.py", "escapee", "leave", name="e"))
        relatives = [int(await said(one, "relative")) for one in (stubborn, escapee)]
        assert (await stubborn.stop(PATIENCE)).signal == signal.SIGTERM
    await until(lambda: not any(running(pid) for pid in relatives))


async def test_a_sigkill_with_an_out_of_memory_count_is_out_of_memory(bench, said, tmp_path, monkeypatch):
    """Each kill that the kernel counted explains one death; a later SIGKILL, or one of ours, is not blamed on memory."""
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 1\noom_kill 3\n")
    monkeypatch.setattr(oom, "VMSTAT", vmstat)
    async with bench.site() as site:
        ours = await site.start(bench.launch("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.01; done"))
        await said(ours, "up")
        vmstat.write_text("nr_free_pages 1\noom_kill 4\n")
        assert (await ours.stop(0)).kind is ExitKind.SIGNALLED
        for expected in (ExitKind.OOM, ExitKind.SIGNALLED):
            handle = await site.start(bench.launch("sh", "-c", "kill -KILL $$"))
            status = await handle.wait()
            assert (status.kind, status.signal) == (expected, signal.SIGKILL)


async def test_a_report_about_a_descriptor_of_the_past_ends_nobody(bench, monkeypatch, until):
    """A child keeps a pipe open that we have closed; what the kernel reports of it under a pidfd's number is not believed."""
    read, write = os.pipe()
    with trio.move_on_after(0.01):
        await trio.lowlevel.wait_readable(read)
    # Not a fork, so that it works beside threads: another table of descriptors that holds the same pipe.
    holder = await trio.lowlevel.open_process(["sleep", "600"], stdin=read)
    # Closed, and its number kept free.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, read)
    os.close(null)

    def same_number(pid: int) -> int:
        fd = os.pidfd_open(pid)
        os.dup2(fd, read)
        os.close(fd)
        return read

    monkeypatch.setattr(handles, "_pidfd", same_number)
    woken = []

    class Woken(trio.abc.Instrument):
        def task_scheduled(self, task: trio.lowlevel.Task) -> None:
            woken.append(task.name)

    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", "sleep 600"))
        await trio.testing.wait_all_tasks_blocked()
        counter = Woken()
        trio.lowlevel.add_instrument(counter)
        os.close(write)
        await until(lambda: "process role" in woken)
        trio.lowlevel.remove_instrument(counter)
        await trio.testing.wait_all_tasks_blocked()
        assert handle.status is None
        assert (await handle.stop(PATIENCE)).signal == signal.SIGTERM
    holder.kill()
    await holder.wait()
