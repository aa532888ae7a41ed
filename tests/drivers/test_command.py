"""Calling a command-line client."""

import sys

import psutil
import pytest
import trio

from coworld_drivers.command import OUTPUT_LIMIT, Client
from coworld_drivers.driver import MachineFault
from coworld_protocol.errors import PreconditionMissing

LONG = 60.0


def python(**options: int) -> Client:
    """A client that is the interpreter."""
    return Client(sys.executable, {"PATH": "/usr/bin:/bin"}, **options)


async def test_a_call_has_code_output_and_complaint():
    """What a client says and how it ends is told apart."""
    code = "import sys; print('out'); print('no  such\\nthing', file=sys.stderr); sys.exit(3)"
    done = await python().call("-c", code, timeout=LONG)
    assert (done.code, done.text, done.complaint, done.ok) == (3, "out", "no such thing", False)


async def test_stdin_and_variables_reach_the_client():
    """What must not be in argv goes by these ways."""
    code = "import os, sys; print(sys.stdin.read() + os.environ['SECRET'] + os.environ.get('HOME', '-'))"
    done = await python().call("-c", code, timeout=LONG, stdin=b"in ", env={"SECRET": "hidden "})
    assert done.text == "in hidden -"


async def test_a_client_that_does_not_read_is_no_trouble():
    """It may end without having read what it was given."""
    done = await python().call("-c", "pass", timeout=LONG, stdin=b"x" * 1_000_000)
    assert done.ok


async def test_a_call_never_takes_longer_than_said():
    """It is killed with everything that it started, and has no exit code."""
    code = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(p.pid, flush=True); time.sleep(600)"
    )
    done = await python().call("-c", code, timeout=2.0)
    assert done.code is None
    assert done.complaint == "no answer in time"
    with trio.fail_after(LONG):
        while psutil.pid_exists(int(done.text)) and psutil.Process(int(done.text)).status() != psutil.STATUS_ZOMBIE:
            await trio.sleep(0.02)


async def test_a_cancelled_call_leaves_no_process():
    """Whoever loses patience leaves nothing behind."""
    before = set(psutil.Process().children(recursive=True))
    with trio.move_on_after(0.5):
        await python().call("-c", "import time; time.sleep(600)", timeout=LONG)
    assert set(psutil.Process().children(recursive=True)) <= before


async def test_an_endless_answer_is_cut():
    """What is beyond the limit is read and forgotten."""
    done = await python().call("-c", f"import sys; sys.stdout.write('x' * {2 * OUTPUT_LIMIT})", timeout=LONG)
    assert done.ok
    assert OUTPUT_LIMIT <= len(done.stdout) < OUTPUT_LIMIT + 100_000


async def test_only_so_many_calls_run_at_a_time():
    """The rest wait for their turn."""
    client = python(most=2)
    most = 0
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(lambda: client.call("-c", "import time; time.sleep(0.2)", timeout=LONG))
        while nursery.child_tasks:
            most = max(most, int(client.room.borrowed_tokens))
            await trio.sleep(0.01)
    assert most == 2


async def test_a_client_that_is_not_there():
    """The machine's fault, with the path."""
    with pytest.raises(MachineFault, match="nothing-here could not be started") as caught:
        await Client("/nothing-here", {}).call("x", timeout=LONG)
    assert "/nothing-here" in caught.value.evidence


async def test_what_no_process_can_be_given_is_refused_without_its_value():
    """A NUL character in a variable; the message does not have the value in it."""
    with pytest.raises(PreconditionMissing) as caught:
        await python().call("-c", "pass", timeout=LONG, env={"A": "secret\0"})
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
