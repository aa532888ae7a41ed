"""Exit codes and errors as lines: whatever is raised ends as one documented code and a few lines on stderr."""

from __future__ import annotations

import click
import pytest

from coworld_actors import cli
from coworld_actors.cli.exits import Exit, complain, error_document
from coworld_protocol.errors import (
    CoworldError,
    InternalFault,
    ManifestRefused,
    PreconditionMissing,
    Problem,
    Refused,
)

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
        (ExceptionGroup("several", [ValueError("one")]), 4, "internal error: ExceptionGroup"),
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
