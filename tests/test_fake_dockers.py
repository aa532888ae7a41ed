"""The scripted `docker` does what its rules say, and is the real one for everything else."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.fake_dockers import FakeDocker


def call(fake: FakeDocker, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], env=fake.environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def real(tmp_path: Path) -> str:
    """A client that echoes, writes down that it was called, and ends with 3."""
    program = tmp_path / "real"
    program.write_text(f'#!/bin/sh\necho "$@"; echo complaint >&2; echo >> {tmp_path}/count; exit 3\n')
    program.chmod(0o755)
    return str(program)


def test_what_no_rule_is_about_is_the_real_ones(tmp_path: Path, real: str):
    """Words, outputs and exit code pass through; the call is counted."""
    fake = FakeDocker(tmp_path / "fake", {"match": "^pull", "code": 1}, real=real)
    done = call(fake, "ps", "-a")
    assert (done.returncode, done.stdout, done.stderr) == (3, "ps -a\n", "complaint\n")
    assert fake.calls == [["ps", "-a"]]


def test_outputs_and_exit_codes(tmp_path: Path):
    """The first rule that matches, as often as it says; then the next."""
    fake = FakeDocker(
        tmp_path / "fake",
        {"match": "^pull", "times": 1, "stderr": "later", "code": 125},
        {"match": "pull a", "stdout": "[1, 2]", "half": True, "lines": [[0.01, "x"], [0, "y"]]},
    )
    assert [
        (done.returncode, done.stdout, done.stderr) for done in (call(fake, "pull", "a"), call(fake, "pull", "a"))
    ] == [
        (125, "", "later"),
        (0, "[1,x\ny\n", ""),
    ]


def test_lies_about_what_was_done(tmp_path: Path, real: str):
    """The real client works; its exit code, or everything that it says, is lost on the way."""
    fake = FakeDocker(
        tmp_path / "fake",
        {"match": "^a", "real": True, "code": 0},
        {"match": "^b", "first": True, "code": 1},
        real=real,
    )
    done = call(fake, "a")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\n", "complaint\n")
    done = call(fake, "b")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert len((tmp_path / "count").read_text().splitlines()) == 2


def test_floods_and_deaths(tmp_path: Path):
    """Megabytes on both outputs; an end by a signal."""
    fake = FakeDocker(
        tmp_path / "fake", {"match": "flood", "flood": 300_000}, {"match": "die", "signal": int(signal.SIGKILL)}
    )
    done = call(fake, "flood")
    assert (len(done.stdout), len(done.stderr)) == (300_000, 300_000)
    assert call(fake, "die").returncode == -signal.SIGKILL


def test_hanging_and_deaf(tmp_path: Path):
    """It says what it has to say, never ends, and only SIGKILL moves it."""
    fake = FakeDocker(tmp_path / "fake", {"match": "hang", "stdout": "here\n", "hang": True, "deaf": True})
    with subprocess.Popen(["docker", "hang"], env=fake.environ, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        assert fake.pids == [process.pid]
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.kill()


def test_other_rules_begin_anew(tmp_path: Path):
    """`times` and the list of calls belong to one script."""
    fake = FakeDocker(tmp_path / "fake", {"match": "a", "times": 1, "code": 4}, real="/bin/false")
    assert [call(fake, "a").returncode for _ in range(2)] == [4, 1]
    fake.script({"match": "a", "times": 1, "code": 5})
    assert fake.calls == []
    assert [call(fake, "a").returncode for _ in range(2)] == [5, 1]


def test_calls_at_the_same_time_are_counted_apart(tmp_path: Path):
    """A rule for one call serves one of many."""
    fake = FakeDocker(tmp_path / "fake", {"match": "a", "times": 1, "code": 4}, {"match": "a", "code": 0})
    started = [subprocess.Popen(["docker", "a", str(number)], env=fake.environ) for number in range(6)]
    assert sorted(process.wait(60) for process in started) == [0, 0, 0, 0, 0, 4]
    assert len(fake.calls) == 6
