"""What a batch was asked for: what decides what is played, and what may change when it is taken up again."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from coworld_actors.batch.schedule import Seating
from coworld_actors.episode.dialect import Compat
from coworld_actors.runtime.place import Place
from coworld_drivers.driver import Pull

__all__ = ["BatchKind", "BatchOptions", "Bounds", "Handling", "Keep", "differences"]


class BatchKind(enum.StrEnum):
    """What the episodes are played for."""

    RUN = "run"
    """Standings of all players."""
    COMPARE = "compare"
    """Whether the first player is better than the second; ends when the answer is known."""
    PICKUP = "pickup"
    """What the first player is worth in the place of somebody from the pool."""


class Keep(enum.StrEnum):
    """Whose files stay."""

    ALL = "all"
    FAILED = "failed"
    """Those of episodes that do not count; of the others nothing but their line is kept."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """The two hypotheses of `compare` and how often each may be taken for the other.

    Attributes:
        nelo0: normalised Elo difference of H0.
        nelo1: of H1; more than `nelo0`.
        alpha: chance of H1 while H0 is true.
        beta: chance of H0 while H1 is true.
    """

    nelo0: float = 0.0
    nelo1: float = 20.0
    alpha: float = 0.05
    beta: float = 0.05


class BatchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what is played. A batch that is taken up again must have been asked for the same.

    Attributes:
        kind: what for.
        manifest: absolute path of the manifest.
        directory: absolute path of the working directory, where `cmd:` and `py:` players are started.
        players: as given; empty for the manifest's own.
        pool: of `pickup`, as given.
        variants: ids, in the order of play; empty for the certification fixture.
        overrides: every `--set`.
        pins: every `--pin`.
        images: absolute directory by image.
        run: tokens of the command of players that are images.
        secrets: names of the variables for players that appear nowhere; their values are not kept.
        rounds: episodes per variant and lineup, or blocks.
        blocks: whether a round is a block of every seating with one seed.
        seating: who sits where.
        seed: of the first round.
        seed_key: where the game's configuration takes it; None to look for it.
        round_robin: whether every subset of the players meets that fits the seats.
        lower_is_better: the direction of the scores.
        driver: where roles run.
        compat: which generations of games are understood.
        trust: whether containers are kept from the machine by nothing but limits.
        outside: whether containers reach the network outside.
        timeout: until a game has to have ended, in seconds.
        reports: whether reporters and graders run.
        verify_replay: whether replays are loaded again.
        tap: whether the traffic is watched.
        budget: of the tap, as given.
        chaos: of the tap, as given.
        record: name of the file in every episode's directory that keeps the traffic.
        bounds: of `compare`.
    """

    kind: BatchKind = BatchKind.RUN
    manifest: str
    directory: str
    players: tuple[str, ...] = ()
    pool: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()
    images: Mapping[str, str] = {}
    run: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    rounds: int = 1
    blocks: bool = False
    seating: Seating = Seating.ROTATE
    seed: int = 42
    seed_key: str | None = None
    round_robin: bool = False
    lower_is_better: bool = False
    driver: str = "process"
    compat: Compat = Compat.CURRENT
    trust: bool = False
    outside: bool = False
    timeout: float = 3600.0
    reports: bool = False
    verify_replay: bool = False
    tap: bool = False
    budget: str | None = None
    chaos: str | None = None
    record: str | None = None
    bounds: Bounds | None = None

    def place(self, pull: Pull = Pull.MISSING) -> Place:
        """Where roles run.

        Raises:
            Refused: what does not go together.
        """
        return Place(driver=self.driver, trust=self.trust, outside=self.outside, pull=pull)

    @property
    def taps(self) -> bool:
        """Whether there is a tap, asked for by itself or by what needs it."""
        return self.tap or any(each is not None for each in (self.budget, self.chaos, self.record))


class Handling(msgspec.Struct, frozen=True, kw_only=True):
    """How it is played: nothing here changes what is played, so it may be another one each time.

    Attributes:
        parallel: episodes at once; None to find out what the machine can take.
        warm: whether a role's process is forked from one that has already imported what it needs.
        pull: when a registry is asked for an image.
        workers: processes that episodes of the in-process driver are spread over; None for as many as there are cores.
        retries: how often an episode is played again that something of the machine's kept from counting.
        max_failures: the batch ends early once more episodes than this have failed; None for never.
        keep: whose files stay.
        finish: whether a first signal lets running episodes end by themselves.
    """

    parallel: int | None = None
    warm: bool = True
    pull: Pull = Pull.MISSING
    workers: int | None = None
    retries: int = 2
    max_failures: int | None = None
    keep: Keep = Keep.ALL
    finish: bool = False


_WORDS = {
    "kind": "the command",
    "manifest": "MANIFEST",
    "directory": "the working directory",
    "players": "the players",
    "pool": "--pool",
    "variants": "--variant",
    "overrides": "--set",
    "pins": "--pin",
    "images": "--image",
    "run": "--run",
    "secrets": "--secret-env, --use-bedrock or --use-llm",
    "rounds": "-n or --blocks",
    "blocks": "--blocks",
    "seating": "--seating",
    "seed": "--seed",
    "seed_key": "--seed-key",
    "round_robin": "--round-robin",
    "lower_is_better": "--score-direction",
    "driver": "--driver",
    "compat": "--compat",
    "trust": "--trust",
    "outside": "--use-bedrock or --use-llm",
    "timeout": "--timeout",
    "reports": "--reports",
    "verify_replay": "--verify-replay",
    "tap": "--tap",
    "budget": "--budget",
    "chaos": "--chaos",
    "record": "--record",
    "bounds": "--nelo0, --nelo1, --alpha or --beta",
}
"""What a user calls a field."""


def differences(before: BatchOptions, now: BatchOptions) -> list[str]:
    """What two batches were asked for differently, in words: `--seed was 42 and is 7`."""
    return [
        f"{_WORDS[field]} was {_said(old)} and is {_said(new)}"
        for field in BatchOptions.__struct_fields__
        if (old := getattr(before, field)) != (new := getattr(now, field))
    ]


def _said(value: object) -> str:
    match value:
        case None:
            return "not given"
        case bool():
            return "on" if value else "off"
        case tuple():
            return " ".join(map(str, value)) or "not given"
        case Bounds():
            return ", ".join(f"{name} {getattr(value, name):g}" for name in value.__struct_fields__)
        case Mapping():
            return ", ".join(f"{name}={target}" for name, target in value.items()) or "not given"
        case _:
            return str(value)
