"""The janitor as a program: what it ends, when, and that it ends itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from coworld_drivers import janitor
from coworld_drivers.janitor import MARK, marked, signal_marked

PATIENCE = 30.0
FAMILY = Path(__file__).parent / "programs" / "family.py"


@pytest.fixture
def mark(session_mark) -> str:
    return f"{session_mark}.{uuid.uuid4().hex}"


@contextmanager
def janitor_process(mark: str, parent: int | None = None):
    command = [sys.executable, "-I", "-S", "-E", janitor.__file__, mark, str(parent or os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, cwd="/", env={}) as process:
        yield process


@contextmanager
def family(mark: str, *words: str):
    env = {**os.environ, MARK: mark}
    command = [sys.executable, FAMILY, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, start_new_session=True) as process:
        assert process.stdout is not None
        relative = int(process.stdout.readline().split()[1])
        try:
            yield process, relative
        finally:
            signal_marked(mark, signal.SIGKILL)
            process.wait()


def test_marked_finds_the_mark_and_what_is_below_it(mark):
    """A run finds its sites and its nested runs, and never one that only begins like it."""
    with family(mark + ".1.2", "stubborn", "wait") as (process, relative):
        for wider in (mark + ".1.2", mark + ".1", mark):
            assert set(marked(wider)) == {process.pid, relative}
        for other in (mark + ".1.2.3", mark[:-1], mark + ".", mark + ".2"):
            assert marked(other) == []


def test_signal_marked_spares_whom_it_is_told_to(mark, running, gone):
    """A process of the mark that is not to be hit is not hit."""
    with family(mark, "escapee", "wait") as (process, relative):
        assert signal_marked(mark, signal.SIGKILL, spare={process.pid}) == [relative]
        gone(lambda: not running(relative), PATIENCE)
        assert process.poll() is None


def test_end_of_the_lifeline_ends_groups_and_escapees(mark, running, gone):
    """Without a word of farewell everything registered or marked is ended, first politely, then not."""
    with (
        family(mark, "escapee", "wait") as (process, escaped),
        family("unmarked", "stubborn", "wait") as (other, child),
        janitor_process(mark) as watcher,
    ):
        watcher.stdin.write(b"+%d\n+%d\n" % (process.pid, other.pid))
        watcher.stdin.close()
        assert process.wait(PATIENCE) == -signal.SIGTERM
        assert other.wait(PATIENCE) == -signal.SIGTERM
        gone(lambda: not running(escaped) and not running(child), PATIENCE)
        assert watcher.wait(PATIENCE) == 0


def test_a_group_that_has_ended_is_left_alone(mark):
    """A group that was taken back is not signalled: its id may be somebody else's by now."""
    with family("unmarked." + mark, "stubborn", "wait") as (process, _):
        with janitor_process(mark) as watcher:
            watcher.stdin.write(b"+%d\n-%d\n" % (process.pid, process.pid))
            watcher.stdin.close()
            assert watcher.wait(PATIENCE) == 0
        assert process.poll() is None


def test_messages_may_come_in_pieces(mark):
    """A line that is split between two reads is one line."""
    with family("unmarked." + mark, "stubborn", "wait") as (process, _), janitor_process(mark) as watcher:
        for byte in b"+%d\n" % process.pid:
            watcher.stdin.write(bytes([byte]))
            watcher.stdin.flush()
        watcher.stdin.close()
        assert process.wait(PATIENCE) == -signal.SIGTERM
        assert watcher.wait(PATIENCE) == 0


def test_an_orderly_end_sweeps_too(mark, running, gone):
    """Even after the farewell nothing that carries the mark is left."""
    with family(mark, "escapee", "leave") as (process, escaped), janitor_process(mark) as watcher:
        assert process.wait(PATIENCE) == 4
        watcher.stdin.write(b".\n")
        watcher.stdin.flush()
        assert watcher.wait(PATIENCE) == 0
        gone(lambda: not running(escaped), PATIENCE)


def test_the_terminals_signals_do_not_end_it(mark):
    """Ctrl-C, a hang-up or a polite kill of everything leave the janitor at its post."""
    with janitor_process(mark) as watcher:
        status = Path(f"/proc/{watcher.pid}/status")
        wanted = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]

        def ignoring() -> bool:
            ignored = next(line for line in status.read_text().splitlines() if line.startswith("SigIgn:"))
            return all(int(ignored.split()[1], 16) >> (number - 1) & 1 for number in wanted)

        for _ in range(3000):
            if ignoring():
                break
            assert watcher.poll() is None
            psutil.Process(watcher.pid).cpu_percent(0.01)
        assert ignoring()
        for number in wanted:
            watcher.send_signal(number)
        watcher.stdin.write(b".\n")
        watcher.stdin.close()
        assert watcher.wait(PATIENCE) == 0


def test_it_notices_a_parent_that_is_gone_although_the_pipe_is_held(mark):
    """A fork that never exec'd may keep the lifeline open; the parent's death is noticed all the same."""
    with janitor_process(mark, parent=1 << 21) as watcher:
        assert watcher.wait(PATIENCE) == 0


@pytest.fixture
def estate(tmp_path) -> Path:
    """A far end: a directory whose files are what there is."""
    place = tmp_path / "estate"
    place.mkdir()
    return place


def will(estate: Path, *, pattern: str = "*", before: str = "", **environ: str) -> bytes:
    """The line of a will that lists the files with a shell, removes those it is told, and keeps an account of both."""
    account = estate.parent / "account"
    listing = (
        f'echo list "$@" >> {account}; {before} cd {estate} && ls -d -- {pattern} 2> {os.devnull} || test -d {estate}'
    )
    removing = f'echo remove "$@" >> {account}; cd {estate} && rm -f -- "$@"'
    return (
        b"*%s\n"
        % json.dumps(
            {
                "list": ["/bin/sh", "-c", listing, "sh"],
                "remove": ["/bin/sh", "-c", removing, "sh"],
                "environ": {"PATH": os.defpath, **environ},
            }
        ).encode()
    )


def account(estate: Path) -> list[str]:
    return (estate.parent / "account").read_text().splitlines()


def test_a_will_is_done_after_the_end_of_the_lifeline(mark, estate):
    """What is listed is removed, in the order of the wills, with the environment they name; then the janitor ends."""
    for name in ("c1", "c2", "n1"):
        (estate / name).touch()
    with janitor_process(mark) as watcher:
        watcher.stdin.write(will(estate, pattern="c*", before='test "$KEY" = secret &&', KEY="secret"))
        watcher.stdin.write(will(estate, pattern="n*"))
        watcher.stdin.close()
        assert watcher.wait(PATIENCE) == 0
    assert list(estate.iterdir()) == []
    assert account(estate)[:4] == ["list", "remove c1 c2", "list", "remove n1"]
    assert set(account(estate)[4:]) == {"list"}


def test_there_is_no_inheritance_after_an_end_in_good_order(mark, estate):
    """Who has removed everything wants nothing removed."""
    (estate / "c1").touch()
    with janitor_process(mark) as watcher:
        watcher.stdin.write(will(estate) + b".\n")
        watcher.stdin.close()
        assert watcher.wait(PATIENCE) == 0
    assert [path.name for path in estate.iterdir()] == ["c1"]
    assert not (estate.parent / "account").exists()


def test_what_appears_late_is_removed_too(mark, estate):
    """An order that was under way when the runtime died is carried out a moment later: it is looked for again."""
    with (
        subprocess.Popen(["/bin/sh", "-c", f"sleep 1; touch {estate}/late; echo"], stdout=subprocess.PIPE) as late,
        janitor_process(mark) as watcher,
    ):
        watcher.stdin.write(will(estate))
        watcher.stdin.close()
        late.stdout.readline()
        assert watcher.wait(PATIENCE) == 0
    assert list(estate.iterdir()) == []
    assert "remove late" in account(estate)


def test_who_orders_is_ended_first_and_what_it_ordered_is_removed(mark, estate, running, gone):
    """A process of the run that goes on making things, and ignores SIGTERM, does not outlast the wills."""
    code = f"trap '' TERM; echo 0 $$; i=0; while :; do i=$((i+1)); touch {estate}/c$i; sleep 0.05; done"
    env = {**os.environ, MARK: mark}
    with (
        subprocess.Popen(["/bin/sh", "-c", code], stdout=subprocess.PIPE, env=env, start_new_session=True) as busy,
        janitor_process(mark) as watcher,
    ):
        busy.stdout.readline()
        watcher.stdin.write(will(estate))
        watcher.stdin.close()
        assert watcher.wait(PATIENCE) == 0
        gone(lambda: not running(busy.pid), PATIENCE)
    assert list(estate.iterdir()) == []


def test_a_far_end_that_fails_is_asked_again(mark, estate):
    """No answer is not the answer that nothing is there."""
    (estate / "c1").touch()
    with janitor_process(mark) as watcher:
        watcher.stdin.write(will(estate, before=f"test $(grep -c list {estate.parent}/account) -gt 3 || exit 1;"))
        watcher.stdin.close()
        assert watcher.wait(PATIENCE) == 0
    assert list(estate.iterdir()) == []
    assert account(estate)[:5] == ["list", "list", "list", "list", "remove c1"]


def test_a_far_end_that_hangs_keeps_no_process_alive(mark, estate, running, gone):
    """Processes are ended at once, whatever a will waits for."""
    with family(mark, "stubborn", "wait") as (process, relative), janitor_process(mark) as watcher:
        watcher.stdin.write(will(estate, before="sleep 600;"))
        watcher.stdin.close()
        assert process.wait(PATIENCE) == -signal.SIGTERM
        assert gone(lambda: not running(relative), PATIENCE) < janitor._LIST_SECONDS
        assert watcher.poll() is None
        watcher.kill()
        for pid in (path.name for path in Path("/proc").iterdir() if path.name.isdigit()):
            with suppress(OSError):
                if f"{estate}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.killpg(int(pid), signal.SIGKILL)


def test_a_will_is_no_part_of_the_run(mark, estate):
    """Its calls do not carry the mark, or they would be ended as what the run has left."""
    with janitor_process(mark) as watcher:
        watcher.stdin.write(will(estate, before=f"env > {estate.parent}/environ;", **{MARK: mark}))
        watcher.stdin.close()
        assert watcher.wait(PATIENCE) == 0
    assert MARK not in (estate.parent / "environ").read_text()


def test_options_are_no_names(mark, estate):
    """What a far end prints never becomes an option of the call that removes."""
    with janitor_process(mark) as watcher:
        watcher.stdin.write(will(estate, before="echo --all -f;"))
        watcher.stdin.close()
        gone_by = time.monotonic() + PATIENCE
        while not (estate.parent / "account").exists():
            assert time.monotonic() < gone_by
        # Names that cannot be removed are listed for ever.
        watcher.kill()
    assert all(line == "list" for line in account(estate))


class Clock:
    """Time that passes only when somebody sleeps or calls."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("answer", [None, ["c1"]], ids=["no answer", "never empty"])
def test_a_will_that_cannot_be_done_is_given_up(monkeypatch, answer):
    """After `WILL_SECONDS`, after not too many calls."""
    clock, calls = Clock(), []

    def call(argv, environ, seconds):
        calls.append(argv)
        clock.now += 0.02
        return answer

    monkeypatch.setattr(janitor, "time", clock)
    monkeypatch.setattr(janitor, "_call", call)
    swept = threading.Event()
    swept.set()
    janitor._do([{"list": ["l"], "remove": ["r"], "environ": {}}], swept)
    assert janitor.WILL_SECONDS <= clock.now < janitor.WILL_SECONDS + 5
    assert len(calls) < 1500
    if answer is None:
        assert len(calls) < 60


def test_a_slow_far_end_is_given_more_time(monkeypatch):
    """What was ordered from a far end that takes 2 s for an answer may take as long to appear."""
    clock, calls = Clock(), []

    def call(argv, environ, seconds):
        calls.append((clock.now, argv[0]))
        clock.now += 2.0
        return ["late"] if argv[0] == "l" and 5.0 < clock.now < 9.0 else []

    monkeypatch.setattr(janitor, "time", clock)
    monkeypatch.setattr(janitor, "_call", call)
    swept = threading.Event()
    swept.set()
    janitor._do([{"list": ["l"], "remove": ["r"], "environ": {}}], swept)
    assert "r" in [word for _, word in calls]
    assert clock.now > 12.0


def test_many_names_are_removed_in_portions(monkeypatch):
    """A command line has an end."""
    clock, removed = Clock(), []
    names = [f"c{number}" for number in range(450)]

    def call(argv, environ, seconds):
        if argv[0] == "r":
            removed.append(argv[1:])
            return []
        return [] if removed else names

    monkeypatch.setattr(janitor, "time", clock)
    monkeypatch.setattr(janitor, "_call", call)
    swept = threading.Event()
    swept.set()
    janitor._do([{"list": ["l"], "remove": ["r"], "environ": {}}], swept)
    assert [len(portion) for portion in removed] == [200, 200, 50]
    assert [name for portion in removed for name in portion] == names


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("echo a b; echo c", ["a", "b", "c"]),
        ("true", []),
        ("echo a; exit 3", None),
        ("echo a; kill -9 $$", None),
        ("echo half; exec sleep 600", None),
        ("sleep 600 & echo a", None),
        ("exec yes", None),
    ],
)
def test_what_a_call_says(code, said):
    """Words, and only when it ended well, in time, and with all of them."""
    start = time.monotonic()
    assert janitor._call(["/bin/sh", "-c", code], {"PATH": os.defpath}, 0.5 if "sleep" in code else PATIENCE) == said
    assert time.monotonic() - start < PATIENCE


def test_a_call_that_cannot_be_made_is_no_answer(tmp_path):
    """The program may be gone by then."""
    assert janitor._call([str(tmp_path / "no")], {}, PATIENCE) is None
    assert janitor._call(["/bin/sh", "\0"], {}, PATIENCE) is None
