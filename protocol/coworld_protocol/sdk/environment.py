"""The variables that a role was started with: its process's, or, for one of many roles in one process, its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar

__all__ = ["ENVIRONMENT", "environment"]

ENVIRONMENT: ContextVar[Mapping[str, str]] = ContextVar("coworld_environment")
"""Set by whoever runs several roles in one process, in the context of each one's task; its child tasks inherit it."""


def environment() -> Mapping[str, str]:
    """The variables of the role that calls this; use it in place of `os.environ`."""
    return ENVIRONMENT.get(os.environ)
