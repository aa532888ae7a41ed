"""What is measured: each module has one `run` that takes a plan and gives cells."""

from __future__ import annotations

__all__: list[str] = []
