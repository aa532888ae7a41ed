"""`coworld-actors bench` as a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

from websockets.sync.client import connect

from coworld_bench.documents import marks

COMMAND = [sys.executable, "-m", "coworld_actors", "bench"]


def test_json_is_one_document_and_the_page_gets_its_block(tmp_path) -> None:
    """Machine, rounds and figures on stdout; the same in a file; the tables in a page."""
    saved, page = tmp_path / "found.json", tmp_path / "page.md"
    options = ["--quick", "--rounds", "1", "--seconds", "0.02", "--json", "--save", str(saved), "--docs", str(page)]
    ran = subprocess.run([*COMMAND, "codec", *options], capture_output=True, check=True, timeout=120)
    document = json.loads(ran.stdout)
    assert document["exit_code"] == 0
    assert document["error"] is None
    assert document["report"] == json.loads(saved.read_bytes())
    assert document["report"]["rounds"] == 1
    assert b"codec: server sends 200 B" in ran.stderr
    assert page.read_text().startswith(marks("codec")[0])


def test_a_table_is_printed_otherwise() -> None:
    """People get tables, and nothing on stderr when they want it quiet."""
    options = ["--quick", "--rounds", "1", "--seconds", "0.1", "-q", "--only", "echo", "--only", "pump"]
    ran = subprocess.run([*COMMAND, "ws", *options], capture_output=True, text=True, check=True, timeout=120)
    assert ran.stderr == ""
    assert "64 x 200 B" in ran.stdout
    assert "ours, pump" in ran.stdout
    assert "goals that this run says nothing about: pump echo vs trio-websocket" in ran.stdout


def test_an_unknown_contestant_is_a_usage_error() -> None:
    """A name that means nothing ends with 2 and the names that do."""
    ran = subprocess.run([*COMMAND, "ws", "--only", "pmup"], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 2
    assert "neither a scenario nor a contestant" in ran.stderr


def test_an_unknown_part_of_the_episodes_is_a_usage_error() -> None:
    """It ends with 2 and the names that there are, before anything is played."""
    ran = subprocess.run(
        [*COMMAND, "episodes", "--only", "wram"], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 2
    assert "no part 'wram'" in ran.stderr
    assert "overhead, warm, inproc, alive, flat" in ran.stderr


def test_a_file_that_cannot_be_written_is_known_before_the_work() -> None:
    """Ten minutes of measuring are not thrown away for a typing error."""
    ran = subprocess.run(
        [*COMMAND, "ws", "--save", "/no/such/place/file.json"], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 3
    assert "there is no such directory" in ran.stderr


def test_the_echo_server_runs_until_it_is_told_to_stop() -> None:
    """It says where it listens, echoes, and ends in order with a signal."""
    command = [*COMMAND, "echo", "--port", "0", "--api", "connection", "--deflate", "--message-bytes", "5000"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as server:
        assert server.stderr is not None
        line = server.stderr.readline()
        assert "by connection" in line
        url = line.split()[2].rstrip(";")
        with connect(url, proxy=None) as socket:
            socket.send("hello")
            assert socket.recv(30) == "hello"
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
        assert server.stderr.read() == ""


def test_a_testee_without_a_server_says_so() -> None:
    """Nobody there is a missing precondition."""
    ran = subprocess.run(
        [*COMMAND, "testee", "ws://127.0.0.1:1"], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 3
    assert "has no cases for us" in ran.stderr


def test_a_testee_is_ended_by_sigterm_without_a_traceback() -> None:
    """While it waits for a server that says nothing: exit code 143 and one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        child = subprocess.Popen(
            [*COMMAND, "testee", f"ws://127.0.0.1:{silent.getsockname()[1]}"], stderr=subprocess.PIPE, text=True
        )
        accepted, _ = silent.accept()
        with accepted:
            child.send_signal(signal.SIGTERM)
            _, said = child.communicate(timeout=60)
    assert child.returncode == 143
    assert said == "error: stopped by SIGTERM before all cases were played\n"
