"""What to play and within which limits: the input of `run_episode`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from coworld_actors.manifest.seats import EpisodePlan
from coworld_protocol import contract

__all__ = ["EpisodeSpec", "Limits"]


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


class EpisodeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One episode to be played.

    Attributes:
        id: unique in the system, safe as a file name.
        plan: who plays what, from the manifest.
        directory: where its files go; must be new or empty.
        limits: its clocks.
        verify_replay: whether the replay is loaded into the game again.
        reports: whether reporters and graders run.
        secret_env: variables for every player that appear in no file, event or argv.
    """

    id: str
    plan: EpisodePlan
    directory: Path
    limits: Limits = Limits()
    verify_replay: bool = False
    reports: bool = True
    secret_env: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"EpisodeSpec(id={self.id!r}, directory={str(self.directory)!r})"
