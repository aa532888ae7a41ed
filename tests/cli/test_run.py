"""The command as a user meets it: a subprocess, its two streams, its exit code, and what it leaves behind."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.coworlds import IMAGE, PROGRAMS, scripted_manifest, write_coworld

COMMAND = [sys.executable, "-m", "coworld_actors", "run"]
CONTROL = re.compile(r"\x1b|\r")
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]m")


def run(*arguments: str | Path, cwd: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False, **more
    )


def start(*arguments: str | Path, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(path: Path, text: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{text!r} never appeared in {path}")


@pytest.fixture
def coworld(tmp_path: Path) -> Path:
    """A good scripted Coworld."""
    return write_coworld(tmp_path / "coworld", scripted_manifest(reporters=("works",), graders=("works",)))


def test_a_good_run_shows_scores_and_files_and_ends_with_0(coworld: Path, tmp_path: Path) -> None:
    """Without a terminal: plain lines, a table, the report, the grade, where the files are; no control codes."""
    done = run(coworld, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "plays player" in done.stdout
    assert "grader works: score" in done.stdout
    assert "summary.html" in done.stdout
    assert str(tmp_path / "runs") in done.stdout
    assert "playing" in done.stderr
    assert not CONTROL.search(done.stdout + done.stderr)
    latest = tmp_path / "runs/latest"
    assert latest.is_symlink()
    assert (latest / "episode.json").exists()
    assert (latest / "grades/works.json").exists()
    assert (latest / "reports/works/summary.html").exists()


def test_json_is_one_document_on_stdout_and_nothing_else(coworld: Path, tmp_path: Path) -> None:
    """Everything a program needs is in it; prose goes to stderr."""
    done = run(coworld, "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode == 0
    (episode,) = document["episodes"]
    assert episode["verdict"]["good"]
    assert [seat["end"] for seat in episode["seats"]] == ["finished", "finished"]
    assert {report["role"]: report["ok"] for report in episode["reports"]} == {"reporter": True, "grader": True}
    assert json.loads((Path(episode["directory"]) / "episode.json").read_text()) == episode


def test_a_failed_episode_ends_with_1_and_four_lines(tmp_path: Path) -> None:
    """What, the evidence, what to do, where the files are; no traceback."""
    done = run(write_coworld(tmp_path / "c", scripted_manifest("crashes_mid")), cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stderr[done.stderr.index("error:") :].splitlines()
    assert len(lines) == 4
    assert "the game crashed during the episode" in lines[0]
    assert "exit code 3" in lines[1]
    assert "the sky is falling" in lines[1]
    assert "logs/game.stderr.log" in lines[2]
    assert str(tmp_path / "runs") in lines[3]
    assert "Traceback" not in done.stderr


def test_a_failing_reporter_is_named_and_the_run_ends_with_1(tmp_path: Path) -> None:
    """The episode counts; what is missing of the run is said and shows in the exit code."""
    done = run(write_coworld(tmp_path / "c", scripted_manifest(reporters=("crashes",))), cwd=tmp_path)
    assert done.returncode == 1
    assert "reporter crashes failed" in done.stdout
    assert "no idea what happened" in done.stdout
    assert run(tmp_path / "c/coworld_manifest.json", "--no-reports", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere.json"], 2, "nowhere.json"),
        (["{coworld}", "nobody"], 2, "nobody"),
        (["{coworld}", "plays", "plays", "plays"], 2, "2 seats"),
        (["{coworld}", "--variant", "moon"], 2, "moon"),
        (["{coworld}", "--set", "ticks=many"], 2, "ticks"),
        (["{coworld}", "--set", "ticks=0"], 2, "$.ticks"),
        (["{coworld}", "--set", "no-sign"], 2, "no-sign"),
        (["{coworld}", "--timeout", "0"], 2, "--timeout"),
        (["{coworld}", "--image", "nowhere"], 2, "NAME=DIR"),
        (["{coworld}", "--secret-env", "NOT_SET_ANYWHERE"], 2, "NOT_SET_ANYWHERE"),
        (["{coworld}", "--driver", "rocket"], 2, "rocket"),
        (["{coworld}", "other:1"], 3, "--image 'other:1=DIR'"),
        (["{coworld}", "--image", f"{IMAGE}=/no/such/place"], 3, "/no/such/place"),
        (["{coworld}", IMAGE, "--run", "no-such-program"], 3, "no-such-program"),
        ([], 2, "MANIFEST"),
        (["{coworld}", "--timeout", "nan"], 2, "'nan'"),
        (["{coworld}", "--timeout", "inf"], 2, "'inf'"),
        (["{coworld}", "--timeout", "abc"], 2, "'abc' is not a valid number of seconds"),
        (["{coworld}", "--output", os.fsdecode(b"out\xff")], 2, "not UTF-8"),
        (["{coworld}", "--events", os.fsdecode(b"all\xff")], 2, "not UTF-8"),
        (["{coworld}", "--secret-env", "A B=1"], 2, "no name of a variable"),
        (["{coworld}", "--secret-env", "COWORLD_PLAYER_WS_URL=ws://x"], 2, "set by the runtime"),
        (["{coworld}", "--secret-env", "COGAME_PORT=1"], 2, "set by the runtime"),
        (["."], 2, "the directory . has no coworld_manifest.json"),
    ],
)
def test_bad_input_is_a_clear_error_and_starts_nothing(
    coworld: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    """The documented exit code, a sentence with the culprit, no traceback, nothing written."""
    done = run(*(a.format(coworld=coworld) for a in arguments), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "runs").exists()
    document = json.loads(run(*(a.format(coworld=coworld) for a in arguments), "--json", cwd=tmp_path).stdout)
    assert (list(document), document["exit_code"]) == (["exit_code", "episodes", "error"], code)
    assert document["episodes"] == []
    assert words in json.dumps(document["error"], ensure_ascii=False)


def test_a_refusal_is_a_document_too_under_json(coworld: Path, tmp_path: Path) -> None:
    """A program that asked for JSON gets JSON, with every problem by path."""
    done = run(coworld, "--set", "ticks=0", "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode == 2
    assert document["error"]["problems"][0]["path"].endswith("ticks")


def test_an_unmapped_image_says_both_ways_to_map_it(tmp_path: Path) -> None:
    """`coworld_local.toml` and `--image` are both named."""
    done = run(write_coworld(tmp_path / "c", scripted_manifest(), mapped=False), cwd=tmp_path)
    assert done.returncode == 3
    assert "coworld_local.toml" in done.stderr
    assert f"--image '{IMAGE}=DIR'" in done.stderr
    mapped = run(tmp_path / "c/coworld_manifest.json", "--image", f"{IMAGE}={PROGRAMS}", cwd=tmp_path)
    assert mapped.returncode == 0, mapped.stderr


def test_an_unwritable_output_directory_is_a_missing_precondition(coworld: Path, tmp_path: Path) -> None:
    """A file in the way of --output is named with the next step."""
    (tmp_path / "out").write_text("in the way")
    done = run(coworld, "--output", "out/run", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "--output" in done.stderr


def test_an_event_file_never_overwrites_and_never_waits(coworld: Path, tmp_path: Path) -> None:
    """Neither the manifest nor a pipe without a reader: both are refused at once, and nothing is started."""
    before = coworld.read_text()
    os.mkfifo(tmp_path / "pipe")
    for path in (coworld, tmp_path / "pipe"):
        done = run(coworld, "--json", "--events", path, cwd=tmp_path)
        assert done.returncode == json.loads(done.stdout)["exit_code"] == 2, done.stderr
        assert "--events" in done.stderr
    assert coworld.read_text() == before
    assert not (tmp_path / "runs").exists()


def test_a_stale_result_is_never_taken_for_a_new_one(coworld: Path, tmp_path: Path) -> None:
    """A directory with files in it is refused and left as it is."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/results.json").write_text('{"scores": [99, 99]}')
    done = run(coworld, "--output", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert os.listdir(tmp_path / "out") == ["results.json"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_in_order(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """The episode is recorded as cancelled, every role is gone, and the exit code is a shell's."""
    process = start(write_coworld(tmp_path / "c", scripted_manifest("endless")), "--output", "out", cwd=tmp_path)
    wait_for(tmp_path / "out/logs/policy_agent_1.log", "connected")
    roles = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert json.loads((tmp_path / "out/episode.json").read_text())["verdict"]["reason"] == "cancelled"
    assert "Traceback" not in err
    assert psutil.wait_procs(roles, timeout=5)[1] == []


def test_a_second_signal_ends_the_run_at_once(tmp_path: Path) -> None:
    """Roles that ignore SIGTERM hold up the first signal's order, not the second one's."""
    manifest = scripted_manifest("ignores_sigterm", ("ignores_sigterm",), config={"ticks": 100000})
    process = start(write_coworld(tmp_path / "c", manifest), "--output", "out", cwd=tmp_path)
    wait_for(tmp_path / "out/logs/policy_agent_0.log", "connected")
    roles = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 4
    assert psutil.wait_procs(roles, timeout=5)[1] == []


STUCK = """
import os, sys
import trio
from coworld_actors.cli import main
from coworld_actors.runtime import runtime

told = int(sys.argv.pop())

async def stuck(*_, **__):
    with trio.move_on_after(60, shield=True):
        os.write(told, b"!")
        await trio.sleep_forever()

runtime.run_episode = stuck
main()
"""
"""The command with an episode that no first signal can end."""


def test_a_second_signal_gives_back_the_terminal_and_a_document(coworld: Path, tmp_path: Path) -> None:
    """What the live picture hid is shown again, and who asked for JSON gets it, although nothing could be judged."""
    leader, follower = pty.openpty()
    ready, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, "run", str(coworld), "--json", "--output", "out", str(writer)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stdin=follower,
        stderr=follower,
        pass_fds=[writer],
        env={**os.environ, "TERM": "xterm-256color"},
        text=True,
    )
    for number in (follower, writer):
        os.close(number)
    assert os.read(ready, 1) == b"!"
    os.close(ready)
    process.send_signal(signal.SIGTERM)
    shown = b""
    while b"a second signal kills them" not in shown:
        shown += os.read(leader, 65536)
    process.send_signal(signal.SIGINT)
    shown += _rest(leader)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert b"\x1b[?25l" in shown
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
    document = json.loads(out)
    assert (document["exit_code"], document["episodes"], document["error"]["type"]) == (143, [], "Interrupted")
    assert document["error"]["where"] == "out"


def test_a_reader_who_leaves_is_no_failure_of_the_episode(coworld: Path, tmp_path: Path) -> None:
    """`coworld-actors run ... | true`: the exit code is the episode's, with and without --json."""
    for arguments in (["--json"], []):
        reader, writer = os.pipe()
        os.close(reader)
        process = subprocess.Popen(
            [*COMMAND, str(coworld), *arguments], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True
        )
        os.close(writer)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert "error" not in err


def test_a_stream_that_is_full_is_told_on_the_other_one(coworld: Path, tmp_path: Path) -> None:
    """Without stdout the outcome is lost and the run ends with 3; without stderr nothing is."""
    with Path("/dev/full").open("w") as full:
        for arguments in (["--json"], []):
            done = subprocess.run(
                [*COMMAND, coworld, *arguments],
                cwd=tmp_path,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
            assert done.returncode == 3
            assert "stdout cannot be written: No space left" in done.stderr
            assert "Traceback" not in done.stderr
        done = subprocess.run(
            [*COMMAND, coworld, "--json", "-v"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            check=False,
        )
    assert done.returncode == json.loads(done.stdout)["exit_code"] == 0


def test_a_name_that_an_encoding_lacks_is_shown_as_its_escape(tmp_path: Path) -> None:
    """A good episode stays good on a terminal of another age."""
    manifest = scripted_manifest()
    manifest["player"][0]["name"] = "\xf1and\xfa"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for arguments in ([], ["--json"], ["--quiet"], ["--verbose"]):
        done = run(write_coworld(tmp_path / "c", manifest), *arguments, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        if arguments == []:
            assert r"\xf1and\xfa" in done.stdout
        if arguments == ["--json"]:
            assert json.loads(done.stdout)["episodes"][0]["seats"][0]["name"] == "\xf1and\xfa"


def test_no_role_survives_the_runtime_by_more_than_five_seconds(tmp_path: Path) -> None:
    """After SIGKILL nobody of ours is left to clean up but the janitor, and it does."""
    manifest = scripted_manifest("ignores_sigterm", ("ignores_sigterm", "plays"), config={"ticks": 100000})
    process = start(write_coworld(tmp_path / "c", manifest), "--output", "out", cwd=tmp_path)
    wait_for(tmp_path / "out/logs/policy_agent_1.log", "connected")
    roles = psutil.Process(process.pid).children(recursive=True)
    assert len(roles) >= 3
    process.kill()
    process.communicate(timeout=60)
    assert psutil.wait_procs(roles, timeout=5)[1] == []


def test_a_terminal_gets_a_live_picture_and_no_color_is_honoured(coworld: Path, tmp_path: Path) -> None:
    """On a terminal something moves; with NO_COLOR nothing is coloured."""
    shown = _on_terminal(coworld, tmp_path, {})
    assert "\x1b[" in shown
    assert "\x1b[3" in shown
    plain = _on_terminal(coworld, tmp_path, {"NO_COLOR": "1"})
    assert not COLOUR.search(plain)


@pytest.mark.parametrize("arguments", [[], ["-v"]])
def test_a_terminal_that_can_do_nothing_is_sent_nothing(coworld: Path, tmp_path: Path, arguments: list[str]) -> None:
    """TERM=dumb has neither colours nor a cursor that moves."""
    assert "\x1b" not in _on_terminal(coworld, tmp_path, {"TERM": "dumb"}, *arguments)


def test_an_empty_no_color_does_not_count(coworld: Path, tmp_path: Path) -> None:
    """The convention asks for a value that is not empty."""
    for value, coloured in (("", True), ("1", False)):
        shown = _on_terminal(coworld, tmp_path, {"NO_COLOR": value}, "-v")
        (line,) = [line for line in shown.splitlines() if "episode_started" in line]
        assert bool(COLOUR.search(line)) is coloured


def test_forced_colours_move_no_cursor(coworld: Path, tmp_path: Path) -> None:
    """FORCE_COLOR is about colours: without a terminal there is still a plain line for what happens."""
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    done = run(coworld, cwd=tmp_path, env={**environment, "FORCE_COLOR": "1", "TERM": "xterm-256color"})
    assert done.returncode == 0, done.stderr
    assert COLOUR.search(done.stdout)
    assert "playing" in done.stderr
    assert not re.search(r"\x1b\[(\?25|[0-9]*[A-K])", done.stdout + done.stderr)


def _on_terminal(coworld: Path, cwd: Path, environment: dict[str, str], *arguments: str) -> str:
    leader, follower = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    process = subprocess.Popen(
        [*COMMAND, str(coworld), *arguments],
        cwd=cwd,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**inherited, "TERM": "xterm-256color", **environment},
    )
    os.close(follower)
    shown = _rest(leader)
    assert process.wait(timeout=60) == 0
    return shown.decode(errors="replace")


def _rest(leader: int) -> bytes:
    """What a terminal is shown until nobody holds it any more."""
    shown = b""
    while True:
        try:
            data = os.read(leader, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(leader)
    return shown


def test_events_and_verbose_show_what_happened(coworld: Path, tmp_path: Path) -> None:
    """--events keeps every event as JSON lines; --verbose shows them with episode, actor and incarnation."""
    done = run(coworld, "--events", "all.jsonl", "--verbose", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [record["seq"] for record in records] == sorted(record["seq"] for record in records)
    assert {"actor_started", "episode_started", "episode_ended"} <= {record["event"]["type"] for record in records}
    assert "episode_started" in done.stderr
    assert "incarnation=0" in done.stderr


def test_quiet_shows_the_outcome_alone(coworld: Path, tmp_path: Path) -> None:
    """One line of scores and one of files; nothing on stderr."""
    done = run(coworld, "--quiet", cwd=tmp_path)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""
