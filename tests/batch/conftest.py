"""A real browser for the batch's page."""

from __future__ import annotations

from tests.browsers import chromium, page

__all__ = ["chromium", "page"]
