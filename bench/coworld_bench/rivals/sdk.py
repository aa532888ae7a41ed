"""Ours: a whole `GameServer` with its seats, tokens and replay, and players with `connect_player`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import trio

from coworld_bench.rivals.job import Final, Job, Move, Observation, Table, ready, token
from coworld_protocol import contract
from coworld_protocol.sdk.game import GameServer
from coworld_protocol.sdk.player import connect_player
from coworld_protocol.sdk.rules import GameConfig
from coworld_protocol.switches import ENV_UNIX_SOCKET

__all__ = ["game", "player"]


class _Seen(msgspec.Struct, frozen=True, kw_only=True):
    tick: int


class _Rules:
    """The game of `job.Table`, as an author writes it."""

    def __init__(self, job: Job) -> None:
        self._table = Table(job)
        self._observation = self._table.look()
        self._begun = False

    @property
    def tick(self) -> int:
        return self._table.tick

    @property
    def done(self) -> bool:
        return self._table.done

    def welcome(self, slot: int) -> None:
        del slot

    def observe(self, slot: int) -> Observation:
        del slot
        return self._observation

    def step(self, moves: Mapping[int, Move]) -> None:
        del moves
        if not self._begun:
            self._begun = True
            self._table.begin()
        self._table.advance()
        self._observation = self._table.look()

    def final(self, slot: int) -> Final:
        del slot
        return Final(ticks=self.tick)

    def snapshot(self) -> _Seen:
        return _Seen(tick=self.tick)

    def frame(self) -> _Seen:
        return _Seen(tick=self.tick)

    def results(self) -> _Seen:
        return _Seen(tick=self.tick)


def game(job: Job) -> None:
    """Serve one episode."""
    place = Path(job.folder)
    config = place / "config.json"
    config.write_bytes(msgspec.json.encode(GameConfig(tokens=tuple(map(token, range(job.seats))))))
    environ = {
        contract.ENV_CONFIG_URI: config.as_uri(),
        contract.ENV_RESULTS_URI: (place / "results.json").as_uri(),
        contract.ENV_HOST: "127.0.0.1",
        contract.ENV_PORT: "0",
        **({ENV_UNIX_SOCKET: job.unix} if job.unix else {}),
    }
    server = GameServer(config=GameConfig, rules=lambda _: _Rules(job), move=Move, pages=place)
    trio.run(_serve, server, environ)


async def _serve(server: GameServer[GameConfig, Move], environ: Mapping[str, str]) -> None:
    async with trio.open_nursery() as nursery:
        ready(await nursery.start(server.run, environ))


def player(job: Job) -> None:
    """Play until the game is over."""
    if job.unix:
        os.environ[ENV_UNIX_SOCKET] = job.unix
    trio.run(_play, job.url)


async def _play(url: str) -> None:
    async with connect_player(Observation, final=Final, url=url) as seat:
        async for seen in seat:
            await seat.send(Move(move="up", tick=seen.tick))
