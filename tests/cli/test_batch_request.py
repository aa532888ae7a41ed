"""A command line is read into what it asks for: what is said, and what is left as it was."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
import pytest

from coworld_actors.batch.options import BatchKind, BatchOptions, Bounds, Keep
from coworld_actors.batch.schedule import Seating
from coworld_actors.cli.batch_request import BatchRequest, batch_request
from coworld_actors.cli.compare import compare
from coworld_actors.cli.run import run
from coworld_protocol.errors import Refused

STORED = BatchOptions(manifest="/world/m.json", directory="/somewhere", players=("a", "b"), rounds=10, seed=9)


def read(*words: str, command: click.Command = run, kind: BatchKind = BatchKind.RUN) -> BatchRequest:
    context = command.make_context(command.name, list(words))
    number, blocks = context.params.get("number"), context.params.get("blocks")
    return batch_request(
        context,
        kind,
        manifest=context.params["manifest"],
        players=context.params["players"],
        rounds=number if blocks is None else blocks,
        blocks=blocks is not None,
    )


def test_what_is_not_said_has_its_default() -> None:
    """Paths are absolute: a batch may be taken up again from elsewhere."""
    options = read("m.json", "a", "b", "-n", "3", "--image", "bot:1=./bot").options()
    assert options == BatchOptions(
        manifest=str(Path("m.json").absolute()),
        directory=str(Path.cwd()),
        players=("a", "b"),
        rounds=3,
        images={"bot:1": str(Path("bot").absolute())},
    )


def test_what_is_said_is_read() -> None:
    """Every option reaches its field."""
    request = read(
        "http://host/m.json", "a", "--blocks", "4", "--seating", "shuffle", "--seed", "7", "--seed-key", "s", "--pin", "x=1",
        "--variant", "u", "--variant", "v", "--set", "y=2", "--score-direction", "lower", "--driver", "inproc", "--no-reports",
        "--timeout", "9", "--verify-replay", "--budget", "55ms:3", "--chaos", "delay=5ms", "--record", "all.cwt", "--run", "x",
        "--secret-env", "K=v", "--round-robin", "--parallel", "3", "--warm", "off", "--workers", "2", "--retries", "0",
        "--max-failures", "5", "--keep", "failed", "--on-interrupt", "finish",
    )  # fmt: skip
    options = request.options()
    assert msgspec.structs.asdict(options) == {
        **msgspec.structs.asdict(BatchOptions(manifest="http://host/m.json", directory=str(Path.cwd()))),
        "players": ("a",), "rounds": 4, "blocks": True, "seating": Seating.SHUFFLE, "seed": 7, "seed_key": "s",
        "pins": ("x=1",), "variants": ("u", "v"), "overrides": ("y=2",), "lower_is_better": True, "driver": "inproc",
        "reports": False, "timeout": 9.0, "verify_replay": True, "budget": "55ms:3", "chaos": "delay=5ms",
        "record": "all.cwt", "run": ("x",), "secrets": ("K",), "round_robin": True,
    }  # fmt: skip
    handling = request.handling
    assert (handling.parallel, handling.warm, handling.workers, handling.retries) == (3, False, 2, 0)
    assert (handling.max_failures, handling.keep, handling.finish) == (5, Keep.FAILED, True)
    assert request.secret_env == {"K": "v"}


def test_a_batch_that_is_taken_up_is_as_it_was_but_for_what_is_said() -> None:
    """Alone, `--resume` changes nothing."""
    assert read("--resume", "out").resumed(STORED) == STORED
    assert read("--resume", "out", "--seed", "7").resumed(STORED) == msgspec.structs.replace(STORED, seed=7)
    assert read("--resume", "out", "--seed", "9", "--parallel", "2").resumed(STORED) == STORED


def test_a_comparison_says_some_of_its_bounds() -> None:
    """The others are as they were."""
    stored = msgspec.structs.replace(STORED, kind=BatchKind.COMPARE, bounds=Bounds(nelo1=33))
    resumed = read("--resume", "out", "--alpha", "0.1", command=compare, kind=BatchKind.COMPARE).resumed(stored)
    assert resumed.bounds == Bounds(nelo1=33, alpha=0.1)
    new = read("m.json", "a", "b", "--nelo1", "5", command=compare, kind=BatchKind.COMPARE).options()
    assert new.bounds == Bounds(nelo1=5)


def test_another_command_asks_for_another_batch() -> None:
    """`run --resume` takes up any, `compare --resume` only a comparison."""
    comparing = read("--resume", "out", command=compare, kind=BatchKind.COMPARE).resumed(STORED)
    assert comparing.kind is BatchKind.COMPARE
    stored = msgspec.structs.replace(STORED, kind=BatchKind.COMPARE, bounds=Bounds())
    assert read("--resume", "out").resumed(stored) == stored


@pytest.mark.parametrize("player", ["cmd:./bot", "py:bots:main"])
def test_players_of_the_working_directory_need_it(player: str) -> None:
    """Elsewhere the same words would be another player."""
    stored = msgspec.structs.replace(STORED, players=(player,))
    with pytest.raises(Refused, match="working directory"):
        read("--resume", "out").resumed(stored)
    here = msgspec.structs.replace(stored, directory=str(Path.cwd()))
    assert read("--resume", "out").resumed(here) == here
