"""A running runtime, seen and steered from another process of the same user: a Unix socket, and what is said over it."""

from __future__ import annotations

from coworld_actors.control.server import ControlLimits, open_control

__all__ = ["ControlLimits", "open_control"]
