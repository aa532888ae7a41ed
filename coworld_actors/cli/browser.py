"""Opening pages in the browser of whoever sits at the terminal: never waits for it, never lets it write there, never fails.

Whoever may list processes reads the addresses that a browser is started with, and a page of a seat has the seat's token in its address.
So the browser is given another one: of a door of ours on loopback that leads on once and then no more.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Sequence

import trio

from coworld_actors.cli.screen import Screen
from coworld_actors.doctor.desk import find_browser
from coworld_protocol.contract import QUERY_TOKEN

__all__ = ["open_pages", "show_in_browser"]

DOOR_SECONDS = 60.0
"""How long a door stays open for a browser that takes its time to start."""

LAUNCH_SECONDS = 5.0
"""Until a browser's start is taken for a success: some stay in the foreground for as long as they are open."""

LOOK_SECONDS = 0.05
"""Between two looks whether it has ended, where there is no thread to wait in."""

REQUEST_LIMIT = 16 * 1024
"""Bytes of a browser's request that are read."""

_LAUNCH = "import sys, webbrowser; sys.exit(not webbrowser.open_new_tab(sys.argv[1]))"


async def show_in_browser(addresses: Sequence[str], wanted: bool | None, screen: Screen) -> None:
    """Open pages where that is wanted and can be done; where it cannot, that is said, and no more.

    Args:
        addresses: of the pages, the most important one last: it is the tab that is seen.
        wanted: None for where somebody sits at a terminal.
        screen: where it is said.
    """
    if wanted is False or (wanted is None and not screen.attended):
        return
    reason = find_browser(os.environ).reason
    if reason or not await open_pages(addresses):
        screen.note(f"no browser was opened: {reason or 'none could be started'}; open the addresses above yourself")


async def open_pages(addresses: Sequence[str]) -> bool:
    """Open pages, each in a tab, one after the other; returns whether all have been handed to a browser.

    Cancelling it leaves the browser alone.
    """
    opened = True
    for address in addresses:
        secret = QUERY_TOKEN in address.partition("?")[2]
        try:
            opened = await (_open_through_door(address) if secret else _launch(address)) and opened
        except OSError:
            # No port or no process left: the address has been printed, and the game is what matters.
            opened = False
    return opened


async def _open_through_door(address: str) -> bool:
    door = _Door(address)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    host, port = listener.socket.getsockname()
    opened = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, door.serve, [listener])
        opened = await _launch(f"http://{host}:{port}/{door.key}")
        if opened:
            with trio.move_on_after(DOOR_SECONDS):
                await door.passed.wait()
        nursery.cancel_scope.cancel()
    return opened


class _Door:
    """Answers the first request that knows its key with the way to an address, and every other one with nothing."""

    def __init__(self, address: str) -> None:
        self.key = secrets.token_urlsafe(16)
        self.passed = trio.Event()
        self._address = address
        self._used = False

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            with trio.move_on_after(DOOR_SECONDS):
                try:
                    await stream.send_all(self._answer(await _head(stream)))
                except trio.BrokenResourceError:
                    return
                if self._used:
                    self.passed.set()

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if self._used or len(words) != 3 or words[:2] != [b"GET", b"/" + self.key.encode()]:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self._used = True
        return (
            "HTTP/1.1 302 Found\r\n"
            f"Location: {self._address}\r\n"
            "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ).encode()


async def _head(stream: trio.SocketStream) -> bytes:
    """What was asked, to the end of its head."""
    data = b""
    while b"\r\n\r\n" not in data and len(data) < REQUEST_LIMIT:
        more = await stream.receive_some(4096)
        if not more:
            break
        data += more
    return data


async def _launch(address: str) -> bool:
    """Have the standard library choose a browser, in a process that has nothing of our terminal.

    Without TERM no browser for terminals is chosen, which would be nowhere to be seen.
    """
    environ = {name: value for name, value in os.environ.items() if name != "TERM"}
    try:
        launcher = subprocess.Popen(  # noqa: ASYNC220 - a fork; its end is waited for in a thread
            [sys.executable, "-c", _LAUNCH, address],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    with trio.move_on_after(LAUNCH_SECONDS):
        try:
            return await trio.to_thread.run_sync(launcher.wait, abandon_on_cancel=True) == 0
        except RuntimeError:
            # No thread is left to wait in.
            while launcher.poll() is None:  # noqa: ASYNC110 - a process sets no event
                await trio.sleep(LOOK_SECONDS)
            return launcher.returncode == 0
    return True
