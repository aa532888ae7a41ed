"""Exit codes and errors as lines: whatever is raised ends as one documented code and a few lines on stderr."""

from __future__ import annotations

import errno
import json
import signal
from collections.abc import Callable

import click
import pytest

from coworld_actors import cli
from coworld_actors.cli.exits import Exit, Outcome, answer, complain, error_document
from coworld_protocol.errors import (
    CoworldError,
    InternalFault,
    ManifestRefused,
    PreconditionMissing,
    Problem,
    Refused,
)
from tests.records import record

PROBLEM = Problem(path="$.player[0].id", found="'a b'", allowed="letters")


def test_the_codes_are_the_documented_ones() -> None:
    """Exit codes are API: a change here is a change for every script."""
    assert {code.name: int(code) for code in Exit} == {
        "GOOD": 0,
        "FAILED": 1,
        "REFUSED": 2,
        "PRECONDITION": 3,
        "INTERNAL": 4,
        "NOTHING": 5,
        "GATE": 6,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
    }
    assert (Refused.exit_code, PreconditionMissing.exit_code, InternalFault.exit_code) == (2, 3, 4)


def test_only_the_first_line_of_an_error_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    """What, then evidence, next step and place, indented; stdout stays empty."""
    error = PreconditionMissing("no room", evidence="disk full", todo="free some", where="/runs/e-1")
    complain(error.lines())
    shown = capsys.readouterr()
    assert shown.err == "error: no room\n  evidence: disk full\n  try: free some\n  files: /runs/e-1\n"
    assert shown.out == ""


def test_an_error_as_a_document_has_all_its_parts() -> None:
    """The same parts by name, and of a refused manifest every problem."""
    assert error_document(Refused("what", todo="do")) == {
        "type": "Refused",
        "what": "what",
        "evidence": "",
        "todo": "do",
        "where": "",
    }
    document = error_document(ManifestRefused("m.json", [PROBLEM]))
    assert document["problems"] == [{"path": "$.player[0].id", "found": "'a b'", "allowed": "letters"}]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (Refused("a bad word"), 2, "error: a bad word"),
        (PreconditionMissing("no docker"), 3, "error: no docker"),
        (InternalFault("a defect"), 4, "error: a defect"),
        (CoworldError("of no kind"), 4, "error: of no kind"),
        (ManifestRefused("m.json", [PROBLEM]), 2, "$.player[0].id"),
        (ZeroDivisionError("by zero"), 4, "internal error: ZeroDivisionError: by zero"),
        (ExceptionGroup("several", [ValueError("one")]), 4, "internal error: ValueError: one"),
        (ExceptionGroup("several", [ValueError("one"), KeyError("two")]), 4, "ValueError: one; KeyError: 'two'"),
        (click.UsageError("no such thing"), 2, "no such thing"),
        (click.ClickException("cannot"), 2, "cannot"),
        (click.Abort(), 130, ""),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_whatever_a_command_raises_ends_with_a_documented_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    words: str,
) -> None:
    """No traceback without --debug, and never anything on stdout."""

    @click.command()
    def broken() -> None:
        raise error

    monkeypatch.setitem(cli.cli.commands, "broken", broken)
    with pytest.raises(SystemExit) as caught:
        cli.main(["broken"])
    shown = capsys.readouterr()
    assert caught.value.code == code
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (Refused("a bad word"), 2, "Refused"),
        (ManifestRefused("m.json", [PROBLEM]), 2, "ManifestRefused"),
        (PreconditionMissing("a byte: \udcff"), 3, "PreconditionMissing"),
        (ZeroDivisionError("by zero: \udcff"), 4, "InternalFault"),
        (OSError(errno.EPIPE, "a pipe of ours, not of the user's"), 4, "InternalFault"),
        (ExceptionGroup("several", [ValueError("one"), ValueError("two")]), 4, "InternalFault"),
        (BaseExceptionGroup("stopped", [KeyboardInterrupt()]), 130, "Interrupted"),
        (click.UsageError("no such thing"), 2, "Refused"),
        (click.Abort(), 130, "Interrupted"),
        (KeyboardInterrupt(), 130, "Interrupted"),
    ],
)
@pytest.mark.parametrize("while_reading", [True, False])
def test_under_json_every_failure_is_one_document(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    kind: str,
    while_reading: bool,
) -> None:
    """Always the same keys, whether it was found while the command line was read or later."""

    def fail() -> None:
        raise error

    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def broken(as_json: bool) -> Callable[[], None]:
        assert as_json
        if while_reading and not isinstance(error, OSError):
            fail()
        return fail

    monkeypatch.setitem(cli.cli.commands, "broken", broken)
    with pytest.raises(SystemExit) as caught:
        cli.main(["broken", "--json"])
    document = json.loads(capfd.readouterr().out)
    assert list(document) == ["exit_code", "episodes", "error"]
    assert document["exit_code"] == caught.value.code == code
    assert document["episodes"] == []
    assert document["error"]["type"] == kind
    assert {"type", "what", "evidence", "todo", "where"} <= set(document["error"])


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["run", "--json"], True),
        (["run", "--timeout", "abc", "--json", "m.json"], True),
        (["run", "--no-such-option", "--json"], True),
        (["run", "m.json", "bot", "--run", "python", "--run", "--json", "--timeout", "abc"], False),
        (["run", "--timeout", "abc", "--", "--json"], False),
        (["run", "--timeout", "abc"], False),
    ],
)
def test_whether_json_was_asked_for_is_known_without_click(
    capfd: pytest.CaptureFixture[str], arguments: list[str], asked: bool
) -> None:
    """A command line that cannot be read may still have asked; the value of an option has not."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert bool(capfd.readouterr().out) is asked


def test_sigterm_before_anything_runs_is_an_orderly_end_too(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As SIGINT: the document, the code of a shell, and the handlers as they were."""

    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def broken(as_json: bool) -> None:
        assert as_json
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setitem(cli.cli.commands, "broken", broken)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        cli.main(["broken", "--json"])
    assert caught.value.code == 143
    assert json.loads(capfd.readouterr().out)["error"]["type"] == "Interrupted"
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_the_document_of_an_outcome_has_both_episode_and_error(capfd: pytest.CaptureFixture[str]) -> None:
    """What was played is there although something beside it went wrong."""
    outcome = Outcome(exit_code=3, episodes=(record(),), error=PreconditionMissing("no room"))
    assert answer(outcome, as_json=True) == 3
    document = json.loads(capfd.readouterr().out)
    assert document["episodes"][0]["id"] == "e-1"
    assert document["error"]["what"] == "no room"
    assert answer(Outcome(exit_code=0, episodes=(record(),)), as_json=True) == 0
    assert json.loads(capfd.readouterr().out)["error"] is None


def test_no_control_code_of_a_stranger_is_in_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line stays one line, and nothing in it is obeyed."""
    complain(Refused("a\x1b[31mb\u202e", evidence="x\ny\x07", todo="z\r").lines())
    assert capsys.readouterr().err == "error: a\\u001b[31mb\\u202e\n  evidence: x\\u000ay\\u0007\n  try: z\\u000d\n"


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, for nothing was asked; the code is that of a usage error."""
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 2
    assert "Usage:" in capsys.readouterr().err


def test_debug_shows_where_a_defect_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With --debug the traceback comes before the line that says the same."""

    @click.command()
    @click.option("--debug", is_flag=True)
    def broken(debug: bool) -> None:
        raise ZeroDivisionError(str(debug))

    monkeypatch.setitem(cli.cli.commands, "broken", broken)
    with pytest.raises(SystemExit) as caught:
        cli.main(["broken", "--debug"])
    assert caught.value.code == 4
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1), (Exit.GATE, 6)])
def test_what_a_command_returns_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, returned: int | None, code: int
) -> None:
    """A command that returns nothing has succeeded."""

    @click.command()
    def fine() -> int | None:
        return returned

    monkeypatch.setitem(cli.cli.commands, "fine", fine)
    with pytest.raises(SystemExit) as caught:
        cli.main(["fine"])
    assert caught.value.code == code


def test_help_and_version_are_good(capsys: pytest.CaptureFixture[str]) -> None:
    """They end with 0 and say which exit codes there are."""
    for arguments in (["--help"], ["--version"], ["run", "--help"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 0
    assert "130/143" in capsys.readouterr().out
