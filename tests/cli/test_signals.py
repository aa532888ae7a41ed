"""The first signal is passed on, the second one ends the process with the code of the first."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import signal, sys, trio
from coworld_actors.cli import signals
from coworld_actors.cli.exits import Interrupted

signals.HARD_STOP = 0.1

def say(word):
    print(word, file=sys.stderr, flush=True)

def farewell(name):
    return Interrupted(f"a second signal, {name}")

async def main():
    async with trio.open_nursery() as nursery:
        received = []
        stop = lambda name: say("stop " + name)
        await nursery.start(signals.watch_signals, received, stop, lambda: say("kill"), farewell, True)
        for number in map(int, sys.argv[1:]):
            before = len(received)
            signal.raise_signal(number)
            while len(received) == before:
                await trio.sleep(0.01)
        if len(received) > 1:
            await trio.sleep_forever()
        nursery.cancel_scope.cancel()

trio.run(main)
"""


@pytest.mark.parametrize(
    ("numbers", "code", "said"),
    [
        ((signal.SIGINT,), 0, ["stop SIGINT"]),
        ((signal.SIGINT, signal.SIGTERM), 130, ["stop SIGINT", "kill", "error: a second signal, SIGTERM"]),
        ((signal.SIGTERM, signal.SIGINT), 143, ["stop SIGTERM", "kill", "error: a second signal, SIGINT"]),
    ],
)
def test_signals(numbers: tuple[int, ...], code: int, said: list[str]) -> None:
    """One leaves the command to its end; after two everything has been killed, and the last word is a document, too."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, map(int, numbers))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.splitlines()) == (code, said), done
    assert bool(done.stdout) is (code != 0)
    if done.stdout:
        assert json.loads(done.stdout)["exit_code"] == code
