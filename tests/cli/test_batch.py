"""Batches as a user meets them: files, standings, exit codes; stopped, killed and taken up again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from coworld_actors.batch.store import read_batch
from tests.coworlds import quick_manifest, write_coworld

ORCHARD = Path(__file__).parents[2] / "examples/orchard/coworld_manifest.json"
COMMAND = [sys.executable, "-m", "coworld_actors"]


def call(*arguments: str | Path, cwd: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=240, check=False, **more
    )


def start(*arguments: str | Path, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_lines(path: Path, count: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"{path} never had {count} lines")


def summary_of(directory: Path) -> dict[str, Any]:
    """What a batch has found, without what depends on the clock."""
    found: dict[str, Any] = json.loads((directory / "summary.json").read_text())
    assert found.pop("duration") is not None
    return found


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """A Coworld whose episodes take no time, with scores that differ by seed and seat."""
    return write_coworld(tmp_path / "quick", quick_manifest(config={"noise": 5}))


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """The same with episodes that a signal can hit."""
    return write_coworld(tmp_path / "slow", quick_manifest(config={"noise": 5, "ticks": 3, "pause": 0.1}))


def test_a_batch_ends_with_standings_and_documents(quick: Path, tmp_path: Path) -> None:
    """Exit code 0; every episode has its line and its directory; `latest` leads there."""
    done = call("run", quick, "strong", "weak", "-n", "6", "--parallel", "3", "--variant", "default", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    batch = tmp_path / "runs/latest"
    assert batch.is_symlink()
    head, lines = read_batch(batch)
    assert [line.seed for line in lines] == [42, 43, 44, 45, 46, 47]
    assert head.seed_key == "seed"
    assert {line.status for line in lines} == {"good"}
    assert [tuple(seat.entrant for seat in line.seats) for line in lines] == [(0, 1), (1, 0)] * 3
    for line in lines:
        config = json.loads((batch / line.directory / "config.json").read_text())
        assert config["seed"] == line.seed
    summary = summary_of(batch)
    assert summary["players"][0]["name"] == "strong"
    assert (batch / "summary.html").read_text().startswith("<!doctype html>")
    assert "strong" in (batch / "summary.csv").read_text()
    assert "strong" in done.stdout
    assert "6 of 6 episodes count" in done.stdout
    assert str(batch.resolve()) in done.stdout
    assert "6/6" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_json_is_one_document(quick: Path, tmp_path: Path) -> None:
    """With the summary in it, and prose on stderr."""
    done = call("run", quick, "strong", "weak", "-n", "2", "--json", "--output", "out", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode == 0
    assert document["summary"]["episodes"]["good"] == 2
    assert document["directory"] == str(tmp_path / "out")
    assert document["error"] is None
    assert "strong" in done.stderr


def test_events_on_stdout_are_json_and_nothing_else(quick: Path, tmp_path: Path) -> None:
    """A record for the launch, one per episode, one for the end, which says how it ended and where the files are."""
    done = call("run", quick, "strong", "weak", "-n", "3", "--events", "-", "--output", "out", cwd=tmp_path)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [record["event"] for record in records]
    assert kinds[0] == "launch"
    assert kinds[-1] == "done"
    assert kinds.count("episode") == 3
    assert set(kinds) <= {"launch", "episode", "retry", "parallel", "done"}
    assert records[0]["entrants"] == ["strong", "weak"]
    assert (records[-1]["exit_code"], records[-1]["done"]) == (0, 3)
    both = call("run", quick, "-n", "1", "--events", "-", "--json", cwd=tmp_path).stdout.splitlines()
    assert json.loads(both[-1])["exit_code"] == 0
    assert json.loads(both[-2])["event"] == "done"


def test_a_single_episode_streams_its_events_too(quick: Path, tmp_path: Path) -> None:
    """`run --events -` without a batch: every event, and the outcome on stderr."""
    done = call("run", quick, "strong", "weak", "--events", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    kinds = [json.loads(line)["event"]["type"] for line in done.stdout.splitlines()]
    assert {"episode_started", "role_started", "episode_ended"} <= set(kinds)
    assert "strong player" in done.stderr


def test_records_go_to_a_file_as_well(quick: Path, tmp_path: Path) -> None:
    """A new one: what is in a file is never lost."""
    done = call("run", quick, "-n", "1", "--events", "all.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    kinds = [json.loads(line)["event"] for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert (kinds[0], kinds[-1]) == ("launch", "done")
    again = call("run", quick, "-n", "1", "--events", "all.jsonl", cwd=tmp_path)
    assert again.returncode == 2
    assert "has something in it" in again.stderr


def test_results_do_not_depend_on_how_many_are_played_at_once(quick: Path, tmp_path: Path) -> None:
    """One at a time and eight at a time: the same summary."""
    arguments = ("run", quick, "strong", "weak", "--blocks", "6", "--seating", "shuffle", "--variant", "default")
    for parallel in ("1", "8"):
        done = call(*arguments, "--parallel", parallel, "--output", parallel, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert summary_of(tmp_path / "1") == summary_of(tmp_path / "8")
    assert (tmp_path / "1/summary.csv").read_text() == (tmp_path / "8/summary.csv").read_text()


def test_what_fails_is_told_apart_and_the_rest_goes_on(quick: Path, tmp_path: Path) -> None:
    """A game that crashes with one seed: exit code 1, the cause in line and summary, the others count."""
    crash = json.dumps({"44:2": None})
    done = call(
        "run", quick, "weak", "-n", "5", "--set", f"table={crash}", "--set", "noise=0", "--output", "out", cwd=tmp_path
    )
    assert done.returncode == 1, done.stderr
    _, lines = read_batch(tmp_path / "out")
    assert [line.status for line in lines] == ["good", "good", "failed", "good", "good"]
    assert lines[2].reason == "game_crashed"
    assert "1 failed" in done.stdout
    assert "game_crashed" in done.stdout
    assert lines[2].attempts == 1


def test_too_many_failures_end_a_batch_early(quick: Path, tmp_path: Path) -> None:
    """`--max-failures`: the run ends, says why, and can be taken up again."""
    done = call(
        "run", quick, "-n", "40", "--parallel", "1", "--set", 'behaviour="crashes_mid"', "--set", "ticks=2",
        "--max-failures", "2", "--output", "out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "--max-failures is 2" in done.stdout
    _, lines = read_batch(tmp_path / "out")
    assert len(lines) == 3
    assert "--resume" in done.stdout


def test_keep_failed_leaves_the_lines_of_the_others(quick: Path, tmp_path: Path) -> None:
    """Directories of good episodes are gone, their lines are not."""
    crash = json.dumps({"43:2": None})
    call(
        "run", quick, "weak", "-n", "3", "--set", f"table={crash}", "--set", "noise=0", "--keep", "failed",
        "--output", "out", cwd=tmp_path,
    )  # fmt: skip
    _, lines = read_batch(tmp_path / "out")
    assert [bool(line.directory) for line in lines] == [False, True, False]
    assert len(os.listdir(tmp_path / "out/episodes")) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_in_order_and_resume_plays_the_rest(
    slow: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """Nothing is left running, what there is is summed up, and in the end nothing was played twice or is missing."""
    arguments = ("run", slow, "strong", "weak", "-n", "12", "--parallel", "2")
    whole = call(*arguments, "--output", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    process = start(*arguments, "--output", "out", cwd=tmp_path)
    wait_for_lines(tmp_path / "out/episodes.jsonl", 2)
    roles = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert psutil.wait_procs(roles, timeout=5)[1] == []
    assert "--resume" in out
    before = (tmp_path / "out/episodes.jsonl").read_text().splitlines()
    assert json.loads((tmp_path / "out/summary.json").read_text())["episodes"]["open"] == 12 - len(before)
    resumed = call("run", "--resume", "out", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    after = (tmp_path / "out/episodes.jsonl").read_text().splitlines()
    assert after[: len(before)] == before
    assert sorted(json.loads(line)["index"] for line in after) == list(range(12))
    assert summary_of(tmp_path / "out") == summary_of(tmp_path / "whole")


def test_finish_lets_running_episodes_end(slow: Path, tmp_path: Path) -> None:
    """`--on-interrupt finish`: no directory is left without a line."""
    process = start(
        "run", slow, "strong", "weak", "-n", "40", "--parallel", "2", "--on-interrupt", "finish", "--output", "out",
        cwd=tmp_path,
    )  # fmt: skip
    wait_for_lines(tmp_path / "out/episodes.jsonl", 2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    _, lines = read_batch(tmp_path / "out")
    assert len(lines) < 40
    assert {line.status for line in lines} == {"good"}
    assert sorted(line.directory for line in lines) == sorted(
        f"episodes/{name}" for name in os.listdir(tmp_path / "out/episodes")
    )


def test_a_second_signal_ends_a_batch_at_once(tmp_path: Path) -> None:
    """Roles that ignore SIGTERM do not hold it up."""
    manifest = quick_manifest(config={"behaviour": "ignores_sigterm", "ticks": 1000, "pause": 1})
    path = write_coworld(tmp_path / "stubborn", manifest)
    process = start("run", path, "strong", "weak", "-n", "4", "--parallel", "1", "--output", "out", cwd=tmp_path)
    end = time.monotonic() + 60
    while not list((tmp_path / "out").glob("episodes/*/logs/policy_agent_1.log")) and time.monotonic() < end:
        time.sleep(0.05)
    roles = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "a second signal kills them" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert psutil.wait_procs(roles, timeout=5)[1] == []


def test_after_sigkill_resume_gives_the_same_table(slow: Path, tmp_path: Path) -> None:
    """Nobody could clean up or sum up; `runs/latest` is there all the same, and the end is that of an undisturbed run."""
    arguments = ("run", slow, "strong", "weak", "-n", "10", "--parallel", "2")
    assert call(*arguments, "--output", "whole", cwd=tmp_path).returncode == 0
    process = start(*arguments, cwd=tmp_path)
    wait_for_lines(tmp_path / "runs/latest/episodes.jsonl", 3)
    roles = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=60)
    assert psutil.wait_procs(roles, timeout=5)[1] == []
    with (tmp_path / "runs/latest/episodes.jsonl").open("a") as file:
        file.write('{"version":1,"index":9,"vari')
    done = call("run", "--resume", "runs/latest", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "of them played before" in done.stderr
    assert summary_of(tmp_path / "runs/latest") == summary_of(tmp_path / "whole")


def test_a_batch_that_is_complete_is_summed_up_again(quick: Path, tmp_path: Path) -> None:
    """`--resume` of it plays nothing."""
    call("run", quick, "strong", "weak", "-n", "2", "--output", "out", cwd=tmp_path)
    before = (tmp_path / "out/episodes.jsonl").read_bytes()
    (tmp_path / "out/summary.html").unlink()
    done = call("run", "--resume", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/episodes.jsonl").read_bytes() == before
    assert (tmp_path / "out/summary.html").exists()


def test_resume_with_other_inputs_is_refused_with_the_difference(quick: Path, tmp_path: Path) -> None:
    """What decides what is played must agree; how it is played need not."""
    call("run", quick, "strong", "weak", "-n", "2", "--output", "out", cwd=tmp_path)
    for arguments, words in (
        (["--seed", "7"], "--seed was 42 and is 7"),
        (["-n", "4"], "-n or --blocks was 2 and is 4"),
        ([quick, "weak", "strong"], "the players was strong weak and is weak strong"),
        (["--variant", "wide"], "--variant was not given and is wide"),
    ):
        done = call("run", "--resume", "out", *arguments, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
    agreeing = [quick, "strong", "weak", "-n", "2", "--seed", "42", "--parallel", "1", "--retries", "0"]
    assert call("run", "--resume", "out", *agreeing, cwd=tmp_path).returncode == 0
    quick.write_text(quick.read_text().replace('"ticks": 1,', '"ticks": 2,'))
    changed = call("run", "--resume", "out", cwd=tmp_path)
    assert changed.returncode == 2
    assert "the manifest's text has changed" in changed.stderr


def test_two_runs_in_one_directory_never_meet(slow: Path, tmp_path: Path) -> None:
    """The second one refuses, the first one goes on."""
    process = start("run", slow, "strong", "weak", "-n", "6", "--parallel", "1", "--output", "out", cwd=tmp_path)
    wait_for_lines(tmp_path / "out/episodes.jsonl", 1)
    second = call("run", "--resume", "out", cwd=tmp_path)
    assert second.returncode == 2
    assert "another run is playing" in second.stderr
    assert call("run", slow, "-n", "6", "--output", "out", cwd=tmp_path).returncode == 2
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err


def test_secrets_are_asked_for_again(quick: Path, tmp_path: Path) -> None:
    """Their names are kept, their values nowhere."""
    done = call("run", quick, "-n", "1", "--secret-env", "MY_KEY=tomato", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and b"tomato" in path.read_bytes()]
    assert found == []
    refused = call("run", "--resume", "out", cwd=tmp_path)
    assert refused.returncode == 2
    assert "MY_KEY" in refused.stderr
    environment = {**os.environ, "MY_KEY": "tomato"}
    assert call("run", "--resume", "out", cwd=tmp_path, env=environment).returncode == 0


def test_players_have_shares_names_and_variables(quick: Path, tmp_path: Path) -> None:
    """The grammar of players reaches the seats, in a batch and in a single episode."""
    players = ["weak,share=3", "weak,name=careful,env.VALUE=7"]
    done = call(
        "run", quick, *players, "-n", "2", "--variant", "wide", "--set", "noise=0", "--output", "out", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    _, lines = read_batch(tmp_path / "out")
    assert [sorted(seat.score or 0 for seat in line.seats) for line in lines] == [[1, 1, 1, 7]] * 2
    single = call("run", quick, *players, "--variant", "wide", "--set", "noise=0", "--json", cwd=tmp_path)
    (episode,) = json.loads(single.stdout)["episodes"]
    assert [seat["score"] for seat in episode["seats"]] == [1, 1, 1, 7]
    assert "careful" in {seat["name"] for seat in episode["seats"]}


def test_a_command_is_a_player(quick: Path, tmp_path: Path) -> None:
    """Started in the working directory; a batch of it is only taken up again from there."""
    (tmp_path / "bot.py").write_text((Path(__file__).parents[1] / "programs/quick_player.py").read_text())
    command = f'cmd:"{sys.executable} bot.py",env.VALUE=9,name=bot'
    done = call("run", quick, command, "weak", "-n", "2", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert summary_of(tmp_path / "out")["players"][0]["name"] == "bot"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = call("run", "--resume", tmp_path / "out", cwd=elsewhere)
    assert moved.returncode == 2
    assert f"cd {tmp_path} first" in moved.stderr


def test_several_variants_and_pins(quick: Path, tmp_path: Path) -> None:
    """Each variant is played -n times; a pinned key is the same everywhere."""
    done = call(
        "run", quick, "strong", "weak", "-n", "2", "--variant", "default", "--variant", "wide", "--pin", "level=5",
        "--output", "out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    _, lines = read_batch(tmp_path / "out")
    assert [(line.variant, line.seed, len(line.seats)) for line in lines] == [
        ("default", 42, 2),
        ("wide", 42, 4),
        ("default", 43, 2),
        ("wide", 43, 4),
    ]
    for line in lines:
        assert json.loads((tmp_path / "out" / line.directory / "config.json").read_text())["level"] == 5


def test_a_recording_is_made_for_every_episode(quick: Path, tmp_path: Path) -> None:
    """A plain name; the summary has latencies then."""
    done = call("run", quick, "strong", "weak", "-n", "2", "--record", "all.cwt", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out/episodes").glob("*/all.cwt"))) == 2
    assert summary_of(tmp_path / "out")["players"][0]["latency"]["answers"] > 0


def test_scrimmage_seats_one_player_everywhere(quick: Path, tmp_path: Path) -> None:
    """One player, alone or in a batch; more are an error."""
    done = call("scrimmage", quick, "strong", "-n", "2", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [player["name"] for player in summary_of(tmp_path / "out")["players"]] == ["strong"]
    assert call("scrimmage", quick, "strong", cwd=tmp_path).returncode == 0
    for players in ([], ["strong", "weak"]):
        refused = call("scrimmage", quick, *players, "-n", "2", cwd=tmp_path)
        assert refused.returncode == 2
        assert "one player" in refused.stderr


BAD: list[tuple[list[str], str]] = [
    (["run", "{quick}", "strong", "weak", "strong", "-n", "2"], "2 seats"),
    (["run", "{quick}", "strong,share=0", "-n", "2"], "share"),
    (["run", "{quick}", "strong:3", "-n", "2"], "strong,share=3"),
    (["run", "{quick}", "nobody", "-n", "2"], "nobody"),
    (["run", "{quick}", "-n", "2", "--seed-key", "moon"], "moon"),
    (["run", "{quick}", "-n", "2", "--pin", "moon=1"], "moon"),
    (["run", "{quick}", "-n", "2", "--blocks", "2"], "-n and --blocks"),
    (["run", "{quick}", "-n", "0"], "-n"),
    (["run", "{quick}", "--blocks", "0"], "--blocks"),
    (["run", "{quick}", "-n", "2", "--parallel", "0"], "neither auto nor a number"),
    (["run", "{quick}", "-n", "2", "--parallel", "many"], "neither auto nor a number"),
    (["run", "{quick}", "-n", "2", "--parallel", "99999"], "--parallel"),
    (["run", "{quick}", "-n", "2", "--retries", "-1"], "--retries"),
    (["run", "{quick}", "-n", "2", "--seed", "1000000"], "1000000"),
    (["run", "{quick}", "-n", "2", "--seating", "random"], "random"),
    (["run", "{quick}", "-n", "2", "--variant", "wide", "--variant", "wide"], "twice"),
    (["run", "{quick}", "-n", "2", "--workers", "2"], "--driver inproc"),
    (["run", "{quick}", "-n", "2", "--record", "a/b.cwt"], "plain name"),
    (["run", "{quick}", "-n", "2", "--budget", "soon"], "soon"),
    (["run", "{quick}", "--seed", "7"], "add -n 1"),
    (["run", "{quick}", "--parallel", "2"], "add -n 1"),
    (["run", "--resume", "nowhere"], "no directory of a batch"),
    (["run", "--resume", "quick"], "batch.json"),
    (["run", "--resume", "quick", "--output", "out"], "--resume and --output"),
    (["run", "{quick}", "-n", "2", "--output", "quick"], "not empty"),
    (["run", "-n", "2"], "MANIFEST"),
    (["run"], "MANIFEST"),
    (["compare", "{quick}", "strong"], "two players"),
    (["compare", "{quick}", "strong", "weak", "weak"], "two players"),
    (["compare", "{quick}"], "two players"),
    (["compare", "{quick}", "strong", "weak", "--nelo0", "5", "--nelo1", "5"], "--nelo0"),
    (["compare", "{quick}", "strong", "weak", "--alpha", "0"], "--alpha"),
    (["compare", "{quick}", "strong", "weak", "--beta", "0.5"], "--beta"),
    (["compare", "{quick}", "strong", "weak", "--nelo1", "inf"], "--nelo1"),
    (["compare", "{quick}", "strong", "weak", "--max-blocks", "0"], "--max-blocks"),
    (["compare", "{quick}", "strong", "weak", "--seating", "fixed"], "swaps the seats"),
    (["compare", "{quick}", "strong", "weak", "--variant", "default", "--variant", "wide"], "same number of seats"),
    (["pickup", "{quick}", "strong"], "--pool"),
    (["pickup", "{quick}", "strong", "weak", "--pool", "weak"], "one candidate"),
    (["pickup", "{quick}", "--pool", "weak"], "one candidate"),
    (["pickup", "{quick}", "strong", "--pool", "nobody"], "nobody"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_bad_input_is_refused_before_anything_is_written(
    quick: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    """Exit code 2, a sentence with the culprit and the next step, nothing played."""
    before = sorted(os.listdir(tmp_path))
    done = call(*(each.format(quick=quick) for each in arguments), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "try: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(os.listdir(tmp_path)) == before


def test_what_is_missing_ends_with_3_and_writes_nothing(tmp_path: Path) -> None:
    """An image that is not mapped, a command that is not there."""
    unmapped = write_coworld(tmp_path / "c", quick_manifest(), mapped=False)
    mapped = write_coworld(tmp_path / "d", quick_manifest())
    for arguments in ([unmapped], [mapped, "cmd:no-such-program-anywhere"]):
        done = call("run", *arguments, "-n", "2", cwd=tmp_path)
        assert done.returncode == 3, done.stderr
        assert not (tmp_path / "runs").exists()


def test_a_game_without_a_seed_says_so_once(tmp_path: Path) -> None:
    """Determinism is never implied."""
    manifest = quick_manifest()
    del manifest["game"]["config_schema"]["properties"]["seed"]
    done = call("run", write_coworld(tmp_path / "c", manifest), "-n", "3", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("takes no seed") == 1
    assert not summary_of(tmp_path / "out")["seed_applied"]
    _, lines = read_batch(tmp_path / "out")
    assert not any(line.seed_applied for line in lines)


def test_the_better_player_of_orchard_is_first(tmp_path: Path) -> None:
    """A real game: greedy is ahead of random, with an interval."""
    done = call(
        "run", ORCHARD, "greedy", "random", "-n", "8", "--parallel", "auto", "--seating", "rotate", "--variant", "duel",
        "--set", "max_ticks=20", "--no-reports", "--output", "out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    players: list[Mapping[str, Any]] = summary_of(tmp_path / "out")["players"]
    assert [(player["name"], player["rank"]) for player in players] == [("greedy", 1), ("random", 2)]
    assert players[0]["score"]["low"] > players[1]["score"]["high"]


def test_a_player_that_crashes_in_play_fails_and_does_not_lose(tmp_path: Path) -> None:
    """Orchard plays on without it: its failures count for --max-failures, the other one has won nothing, and nobody has a score."""
    (tmp_path / "bots.py").write_text("async def crash():\n    raise RuntimeError('no idea')\n")
    done = call(
        "run", ORCHARD, "greedy", "py:bots:crash", "-n", "30", "--variant", "duel", "--set", "max_ticks=20",
        "--set", "player_connect_timeout_seconds=0.5", "--parallel", "1", "--max-failures", "2", "--output", "out",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "--max-failures is 2" in done.stdout
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["episodes"]["good"], summary["episodes"]["failed"]) == (0, 3)
    assert all(player["losses"] == player["wins"] == 0 for player in summary["players"])
    assert summary["failures"][0]["reason"] in {"player_failed", "crashed"}
