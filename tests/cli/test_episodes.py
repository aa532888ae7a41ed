"""`coworld-actors episodes` as a user meets it, on a batch that has really been played."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import jsonschema_rs
import msgspec
import pytest

from tests.batches import HEAD, line
from tests.cli.played import COMMAND, command, play_batch
from tests.records import record

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes, of which the second one failed."""
    return play_batch(tmp_path_factory.mktemp("played"))


def episodes(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return command("episodes", *arguments, cwd=cwd)


def test_the_list_has_every_episode(batch: Path) -> None:
    """Who sat where, what they scored, what failed; a line each."""
    done = episodes(batch, cwd=batch)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 episodes; 2 good, 1 failed" in done.stdout
    assert "strong 3, weak 1" in done.stdout
    assert "game_crashed" in done.stdout
    assert len(done.stdout.splitlines()) == 5


def test_filters_and_limits_say_what_they_leave_out(batch: Path) -> None:
    """How many more there are, and how many there are like that."""
    done = episodes(batch, "--status", "good", "--player", "stro", "--limit", "1", cwd=batch)
    assert "and 1 more: see --limit; 2 of 3 episodes are like that" in done.stdout
    assert "none of 3 episodes is like that" in episodes(batch, "--seat-fault", cwd=batch).stdout


def test_one_that_failed_says_where_and_what_to_do(batch: Path) -> None:
    """By index and by prefix: the reason, the seats, the last words of who is to blame, the next step."""
    by_index = episodes(batch, "1", cwd=batch)
    assert by_index.returncode == 0, by_index.stderr
    assert "failed, game_crashed (game)" in by_index.stdout
    assert "where it failed: " in by_index.stdout
    assert "  | no such table" in by_index.stdout
    assert "try: read logs/game.stderr.log" in by_index.stdout
    assert "--rerun" in by_index.stdout
    assert episodes(batch, "certification-e0001", cwd=batch).stdout == by_index.stdout


def test_everything_is_to_be_had_as_json(batch: Path) -> None:
    """One document each; the head in it obeys its published schema."""
    listed = json.loads(episodes(batch, "--json", "--status", "failed", cwd=batch).stdout)
    assert (listed["exit_code"], listed["kind"], listed["found"], listed["total"]) == (0, "batch", 1, 3)
    assert [episode["index"] for episode in listed["episodes"]] == [1]
    schema = json.loads((SCHEMAS / "batch-head.schema.json").read_bytes())
    assert jsonschema_rs.is_valid(schema, listed["head"])
    shown = json.loads(episodes(batch, "1", "--json", cwd=batch).stdout)
    assert shown["story"]["episode"]["reason"] == "game_crashed"
    assert shown["story"]["record"]["verdict"]["reason"] == "game_crashed"
    events = episodes(batch, "1", "--all-events", "--json", cwd=batch).stdout.splitlines()
    assert json.loads(events[-1])["events"] == len(events) - 1
    assert {json.loads(each)["scope"] for each in events[:-1]} == {shown["story"]["episode"]["id"]}


def test_what_was_written_obeys_the_published_schemas(batch: Path) -> None:
    """Of a batch that was really played: the head, every line and the summary."""
    for name, texts in (
        ("batch-head", [(batch / "batch.json").read_bytes()]),
        ("episode-line", (batch / "episodes.jsonl").read_bytes().splitlines()),
        ("summary", [(batch / "summary.json").read_bytes()]),
    ):
        check = jsonschema_rs.validator_for(json.loads((SCHEMAS / f"{name}.schema.json").read_bytes()))
        for text in texts:
            assert [error.message for error in check.iter_errors(json.loads(text))] == []


def test_every_event_can_be_read(batch: Path) -> None:
    """A line for each, as `run --verbose` has it."""
    done = episodes(batch, "0", "--all-events", cwd=batch)
    assert done.returncode == 0
    assert "episode_started" in done.stdout
    assert "role_ended" in done.stdout


def test_one_episodes_own_directory_is_shown_at_once(batch: Path) -> None:
    """Without naming it a second time; and it can be listed by a filter."""
    place = next((batch / "episodes").glob("certification-e0001-*"))
    assert "where it failed" in episodes(place, cwd=batch).stdout
    assert "1 episode; 1 failed" in episodes(place, "--status", "failed", cwd=batch).stdout


def test_runs_of_single_episodes_are_listed_with_the_newest_first(tmp_path: Path) -> None:
    """As `runs/` has them; an index stays what it was when another run is added."""
    for name in ("20300101-1", "20300102-2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "episode.json").write_bytes(msgspec.json.encode(record()))
    rows = episodes(tmp_path / "runs", cwd=tmp_path).stdout.splitlines()[2:]
    assert [row.split()[:2] for row in rows] == [["1", "20300102-2"], ["0", "20300101-1"]]
    assert "episode 0  20300101-1" in episodes(tmp_path / "runs", "20300101", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "what", "todo"),
    [
        (["nowhere"], "there is no directory nowhere", "name the directory"),
        (["."], "has no episodes in it", "name one of the batches"),
        (["batch", "17"], "there is no episode 17", "lists them"),
        (["batch", "certification"], "more than one episode begins with certification", "write more of it"),
        (["batch", "--player", "zoe"], "there is no player zoe", "choose one"),
        (["batch", "--all-events"], "--all-events is for one episode", "name it"),
        (["batch", "--rerun"], "--rerun is for one episode", "name it"),
        (["batch", "1", "--status", "good"], "the options that filter are for the list", "--help"),
        (["batch", "1", "--output", "x"], "are for --rerun", "--help"),
        (["batch", "1", "--rerun", "--all-events"], "do not go together", "--help"),
    ],
)
def test_wrong_inputs_are_refused_with_the_next_step(batch: Path, arguments: list[str], what: str, todo: str) -> None:
    """Exit code 2, a sentence and what would have been right; with `--json` a document that says so."""
    done = episodes(*arguments, "--json", cwd=batch.parent)
    assert done.returncode == 2
    assert what in done.stderr
    assert todo in done.stderr
    assert json.loads(done.stdout)["exit_code"] == 2


def test_a_batch_that_lost_files_is_still_shown(batch: Path, tmp_path: Path) -> None:
    """Half a last line, an episode without its record, one without its directory: each is told in its place."""
    copy = tmp_path / "copy"
    shutil.copytree(batch, copy)
    with (copy / "episodes.jsonl").open("a") as file:
        file.write('{"version":1,')
    places = [next((copy / "episodes").glob(f"certification-e000{index}-*")) for index in range(2)]
    (places[0] / "episode.json").unlink()
    shutil.rmtree(places[1])
    assert "3 episodes; 2 good, 1 failed" in episodes(copy, cwd=tmp_path).stdout
    assert "missing: episode.json is not there" in episodes(copy, "0", cwd=tmp_path).stdout
    gone = episodes(copy, "1", cwd=tmp_path)
    assert gone.returncode == 0
    assert "is gone" in gone.stdout
    assert "has no files" in episodes(copy, "1", "--all-events", cwd=tmp_path).stderr


def test_a_strangers_words_are_only_shown(tmp_path: Path) -> None:
    """Names, messages and evidence with control codes reach the terminal as escapes."""
    hostile = "\x1b[2J\u202e\r"
    head = msgspec.structs.replace(HEAD, entrants=(hostile, "b"), coworld=hostile)
    made = line(0, message=hostile, overload=hostile, reason=hostile, variant=hostile)
    seats = (msgspec.structs.replace(made.seats[0], evidence=hostile, end=hostile), made.seats[1])
    (tmp_path / "batch.json").write_bytes(msgspec.json.encode(head))
    (tmp_path / "episodes.jsonl").write_bytes(msgspec.json.encode(msgspec.structs.replace(made, seats=seats)) + b"\n")
    for arguments in ([], ["0"]):
        done = episodes(tmp_path, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "\\u001b[2J\\u202e" in done.stdout
        assert not set("\x1b\u202e\r") & set(done.stdout)


def test_a_reader_that_goes_away_is_no_error(batch: Path) -> None:
    """`| head` ends it without a word."""
    done = subprocess.run(
        ["sh", "-c", f"{' '.join(COMMAND)} episodes {batch} 0 --all-events | head -1"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
