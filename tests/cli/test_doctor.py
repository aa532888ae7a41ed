"""`coworld-actors doctor` as a user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.doctor.clients import script

COMMAND = [sys.executable, "-m", "coworld_actors", "doctor"]


def doctor(cwd: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
        env={**os.environ, **variables},
    )


def findings_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    document = json.loads(done.stdout)
    return {finding["name"]: finding for finding in document["findings"]}


def test_this_machine_can_play(tmp_path: Path) -> None:
    """A line for each finding, its status first; the last line counts them; nothing is left in the directory."""
    done = doctor(tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ok    python ")
    assert all(line[:4] in {"ok  ", "warn", "    "} for line in lines[:-1]), done.stdout
    assert lines[-1].endswith(" 0 fail")
    assert [*tmp_path.iterdir()] == []


def test_what_is_asked_for_has_to_work(tmp_path: Path) -> None:
    """A dead engine is a warning, unless docker is to be used: then the command ends with 3 and says what to do."""
    dead = f"unix://{tmp_path}/nobody.sock"
    warned = doctor(tmp_path, "--json", DOCKER_HOST=dead)
    assert warned.returncode == 0, warned
    name = "docker engine" if "docker engine" in findings_of(warned) else "docker"
    assert findings_of(warned)[name]["status"] == "warn"
    failed = doctor(tmp_path, "--json", "--driver", "docker", DOCKER_HOST=dead)
    assert failed.returncode == 3, failed
    document = json.loads(failed.stdout)
    assert (document["exit_code"], document["status"], document["drivers"]) == (3, "fail", ["docker"])
    assert findings_of(failed)[name]["status"] == "fail"
    assert findings_of(failed)[name]["todo"]
    assert document["error"]["type"] == "PreconditionMissing"
    assert failed.stderr.startswith(f"error: {name}: without this nothing can be played with --driver docker")


def test_a_hanging_client_does_not_hang_the_doctor(tmp_path: Path) -> None:
    """Everything else is found out, and that the client does not answer is one more finding."""
    path = script(tmp_path / "bin", "docker", "exec sleep 1000")
    done = doctor(tmp_path, "--driver", "docker", PATH=f"{path}:{os.environ['PATH']}")
    assert done.returncode == 3, done
    assert "did not answer within" in done.stdout
    assert "python" in done.stdout
    assert "browser" in done.stdout


def test_an_unknown_driver_is_refused(tmp_path: Path) -> None:
    """With the names that there are."""
    done = doctor(tmp_path, "--driver", "podman")
    assert done.returncode == 2
    assert "docker" in done.stderr


def test_text_of_strangers_reaches_no_terminal_as_it_is(tmp_path: Path) -> None:
    """A client's complaint is shown without its control codes."""
    path = script(tmp_path / "bin", "docker", r"printf '\033[31mred\n' >&2; exit 1")
    done = doctor(tmp_path, PATH=f"{path}:{os.environ['PATH']}")
    assert "red" in done.stdout
    assert "\x1b" not in done.stdout


def test_only_drivers_that_there_are_can_be_asked_for(tmp_path: Path) -> None:
    """What `run --driver` does not take is a line, and nothing that could have to work."""
    done = doctor(tmp_path, "--driver", "kubectl")
    assert done.returncode == 2
    assert "kubectl" in findings_of(doctor(tmp_path, "--json"))


def test_in_a_directory_that_has_gone_the_disk_fails(tmp_path: Path) -> None:
    """It is said as a finding, with what to do."""
    (tmp_path / "gone").mkdir()
    script = f'cd {tmp_path}/gone && rmdir {tmp_path}/gone && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-P", *COMMAND[1:], "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 3, done
    assert findings_of(done)["disk"]["status"] == "fail"
