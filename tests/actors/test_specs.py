"""Specifications are checked where they are constructed."""

from __future__ import annotations

import math
import re

import pytest

from coworld_actors.actors import (
    Actor,
    AutoShutdown,
    ChildSpec,
    Restart,
    SpecRefused,
    SupervisorSpec,
    open_system,
)


class Idle(Actor[int]):
    pass


def test_a_significant_child_cannot_be_permanent():
    """Its end would never be final."""
    with pytest.raises(SpecRefused, match="significant and permanent"):
        ChildSpec(name="game", start=Idle, significant=True)


def test_a_significant_child_needs_a_supervisor_that_shuts_down():
    """`auto_shutdown=never` would ignore it."""
    game = ChildSpec(name="game", start=Idle, significant=True, restart=Restart.TEMPORARY)
    with pytest.raises(SpecRefused, match="auto_shutdown is 'never'"):
        SupervisorSpec(children=(game,))
    assert SupervisorSpec(children=(game,), auto_shutdown=AutoShutdown.ANY_SIGNIFICANT).children == (game,)


def test_siblings_need_names_of_their_own():
    """Two children of one name are refused."""
    with pytest.raises(SpecRefused, match="two children are named 'a'"):
        SupervisorSpec(children=(ChildSpec(name="a", start=Idle), ChildSpec(name="a", start=Idle)))


@pytest.mark.parametrize("name", ["", "a/b", "two\nlines", "\ud800"])
def test_a_name_is_one_part_of_a_path(name):
    """Empty names, slashes and what no terminal or log can show are refused."""
    with pytest.raises(SpecRefused, match="cannot be a child's name"):
        ChildSpec(name=name, start=Idle)


@pytest.mark.parametrize("shutdown", [-1.0, math.nan])
def test_a_grace_is_a_time(shutdown):
    """Negative numbers and NaN are refused."""
    with pytest.raises(SpecRefused, match="shutdown"):
        ChildSpec(name="a", start=Idle, shutdown=shutdown)


def test_an_endless_grace_is_allowed():
    """OTP's `infinity`."""
    assert ChildSpec(name="a", start=Idle, shutdown=math.inf).shutdown == math.inf


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"restart": "temporary"}, "child 'a' has restart='temporary', of type str; use Restart.TEMPORARY"),
        ({"restart": "never"}, "use Restart.PERMANENT or Restart.TRANSIENT or Restart.TEMPORARY"),
        ({"restart": None}, "restart=None"),
        (
            {"significant": "yes", "restart": Restart.TEMPORARY},
            "significant='yes', of type str; use a value of type bool",
        ),
        ({"shutdown": "5"}, "shutdown='5'; use a number of at least 0"),
        ({"shutdown": True}, "shutdown=True"),
        ({"mailbox": 10}, "mailbox=10, of type int; use a value of type MailboxPolicy"),
        ({"start": None}, "start=None, which makes no actor; use the actor's class"),
        ({"start": Idle()}, "which makes no actor"),
        ({"name": 7}, "a child has name=7, of type int; use a value of type str"),
    ],
)
def test_a_child_of_wrong_types_is_refused_where_it_is_written(fields, words):
    """Not when its supervisor first looks at the field, which may be at the child's end."""
    with pytest.raises(SpecRefused, match=re.escape(words)):
        ChildSpec(**{"name": "a", "start": Idle, **fields})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"strategy": "one_for_all"},
            "a supervisor has strategy='one_for_all', of type str; use Strategy.ONE_FOR_ALL",
        ),
        ({"auto_shutdown": "any_significant"}, "use AutoShutdown.ANY_SIGNIFICANT"),
        ({"stop_order": "together"}, "use StopOrder.TOGETHER"),
        ({"restarts": 3}, "restarts=3, of type int; use a value of type RestartPolicy"),
        ({"children": [ChildSpec(name="a", start=Idle)]}, "of type list; use a value of type tuple"),
        ({"children": (Idle,)}, "use a value of type ChildSpec"),
        ({"scope": None}, "scope=None"),
    ],
)
def test_a_supervisor_of_wrong_types_is_refused_where_it_is_written(fields, words):
    """With the value, its type, and what to write instead."""
    with pytest.raises(SpecRefused, match=re.escape(words)):
        SupervisorSpec(**fields)


async def test_something_else_than_a_spec_is_no_child():
    """A supervisor says so before it has begun anything."""
    async with open_system() as system:
        with pytest.raises(SpecRefused, match="use a value of type ChildSpec"):
            await system.root.start_child(Idle)
        assert system.tree() == []
