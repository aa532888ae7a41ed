"""A batch's directory: nothing that was written is lost, nothing is played twice, nobody plays in somebody else's."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio

from coworld_actors.batch.records import Status
from coworld_actors.batch.store import BatchStore, digest_of, read_batch
from coworld_protocol.errors import PreconditionMissing, Refused
from tests.batches import HEAD, line, schedule, scheduled


async def test_lines_are_there_for_whoever_reads_and_for_whoever_resumes(tmp_path: Path) -> None:
    """What `append` has returned for is read back, the newest line of an episode in place of older ones."""
    with BatchStore.create(tmp_path / "run", HEAD) as store:
        await store.append(line(1))
        await store.append(line(0, status=Status.INFRASTRUCTURE))
        await store.append(line(0, scores=(7.0, 0.0)))
        head, lines = read_batch(tmp_path / "run")
        assert head == HEAD
        assert lines == [line(0, scores=(7.0, 0.0)), line(1)]
    with BatchStore.resume(tmp_path / "run", msgspec.structs.replace(HEAD, id="other", created="later")) as store:
        assert store.lines == {0: line(0, scores=(7.0, 0.0)), 1: line(1)}
        assert store.head == HEAD


async def test_lines_of_many_tasks_are_all_whole(tmp_path: Path) -> None:
    """A hundred tasks that write at once lose nothing and mix nothing."""
    with BatchStore.create(tmp_path / "run", HEAD) as store:
        async with trio.open_nursery() as nursery:
            for index in range(100):
                nursery.start_soon(store.append, line(index))
    assert [each.index for each in read_batch(tmp_path / "run")[1]] == list(range(100))


async def test_a_cancelled_append_is_whole_or_not_there(tmp_path: Path) -> None:
    """Whoever is cancelled while others write has its line written by the end of the run."""
    with BatchStore.create(tmp_path / "run", HEAD) as store:
        async with trio.open_nursery() as nursery:
            for index in range(20):
                nursery.start_soon(store.append, line(index))
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert [each.index for each in read_batch(tmp_path / "run")[1]] == list(range(20))


@pytest.mark.parametrize("cut", [1, 20, 200])
async def test_half_a_line_is_taken_away(tmp_path: Path, cut: int) -> None:
    """A run that was killed while it wrote loses that episode only, and the next line is whole."""
    run = tmp_path / "run"
    with BatchStore.create(run, HEAD) as store:
        await store.append(line(0))
        await store.append(line(1))
    lines = run / "episodes.jsonl"
    lines.write_bytes(lines.read_bytes()[:-cut])
    assert [each.index for each in read_batch(run)[1]] == [0]
    with BatchStore.resume(run, HEAD) as store:
        assert list(store.lines) == [0]
        await store.append(line(2))
    assert [each.index for each in read_batch(run)[1]] == [0, 2]


async def test_a_last_line_that_the_disk_has_lost_is_taken_away(tmp_path: Path) -> None:
    """A whole last line of zeros, as a power failure leaves it, costs one episode."""
    run = tmp_path / "run"
    with BatchStore.create(run, HEAD) as store:
        await store.append(line(0))
    with (run / "episodes.jsonl").open("ab") as file:
        file.write(b"\0" * 100 + b"\n")
    with BatchStore.resume(run, HEAD) as store:
        await store.append(line(1))
    assert [each.index for each in read_batch(run)[1]] == [0, 1]


async def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    """A line that nobody can read is not passed over in silence."""
    run = tmp_path / "run"
    with BatchStore.create(run, HEAD) as store:
        await store.append(line(0))
    lines = run / "episodes.jsonl"
    lines.write_bytes(b'{"index": "none"}\n' + lines.read_bytes())
    with pytest.raises(Refused, match=r"line 1 of .* is damaged"):
        BatchStore.resume(run, HEAD)
    with pytest.raises(Refused, match=r"line 1 of .* is damaged"):
        read_batch(run)


def test_a_second_run_in_the_directory_is_refused(tmp_path: Path) -> None:
    """One plays, the other is told; when the first is over the second may."""
    with BatchStore.create(tmp_path, HEAD), pytest.raises(Refused, match="another run is playing"):
        BatchStore.resume(tmp_path, HEAD)
    BatchStore.resume(tmp_path, HEAD).close()


def test_the_lock_goes_with_a_killed_process(tmp_path: Path) -> None:
    """SIGKILL leaves no lock behind that somebody would have to remove."""
    program = """
        import signal, sys
        from pathlib import Path
        import msgspec
        from coworld_actors.batch.store import BatchHead, BatchStore
        store = BatchStore.create(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=BatchHead))
        print("ready", flush=True)
        signal.pause()
    """
    argv = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "run"), msgspec.json.encode(HEAD).decode()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        with pytest.raises(Refused, match="another run is playing"):
            BatchStore.resume(tmp_path / "run", HEAD)
        holder.send_signal(signal.SIGKILL)
    BatchStore.resume(tmp_path / "run", HEAD).close()


def test_a_directory_that_is_in_use_is_refused(tmp_path: Path) -> None:
    """Files of an earlier run are never mixed with a new one, and a batch is to be resumed."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(Refused, match="is not empty"):
        BatchStore.create(tmp_path / "full", HEAD)
    BatchStore.create(tmp_path / "batch", HEAD).close()
    with pytest.raises(Refused, match="is a batch's already") as refused:
        BatchStore.create(tmp_path / "batch", HEAD)
    assert "--resume" in refused.value.todo


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"options": msgspec.structs.replace(HEAD.options, seed=7)}, "--seed was 42 and is 7"),
        ({"manifest": "x" * 64}, "the manifest's text has changed"),
        ({"schedule": "x" * 64}, "the schedule has changed"),
        ({"seed_key": "world.seed"}, "the seed's key has changed"),
    ],
    ids=["options", "manifest", "schedule", "seed-key"],
)
def test_other_inputs_are_refused_with_the_difference(tmp_path: Path, change: dict[str, object], said: str) -> None:
    """A directory of another schedule is not gone on with."""
    BatchStore.create(tmp_path / "run", HEAD).close()
    with pytest.raises(Refused, match="begun with other inputs") as refused:
        BatchStore.resume(tmp_path / "run", msgspec.structs.replace(HEAD, **change))
    assert said in refused.value.evidence


@pytest.mark.parametrize("use", [lambda path: BatchStore.resume(path, HEAD), read_batch], ids=["resume", "read"])
def test_what_is_no_batch_is_refused(tmp_path: Path, use: Callable[[Path], object]) -> None:
    """A directory without a head, one of another version, and one with somebody else's file."""
    with pytest.raises(Refused, match="no batch's directory"):
        use(tmp_path)
    (tmp_path / "batch.json").write_text('{"version": 99}')
    with pytest.raises(Refused, match="another version") as refused:
        use(tmp_path)
    assert "99" in refused.value.evidence
    (tmp_path / "batch.json").write_text('{"version": 1, "id": 5}')
    with pytest.raises(Refused, match="no head of a batch"):
        use(tmp_path)
    (tmp_path / "batch.json").write_text("hello")
    with pytest.raises(Refused, match="no head of a batch"):
        use(tmp_path)


def test_every_attempt_gets_a_place_of_its_own(tmp_path: Path) -> None:
    """Names tell variant, index and seed; what a killed attempt left is not touched."""
    with BatchStore.create(tmp_path / "run", HEAD) as store:
        place = store.place(scheduled(1))
        assert place.name == "duel-e0001-s43"
        place.mkdir()
        assert store.place(scheduled(1)).name == "duel-e0001-s43-try2"
        hostile = store.place(scheduled(2, variant="../../etc/passwd " + "x" * 300))
        assert hostile.parent == store.directory / "episodes"
        assert len(hostile.name) < 80


async def test_a_full_disk_ends_the_writing_and_what_was_written_is_resumed(
    tmp_path: Path, file_size_limit: Callable[[int], None]
) -> None:
    """The line that does not fit is an error with the next step; the ones before it are kept, and the batch goes on."""
    run = tmp_path / "run"
    with BatchStore.create(run, HEAD) as store:
        await store.append(line(0))
        file_size_limit((run / "episodes.jsonl").stat().st_size + 50)
        with pytest.raises(PreconditionMissing, match="cannot be written") as failed:
            await store.append(line(1))
        assert "--resume" in failed.value.todo
        with pytest.raises(PreconditionMissing, match="cannot be written"):
            await store.append(line(2))
    file_size_limit(resource.RLIM_INFINITY)
    with BatchStore.resume(run, HEAD) as store:
        assert list(store.lines) == [0]
        await store.append(line(1))
    assert [each.index for each in read_batch(run)[1]] == [0, 1]


@pytest.fixture
def file_size_limit() -> object:
    """Sets RLIMIT_FSIZE, by which the kernel refuses to let a file grow, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


async def test_files_that_nobody_wants_are_removed(tmp_path: Path) -> None:
    """An episode's directory goes whole; one that is gone already is no trouble."""
    with BatchStore.create(tmp_path / "run", HEAD) as store:
        place = store.place(scheduled(0))
        (place / "players" / "0").mkdir(parents=True)
        (place / "results.json").write_text("{}")
        await store.drop(place)
        assert not place.exists()
        await store.drop(place)


def test_a_directory_that_cannot_be_made_is_a_missing_precondition(tmp_path: Path) -> None:
    """A file in the way is said to be what keeps us from playing."""
    (tmp_path / "file").write_text("")
    with pytest.raises(PreconditionMissing, match=os.strerror(errno.ENOTDIR)):
        BatchStore.create(tmp_path / "file" / "run", HEAD)


def test_the_digest_tells_schedules_apart() -> None:
    """Equal schedules have equal digests; another seat is another one."""
    one = schedule(2)
    swapped = msgspec.structs.replace(one, episodes=(one.episodes[0], scheduled(1, (0, 1))))
    assert digest_of(one) == digest_of(schedule(2))
    assert digest_of(one) != digest_of(swapped)
