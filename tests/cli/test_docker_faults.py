"""Whole runs with the docker driver whose engine, images or roles fail: exit code, verdict, next step, and nothing left."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.docker_runs import GOOD, MACHINE, Runs, relay, runs
from tests.relays import Relay

__all__ = ["relay", "runs"]

HUNGRY = "x = bytearray(400 << 20); x[::4096] = b'1' * len(x[::4096])"

FILLER = """
import time
for number in range(100000):
    with open(f'/coworld-artifact/{number}', 'wb') as file: file.write(b'x' * 1_000_000)
"""

PLAY = "import runpy; runpy.run_module('orchard.players.greedy', run_name='__main__')"

FLOOD = f"""
import sys, threading
def flood():
    for _ in range(60):
        sys.stdout.write('x' * 1_000_000 + chr(10))
    print('the flood is over', flush=True)
thread = threading.Thread(target=flood)
thread.start()
try:
    {PLAY}
finally:
    thread.join()
"""

DEAF = f"""
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
try:
    {PLAY}
finally:
    print('deaf', flush=True)
    time.sleep(3600)
"""

UNTIL_TOLD = f"""
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
try:
    {PLAY}
finally:
    time.sleep(3600)
"""


def test_no_engine_at_the_start(runs: Runs) -> None:
    """3, what to do, and no episode."""
    code, said = runs.run(environ={"DOCKER_HOST": f"unix://{runs.directory}/none.sock"})
    assert code == 3, said
    assert "the docker engine does not answer" in said
    assert "systemctl start docker" in said
    assert not (runs.directory / "out").exists()


def test_an_engine_that_comes_back(runs: Runs, relay: Relay) -> None:
    """Containers that ran on meanwhile play their episode to its good end."""
    process = runs.start(environ=relay.environ)
    runs.wait_for('"playing"')
    relay.cut()
    time.sleep(2)
    relay.restore()
    code, said = runs.end(process)
    assert code == 0, said
    assert runs.verdict() == GOOD


def test_an_engine_that_stays_away(runs: Runs, relay: Relay) -> None:
    """3, nobody who plays is blamed, and when it is back within a minute the janitor removes everything."""
    process = runs.start(environ=relay.environ)
    runs.wait_for('"playing"')
    relay.cut()
    code, said = runs.end(process, tidy=False)
    assert code == 3, said
    assert runs.verdict() == MACHINE
    assert not any(runs.faults())
    assert "Cannot connect to the Docker daemon" in said
    assert "doctor --driver docker" in said
    assert said.count("could be removed") == 1
    assert runs.left(process), "there was nothing to remove"
    relay.restore()
    runs.gone(process, 60)


def test_an_engine_that_goes_away_while_roles_are_started(runs: Runs, relay: Relay) -> None:
    """It is waited for, wherever in the start it went."""
    process = runs.start(environ=relay.environ)
    runs.wait_for('"starting"')
    relay.cut()
    time.sleep(1)
    relay.restore()
    code, said = runs.end(process)
    assert code == 0, said


def _with_image(image: str) -> Callable[[dict[str, Any]], None]:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["game"]["runnable"] = {"type": "game", "image": image}

    return edit


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "is not"),
        ({"architecture": "s390x", "Cmd": ["true"]}, "s390x"),
        ({}, "nothing to run"),
    ],
)
def test_an_image_that_cannot_be_run(runs: Runs, config: dict[str, Any] | None, words: str) -> None:
    """Missing, of another architecture, without a command: 3 before anything is started, with the image's name."""
    image = f"coworld-test-unusable:{os.getpid()}"
    if config is not None:
        runs.engine.load(image, **config)
    runs.change(_with_image(image))
    try:
        code, said = runs.run("--pull", "never")
    finally:
        if config is not None:
            runs.engine.run("rmi", image)
    assert code == 3, said
    assert image in said
    assert re.search(words, said), said
    assert not (runs.directory / "out").exists()


@pytest.mark.parametrize(
    ("entry", "evidence"),
    [
        (["/nothing-here"], "could not be executed"),
        (["python", "-c", "raise SystemExit('no config')"], "no config"),
    ],
)
def test_an_entry_point_that_fails(
    runs: Runs, python_image: str, tmp_path: Path, entry: list[str], evidence: str
) -> None:
    """One that is not in its image, one that ends with an error: the game is to blame, in its own words."""
    image = f"coworld-test-failing:{os.getpid()}"
    words = ", ".join(f'"{word}"' for word in entry)
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {python_image}\nENTRYPOINT [{words}]\n")
    runs.engine.build(image, context / "Dockerfile", context)
    runs.change(_with_image(image))
    try:
        code, said = runs.run()
    finally:
        runs.engine.run("rmi", image)
    assert code == 1, said
    assert runs.verdict() == ("game_start_failed", "game")
    assert evidence in runs.record()["verdict"]["evidence"]


@pytest.mark.parametrize(
    ("run", "evidence"),
    [
        (["no-such-program"], "could not be executed"),
        (["python", "-c", "raise SystemExit(125)"], "exit code 125"),
        (["python", "-c", "import os; os._exit(127)"], "exit code 127"),
    ],
)
def test_a_game_that_fails_at_its_start(runs: Runs, run: list[str], evidence: str) -> None:
    """Is to blame, also when it chooses an exit code that the client has for its own troubles."""

    def edit(manifest: dict[str, Any]) -> None:
        manifest["game"]["runnable"]["run"] = run

    runs.change(edit)
    code, said = runs.run()
    assert code == 1, said
    assert runs.verdict() == ("game_start_failed", "game")
    assert evidence in runs.record()["verdict"]["evidence"]
    assert not any(runs.faults())


def test_a_game_without_enough_memory(runs: Runs) -> None:
    """Is to blame, and told to ask for more."""

    def edit(manifest: dict[str, Any]) -> None:
        manifest["game"]["runnable"] |= {
            "run": ["python", "-c", HUNGRY],
            "resources": {"limits": {"memory": "64Mi"}},
        }

    runs.change(edit)
    code, said = runs.run()
    assert code == 1, said
    assert runs.verdict() == ("game_out_of_memory", "game")
    assert "more memory" in said


def test_players_of_every_bad_kind(runs: Runs) -> None:
    """Each of these seats has the end that is its own doing, the first plays, and the machine bears it.

    Memory, disk, an exit code that the client has too: such a seat is missed at the start. A flood ends with its player and is cut
    on disk. Who stays after the end is asked to go, and who is deaf to that is killed.
    """
    codes = {
        "hungry": HUNGRY,
        "filler": FILLER,
        "own": "raise SystemExit(125)",
        "flood": FLOOD,
        "deaf": DEAF,
        "late": UNTIL_TOLD,
    }
    resources = {"hungry": {"limits": {"memory": "64Mi"}}, "filler": {"requests": {"ephemeral-storage": "20Mi"}}}
    runs.add_players(codes, resources)

    def edit(manifest: dict[str, Any]) -> None:
        manifest["certification"]["players"] = [{"player_id": name} for name in ("greedy", *codes)]
        manifest["certification"]["game_config"] |= {
            "players": [{"name": name} for name in ("good", *codes)],
            "player_connect_timeout_seconds": 15,
            "tick_timeout_seconds": 5,
        }

    runs.change(edit)
    code, said = runs.run("--no-reports")
    assert code == 0, said
    seats = runs.record()["seats"]
    crashed, finished, overstayed = ("crashed", True), ("finished", False), ("overstayed", True)
    ends = [finished, ("out_of_memory", True), crashed, crashed, finished, overstayed, overstayed]
    assert [(seat["end"], seat["fault"]) for seat in seats] == ends, said
    for seat, word in zip(seats[1:4], ("memory", "disk", "exit code 125"), strict=True):
        assert word in seat["evidence"]
    assert runs.verdict() == GOOD
    assert runs.record()["verdict"]["failed_seats"] == [1, 2, 3, 5, 6]
    log = runs.directory / "out" / "logs" / "policy_agent_4.log"
    assert log.stat().st_size < 20_000_000
    assert "the flood is over" in log.read_text()[-500:]
    used = sum(path.stat().st_size for path in (runs.directory / "out").rglob("*") if path.is_file())
    # How much it gets to write between two looks is the disk's speed; all of it would be a hundred times that.
    assert used < 10_000_000_000
