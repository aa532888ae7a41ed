"""What to play and within which limits: the input of `run_episode`."""

from __future__ import annotations

import datetime
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

from coworld_actors.episode.chaos import Chaos, parse_chaos
from coworld_actors.episode.dialect import Compat
from coworld_actors.manifest.seats import EpisodePlan
from coworld_actors.traffic.budget import Budget, parse_budget
from coworld_protocol import contract
from coworld_protocol.errors import Refused

__all__ = ["EpisodeSpec", "Limits", "TapSpec", "new_id"]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def new_id() -> str:
    """Sorts by time, is unique enough for a directory, and safe as a file and container name."""
    return f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The clocks of one episode, in seconds.

    Attributes:
        timeout: from the start until the game has ended by itself.
        startup: from the start of the game's process until it is healthy; never more than `timeout`.
        first_frame: from the last player's start until the game has shown a first frame on `/global`.
        player_grace: from the game's end until the last player has left; all players share it.
        replay: for the replay to be served, when it is verified.
        support: for each reporter and grader.
    """

    timeout: float = 3600.0
    startup: float = 120.0
    first_frame: float = contract.FIRST_FRAME_WAIT
    player_grace: float = contract.PLAYER_EXIT_GRACE
    replay: float = 60.0
    support: float = 300.0


class TapSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A tap between every player and the game, and what it does besides passing on and measuring.

    Attributes:
        budget: how long players may take; its verdict is part of the report and does not change that on the episode.
        recording: a new file that keeps all traffic.
        chaos: trouble on purpose.
    """

    budget: Budget | None = None
    recording: Path | None = None
    chaos: Chaos | None = None

    @classmethod
    def parse(cls, *, budget: str | None = None, recording: Path | None = None, chaos: str | None = None) -> TapSpec:
        """From texts, as a command line has them.

        Raises:
            Refused: a budget or chaos that cannot be read.
        """
        return cls(
            budget=None if budget is None else parse_budget(budget),
            recording=recording,
            chaos=None if chaos is None else parse_chaos(chaos),
        )


class EpisodeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One episode to be played.

    Attributes:
        plan: who plays what, from the manifest.
        directory: where its files go; must be new or empty.
        id: unique in the system, safe as a file name; a new one if it is left out.
        limits: its clocks.
        verify_replay: whether the replay is loaded into the game again.
        reports: whether reporters and graders run.
        role_env: further variables for every role, below the contract's own; public.
        probe: whether the game is held to the clauses of the contract that an episode can do without: pages, the refusal of a wrong
            token, a first frame on `/global` in time. Where people play nobody waits for the frame in any case: it may come after
            the last of them.
        tap: whether and how the traffic of the players is watched; None lets them connect to the game directly, as people always
            do.
        secret_env: variables for every player that appear in no file, event or argv.
        compat: which generations of games are understood.

    Raises:
        Refused: an id that could not be a file's name, or chaos for a seat that is not there.
    """

    plan: EpisodePlan
    directory: Path
    id: str = msgspec.field(default_factory=new_id)
    limits: Limits = Limits()
    verify_replay: bool = False
    reports: bool = True
    probe: bool = True
    role_env: Mapping[str, str] = {}
    tap: TapSpec | None = None
    secret_env: Mapping[str, str] = {}
    compat: Compat = Compat.CURRENT

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise Refused(
                f"{self.id[:200]!r} cannot be an episode's id",
                todo="use 1 to 100 letters, digits, '.', '_' and '-', the first one a letter or digit, or leave it out",
            )
        seats = len(self.plan.seats)
        chaos = self.tap.chaos if self.tap is not None else None
        if chaos is not None and chaos.seats is not None and (unknown := [n for n in chaos.seats if n >= seats]):
            raise Refused(
                f"--chaos: there is no seat {unknown[0]}",
                todo=f"use seats from 0 to {seats - 1}, or leave seats= out for all",
            )

    def __repr__(self) -> str:
        return f"EpisodeSpec(id={self.id!r}, directory={str(self.directory)!r})"
