"""Trace contexts of the environment: what is valid is handed on, the rest is as if it were not there."""

from __future__ import annotations

import json

import pytest
import trio

from coworld_actors.observe.trace_context import inherited_trace, trace_variables
from coworld_actors.runtime.opening import open_runtime
from coworld_drivers.process import ProcessDriver

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "parent",
    [
        PARENT,
        f"00-{TRACE}-{SPAN}-00",
        f"00-{TRACE}-{SPAN}-ff",
        f"01-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like",
    ],
)
def test_a_valid_parent_is_handed_on_unchanged(parent: str) -> None:
    """Version 00, and later ones with what they may add."""
    assert trace_variables({"TRACEPARENT": parent, "OTHER": "x"}) == {"TRACEPARENT": parent}


@pytest.mark.parametrize(
    "parent",
    [
        "",
        " " + PARENT,
        PARENT + "\n",
        PARENT.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"01-{TRACE}-{SPAN}-01.more",
        f"01-{TRACE}-{SPAN}-01-" + "x" * 500,
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE[:-1]}\N{ARABIC-INDIC DIGIT ONE}-{SPAN}-01",
        "garbage",
    ],
)
def test_a_malformed_parent_is_ignored_with_its_state(parent: str) -> None:
    """What breaks the format is no trace."""
    assert trace_variables({"TRACEPARENT": parent, "TRACESTATE": "a=b"}) == {}


@pytest.mark.parametrize(
    "state", ["rojo=00f067aa0ba902b7", "a=1,b=2", "t61rcwkgmze@vendor=x", "a=1, b=2 , ", "a=x y", "1a=!~"]
)
def test_a_valid_state_goes_along(state: str) -> None:
    """The second variable is unchanged too."""
    assert trace_variables({"TRACEPARENT": PARENT, "TRACESTATE": state}) == {"TRACEPARENT": PARENT, "TRACESTATE": state}


@pytest.mark.parametrize(
    "state",
    [
        "",
        ",",
        "a",
        "A=1",
        "a=1,a=2",
        "a=\t",
        "a=b=c",
        "a=\x00",
        ",".join(f"k{n}=v" for n in range(33)),
        f"a={'v' * 512}",
    ],
)
def test_a_malformed_state_is_left_out_alone(state: str) -> None:
    """The parent does not suffer for it."""
    assert trace_variables({"TRACEPARENT": PARENT, "TRACESTATE": state}) == {"TRACEPARENT": PARENT}


async def test_roles_find_the_inherited_trace(driver: ProcessDriver, spec_of) -> None:
    """A real player prints the context that our own process was started in."""
    with trio.fail_after(120):
        environ = {"TRACEPARENT": PARENT, "TRACESTATE": "a=b"}
        async with open_runtime(driver, attach=[inherited_trace(environ)]) as runtime:
            handle = await runtime.start_episode(spec_of(players=("shows_environment",)))
            assert (await handle.wait()).verdict.good
            log = (handle.spec.directory / "logs" / "policy_agent_0.log").read_text()
        assert environ.items() <= json.loads(log[log.index("{") :]).items()
        assert runtime.propagators == []
