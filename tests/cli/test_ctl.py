"""`coworld-actors ctl` as a user meets it: a process of its own against runtimes in processes of their own."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from coworld_actors.cli import main
from coworld_actors.control import client
from tests.hosts import hosting

COMMAND = [sys.executable, "-m", "coworld_actors", "ctl"]


def ctl(*arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, **more
    )


def document(*arguments: object, code: int = 0) -> dict[str, Any]:
    done = ctl(*arguments, "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == found["exit_code"] == code, done.stderr
    return found


def only(*arguments: object) -> dict[str, Any]:
    (runtime,) = document(*arguments)["runtimes"]
    found: dict[str, Any] = runtime
    return found


def until(look: Any) -> Any:
    """What a look shows as soon as it shows something."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it never came")


def test_one_runtime_is_seen_and_steered(home: Path, tmp_path: Path) -> None:
    """Every command, in both forms."""
    with hosting(tmp_path, "farm", episodes=3, parallel=2) as host:
        (listed,) = document("list")["runtimes"]
        assert (listed["name"], listed["pid"], listed["parallel"]) == ("farm", host.pid, 2)
        assert Path(listed["socket"]).parent == home / "coworld-actors"
        heading, row = ctl("list").stdout.splitlines()
        assert heading.split()[:2] == ["name", "pid"]
        assert row.split()[:2] == ["farm", str(host.pid)]

        def playing() -> list[dict[str, Any]] | None:
            statuses = only("episodes")["episodes"]
            return statuses if [each["phase"] for each in statuses] == ["playing", "playing", ""] else None

        statuses = until(playing)
        assert [each["id"] for each in statuses] == ["farm-0", "farm-1", "farm-2"]
        assert ctl("episodes", "farm-2").stdout.splitlines()[1].split()[:5] == [
            "farm-2",
            "scripted",
            "1.0.0",
            "certification",
            "2",
        ]

        tree = ctl("tree", "episode-farm-0").stdout
        assert tree.splitlines()[1].startswith("episode-farm-0  supervisor")
        assert "\n    game " in tree
        assert "farm-1" not in tree
        actors = {each["path"]: each for each in only("tree")["actors"]}
        assert actors["episode-farm-1/play/players/player-1"]["depth"] == 3
        assert actors["sitter"]["capacity"] == 1024

        statistics = only("statistics")
        assert statistics["statistics"]["running"] == 2
        assert statistics["control"]["connections"] == 1
        assert "actors" in ctl("statistics").stdout

        host.tell("work")
        found = until(lambda: [f for f in only("anomalies", "--over", "0.01")["findings"] if f["trouble"] == "busy"])
        assert found[0]["subject"] == "sitter"
        shown = ctl("anomalies", "--over", "0.01").stdout
        assert "farm-0" in shown
        assert "busy: sitter (Sitter) has worked without a rest" in shown
        assert "no episode has been there for more than 2h46m" in ctl("anomalies", "--over", "10000").stdout

        assert "farm is paused" in ctl("pause").stdout
        assert only("list")["paused"]
        assert only("resume")["changed"]
        assert only("set", "parallel=3")["changed"]
        assert only("statistics")["statistics"]["parallel"] == 3

        assert ctl("cancel", "farm-1", "--reason", "enough of it").stdout.startswith("episode farm-1 is called off")
        until(lambda: [each["id"] for each in only("episodes")["episodes"]] == ["farm-0", "farm-2"])
        lines = ctl("events", "--episode", "farm-1").stdout.splitlines()
        assert "episode_closed" in lines[-1]
        assert "outcome=cancelled" in lines[-1]
        assert "farm-0" not in "".join(lines)


def test_what_was_lately_is_objects_a_line_with_json(home: Path, tmp_path: Path) -> None:
    """Records, the end with the last number to go on from, then exit code and error; terminals get words, never codes."""
    with hosting(tmp_path, "farm") as host:
        done = ctl("events", "--json")
        *records, end, outcome = [json.loads(line) for line in done.stdout.splitlines()]
        assert outcome == {"exit_code": 0, "error": None}
        assert {each["type"] for each in records} == {"record"}
        assert {(each["runtime"], each["pid"]) for each in [*records, end]} == {("farm", host.pid)}
        (rude,) = [each["record"] for each in records if each["record"]["event"]["type"] == "rude"]
        assert rude["event"]["words"] == "\x1b[31mred\nline"
        assert end["last"] == records[-1]["record"]["seq"]
        shown = ctl("events").stdout
        assert "\\u001b[31mred\\u000aline" in shown
        assert "\x1b" not in shown
        assert ctl("events", "--after", end["last"]).stdout == ""


def test_several_runtimes_are_all_read_and_one_is_changed(home: Path, tmp_path: Path) -> None:
    """A change needs one, unless the id of an episode is enough to know which."""
    with hosting(tmp_path, "north", episodes=1) as north, hosting(tmp_path, "south", episodes=1) as south:
        assert {each["name"] for each in document("list")["runtimes"]} == {"north", "south"}
        shown = ctl("episodes").stdout
        assert f"north (pid {north.pid}):" in shown
        assert "south-0" in shown
        refused = ctl("pause")
        assert refused.returncode == 2
        assert f"south (pid {south.pid})" in refused.stderr
        assert "--runtime" in refused.stderr
        assert only("pause", "--runtime", "nor")["name"] == "north"
        assert only("resume", "--runtime", north.pid)["name"] == "north"
        place = only("list", "--runtime", "south")["socket"]
        assert only("set", "parallel=9", "--socket", place)["name"] == "south"
        assert document("cancel", "", code=2)["error"]["type"] == "Refused"
        assert "east" in document("cancel", "east", code=2)["error"]["what"]
        assert only("cancel", "s")["name"] == "south"
        assert document("list", "--runtime", "east", code=2)["runtimes"] == []


def test_an_id_that_two_runtimes_have_needs_the_runtime(home: Path, tmp_path: Path) -> None:
    """They are listed with whose they are."""
    with hosting(tmp_path / "a", "farm", episodes=1) as first, hosting(tmp_path / "b", "farm", episodes=1):
        refused = ctl("cancel", "farm-0")
        assert refused.returncode == 2
        assert f"farm-0 of farm (pid {first.pid})" in refused.stderr
        assert "--runtime" in refused.stderr
        assert only("cancel", "farm-0", "--runtime", first.pid)["pid"] == first.pid


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["tree"],
        ["episodes"],
        ["statistics"],
        ["events"],
        ["events", "--follow"],
        ["anomalies"],
        ["cancel", "x"],
        ["pause"],
        ["resume"],
        ["set", "parallel=2"],
        ["list", "--socket", "/nowhere/at.sock"],
    ],
)
def test_without_a_runtime_every_command_ends_with_3(
    home: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With one document on stdout where that was asked for, and advice on stderr."""
    with pytest.raises(SystemExit) as ended:
        main(["ctl", *arguments, "--json"])
    stdout, stderr = capsys.readouterr()
    found = json.loads(stdout)
    assert ended.value.code == found["exit_code"] == 3
    assert found["error"]["todo"]
    assert stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Usage"),
        (["fly"], "fly"),
        (["set", "parallel=0"], "parallel=N"),
        (["set", "parallel=two"], "parallel=N"),
        (["set", "parallel"], "parallel=N"),
        (["set", "speed=3"], "parallel=N"),
        (["set", "parallel=99999999999999999999"], "parallel=N"),
        (["cancel"], "ID"),
        (["cancel", ""], "empty"),
        (["cancel", "x", "--reason", ""], "--reason"),
        (["cancel", "x", "--reason", "y" * 1001], "--reason"),
        (["events", "--after", "-1"], "--after"),
        (["anomalies", "--over", "nan"], "--over"),
        (["anomalies", "--over", "-1"], "--over"),
        (["anomalies", "--over", "inf"], "--over"),
    ],
)
def test_a_command_line_that_cannot_be_meant_ends_with_2(
    home: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is connected."""
    with pytest.raises(SystemExit) as ended:
        main(["ctl", *arguments])
    stdout, stderr = capsys.readouterr()
    assert (ended.value.code, stdout) == (2, "")
    assert words in stderr


def test_an_unknown_beginning_is_an_error_for_readers_too(home: Path, tmp_path: Path) -> None:
    """An empty table would look like an idle runtime."""
    with hosting(tmp_path, "farm"):
        for command in ("tree", "episodes"):
            assert document(command, "nothing-like-it", code=2)["error"]["type"] == "Unknown"
        assert document("episodes")["runtimes"][0]["episodes"] == []


def follow(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "events", "--follow", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_follower_of_a_killed_runtime_ends_with_3(home: Path, tmp_path: Path) -> None:
    """And says which one is gone."""
    with hosting(tmp_path, "doomed") as host, follow() as process:
        assert process.stdout is not None
        assert "rude" in process.stdout.readline() + process.stdout.readline()
        host.process.kill()
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 3
        assert f"runtime doomed (pid {host.pid}) is gone" in stderr
        assert "Traceback" not in stderr


def test_a_follower_of_a_runtime_that_stops_ends_with_0(home: Path, tmp_path: Path) -> None:
    """After the last event; with --json the last two lines are the end and the outcome."""
    with hosting(tmp_path, "farm", episodes=1) as host:
        with follow() as plain, follow("--json", "--episode", "farm") as objects:
            assert plain.stdout is not None
            assert objects.stdout is not None
            plain.stdout.readline()
            objects.stdout.readline()
            assert host.process.stdin is not None
            host.process.stdin.close()
            lines, stderr = plain.communicate(timeout=100)
            assert (plain.returncode, stderr) == (0, "")
            assert "runtime_stopped" in lines.splitlines()[-1]
            *records, end, outcome = [json.loads(line) for line in objects.communicate(timeout=60)[0].splitlines()]
            assert objects.returncode == outcome["exit_code"] == 0
            assert end["why"] == "the runtime has stopped"
            assert records[-1]["record"]["event"]["type"] == "episode_closed"
            assert {each["record"]["scope"] for each in records} == {"farm-0"}


@pytest.mark.parametrize("json_too", [False, True])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_follower_quietly(
    home: Path, tmp_path: Path, number: signal.Signals, code: int, json_too: bool
) -> None:
    """With the code that a shell has for it, and with --json the outcome's line."""
    with hosting(tmp_path, "farm"), follow(*["--json"] * json_too) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
        assert (process.returncode, stderr) == (code, "")
        if json_too:
            assert json.loads(stdout.splitlines()[-1]) == {"exit_code": code, "error": None}


def test_a_reader_who_leaves_ends_a_follower_quietly(home: Path, tmp_path: Path) -> None:
    """As with every program in a pipe."""
    with hosting(tmp_path, "farm", episodes=1), follow() as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        stderr = process.stderr.read()
        process.wait(60)
        assert (process.returncode, stderr) == (0, "")


def test_a_runtime_whose_loop_is_blocked_is_named_beside_those_that_answer(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are shown; the exit code tells that not all were."""
    with hosting(tmp_path, "good"), hosting(tmp_path, "stuck") as stuck:
        stuck.tell("block")
        try:
            monkeypatch.setattr(client, "ANSWER_SECONDS", 3.0)
            with pytest.raises(SystemExit) as ended:
                main(["ctl", "list"])
            stdout, stderr = capsys.readouterr()
            assert ended.value.code == 3
            assert "good" in stdout
            assert "does not answer" in stderr
            assert f"py-spy dump --pid {stuck.pid}" in stderr
            with pytest.raises(SystemExit) as ended:
                main(["ctl", "pause"])
            assert ended.value.code == 2
            assert "--runtime" in capsys.readouterr().err
            with pytest.raises(SystemExit) as ended:
                main(["ctl", "pause", "--runtime", "good"])
            assert ended.value.code == 0
            with pytest.raises(SystemExit) as ended:
                main(["ctl", "list", "--runtime", "go"])
            assert (ended.value.code, capsys.readouterr().err) == (0, "")
            for which in ("st", stuck.pid):
                with pytest.raises(SystemExit) as ended:
                    main(["ctl", "list", "--runtime", str(which)])
                assert ended.value.code == 3
                assert "does not answer" in capsys.readouterr().err
        finally:
            stuck.process.kill()


def test_what_a_dead_runtime_left_is_removed(home: Path, tmp_path: Path) -> None:
    """It is not shown, and is not there any more afterwards."""
    folder = home / "coworld-actors"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / f"gone-{os.getpid()}.sock"))
    with hosting(tmp_path, "farm") as host:
        assert [each["pid"] for each in document("list")["runtimes"]] == [host.pid]
        assert [path.name for path in folder.iterdir()] == [f"farm-{host.pid}.sock"]


def test_a_planted_place_is_named(home: Path) -> None:
    """Rather than followed."""
    (home / "coworld-actors").symlink_to("/tmp")
    found = document("list", code=3)
    assert "it is a link" in found["error"]["what"]


def test_a_terminal_gets_a_table_and_colours_that_can_be_switched_off(home: Path, tmp_path: Path) -> None:
    """NO_COLOR is kept."""
    with hosting(tmp_path, "farm", episodes=1):
        for no_color in ("", "1"):
            master, slave = pty.openpty()
            environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm-256color", "COLUMNS": "200"}
            with subprocess.Popen([*COMMAND, "events"], stdout=slave, stderr=slave, env=environment) as process:
                os.close(slave)
                shown = b""
                with os.fdopen(master, "rb", buffering=0) as terminal:
                    while True:
                        try:
                            data = terminal.read(65536)
                        except OSError:
                            break
                        if not data:
                            break
                        shown += data
                process.wait(60)
            assert b"episode_queued" in shown
            assert (b"\x1b[" in shown) == (not no_color)
            assert b"\x1b[31mred" not in shown


def test_a_value_that_looks_like_a_flag_is_a_value(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reason may be `--json`."""
    with pytest.raises(SystemExit) as ended:
        main(["ctl", "cancel", "x", "--reason", "--json"])
    assert ended.value.code == 3
    assert capsys.readouterr().out == ""
