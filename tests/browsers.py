"""A real browser for pages: fixtures, imported by the conftest of a folder that needs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

__all__ = ["PATIENCE", "chromium", "page"]

PATIENCE = 60.0
"""Seconds after which a page is given up."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A running Chromium of Debian's, for one module's pages."""
    program = shutil.which("chromium")
    if program is None:
        missing = "The page tests need Debian's chromium: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--disable-sync"]
    # Until it stops, Playwright leaves its asyncio loop running in this thread: nothing else in the module may need one.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags, timeout=PATIENCE * 1000)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page with a profile of its own; the test fails when it has logged an error."""
    context = chromium.new_context(viewport={"width": 1200, "height": 800})
    # The machine may be busy with the rest of the suite.
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    try:
        yield page
    finally:
        context.close()
    assert errors == []
