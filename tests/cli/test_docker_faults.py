"""Whole runs with the docker driver in which something goes wrong: exit code, verdict, next step, and nothing left."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.docker_engine import Engine
from tests.fake_dockers import FakeDocker
from tests.relays import Relay

LONG = 240.0
GONE_SECONDS = 5.0
"""What the end of a killed run may take to be cleaned up; more on a busy machine, see `SLACK`."""
SLACK = 15.0

FILLER = """
import time
for number in range(100000):
    with open(f'/coworld-artifact/{number}', 'wb') as file: file.write(b'x' * 1_000_000)
"""


class Runs:
    """Starts runs and knows what of them is on the engine.

    Args:
        manifest: what is played.
        directory: for outputs.
        engine: the engine.
    """

    def __init__(self, manifest: Path, directory: Path, engine: Engine) -> None:
        self.manifest = manifest
        self.directory = directory
        self.engine = engine
        self.started: list[subprocess.Popen[str]] = []

    def change(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Change the manifest."""
        document = json.loads(self.manifest.read_text())
        edit(document)
        self.manifest.write_text(json.dumps(document))

    def start(
        self, *words: str | Path, environ: Mapping[str, str] | None = None, output: str = "out"
    ) -> subprocess.Popen[str]:
        """Start a run; its records go to `output`."""
        command = [sys.executable, "-m", "coworld_actors", "run", self.manifest, "--driver", "docker", "--json"]
        process = subprocess.Popen(
            [*map(str, command), "--output", str(self.directory / output), *map(str, words)],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "400", **(environ or {})},
        )
        self.started.append(process)
        return process

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Exit code and standard error of a run that ends by itself."""
        out, err = process.communicate(timeout=LONG)
        return process.returncode, f"{err}\n{out if process.returncode else ''}"

    def run(self, *words: str | Path, **options: Any) -> tuple[int, str]:
        """Start it and wait for its end."""
        return self.end(self.start(*words, **options))

    def record(self, output: str = "out") -> dict[str, Any]:
        """What became of the episode."""
        found: dict[str, Any] = json.loads((self.directory / output / "episode.json").read_text())
        return found

    def verdict(self, output: str = "out") -> tuple[str, str]:
        """Reason and blame."""
        verdict = self.record(output)["verdict"]
        return verdict["reason"], verdict["blame"]

    def wait_for(self, event: str, output: str = "out") -> None:
        """Wait until an event has been recorded whose line holds these words."""
        path = self.directory / output / "events.jsonl"
        end = time.monotonic() + LONG
        while not (path.exists() and event in path.read_text()):
            assert time.monotonic() < end, f"{event!r} never came"
            assert self.started[-1].poll() is None, f"the run ended before {event!r}"
            time.sleep(0.02)

    def left(self, process: subprocess.Popen[str]) -> list[str]:
        """Containers, networks and processes of a run."""
        form = '{{.Label "coworld.owner"}} {{.ID}}'
        listed = self.engine.run("ps", "--all", "--format", form).stdout.splitlines()
        listed += self.engine.run("network", "ls", "--format", form).stdout.splitlines()
        found = [line for line in listed if f":{process.pid}:" in line]
        for each in psutil.process_iter(["cmdline"]):
            words = each.info["cmdline"] or []
            if str(self.directory) in " ".join(words) or (words[-1:] == [str(process.pid)] and "janitor" in words[-3]):
                found.append(" ".join(words))
        return found

    def gone(self, process: subprocess.Popen[str], seconds: float = GONE_SECONDS + SLACK) -> float:
        """Wait until nothing is left of a run; how long that took."""
        start = time.monotonic()
        while left := self.left(process):
            assert time.monotonic() - start < seconds, left
            time.sleep(0.1)
        return time.monotonic() - start


@pytest.fixture
def runs(orchard_manifest: Path, tmp_path: Path, engine: Engine) -> Iterator[Runs]:
    """Runs of Orchard, its certification game of four players and a hundred ticks."""
    made = Runs(orchard_manifest, tmp_path, engine)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
            process.communicate()
            made.gone(process)


@pytest.fixture
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """The engine, as something that can be taken away."""
    made = Relay(tmp_path_factory.mktemp("relay") / "engine.sock")
    yield made
    made.close()


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
    assert runs.verdict() == ("completed", "nobody")
    assert not runs.left(process)


def test_an_engine_that_stays_away(runs: Runs, relay: Relay) -> None:
    """3, nobody who plays is blamed, and when it is back within a minute the janitor removes everything."""
    process = runs.start(environ=relay.environ)
    runs.wait_for('"playing"')
    relay.cut()
    code, said = runs.end(process)
    assert code == 3, said
    assert runs.verdict() == ("infrastructure", "infrastructure")
    assert not any(seat["fault"] for seat in runs.record()["seats"])
    assert "Cannot connect to the Docker daemon" in said
    assert "doctor --driver docker" in said
    assert said.count("could be removed") == 1
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
    assert not runs.left(process)


def _with_image(image: str) -> Callable[[dict[str, Any]], None]:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["game"]["runnable"] = {"type": "game", "image": image}

    return edit


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "is not"),
        ({"architecture": "s390x", "Cmd": ["true"]}, "s390x"),
        ({}, "nothing to run|no entry point|no command"),
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
    ("run", "evidence"),
    [
        (["no-such-program"], "could not be executed"),
        (["python", "-c", "raise SystemExit('no config')"], "no config"),
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


def test_a_game_without_enough_memory(runs: Runs) -> None:
    """Is to blame, and told to ask for more."""

    def edit(manifest: dict[str, Any]) -> None:
        code = "x = bytearray(400 << 20); x[::4096] = b'1' * len(x[::4096])"
        manifest["game"]["runnable"] |= {"run": ["python", "-c", code], "resources": {"limits": {"memory": "64Mi"}}}

    runs.change(edit)
    code, said = runs.run()
    assert code == 1, said
    assert runs.verdict() == ("game_out_of_memory", "game")
    assert "more memory" in said


@pytest.mark.parametrize(
    ("code", "resources", "end", "evidence"),
    [
        ("x = bytearray(400 << 20); x[::4096] = b'1' * len(x[::4096])", {"memory": "64Mi"}, "out_of_memory", "memory"),
        (FILLER, {"ephemeral-storage": "20Mi"}, "crashed", "disk"),
        ("raise SystemExit(125)", {}, "crashed", "exit code 125"),
    ],
)
def test_a_player_that_takes_too_much(
    runs: Runs, code: str, resources: Mapping[str, str], end: str, evidence: str
) -> None:
    """Its seat has the fault; the game and the other players do as they would."""

    def edit(manifest: dict[str, Any]) -> None:
        greedy = next(player for player in manifest["player"] if player["id"] == "random")
        greedy |= {"run": ["python", "-c", code], "resources": {"limits": dict(resources)}}
        manifest["certification"]["game_config"] |= {"tick_timeout_seconds": 1, "player_connect_timeout_seconds": 30}

    runs.change(edit)
    process = runs.start("--no-reports")
    _, said = runs.end(process)
    seats = runs.record()["seats"]
    assert (seats[1]["end"], seats[1]["fault"]) == (end, True), said
    assert evidence in seats[1]["evidence"]
    assert [seat["fault"] for seat in seats] == [False, True, False, False]
    assert runs.verdict()[1] in {"nobody", "players"}
    assert not runs.left(process)


def test_clients_that_are_killed_all_the_time(runs: Runs) -> None:
    """Any `docker` of the run may be killed at any moment of the episode: it is good all the same, and nothing is left."""
    chance = random.Random(7)
    process = runs.start("--no-reports")
    killed = 0
    mine = psutil.Process(process.pid)
    while process.poll() is None:
        time.sleep(chance.uniform(0.05, 0.4))
        with suppress(psutil.Error):
            clients = [each for each in mine.children() if each.name() == "docker"]
            if clients:
                chance.choice(clients).kill()
                killed += 1
    code, said = runs.end(process)
    assert code == 0, said
    assert killed > 3
    assert runs.verdict() == ("completed", "nobody")
    assert not runs.left(process)


@pytest.mark.parametrize("moment", ['"starting"', '"seating"', '"playing"', '"closing"'])
def test_a_killed_run(runs: Runs, moment: str) -> None:
    """SIGKILL at any moment: no container, no network, no process is left."""
    process = runs.start()
    runs.wait_for(moment)
    process.kill()
    process.communicate()
    runs.gone(process)


@pytest.mark.parametrize("signals", [1, 2])
def test_an_interrupted_run(runs: Runs, signals: int) -> None:
    """SIGINT once or twice: 130, and nothing is left, at once or when the janitor is done."""
    process = runs.start()
    runs.wait_for('"playing"')
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    code, said = runs.end(process)
    assert code == 130, said
    runs.gone(process)


def test_two_runs_in_one_directory(runs: Runs) -> None:
    """They do not meet: neither on the engine nor in their records."""
    first, second = runs.start(output="both/1"), runs.start(output="both/2")
    assert runs.end(first)[0] == runs.end(second)[0] == 0
    assert runs.record("both/1")["id"] != runs.record("both/2")["id"]
    assert not runs.left(first) + runs.left(second)


def test_two_runs_with_one_output(runs: Runs) -> None:
    """One plays, the other is refused; the directory belongs to the one that plays."""
    both = [runs.start(), runs.start()]
    ended = [runs.end(process) for process in both]
    assert sorted(code for code, _ in ended) == [0, 2], ended
    assert runs.verdict() == ("completed", "nobody")
    assert not [line for process in both for line in runs.left(process)]


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"match": "^info", "stdout": '{"ServerVersion": "28', "code": 0}, 3),
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
    ],
)
def test_a_client_that_lies(runs: Runs, rule: dict[str, Any], code: int) -> None:
    """What can be asked again is; what cannot be done is nobody's fault who plays; exit codes of the client prove nothing."""
    fake = FakeDocker(runs.directory / "fake", rule)
    process = runs.start(environ=fake.environ)
    ended, said = runs.end(process)
    assert ended == code, said
    if (runs.directory / "out" / "episode.json").exists():
        assert runs.verdict() == (("completed", "nobody") if code == 0 else ("infrastructure", "infrastructure"))
        assert not any(seat["fault"] for seat in runs.record()["seats"])
    assert any(re.search(rule["match"], " ".join(call)) for call in fake.calls)
    assert not runs.left(process)
