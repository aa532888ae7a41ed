"""The trace in which our own process was started, for example by a CI job, handed on to the roles unchanged.

Rules: https://www.w3.org/TR/trace-context/, sections 3.2 and 3.3, in the variables `TRACEPARENT` and `TRACESTATE`.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coworld_actors.runtime.opening import Attachment
    from coworld_actors.runtime.runtime import Runtime

__all__ = ["TRACEPARENT", "TRACESTATE", "inherited_trace", "trace_variables"]

TRACEPARENT = "TRACEPARENT"
TRACESTATE = "TRACESTATE"

_PARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}(?P<more>-[!-~]+)?"
)
_MEMBER = re.compile(r"(?P<key>[a-z0-9][a-z0-9_*/@-]{0,255})=[ -+\--<>-~]{0,255}[!-+\--<>-~]")
_MOST_CHARACTERS = 512
_MOST_MEMBERS = 32


def trace_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of a valid trace context in an environment; empty without one. What is malformed is ignored, as the rules say.

    Args:
        environ: `os.environ`, for example.
    """
    parent = environ.get(TRACEPARENT, "")
    if not _is_parent(parent):
        return {}
    state = environ.get(TRACESTATE, "")
    return {TRACEPARENT: parent, TRACESTATE: state} if _is_state(state) else {TRACEPARENT: parent}


def _is_parent(text: str) -> bool:
    match = _PARENT.fullmatch(text) if len(text) <= _MOST_CHARACTERS else None
    if match is None or match["version"] == "ff" or not match["trace"].strip("0") or not match["span"].strip("0"):
        return False
    # Only a later version than 00 has more than four fields.
    return match["more"] is None or match["version"] != "00"


def _is_state(text: str) -> bool:
    members = [member for each in text.split(",") if (member := each.strip(" \t"))]
    matches = [_MEMBER.fullmatch(member) for member in members]
    keys = {match["key"] for match in matches if match is not None}
    return len(text) <= _MOST_CHARACTERS and 0 < len(members) <= _MOST_MEMBERS and len(keys) == len(members)


def inherited_trace(environ: Mapping[str, str] | None = None) -> Attachment:
    """For `open_runtime(attach=[...])`: every role gets the trace context of our own environment, if it has one.

    Beside `tracing` it is not needed.

    Args:
        environ: instead of `os.environ`; read once, here.
    """
    variables = trace_variables(os.environ if environ is None else environ)

    @asynccontextmanager
    async def attached(runtime: Runtime) -> AsyncGenerator[dict[str, str]]:
        def propagate(_spec: object) -> dict[str, str]:
            return variables

        runtime.propagators.append(propagate)
        try:
            yield variables
        finally:
            runtime.propagators.remove(propagate)

    return attached
