"""What the engine's word about a container's end is worth."""

import signal

import pytest

from coworld_drivers.docker_state import State, judge, refusal, state_of
from coworld_drivers.driver import ExitKind, MachineFault

STARTED = "2026-01-01T00:00:00.1Z"


def ended(code: int, *, oom: bool = False) -> State:
    """A container that ran and ended."""
    return State(status="exited", exit_code=code, oom_killed=oom, started_at=STARTED)


@pytest.mark.parametrize(
    ("code", "kind", "number"),
    [
        (0, ExitKind.EXITED, 0),
        (1, ExitKind.EXITED, 1),
        (125, ExitKind.EXITED, 125),
        (127, ExitKind.EXITED, 127),
        (255, ExitKind.EXITED, 255),
        (128 + 9, ExitKind.SIGNALLED, signal.SIGKILL),
        (128 + 11, ExitKind.SIGNALLED, signal.SIGSEGV),
        (128 + 15, ExitKind.SIGNALLED, signal.SIGTERM),
        (4_294_967_295, ExitKind.LOST, None),
    ],
)
def test_exit_codes(code: int, kind: ExitKind, number: int | None):
    """An init passes on a death by signal as 128 and its number; what no process can end with is no end."""
    status = judge(ended(code), asked=False, killed=False, engine_left=False)
    assert (status.kind, status.code if kind is ExitKind.EXITED else status.signal) == (kind, number)


def test_want_of_memory():
    """Only a death by it is one: of a helper it is a remark, and who was killed by us was killed by us."""
    assert judge(ended(137, oom=True), asked=False, killed=False, engine_left=False).kind is ExitKind.OOM
    survived = judge(ended(0, oom=True), asked=False, killed=False, engine_left=False)
    assert survived.ok
    assert "memory" in survived.detail
    assert judge(ended(137, oom=True), asked=True, killed=True, engine_left=False).kind is ExitKind.SIGNALLED


def test_an_engine_that_was_away_proves_no_fault():
    """A code other than 0 may be the engine's own doing then; a good end is a good end, and who was asked to end ended."""
    assert judge(ended(137), asked=False, killed=False, engine_left=True).kind is ExitKind.LOST
    assert judge(ended(0), asked=False, killed=False, engine_left=True).ok
    assert judge(ended(143), asked=True, killed=False, engine_left=True).signal == signal.SIGTERM


def test_a_container_that_was_never_started_is_not_over():
    """Engines say exit code 0 of it; one that could not be started has an error instead."""
    assert not State(status="created").over
    assert not State(status="running", running=True, started_at=STARTED).over
    assert State(status="created", error="exec format error", exit_code=127).over
    assert ended(0).over


def test_the_engine_is_read_as_it_writes():
    """By its own names; numbers may come as text; anything else is the engine's trouble."""
    seen = {"State": {"Status": "exited", "OOMKilled": True, "ExitCode": 3, "Pid": 7, "StartedAt": STARTED, "New": {}}}
    state = state_of(seen)
    assert (state.exit_code, state.oom_killed, state.pid, state.started) == (3, True, 7, True)
    for wrong in ({}, {"State": None}, {"State": {"ExitCode": "x"}}):
        with pytest.raises(MachineFault):
            state_of(wrong)


@pytest.mark.parametrize(
    ("said", "own"),
    [
        ("Error response from daemon: no command specified", True),
        ('OCI runtime create failed: chdir to cwd ("/root") set in config.json failed: permission denied', True),
        ("no space left on device", False),
        ("Bind for 127.0.0.1:80 failed: port is already allocated", False),
        ("error while creating mount source path: mkdir /x: permission denied", False),
        ("", False),
    ],
)
def test_little_that_keeps_a_container_from_starting_is_its_roles_doing(said: str, own: bool):
    """Whatever else keeps an engine from starting a container is the machine's; what was said is the evidence."""
    refused = refusal("player-0", said)
    assert isinstance(refused, MachineFault) is not own
    assert refused.evidence == (said or "the engine gives no reason")
    assert ("`run`" in refused.todo) is own
