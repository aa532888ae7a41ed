"""The options that commands share: each means the same everywhere, and what cannot be meant is refused."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from coworld_actors.cli import batch_options
from coworld_actors.cli.batch_options import BATCH_ONLY, pairs, secret_variables, tap_spec
from coworld_actors.cli.compare import compare
from coworld_actors.cli.pickup import pickup
from coworld_actors.cli.run import run, scrimmage
from coworld_protocol.errors import Refused

COMMANDS = (run, scrimmage, compare, pickup)


def options(command: click.Command) -> dict[str, click.Option]:
    found = [each for each in command.params if isinstance(each, click.Option)]
    assert len({name for each in found for name in each.opts}) == sum(len(each.opts) for each in found)
    return {each.opts[-1]: each for each in found}


def test_an_option_means_the_same_in_every_command() -> None:
    """Same parameter, same default, same words."""
    everywhere = [options(command) for command in COMMANDS]
    for name in set.intersection(*(set(each) for each in everywhere)):
        assert len({(each[name].name, repr(each[name].default), each[name].help) for each in everywhere}) == 1
    assert {"--parallel", "--resume", "--seed", "--events", "--tap"} <= set.intersection(*map(set, everywhere))


def test_what_only_batches_have_is_named_as_it_is_written() -> None:
    """The refusal of a single episode names options that there are."""
    found = options(run)
    for parameter, option in BATCH_ONLY.items():
        assert found[option].name == parameter


@pytest.mark.parametrize(("text", "number"), [("auto", None), ("1", 1), ("64", 64)])
def test_parallel_is_a_number_or_auto(text: str, number: int | None) -> None:
    """Auto is None."""
    assert options(run)["--parallel"].type.convert(text, None, None) == number


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "Auto", "all"])
def test_anything_else_is_neither(text: str) -> None:
    """The error says what would be right."""
    with pytest.raises(click.BadParameter, match="neither auto nor a number"):
        options(run)["--parallel"].type.convert(text, None, None)


def test_pairs_need_both_halves() -> None:
    """`NAME=DIR`."""
    assert pairs(("a=b", "c=d=e"), "--image", "NAME=DIR") == {"a": "b", "c": "d=e"}
    for wrong in ("a", "=b", "a="):
        with pytest.raises(Refused, match="NAME=DIR"):
            pairs((wrong,), "--image", "NAME=DIR")


def test_secrets_come_from_the_environment_or_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name alone is looked up."""
    monkeypatch.setenv("FROM_OUTSIDE", "1")
    assert secret_variables(("FROM_OUTSIDE", "GIVEN=2")) == {"FROM_OUTSIDE": "1", "GIVEN": "2"}
    for wrong in ("NOT_SET_ANYWHERE", "=1", "A B=1", "COGAME_PORT=1"):
        with pytest.raises(Refused):
            secret_variables((wrong,))


def test_no_tap_unless_something_asks_for_one() -> None:
    """Each of the three options implies it."""
    assert tap_spec(tap=False, budget=None, record=None, chaos=None) is None
    assert tap_spec(tap=True, budget=None, record=None, chaos=None) is not None
    found = tap_spec(tap=False, budget="55ms:3", record=Path("a.cwt"), chaos="delay=5ms")
    assert found is not None
    assert (found.recording, found.budget is None, found.chaos is None) == (Path("a.cwt"), False, False)


def test_the_public_names_are_there() -> None:
    """Other commands build on them."""
    assert all(hasattr(batch_options, name) for name in batch_options.__all__)
