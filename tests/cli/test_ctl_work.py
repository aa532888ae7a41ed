"""Behind the commands: a stdout that cannot be written, a runtime that goes away between two questions, a defect of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from coworld_actors.cli import ctl_work
from coworld_actors.cli.ctl_work import Target, cancel, show_events, show_list, show_statistics
from coworld_actors.control.client import Connection, RuntimeGone
from tests.hosts import hosting

ALL = Target(which="", path=None, as_json=False)


def test_one_runtime_that_goes_away_does_not_hide_the_others(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the others say is shown; the outcome has the error. What is called off may have been where nobody answers."""
    ask = Connection.ask

    async def breaking(self: Connection, *arguments: object) -> object:
        if self.hello.name == "leaving":
            raise RuntimeGone("runtime leaving is gone")
        return await ask(self, *arguments)

    with hosting(tmp_path, "leaving"), hosting(tmp_path, "staying", episodes=1):
        monkeypatch.setattr(Connection, "ask", breaking)
        outcome = show_statistics(ALL)
        assert outcome.exit_code == 3
        assert isinstance(outcome.error, RuntimeGone)
        assert [each["name"] for each in outcome.fields["runtimes"]] == ["staying"]
        shown = capsys.readouterr().out
        assert shown.startswith("staying (pid ")
        assert isinstance(cancel(ALL, "elsewhere", "r").error, RuntimeGone)
        assert cancel(ALL, "staying", "r").exit_code == 0


def test_a_defect_of_ours_is_not_a_runtimes_error(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised, for `main` to make exit code 4 of."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    with hosting(tmp_path, "farm"):
        monkeypatch.setattr(Connection, "ask", broken)
        with pytest.raises(ZeroDivisionError):
            show_statistics(ALL)
        monkeypatch.setattr(ctl_work, "_copy_events", broken)
        with pytest.raises(ExceptionGroup) as caught:
            show_events(ALL, follow=False, episode="", after=0)
        assert caught.group_contains(ZeroDivisionError)


def test_a_stdout_that_is_full_is_a_missing_precondition(home: Path, tmp_path: Path) -> None:
    """Neither a traceback nor a success."""
    with hosting(tmp_path, "farm"):
        for command in ("list", "events"):
            with Path("/dev/full").open("w") as full:
                done = subprocess.run(
                    [sys.executable, "-m", "coworld_actors", "ctl", command],
                    stdout=full,
                    stderr=subprocess.PIPE,
                    text=True,
                    timeout=60,
                    check=False,
                )
            assert done.returncode == 3
            assert "stdout cannot be written" in done.stderr


def test_a_socket_that_is_named_is_the_only_one_asked(home: Path, tmp_path: Path) -> None:
    """Also when others are running."""
    with hosting(tmp_path, "one"), hosting(tmp_path, "two"):
        (place,) = [each["socket"] for each in show_list(ALL).fields["runtimes"] if each["name"] == "two"]
        (found,) = show_list(Target(which="", path=Path(place), as_json=True)).fields["runtimes"]
        assert found["name"] == "two"
