"""What is in a directory: batches, single runs, one episode, and what is none of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from coworld_actors.batch.browse import STATUSES, EpisodeFilter, Kind, browse, find, read_record, select
from coworld_actors.batch.records import Status
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.verdict import EndReason, SeatEnd
from coworld_protocol.errors import Refused
from tests.batches import HEAD, line
from tests.records import bad, record, seat


def write_batch(directory: Path) -> Path:
    """Ten scheduled, four with a line: good, failed, without files, invalid; one that is being played, in its second attempt."""
    head = msgspec.structs.replace(HEAD, episodes=10, entrants=("greedy", "random"))
    places = [f"episodes/duel-e{index:04d}-s{42 + index}" for index in range(4)]
    failed = line(
        1, (None, None), status=Status.FAILED, reason="player_failed", blame="players", message="seat 1 crashed"
    )
    seats = (
        failed.seats[0],
        msgspec.structs.replace(failed.seats[1], end="crashed", fault=True, evidence="exit code 3"),
    )
    lines = [
        line(0, directory=places[0]),
        msgspec.structs.replace(failed, seats=seats, directory=places[1], attempts=2),
        line(2, variant="crowd"),
        line(3, status=Status.INVALID, overload="the loop was 2 s late", directory=places[3]),
    ]
    for place in (places[0], places[1], "episodes/duel-e0007-s49", "episodes/duel-e0007-s49-try2", "episodes/else"):
        (directory / place).mkdir(parents=True)
    (directory / "batch.json").write_bytes(msgspec.json.encode(head))
    (directory / "episodes.jsonl").write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in lines))
    return directory


def write_run(directory: Path, made: EpisodeRecord | None = None) -> Path:
    """A single run; without a record one that was killed."""
    (directory / "logs").mkdir(parents=True)
    (directory / "events.jsonl").touch()
    if made is not None:
        (directory / "episode.json").write_bytes(msgspec.json.encode(made))
    return directory


def test_a_batch_is_listed_with_names_and_what_is_open(tmp_path: Path) -> None:
    """Lines by index, players by name, and an episode that has files and no line, with its last attempt."""
    browsed = browse(write_batch(tmp_path))
    assert browsed.kind is Kind.BATCH
    assert [episode.index for episode in browsed.episodes] == [0, 1, 2, 3, 7]
    assert [episode.status for episode in browsed.episodes] == ["good", "failed", "good", "invalid", "open"]
    assert [seat.player for seat in browsed.episodes[0].seats] == ["greedy", "random"]
    assert [episode.id for episode in browsed.episodes[1:3]] == ["duel-e0001-s43", "e0002"]
    assert (browsed.episodes[-1].id, browsed.episodes[-1].attempts) == ("duel-e0007-s49-try2", 2)
    assert {episode.status for episode in browsed.episodes} <= set(STATUSES)


def test_half_a_line_at_the_end_is_not_there(tmp_path: Path) -> None:
    """Whoever wrote it was killed; a damaged line in the middle is refused by its number."""
    directory = write_batch(tmp_path)
    lines = directory / "episodes.jsonl"
    whole = lines.read_bytes()
    lines.write_bytes(whole + b'{"version":1,"index":8,')
    assert len(browse(directory).episodes) == 5
    lines.write_bytes(b"nonsense\n" + whole)
    with pytest.raises(Refused, match="line 1"):
        browse(directory)


def test_a_batch_without_names_still_has_players(tmp_path: Path) -> None:
    """A head that was written before it had them."""
    directory = write_batch(tmp_path)
    (directory / "batch.json").write_bytes(msgspec.json.encode(HEAD))
    assert [seat.player for seat in browse(directory).episodes[0].seats] == ["player 0", "player 1"]


def test_runs_are_listed_by_name(tmp_path: Path) -> None:
    """Links are left out, what was killed is open, what cannot be read is told, and so is a batch among them."""
    write_run(tmp_path / "20300101-b", record(bad(EndReason.GAME_CRASHED)))
    write_run(tmp_path / "20300101-a", record())
    write_run(tmp_path / "20300101-c", record(bad(EndReason.CANCELLED)))
    write_run(tmp_path / "20300101-d")
    (write_run(tmp_path / "20300101-e") / "episode.json").write_text("{")
    (tmp_path / "latest").symlink_to("20300101-a")
    (tmp_path / "notes").mkdir()
    write_batch(tmp_path / "batch")
    browsed = browse(tmp_path)
    assert browsed.kind is Kind.RUNS
    assert [(episode.id[-1], episode.status) for episode in browsed.episodes] == [
        ("a", "good"), ("b", "failed"), ("c", "infrastructure"), ("d", "open"), ("e", "open"),
    ]  # fmt: skip
    assert [trouble.split(":")[0] for trouble in browsed.troubles] == ["20300101-d", "20300101-e", "batch is a batch"]
    assert browsed.episodes[1].message == "it went wrong"


def test_one_episode_is_one(tmp_path: Path) -> None:
    """Its own directory, with or without an end."""
    browsed = browse(write_run(tmp_path / "run", record()))
    assert (browsed.kind, [episode.id for episode in browsed.episodes]) == (Kind.EPISODE, ["run"])
    assert browsed.path(browsed.episodes[0]) == tmp_path / "run"
    assert browse(write_run(tmp_path / "killed")).episodes[0].status == "open"


@pytest.mark.parametrize("what", ["missing", "file", "empty", "batches"])
def test_a_directory_without_episodes_is_refused_with_a_better_one(tmp_path: Path, what: str) -> None:
    """Not there, no directory, nothing in it; one that has batches in it names them."""
    place = tmp_path / what
    if what == "file":
        place.touch()
    elif what == "empty":
        place.mkdir()
    elif what == "batches":
        write_batch(place / "one")
    with pytest.raises(Refused) as caught:
        browse(place)
    assert caught.value.todo
    if what == "batches":
        assert str(place / "one") in caught.value.todo


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (EpisodeFilter(), [0, 1, 2, 3, 7]),
        (EpisodeFilter(status=["failed", "open"]), [1, 7]),
        (EpisodeFilter(players=["gre"]), [0, 1, 2, 3]),
        (EpisodeFilter(reasons=["player_failed"]), [1]),
        (EpisodeFilter(reasons=["worker_lost"]), []),
        (EpisodeFilter(variants=["crowd"]), [2]),
        (EpisodeFilter(seat_fault=True), [1]),
        (EpisodeFilter(status=["good"], variants=["duel"], players=["random"]), [0]),
    ],
)
def test_filters_take_what_fits_all_of_them(tmp_path: Path, wanted: EpisodeFilter, found: list[int]) -> None:
    """One of the values of each that is given."""
    assert [episode.index for episode in select(browse(write_batch(tmp_path)), wanted)] == found


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (EpisodeFilter(players=["zoe"]), "greedy, random"),
        (EpisodeFilter(variants=["nowhere"]), "duel, crowd"),
        (EpisodeFilter(reasons=["bad_luck"]), "completed"),
    ],
)
def test_a_filter_for_nothing_there_is_names_what_there_is(tmp_path: Path, wanted: EpisodeFilter, named: str) -> None:
    """More likely a mistake than a question."""
    with pytest.raises(Refused) as caught:
        select(browse(write_batch(tmp_path)), wanted)
    assert named in caught.value.evidence


@pytest.mark.parametrize(
    ("text", "index"), [("1", 1), ("7", 7), ("duel-e0001", 1), ("e0002", 2), ("duel-e0007-s49-try2", 7)]
)
def test_an_episode_is_found_by_index_or_prefix(tmp_path: Path, text: str, index: int) -> None:
    """A number is an index; anything else the beginning of one id."""
    assert find(browse(write_batch(tmp_path)), text).index == index


@pytest.mark.parametrize(
    ("text", "what", "todo"),
    [
        ("5", "has not been played yet", "--resume"),
        ("10", "there is no episode 10", "lists them"),
        ("duel", "more than one", "write more of it"),
        ("x", "there is no episode x", "lists them"),
        ("²", "there is no episode", "lists them"),
    ],
)
def test_what_is_not_one_episode_is_refused(tmp_path: Path, text: str, what: str, todo: str) -> None:
    """Not yet, never, or not only one; each with the next step."""
    with pytest.raises(Refused, match=what) as caught:
        find(browse(write_batch(tmp_path)), text)
    assert todo in caught.value.todo


def test_an_id_that_begins_another_one_is_itself(tmp_path: Path) -> None:
    """Exact before prefix; a number that is no index may begin an id."""
    write_run(tmp_path / "run-1", record())
    write_run(tmp_path / "run-10", record())
    write_run(tmp_path / "2030", record())
    browsed = browse(tmp_path)
    assert find(browsed, "run-1").id == "run-1"
    assert find(browsed, "203").id == "2030"


@pytest.mark.parametrize("place", ["/etc", "../..", "episodes/../../x", ""])
def test_nobody_is_led_out_of_the_directory(tmp_path: Path, place: str) -> None:
    """A line from elsewhere may say anything."""
    browsed = browse(write_batch(tmp_path))
    assert browsed.path(msgspec.structs.replace(browsed.episodes[0], directory=place)) is None


def test_a_record_that_a_role_put_there_is_not_followed(tmp_path: Path) -> None:
    """A link in its place is told, and so is one that says something else."""
    run = write_run(tmp_path / "run")
    (run / "episode.json").symlink_to("/etc/passwd")
    found, trouble = read_record(run)
    assert found is None
    assert "episode.json" in trouble
    (run / "episode.json").unlink()
    (run / "episode.json").write_text('{"version": 1}')
    assert "cannot be read" in read_record(run)[1]


def test_a_seat_at_fault_is_one_in_a_good_episode_too(tmp_path: Path) -> None:
    """`--seat-fault` is about players, not about whether the episode counts."""
    write_run(tmp_path / "a", record(seats=(seat(0), seat(1, SeatEnd.CRASHED, fault=True))))
    write_run(tmp_path / "b", record())
    assert [episode.id for episode in select(browse(tmp_path), EpisodeFilter(seat_fault=True))] == ["a"]
