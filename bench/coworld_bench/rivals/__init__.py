"""Who is compared: one module per library, started as `python -m coworld_bench.rivals NAME MODE ...`.

Every rival does the same in the way its own documentation recommends, with compression, pings and access logs off, and with
msgspec for JSON: only the transport differs.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from coworld_bench.machine import version_of
from coworld_bench.programs import compiled

__all__ = ["RIVALS", "Mode", "Rival"]

Mode = Literal["echo", "ticks", "game", "player"]


class Rival(msgspec.Struct, frozen=True, kw_only=True):
    """One contestant.

    Attributes:
        name: on the command line.
        title: in tables.
        module: below `coworld_bench.rivals`; it has a function for each of `modes`. Empty for the C programs.
        modes: `echo`: what comes goes back; `ticks`: one observation to all, wait for all answers, again; `game` and `player`: the
            two ends of a lockstep episode.
        packages: distributions it needs.
        raw: it knows no websocket; its echo is one of bytes.
        ours: it is this project's.
        legacy: it takes the older of its library's two implementations.
    """

    name: str
    title: str
    module: str
    modes: tuple[Mode, ...]
    packages: tuple[str, ...] = ()
    raw: bool = False
    ours: bool = False
    legacy: bool = False

    @property
    def uvloop(self) -> bool:
        """Whether it runs on uvloop."""
        return "uvloop" in self.packages

    @property
    def missing(self) -> str:
        """What it would need and is not installed, or nothing."""
        if not self.module and compiled("ceiling") is None:
            return "a C compiler"
        return ", ".join(package for package in self.packages if not version_of(package))


_ECHO: tuple[Mode, ...] = ("echo",)
_BOTH: tuple[Mode, ...] = ("echo", "ticks")
_ALL: tuple[Mode, ...] = ("echo", "ticks", "game", "player")

RIVALS = {
    rival.name: rival
    for rival in (
        Rival(name="pump", title="ours, pump", module="pump", modes=_BOTH, ours=True),
        Rival(name="connection", title="ours, awaitable connection", module="connection", modes=_BOTH, ours=True),
        Rival(
            name="sdk", title="ours, GameServer and connect_player", module="sdk", modes=("game", "player"), ours=True
        ),
        Rival(
            name="trio-websocket",
            title="trio-websocket",
            module="trio_websocket",
            modes=_ALL,
            packages=("trio-websocket",),
        ),
        Rival(
            name="websockets", title="websockets, asyncio", module="websockets", modes=_ALL, packages=("websockets",)
        ),
        Rival(
            name="websockets-trio",
            title="websockets, trio",
            module="websockets_trio",
            modes=_BOTH,
            packages=("websockets",),
        ),
        Rival(name="aiohttp", title="aiohttp", module="aiohttp", modes=_BOTH, packages=("aiohttp",)),
        Rival(
            name="aiohttp-uvloop",
            title="aiohttp + uvloop",
            module="aiohttp",
            modes=_BOTH,
            packages=("aiohttp", "uvloop"),
        ),
        Rival(name="picows", title="picows", module="picows", modes=_ALL, packages=("picows",)),
        Rival(
            name="picows-uvloop",
            title="picows + uvloop",
            module="picows",
            modes=_ALL,
            packages=("picows", "uvloop"),
        ),
        Rival(
            name="fastapi",
            title="FastAPI on uvicorn",
            module="fastapi",
            modes=("echo", "ticks", "game"),
            packages=("fastapi", "uvicorn", "websockets"),
        ),
        Rival(
            name="fastapi-legacy",
            title="FastAPI on uvicorn, its older protocol",
            module="fastapi",
            modes=_BOTH,
            packages=("fastapi", "uvicorn", "websockets"),
            legacy=True,
        ),
        Rival(
            name="fastapi-uvloop",
            title="FastAPI on uvicorn + uvloop",
            module="fastapi",
            modes=("echo", "ticks", "game"),
            packages=("fastapi", "uvicorn", "websockets", "uvloop"),
        ),
        Rival(name="raw-trio", title="trio SocketStream, no framing", module="raw_trio", modes=_ECHO, raw=True),
        Rival(name="raw-epoll", title="Python sockets + epoll, no framing", module="raw_epoll", modes=_ECHO, raw=True),
        Rival(name="c-frames", title="C epoll, frames", module="", modes=_ECHO),
        Rival(name="c-raw", title="C epoll, no framing (the ceiling)", module="", modes=_ECHO, raw=True),
    )
}
"""All of them, by name."""
