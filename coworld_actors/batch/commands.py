"""What is started for a player: the command, image and environment behind a spec, and whether they are there."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from coworld_actors.batch.specs import PlayerSpec, RefKind
from coworld_actors.manifest.seats import image_runnable, player_runnable
from coworld_drivers.environment import inherited
from coworld_drivers.images import Image, ImageMap, Resolved
from coworld_protocol.contract import Role
from coworld_protocol.errors import PreconditionMissing, Refused
from coworld_protocol.manifest import Manifest, RoleEntry, Runnable
from coworld_protocol.printable import printable
from coworld_protocol.sdk.entry import CHECK, ENTRY_MODULE

__all__ = [
    "CHECK_SECONDS",
    "check_players",
    "image_notes",
    "refuse_idle_run",
    "refuse_local",
    "runnable_of",
    "with_own_images",
]

CHECK_SECONDS: Final = 60.0
"""How long a function's module may take to be imported by `check_players`."""


def refuse_idle_run(specs: Sequence[PlayerSpec], run: tuple[str, ...]) -> None:
    """Checks that somebody is there for `--run`.

    Raises:
        Refused: nobody is an image.
    """
    if run and not any(spec.kind is RefKind.IMAGE for spec in specs):
        raise Refused(
            "--run needs an image",
            evidence=f"players: {', '.join(spec.ref for spec in specs)}",
            todo="name an image as a PLAYER",
        )


def refuse_local(specs: Sequence[PlayerSpec], mapped: Collection[str], driver: str) -> None:
    """Checks that nothing is to come from this machine where roles are containers.

    Args:
        specs: the players.
        mapped: images that the caller maps to directories.
        driver: its name.

    Raises:
        Refused: a player is a command or a function, or an image is a directory.
    """
    if mapped and driver == "docker":
        raise Refused(
            f"--image {printable(next(iter(mapped)))} names a directory, and with --driver docker every role is a container",
            todo="leave --image out, or --driver docker",
        )
    local = [spec.ref for spec in specs if spec.kind in {RefKind.COMMAND, RefKind.FUNCTION}]
    if local and driver == "docker":
        raise Refused(
            f"{printable(local[0])} is a program of this machine, and with --driver docker every role is a container",
            todo="name an image or a player of the manifest, or leave --driver docker out",
        )


def image_notes(specs: Sequence[PlayerSpec], images: ImageMap, run: tuple[str, ...]) -> list[str]:
    """What will surprise whoever mapped an image with a command: the seat's is taken, as the reference does."""
    asked = dict.fromkeys(spec.ref for spec in specs if spec.kind is RefKind.IMAGE)
    return [
        f"{image} plays with the command of its seat, not with its own `{shlex.join(images.command(image))}`; see --run"
        for image in asked
        if images.command(image) and not run
    ]


def with_own_images(images: ImageMap, specs: Sequence[PlayerSpec]) -> ImageMap:
    """The images with one more for each command and function: its directory is ours, its name the reference."""
    own = {
        spec.ref: Image(root=Path.cwd(), source=spec.ref)
        for spec in specs
        if spec.kind in {RefKind.COMMAND, RefKind.FUNCTION}
    }
    return ImageMap.merged([images, ImageMap(own)]) if own else images


def runnable_of(
    spec: PlayerSpec, fixture: RoleEntry, manifest: Manifest, run: tuple[str, ...], images: ImageMap
) -> Runnable:
    """What is started for a spec.

    Args:
        spec: the player.
        fixture: the fixture's player of the seat, whose environment an image keeps, and its command if `run` is empty.
        manifest: where players are looked up.
        run: command of images.
        images: where an image's own command is looked up when arguments go behind it.

    Raises:
        Refused: a player that cannot be started, or arguments without a command.
    """
    match spec.kind:
        case RefKind.COMMAND:
            return Runnable(type=Role.PLAYER, image=spec.ref, run=spec.argv, env=dict(spec.env))
        case RefKind.FUNCTION:
            command = ("python", "-m", ENTRY_MODULE, *spec.argv)
            return Runnable(type=Role.PLAYER, image=spec.ref, run=command, env=dict(spec.env))
        case RefKind.PLAYER:
            entry = manifest.find_player(spec.ref)
            if entry is None:
                raise Refused(f"the manifest has no player {spec.ref!r}", todo="read the specs for this manifest")
            runnable = player_runnable(entry)
        case RefKind.IMAGE:
            runnable = image_runnable(fixture, spec.ref, run)
    command = runnable.run
    if spec.args:
        command = command or images.command(runnable.image)
        if not command:
            raise Refused(
                f"{spec.ref}: arg.{next(iter(spec.args))} has no command to go behind",
                evidence=f"neither the manifest nor the mapping of {runnable.image} gives one",
                todo="give the command, with --run or in coworld_local.toml",
            )
        command = (*command, *spec.options)
    return msgspec.structs.replace(runnable, run=command, env={**runnable.env, **spec.env})


def check_players(specs: Iterable[PlayerSpec], images: ImageMap) -> None:
    """Looks at the files behind commands and functions: executables are found, modules imported, functions take their arguments.

    Blocks; a module that takes long to be imported makes it long. A function's module is imported in a process of its own, by
    the interpreter that is going to play.

    Raises:
        PreconditionMissing: an executable or a module is not there, or the interpreter lacks `coworld_protocol`.
        Refused: a module or its function cannot be used like this.
    """
    for spec in specs:
        if spec.kind is RefKind.COMMAND:
            images.resolve(spec.ref, spec.argv, role=spec.called)
        elif spec.kind is RefKind.FUNCTION:
            resolved = images.resolve(spec.ref, ("python", "-m", ENTRY_MODULE, CHECK, *spec.argv))
            _try_function(spec, resolved)


def _try_function(spec: PlayerSpec, resolved: Resolved) -> None:
    python = resolved.argv[0]
    env = {**inherited(os.environ), "HOME": "/nonexistent", **spec.env}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(resolved.root), env.get("PYTHONPATH", ""))))
    try:
        done = subprocess.run(
            resolved.argv,
            cwd=resolved.root,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PreconditionMissing(
            f"{spec.ref} takes longer than {CHECK_SECONDS:.0f} s to be imported",
            todo="move what takes long into the function",
        ) from error
    if done.returncode == 0:
        return
    said = [printable(line) for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    if any("coworld_protocol" in line and "No module named" in line for line in said):
        raise PreconditionMissing(
            f"{spec.ref} would be run by {python}, which lacks coworld_protocol",
            evidence=said[-1],
            todo=f"run {python} -m pip install coworld-actors, or start in a directory without that virtual environment",
        )
    by_label = dict(line.split(": ", 1) for line in said[1:] if line.startswith(("evidence: ", "try: ")))
    if done.returncode in {Refused.exit_code, PreconditionMissing.exit_code} and "try" in by_label:
        kind = Refused if done.returncode == Refused.exit_code else PreconditionMissing
        raise kind(f"{spec.ref}: {said[0]}", evidence=by_label.get("evidence", ""), todo=by_label["try"])
    raise Refused(
        f"{spec.ref} cannot be imported",
        evidence=said[-1] if said else f"exit status {done.returncode}",
        todo=f"correct it; {shlex.join(resolved.argv)} in {resolved.root} shows all of it",
    )
