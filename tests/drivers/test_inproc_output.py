"""What roles of one process print is their own, and the process's streams come back as they were."""

from __future__ import annotations

import contextlib
import io
import sys
import threading

import pytest
import trio
import trio.lowlevel

from coworld_drivers.inproc_output import PENDING, STREAMS, RoleOutput, RoleStream, routed
from coworld_drivers.logfiles import LogFiles
from coworld_drivers.output import OutputLog


@pytest.fixture
def output_of(tmp_path):
    """Makes a role's output by its name, with a list of those that wait."""

    def make(name: str, waits=lambda _: None, limit: int = 10_000_000) -> RoleOutput:
        log = OutputLog(tmp_path / name, limit=limit, who=name, files=LogFiles(), held=False, ring=4096)
        return RoleOutput(log, waits)

    return make


async def test_each_role_prints_into_its_own_log(tmp_path, output_of, capsys):
    """Children and trio's threads of a role too; who is no role prints where it always did."""

    async def role(name: str) -> None:
        out, err = output_of(f"{name}.out"), output_of(f"{name}.err")
        STREAMS.set((RoleStream(out), RoleStream(err)))
        for number in range(3):
            print(name, number)
            await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, print, f"{name} in a thread")
        print(name, "fails", file=sys.stderr)
        sys.stdout.buffer.write(b"raw\n")
        sys.stdout.writelines(["a", "b"])
        sys.stdout.flush()
        out.close()
        err.close()

    with routed():
        async with trio.open_nursery() as nursery:
            for name in ("one", "two"):
                nursery.start_soon(role, name)
        print("nobody")
    for name in ("one", "two"):
        assert (tmp_path / f"{name}.out").read_text() == (f"{name} 0\n{name} 1\n{name} 2\n{name} in a thread\nraw\nab")
        assert (tmp_path / f"{name}.err").read_text() == f"{name} fails\n"
    assert capsys.readouterr() == ("nobody\n", "")


def test_the_streams_are_as_before_after_the_last_one_leaves():
    """However often it is entered, and although something raised."""
    before = sys.stdout, sys.stderr
    with routed():
        inside = sys.stdout
        assert inside is not before[0]
        with contextlib.suppress(ValueError), routed():
            assert sys.stdout is inside
            raise ValueError("x")
        assert sys.stdout is inside
    assert (sys.stdout, sys.stderr) == before


def test_a_stream_that_somebody_has_replaced_meanwhile_is_left_alone(monkeypatch):
    """It is not ours to put back."""
    other = io.StringIO()
    with routed():
        monkeypatch.setattr(sys, "stdout", other)
    assert sys.stdout is other


def test_a_role_has_no_descriptor(output_of):
    """What asks for one is told so, and the encoding is UTF-8 whatever the terminal's is."""
    stream = RoleStream(output_of("log"))
    assert not stream.isatty()
    assert stream.writable()
    assert stream.encoding == "utf-8"
    with pytest.raises(io.UnsupportedOperation):
        stream.fileno()


def test_output_waits_for_a_flush_and_not_for_ever(tmp_path, output_of):
    """Said once when it begins to wait; much of it is written at once; the end of it is at hand before."""
    waiting: list[RoleOutput] = []
    output = output_of("log", waiting.append)
    stream = RoleStream(output)
    stream.write("ab\udc80\n")
    stream.write("more")
    assert waiting == [output]
    assert not (tmp_path / "log").exists()
    assert output.tail(100) == b"ab\\udc80\nmore"
    assert output.tail(2) == b"re"
    output.flush()
    assert (tmp_path / "log").read_text() == "ab\\udc80\nmore"
    stream.write("x" * (PENDING + 1))
    assert (tmp_path / "log").stat().st_size == 13 + PENDING + 1
    assert waiting == [output] * 2


def test_an_empty_log_is_there_at_the_end(tmp_path, output_of):
    """As the log of a process that says nothing."""
    output_of("log").close()
    assert (tmp_path / "log").read_bytes() == b""


def test_a_log_is_cut_as_that_of_a_process(tmp_path, output_of):
    """The same limit, marker and last words."""
    output = output_of("log", limit=10)
    RoleStream(output).write("0123456789ABC")
    output.close()
    assert (tmp_path / "log").read_text() == (
        "0123456789\n[coworld-actors: output cut here, after 10 bytes]\n"
        "[coworld-actors: 3 bytes cut; the last 3 follow]\nABC"
    )


def test_a_thread_of_somebody_elses_prints_to_the_process(capsys, output_of):
    """A bare thread inherits no context before Python 3.14; it must not fail."""
    STREAMS.set((RoleStream(output_of("out")), RoleStream(output_of("err"))))
    with routed():
        thread = threading.Thread(target=print, args=("from a thread",))
        thread.start()
        thread.join()
    STREAMS.set(None)
    assert capsys.readouterr().out in {"from a thread\n", ""}


def test_what_is_printed_after_the_end_changes_nothing(tmp_path, output_of):
    """A task that goes on after its recorded end no longer writes to its log, and waits for nobody."""
    waiting = []
    output = output_of("late", waits=waiting.append)
    output.take(b"in time\n")
    output.close()
    output.take(b"late")
    output.flush()
    assert (tmp_path / "late").read_text() == "in time\n"
    assert waiting == [output]
