"""From a command line that asks for a batch to what it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from coworld_actors.batch.options import BatchKind, BatchOptions, Bounds, Handling, Keep
from coworld_actors.batch.schedule import Seating
from coworld_actors.cli.batch_options import given, pairs, player_access, tap_spec
from coworld_actors.cli.screen import Detail
from coworld_actors.episode.dialect import Compat
from coworld_drivers.driver import Pull
from coworld_protocol.errors import Refused

__all__ = ["BatchRequest", "batch_request"]

_IN_DIRECTORY = ("cmd:", "py:")
"""Players that are started in our working directory."""

_BOUNDS = ("nelo0", "nelo1", "alpha", "beta")


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line said.

    Attributes:
        command: its name, for sentences.
        kind: what for.
        said: the fields of `BatchOptions` that it has; of `bounds` a mapping of those that it has.
        handling: how to play.
        secret_env: variables for players that appear nowhere.
        resume: the batch to go on with.
        output: the new batch's directory.
        events: where records go, `-` for stdout.
        detail: how much to show.
        as_json: whether stdout belongs to one document.
    """

    command: str
    kind: BatchKind
    said: Mapping[str, Any]
    handling: Handling
    secret_env: Mapping[str, str]
    resume: Path | None = None
    output: Path | None = None
    events: Path | None = None
    detail: Detail = Detail.NORMAL
    as_json: bool = False

    @property
    def streams(self) -> bool:
        """Whether stdout takes a record a line."""
        return self.events == Path("-")

    def options(self) -> BatchOptions:
        """What a new batch is asked for."""
        said: dict[str, Any] = {**self.said, "kind": self.kind, "directory": str(Path.cwd())}
        if self.kind is BatchKind.COMPARE:
            said["bounds"] = Bounds(**self.said.get("bounds", {}))
        return BatchOptions(**said)

    def resumed(self, stored: BatchOptions) -> BatchOptions:
        """What a batch that was begun before is asked for: what is not said is as it was.

        Raises:
            Refused: its players are commands, and this is not the directory that they were started in.
        """
        said = dict(self.said)
        if self.command != "run":
            said["kind"] = self.kind
        if "bounds" in said:
            said["bounds"] = msgspec.structs.replace(stored.bounds or Bounds(), **said["bounds"])
        texts = (*stored.players, *stored.pool)
        if stored.directory != str(Path.cwd()) and any(text.startswith(_IN_DIRECTORY) for text in texts):
            raise Refused(
                "this batch has players that are started in the working directory, which is another one now",
                evidence=f"it was {stored.directory}",
                todo=f"cd {stored.directory} first",
            )
        return msgspec.structs.replace(stored, **said)


def batch_request(
    context: click.Context,
    kind: BatchKind,
    *,
    manifest: str | None,
    players: tuple[str, ...] = (),
    pool: tuple[str, ...] = (),
    rounds: int | None = None,
    blocks: bool = False,
) -> BatchRequest:
    """Read the options that a batch has, whatever its command.

    Args:
        context: with the values of the command's options.
        kind: what the batch is for.
        manifest: None when it was not named.
        players: as given.
        pool: as given.
        rounds: None when it was not said.
        blocks: what `rounds` are.

    Raises:
        Refused: what cannot be read, or does not go together.
    """
    values, here = context.params, given(context)
    secrets, outside = player_access(values)
    resume: Path | None = values["resume"]
    if resume is None and manifest is None:
        raise click.MissingParameter(ctx=context, param_hint="'MANIFEST'", param_type="argument")
    if resume is not None and values["output"] is not None:
        raise Refused("--resume and --output do not go together", todo="leave --output out: a batch stays where it is")
    record: Path | None = values["record"]
    if record is not None and record.name != str(record):
        raise Refused(
            f"--record {record} is not a plain name",
            evidence="in a batch there is a recording in the directory of every episode",
            todo=f"write --record {record.name}",
        )
    tap_spec(tap=values["tap"], budget=values["budget"], record=record, chaos=values["chaos"])
    said: dict[str, Any] = {
        "players": players,
        "pool": pool,
        "variants": values["variants"],
        "overrides": values["overrides"],
        "pins": values["pins"],
        "images": {
            name: str(Path(place).absolute()) for name, place in pairs(values["images"], "--image", "NAME=DIR").items()
        },
        "run": values["run_tokens"],
        "secrets": tuple(sorted(secrets)),
        "outside": outside,
    }
    said = {name: value for name, value in said.items() if value}
    if manifest is not None:
        said["manifest"] = manifest if "://" in manifest else str(Path(manifest).absolute())
    if rounds is not None:
        said |= {"rounds": rounds, "blocks": blocks}
    typed: dict[str, tuple[str, Any]] = {
        "seating": ("seating", Seating(values["seating"])),
        "seed": ("seed", values["seed"]),
        "seed_key": ("seed_key", values["seed_key"]),
        "round_robin": ("round_robin", values.get("round_robin", False)),
        "score_direction": ("lower_is_better", values["score_direction"] == "lower"),
        "driver": ("driver", values["driver"]),
        "trust": ("trust", values["trust"]),
        "compat": ("compat", Compat(values["compat"])),
        "timeout": ("timeout", values["timeout"]),
        "reports": ("reports", bool(values["reports"])),
        "verify_replay": ("verify_replay", values["verify_replay"]),
        "tap": ("tap", values["tap"]),
        "budget": ("budget", values["budget"]),
        "chaos": ("chaos", values["chaos"]),
        "record": ("record", None if record is None else str(record)),
    }
    said |= {field: value for parameter, (field, value) in typed.items() if parameter in here}
    bounds = {name: values[name] for name in _BOUNDS if name in here}
    if bounds:
        said["bounds"] = bounds
    return BatchRequest(
        command=context.info_name or "run",
        kind=kind,
        said=said,
        handling=Handling(
            parallel=values["parallel"],
            warm=values["warm"] == "auto",
            pull=Pull(values["pull"]),
            workers=values["workers"],
            retries=values["retries"],
            max_failures=values["max_failures"],
            keep=Keep(values["keep"]),
            finish=values["on_interrupt"] == "finish",
        ),
        secret_env=secrets,
        resume=resume,
        output=values["output"],
        events=values["events"],
        detail=Detail.QUIET if values["quiet"] else Detail.VERBOSE if values["verbose"] else Detail.NORMAL,
        as_json=values["as_json"],
    )
