"""The files of an episode: made new, read without following anybody, written whole or not at all."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from coworld_actors.episode.workspace import (
    FOR_READERS,
    FileRefused,
    Workspace,
    is_role_file,
    open_role_file,
    read_role_file,
    write_atomically,
)
from coworld_protocol import contract
from coworld_protocol.errors import PreconditionMissing, Refused
from tests.disks import SIZE, is_full


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


DISGUISES: list[Callable[[Path], object]] = [
    lambda path: path.symlink_to(path.with_name("real")),
    lambda path: path.symlink_to("nowhere"),
    os.mkfifo,
    Path.mkdir,
]


def test_a_new_directory_has_a_place_for_everybody(tmp_path: Path) -> None:
    """Logs, and for every player a directory that is its own alone; parents are made."""
    made = Workspace.create(tmp_path / "a/b/run", 3)
    assert made.logs.is_dir()
    assert [mode(made.player_directory(slot)) for slot in range(3)] == [0o700] * 3
    assert made.root.is_absolute()


def test_an_empty_directory_is_as_good_as_none(tmp_path: Path) -> None:
    """A directory that the caller made is used."""
    (tmp_path / "run").mkdir()
    assert Workspace.create(tmp_path / "run", 1).logs.is_dir()


@pytest.mark.parametrize("name", ["results.json", "replay", ".hidden", "policy_artifact_0.zip"])
def test_whatever_lies_there_is_never_mixed_with_a_new_run(tmp_path: Path, name: str) -> None:
    """A directory with anything in it is refused, the next step said, and nothing changed."""
    (tmp_path / name).write_text("stale")
    with pytest.raises(Refused, match="is not empty") as caught:
        Workspace.create(tmp_path, 1)
    assert "--output" in caught.value.todo
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("place", ["file", "file/run", "link", "/proc/run"])
def test_a_directory_that_cannot_be_made_or_written_is_a_missing_precondition(tmp_path: Path, place: str) -> None:
    """A file or a dangling link in the way, or a file system that takes no directories."""
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(PreconditionMissing, match="cannot be used") as caught:
        Workspace.create(tmp_path / place, 1)
    assert "--output" in caught.value.todo


def test_the_configuration_is_its_owners_alone(workspace: Workspace) -> None:
    """Tokens are in it, so nobody else may read it; the game's own keys are kept."""
    workspace.write_config({"ticks": 3, "tokens": ["stale"]}, ("one", "two"))
    assert json.loads(workspace.config.read_text()) == {"ticks": 3, "tokens": ["one", "two"]}
    assert mode(workspace.config) == 0o600


def test_a_regular_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    """Exactly the limit passes, one byte more is refused, nothing is None."""
    path = tmp_path / "file"
    assert read_role_file(path, 4) is None
    assert not is_role_file(path)
    path.write_bytes(b"1234")
    assert read_role_file(path, 4) == b"1234"
    assert is_role_file(path)
    with pytest.raises(FileRefused, match="larger than 3 bytes"):
        read_role_file(path, 3)


@pytest.mark.parametrize("disguise", DISGUISES, ids=["link", "dangling-link", "pipe", "directory"])
def test_a_disguise_is_refused_at_once_and_leaves_no_descriptor(
    tmp_path: Path, disguise: Callable[[Path], object]
) -> None:
    """Links are not followed, a pipe without a writer does not block, a directory is none."""
    (tmp_path / "real").write_text("secret")
    path = tmp_path / "file"
    disguise(path)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(FileRefused, match=r"file (cannot be read|is no regular file)"):
        read_role_file(path, 100)
    assert not is_role_file(path)
    assert set(os.listdir("/proc/self/fd")) == before


def test_writing_replaces_a_link_and_never_follows_it(tmp_path: Path) -> None:
    """What a role put under our name is replaced; what it pointed to stays as it was."""
    (tmp_path / "real").write_text("theirs")
    (tmp_path / "episode.json").symlink_to("real")
    write_atomically(tmp_path / "episode.json", b"ours")
    assert (tmp_path / "real").read_text() == "theirs"
    assert (tmp_path / "episode.json").read_bytes() == b"ours"
    assert not (tmp_path / "episode.json").is_symlink()


def test_a_file_is_its_owners_alone_unless_it_is_made_for_readers(tmp_path: Path) -> None:
    """A name that was free and one that was taken: the mode is the new file's own."""
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "secret", b"")
        write_atomically(tmp_path / "shown", b"")
        write_atomically(tmp_path / "shown", b"", FOR_READERS)
    finally:
        os.umask(before)
    assert (mode(tmp_path / "secret"), mode(tmp_path / "shown")) == (0o600, 0o644)


def test_an_open_file_is_handed_out_under_the_same_rules(tmp_path: Path) -> None:
    """For files that are too large to be held in memory."""
    path = tmp_path / "file"
    assert open_role_file(path, 4) is None
    path.write_bytes(b"1234")
    with open_role_file(path, 4) as file:  # type: ignore[union-attr]
        assert file.read() == b"1234"
    with pytest.raises(FileRefused, match="larger than 3 bytes"):
        open_role_file(path, 3)


def test_a_full_disk_leaves_the_old_file_and_no_half_one(small: Path) -> None:
    """The sentence says what to do, and nothing partial is there."""
    target = small / "episode.json"
    write_atomically(target, b"old")
    with pytest.raises(PreconditionMissing) as caught:
        write_atomically(target, b"x" * (2 * SIZE))
    assert is_full(caught.value.what)
    assert "free some space" in caught.value.todo
    assert [path.name for path in small.iterdir()] == ["episode.json"]
    assert target.read_bytes() == b"old"


def test_a_directory_in_the_way_of_a_file_leaves_no_half_one(tmp_path: Path) -> None:
    """A name that cannot be replaced is an error, and the partial file is gone."""
    (tmp_path / "episode.json").mkdir()
    with pytest.raises(PreconditionMissing, match="cannot be written"):
        write_atomically(tmp_path / "episode.json", b"ours")
    assert [path.name for path in tmp_path.iterdir()] == ["episode.json"]


@pytest.mark.parametrize("disguise", [*DISGUISES, lambda path: path.write_text("theirs")])
def test_what_a_role_left_under_our_names_is_set_aside(
    workspace: Workspace, disguise: Callable[[Path], object]
) -> None:
    """It is moved, not followed and not lost; what is not there is no error."""
    disguise(workspace.reports)
    workspace.free(workspace.reports, workspace.grades)
    assert not os.path.lexists(workspace.reports)
    assert [name.partition(".not-ours-")[0] for name in os.listdir(workspace.root) if "not-ours" in name] == ["reports"]


def test_artifacts_are_collected_where_they_are_files_of_a_fair_size(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each seat's zip ends up in the run's directory; the slots that left one are named."""
    monkeypatch.setattr(contract, "ARTIFACT_LIMIT", 10)
    for slot, size in ((0, 10), (1, 11)):
        (workspace.player_directory(slot) / contract.player_artifact_name(slot)).write_bytes(b"x" * size)
    assert workspace.collect_artifacts() == (0,)
    assert workspace.player_artifact(0).read_bytes() == b"x" * 10
    assert not workspace.player_artifact(1).exists()
    assert workspace.collect_artifacts() == ()


@pytest.mark.parametrize("disguise", DISGUISES, ids=["link", "dangling-link", "pipe", "directory"])
def test_an_artifact_in_disguise_stays_where_it_is(workspace: Workspace, disguise: Callable[[Path], object]) -> None:
    """A player cannot have another file of the machine collected in its name."""
    directory = workspace.player_directory(0)
    (directory / "real").write_text("secret")
    disguise(directory / contract.player_artifact_name(0))
    assert workspace.collect_artifacts() == ()
    assert not os.path.lexists(workspace.player_artifact(0))
