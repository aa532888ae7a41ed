"""A tiny game for the SDK's tests: every seat adds a number each tick; the sums are the scores."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from websockets.trio.client import ClientConnection, connect

from coworld_protocol.sdk.game import GameServer
from coworld_protocol.sdk.rules import GameConfig, player_names
from coworld_protocol.ws.frames import Decoder


class SumConfig(GameConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    max_ticks: int = 3


class Add(msgspec.Struct, frozen=True, kw_only=True):
    add: int
    tick: int | None = None


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="hello"):
    slot: int
    names: list[str]


class Seen(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="seen"):
    tick: int
    sums: list[int]


class Last(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="last"):
    sums: list[int]


class Whole(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="whole"):
    tick: int
    sums: list[int]


class Step(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="step"):
    tick: int
    moved: dict[int, int]


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    scores: list[int]


class SumRules:
    def __init__(self, config: SumConfig) -> None:
        self.config = config
        self.tick = 0
        self.sums = [0] * len(config.tokens)
        self.moved: dict[int, int] = {}

    @property
    def done(self) -> bool:
        return self.tick >= self.config.max_ticks

    def welcome(self, slot: int) -> Hello:
        return Hello(slot=slot, names=player_names(self.config))

    def observe(self, slot: int) -> Seen:
        return Seen(tick=self.tick, sums=self.sums)

    def step(self, moves: Mapping[int, Add]) -> None:
        self.tick += 1
        self.moved = {slot: move.add for slot, move in moves.items()}
        for slot, number in self.moved.items():
            self.sums[slot] += number

    def final(self, slot: int) -> Last:
        return Last(sums=self.sums)

    def snapshot(self) -> Whole:
        return Whole(tick=self.tick, sums=self.sums.copy())

    def frame(self) -> Step:
        return Step(tick=self.tick, moved=self.moved)

    def results(self) -> Sums:
        return Sums(scores=self.sums)


def open_websocket(url: str) -> AbstractAsyncContextManager[ClientConnection]:
    """A client of somebody else's making, without compression, proxies and pings of its own."""
    return connect(
        url, compression=None, proxy=None, ping_interval=None, open_timeout=30, close_timeout=10, max_size=None
    )


@pytest.fixture
def websocket() -> Callable[[str], AbstractAsyncContextManager[ClientConnection]]:
    """Open a websocket to a URL, for `async with`."""
    return open_websocket


class HeldSocket:
    """A socket that keeps what it is given."""

    def __init__(self) -> None:
        self.open = True
        self.buffered = 0
        self.frames: list[bytes] = []
        self.closes: list[tuple[int, str]] = []

    def send(self, message: str | bytes) -> None:
        raise AssertionError("the SDK sends frames that are encoded already")

    def send_frame(self, frame: bytes) -> None:
        if self.open:
            self.frames.append(frame)

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.open = False
        self.closes.append((code, reason))

    def messages(self) -> list[Any]:
        """What the frames so far say; they are forgotten."""
        decoder = Decoder(masked=False, message_bytes=1_000_000)
        found = [json.loads(payload) for _, payload in decoder.receive(b"".join(self.frames))]
        self.frames.clear()
        return found


@pytest.fixture
def held_socket() -> Callable[[], HeldSocket]:
    """Make a socket without a network."""
    return HeldSocket


class Game:
    """A running game of sums: where it listens and where its files are."""

    def __init__(self, nursery: trio.Nursery, directory: Path, server: GameServer[SumConfig, Add]) -> None:
        self._nursery = nursery
        self.directory = directory
        self.server = server
        self.port = 0
        self.ended = trio.Event()

    async def start(self, config: Mapping[str, Any], **environ: str) -> Game:
        (self.directory / "config.json").write_text(json.dumps(config))
        variables = {
            "COGAME_HOST": "127.0.0.1",
            "COGAME_PORT": "0",
            "COGAME_CONFIG_URI": f"file://{self.directory}/config.json",
            "COGAME_RESULTS_URI": f"file://{self.directory}/results.json",
            "COGAME_SAVE_REPLAY_URI": f"file://{self.directory}/replay",
        } | environ

        async def run(*, task_status: trio.TaskStatus[int]) -> None:
            await self.server.run(variables, task_status=task_status)
            self.ended.set()

        self.port = await self._nursery.start(run)
        return self

    def url(self, slot: int | str = 0, token: str | None = None, route: str = "player") -> str:
        seat = f"?slot={slot}&token={token or f'token-{slot}'}" if route == "player" else ""
        return f"ws://127.0.0.1:{self.port}/{route}{seat}"

    def results(self) -> Any:
        return json.loads((self.directory / "results.json").read_text())

    def replay(self) -> Any:
        return json.loads((self.directory / "replay").read_text())


@pytest.fixture
def sum_server(tmp_path: Path) -> GameServer[SumConfig, Add]:
    """The server of the game of sums."""
    pages = tmp_path / "pages"
    pages.mkdir()
    for name in ("player", "global", "replay", "admin"):
        (pages / f"{name}.html").write_text(f"<p>{name}")
    (pages / "look.css").write_text("p {}")
    (pages / "secret.key").write_text("k")
    return GameServer(config=SumConfig, rules=SumRules, move=Add, pages=pages)


@pytest.fixture
def sum_rules() -> Callable[..., tuple[SumConfig, SumRules]]:
    """Make configuration and rules of the game of sums, for so many seats."""

    def make(seats: int = 2, **config: Any) -> tuple[SumConfig, SumRules]:
        given = SumConfig(tokens=tuple(f"token-{slot}" for slot in range(seats)), **config)
        return given, SumRules(given)

    return make


@pytest.fixture
async def start_game(
    tmp_path: Path, nursery: trio.Nursery, sum_server: GameServer[SumConfig, Add]
) -> Callable[..., Awaitable[Game]]:
    """Start a game of sums with so many seats; `token-N` is the token of seat N."""

    async def start(seats: int = 2, *, environ: Mapping[str, str] | None = None, **config: Any) -> Game:
        tokens = [f"token-{slot}" for slot in range(seats)]
        defaults = {"tick_timeout_seconds": 60, "reconnect_grace_seconds": 60, "player_connect_timeout_seconds": 60}
        game = Game(nursery, tmp_path, sum_server)
        return await game.start({"tokens": tokens, **defaults, **config}, **(environ or {}))

    return start


@pytest.fixture
def sum_types() -> tuple[type[Seen], type[Last], type[Hello], type[Add]]:
    """Observation, final, welcome and move of the game of sums."""
    return Seen, Last, Hello, Add
