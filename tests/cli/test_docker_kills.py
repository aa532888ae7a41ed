"""Whole runs with the docker driver whose clients lie, hang or are killed, and that are killed themselves: nothing is left."""

from __future__ import annotations

import random
import re
import signal
import time
from contextlib import suppress
from typing import Any

import psutil
import pytest

from tests.cli.docker_runs import GOOD, MACHINE, Runs, runs
from tests.fake_dockers import FakeDocker

__all__ = ["runs"]

MOMENTS = ('"starting"', '"seating"', '"playing"', '"closing"')


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"match": "^info", "stdout": '{"ServerVersion": "28', "code": 0}, 3),
        ({"match": "^image inspect", "real": True, "half": True}, 3),
        (
            {"match": "^create .*player-1", "stderr": "Error response from daemon: no space left on device", "code": 1},
            3,
        ),
        ({"match": "^start .*game", "code": 0}, 3),
        ({"match": "^network connect", "stderr": "Error response from daemon: endpoint table full", "code": 1}, 3),
        ({"match": "^start .*player-2", "real": True, "code": 0}, 0),
        ({"match": "^start .*player-2", "real": True, "code": 1}, 0),
        ({"match": "^container inspect", "real": True, "half": True, "times": 3}, 0),
        ({"match": "^(create|rm|kill)", "stderr": "net/http: TLS handshake timeout", "code": 1, "times": 5}, 0),
        ({"match": "^create .*player-1", "first": True, "signal": signal.SIGKILL, "times": 1}, 0),
    ],
)
def test_a_client_that_lies(runs: Runs, rule: dict[str, Any], code: int) -> None:
    """What can be asked again is; what cannot be done is nobody's fault who plays; exit codes of the client prove nothing."""
    fake = FakeDocker(runs.directory / "fake", rule)
    ended, said = runs.run("--no-reports", environ=fake.environ)
    assert ended == code, said
    if (runs.directory / "out" / "episode.json").exists():
        assert runs.verdict() == (GOOD if code == 0 else MACHINE)
        assert not any(runs.faults())
    assert any(re.search(rule["match"], " ".join(call)) for call in fake.calls)


def test_clients_that_hang(runs: Runs) -> None:
    """None is waited for without end: what may be asked again is, and otherwise it is the machine that has failed."""
    rules: dict[str, tuple[dict[str, Any], int]] = {
        "info": ({"match": "^info"}, 3),
        "inspect": ({"match": "^container inspect", "times": 1, "deaf": True}, 0),
        "create": ({"match": "^create .*player-1"}, 3),
        "network": ({"match": "^network create .*seats", "deaf": True}, 3),
    }
    began = {}
    for name, (rule, _) in rules.items():
        fake = FakeDocker(runs.directory / f"fake-{name}", {**rule, "hang": True})
        began[name] = (fake, runs.start("--no-reports", environ=fake.environ, output=name))
    for name, (fake, process) in began.items():
        code, said = runs.end(process)
        assert code == rules[name][1], f"{name}: {said}"
        assert any(re.search(rules[name][0]["match"], " ".join(call)) for call in fake.calls), name
        if (runs.directory / name / "episode.json").exists():
            assert runs.verdict(name) == (GOOD if code == 0 else MACHINE), said
            assert not any(runs.faults(name))


def test_clients_that_are_killed_all_the_time(runs: Runs) -> None:
    """Any `docker` of a run may be killed at any moment of the episode: it is good all the same, and nothing is left."""
    chance = random.Random(7)
    processes = [runs.start("--no-reports", output=f"out-{number}") for number in range(2)]
    killed = {process.pid: 0 for process in processes}
    while any(process.poll() is None for process in processes):
        time.sleep(chance.uniform(0.02, 0.2))
        mine = chance.choice(processes)
        with suppress(psutil.Error):
            clients = [each for each in psutil.Process(mine.pid).children() if each.name() == "docker"]
            if clients and mine.poll() is None:
                chance.choice(clients).kill()
                killed[mine.pid] += 1
    for number, process in enumerate(processes):
        code, said = runs.end(process)
        assert code == 0, said
        assert killed[process.pid] > 3
        assert runs.verdict(f"out-{number}") == GOOD
    print(f"clients killed: {list(killed.values())}")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run(runs: Runs, moment: str) -> None:
    """SIGKILL at any moment: no container, no network, no process is left."""
    process = runs.start()
    runs.wait_for(moment)
    process.kill()
    process.communicate()
    print(f"after SIGKILL at {moment} all was gone within {runs.gone(process):.1f} s")


def test_runs_killed_by_the_clock(runs: Runs) -> None:
    """SIGKILL whatever they are at, before there is an event as well: nothing is left of any of them."""
    processes = [runs.start(output=f"out-{number}") for number in range(4)]
    begun = time.monotonic()
    for number, process in enumerate(processes):
        time.sleep(max(0.0, begun + 0.4 + 0.7 * number - time.monotonic()))
        process.kill()
    for process in processes:
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    print(f"all was gone within {max(runs.gone(process) for process in processes):.1f} s")


@pytest.mark.parametrize("moment", MOMENTS[:3])
@pytest.mark.parametrize("signals", [1, 2])
def test_an_interrupted_run(runs: Runs, moment: str, signals: int) -> None:
    """SIGINT once or twice: 130, and nothing is left, at once or when the janitor is done."""
    process = runs.start()
    runs.wait_for(moment)
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    start = time.monotonic()
    code, said = runs.end(process, tidy=signals == 1)
    assert code == 130, said
    after = runs.gone(process)
    print(f"after SIGINT at {moment} it ended within {time.monotonic() - start:.1f} s, all gone {after:.1f} s later")
    if (runs.directory / "out" / "episode.json").exists():
        assert runs.verdict() == ("cancelled", "caller")
        assert not any(runs.faults())


def test_two_runs_in_one_directory(runs: Runs) -> None:
    """They do not meet: neither on the engine nor in their records."""
    first, second = runs.start(output="both/1"), runs.start(output="both/2")
    assert runs.end(first)[0] == runs.end(second)[0] == 0
    assert runs.verdict("both/1") == runs.verdict("both/2") == GOOD
    assert runs.record("both/1")["id"] != runs.record("both/2")["id"]


def test_two_runs_with_one_output(runs: Runs) -> None:
    """One plays, the other is refused; the directory belongs to the one that plays."""
    both = [runs.start(), runs.start()]
    ended = [runs.end(process) for process in both]
    assert sorted(code for code, _ in ended) == [0, 2], ended
    assert runs.verdict() == GOOD
