"""The interface's values."""

from __future__ import annotations

import msgspec
import pytest

from coworld_drivers.driver import Address, ExitKind, ExitStatus, Launch, LogFailed, MachineFault, StartFailed, Wanted
from coworld_protocol.errors import PreconditionMissing


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (ExitStatus(kind=ExitKind.EXITED, code=7), "exit code 7"),
        (ExitStatus(kind=ExitKind.SIGNALLED, signal=9), "killed by SIGKILL"),
        (ExitStatus(kind=ExitKind.SIGNALLED, signal=40), "killed by signal 40"),
        (ExitStatus(kind=ExitKind.OOM, signal=9, detail="counted"), "out of memory, SIGKILL (counted)"),
        (ExitStatus(kind=ExitKind.LOST), "end unknown"),
    ],
)
def test_exit_status_reads_well(status, text):
    """A status says in a line what is known."""
    assert str(status) == text


def test_only_a_clean_exit_is_ok():
    """Neither another code nor any signal is a good end."""
    assert ExitStatus(kind=ExitKind.EXITED, code=0).ok
    assert not ExitStatus(kind=ExitKind.EXITED, code=1).ok
    assert not ExitStatus(kind=ExitKind.SIGNALLED, signal=15, stopped=True).ok


def test_launch_shows_no_secret(tmp_path):
    """A launch that ends up in a log or a traceback names its secrets only."""
    launch = Launch(name="n", role="game", image="i", secret_env={"KEY": "hidden"}, stdout=tmp_path / "x")
    assert "hidden" not in f"{launch} {launch!r} {[launch]}"
    assert "KEY" in repr(launch)


def test_values_travel():
    """Statuses and addresses survive JSON, for event logs."""
    status = ExitStatus(kind=ExitKind.EXITED, code=3, stopped=True)
    assert msgspec.json.decode(msgspec.json.encode(status), type=ExitStatus) == status
    assert str(Address(host="127.0.0.1", port=80)) == "127.0.0.1:80"


def test_wanted_is_a_pair_with_a_name():
    """The role is optional."""
    assert Wanted("i", ("a",)) == ("i", ("a",), "")


def test_errors_are_missing_preconditions():
    """What cannot be started, or logged, is the machine's fault and exits with 3."""
    for error in (StartFailed("x"), MachineFault("x"), LogFailed("x")):
        assert isinstance(error, PreconditionMissing)
        assert error.exit_code == 3


def test_a_fault_of_the_machine_is_a_failed_start_of_its_own_kind():
    """Who does not care catches both; who judges a role tells them apart."""
    assert issubclass(MachineFault, StartFailed)
    assert not isinstance(StartFailed("x"), MachineFault)
