"""Disks: full, closed, gone, and the one that is here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coworld_actors.doctor.finding import Status, Surroundings
from coworld_actors.doctor.places import check_disk, check_shared_memory, look_at_disk
from tests.disks import small_disk
from tests.doctor.clients import found


async def test_the_disk_of_this_machine(tmp_path: Path) -> None:
    """The directory of episodes need not be there yet; the temporary one is that of TMPDIR."""
    (tmp_path / "mine").mkdir()
    here = Surroundings(directory=tmp_path, environ={"TMPDIR": str(tmp_path / "mine")})
    findings = await check_disk(here)
    assert str(tmp_path / "runs") in found(findings, "disk").text
    assert str(tmp_path / "mine") in found(findings, "temporary").text
    assert all(finding.status is not Status.FAIL for finding in findings)
    assert not (tmp_path / "runs").exists()


async def test_a_full_disk_fails(tmp_path: Path) -> None:
    """Less than a few episodes leave behind is nothing to begin with."""
    with small_disk(tmp_path / "small") as place:
        finding = await look_at_disk("disk", place / "runs", worst=Status.FAIL, todo="free some")
        assert (finding.status, finding.todo) == (Status.FAIL, "free some")
        assert "KiB free" in finding.text
        enough = await look_at_disk("disk", place, worst=Status.FAIL, todo="free some", some=1024)
        assert (enough.status, enough.todo) == (Status.OK, "")


@pytest.mark.parametrize("worst", [Status.FAIL, Status.WARN])
async def test_where_nothing_can_be_written(tmp_path: Path, worst: Status) -> None:
    """A file in the place of a directory, or, for others than root, a closed directory."""
    (tmp_path / "file").write_text("")
    places = [tmp_path / "file/runs"]
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        places.append(tmp_path / "closed/runs")
    for place in places:
        finding = await look_at_disk("disk", place, worst=worst, todo="go elsewhere")
        assert finding.status is worst
        assert "cannot be written to" in finding.text


async def test_shared_memory_is_never_a_failure() -> None:
    """Nothing of ours needs it."""
    (finding,) = await check_shared_memory(Surroundings())
    assert finding.status in {Status.OK, Status.WARN}
    assert "/dev/shm" in finding.text


@pytest.mark.parametrize("name", ["nowhere", "file", "a\0b"])
async def test_a_temporary_directory_that_is_none_is_a_warning(tmp_path: Path, name: str) -> None:
    """The library takes another one, which is not what was asked for."""
    (tmp_path / "file").write_text("")
    findings = await check_disk(Surroundings(directory=tmp_path, environ={"TMPDIR": f"{tmp_path}/{name}"}))
    assert found(findings, "temporary").status is Status.WARN
    assert "TMPDIR" in found(findings, "temporary").todo


async def test_a_directory_that_has_gone_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nowhere to play; everything else is found out all the same."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    finding = found(await check_disk(Surroundings()), "disk")
    assert (finding.status, "not there any more" in finding.text) == (Status.FAIL, True)
    assert finding.todo
