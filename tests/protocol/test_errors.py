"""The exception tree: four lines at most, one exit code each."""

import pytest

from coworld_protocol.errors import (
    CoworldError,
    InternalFault,
    ManifestRefused,
    PreconditionMissing,
    Problem,
    Refused,
    alone,
    leaves,
)


def test_an_error_shows_what_is_known_and_nothing_else() -> None:
    """What comes first and bare; evidence, next step and place follow, labelled, where there are any."""
    error = CoworldError("seat 1 is empty", evidence="exit code 7", todo="read the log", where="runs/1")
    assert error.lines() == ["seat 1 is empty", "evidence: exit code 7", "try: read the log", "files: runs/1"]
    assert CoworldError("just so").lines() == ["just so"]
    assert str(error) == "seat 1 is empty"


@pytest.mark.parametrize(
    ("kind", "code"), [(CoworldError, 4), (InternalFault, 4), (Refused, 2), (PreconditionMissing, 3)]
)
def test_every_kind_has_its_exit_code(kind: type[CoworldError], code: int) -> None:
    """The code belongs to the type, so that no caller has to choose one."""
    assert kind("x").exit_code == code


def test_a_refused_manifest_lists_every_problem() -> None:
    """Each problem is a line with path, found and allowed; the headline counts them."""
    problems = [
        Problem(path="$.game", found="null", allowed="an object"),
        Problem(path="$.player", found="0", allowed="1"),
    ]
    error = ManifestRefused("m.json", problems)
    assert error.exit_code == 2
    assert error.what == "m.json is refused: 2 problems"
    assert error.lines()[1:3] == [f"  {problem}" for problem in problems]
    assert ManifestRefused("m.json", problems[:1]).what.endswith("1 problem")


def test_a_group_of_one_is_what_it_holds() -> None:
    """However deep it is wrapped; a group of several stays one."""
    error = PreconditionMissing("no room")
    several = ExceptionGroup("", [error, ValueError()])
    assert alone(error) is error
    assert alone(ExceptionGroup("", [ExceptionGroup("", [error])])) is error
    assert alone(BaseExceptionGroup("", [several])) is several


def test_leaves_come_out_of_nested_groups_in_order() -> None:
    """A group inside a group is opened too."""
    a, b, c = ValueError("a"), KeyError("b"), OSError("c")
    group = BaseExceptionGroup("outer", [a, BaseExceptionGroup("inner", [b, c])])
    assert list(leaves(group)) == [a, b, c]
    assert list(leaves(a)) == [a]
