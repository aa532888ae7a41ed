"""What an image's name means on a machine without containers: a directory, a command and an interpreter.

Two ways to say so: a table `[images."NAME"]` in `coworld_local.toml` beside the manifest, or `--image NAME=DIR`, which wins.

    [images."paintarena:latest"]
    root = "arena"                  # relative to the toml; working directory and first entry of PYTHONPATH
    run = ["python", "-m", "game"]  # only when the manifest's entry has no `run`
    python = "venv/bin/python"      # replaces a leading python, python3 or python3.x
    env = { MODE = "local" }        # below the contract's variables
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from coworld_protocol.errors import PreconditionMissing, Refused

__all__ = ["LOCAL_FILE", "Image", "ImageMap", "Resolved", "load_images"]

LOCAL_FILE = "coworld_local.toml"

_PYTHON = re.compile(r"python(3(\.\d+)?)?")


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """One image's place on this machine.

    Attributes:
        root: absolute directory that stands for the image's working directory.
        run: command for roles whose manifest entry has none.
        python: absolute path of the interpreter that replaces a leading `python`; None looks into `root`, then takes ours.
        env: variables for every role of this image.
        source: where this was said, for messages.
    """

    root: Path
    run: tuple[str, ...] = ()
    python: Path | None = None
    env: Mapping[str, str] = {}
    source: str = ""

    def interpreter(self) -> Path:
        """The Python for this image: the one named, the one of a virtual environment at or in `root`, or our own."""
        if self.python is not None:
            return self.python
        for candidate in (self.root / "bin" / "python", self.root / ".venv" / "bin" / "python"):
            if candidate.exists():
                return candidate
        return Path(sys.executable)


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """A role's image and run, ready to be started.

    Attributes:
        argv: the command; the first word is an absolute path.
        root: working directory.
        env: the image's variables.
        interpreter: the image's Python; its directory leads PATH.
    """

    argv: tuple[str, ...]
    root: Path
    env: Mapping[str, str]
    interpreter: Path


class ImageMap:
    """Image names and what they mean here.

    Args:
        images: by the exact name that the manifest uses.
        toml: the file to name when an image is missing; None when there is no manifest's directory.
    """

    def __init__(self, images: Mapping[str, Image], toml: Path | None = None) -> None:
        self._images = dict(images)
        self._toml = toml

    @classmethod
    def merged(cls, maps: Iterable[ImageMap]) -> ImageMap:
        """One map for several Coworlds that share a driver. A missing image's message names the first map's file.

        Raises:
            Refused: a name means different things in two of them; both sources are named.
        """
        images: dict[str, Image] = {}
        toml: Path | None = None
        for each in maps:
            toml = toml or each._toml  # noqa: SLF001 - of our own class
            for name, image in each._images.items():  # noqa: SLF001 - of our own class
                known = images.setdefault(name, image)
                if msgspec.structs.replace(image, source=known.source) != known:
                    raise Refused(
                        f"image {name!r} means two different things",
                        evidence=f"{known.root} in {known.source}; {image.root} in {image.source}",
                        todo="give one of the two images another name, or serve them from runtimes of their own",
                    )
        return cls(images, toml)

    def __contains__(self, image: object) -> bool:
        return image in self._images

    @property
    def entries(self) -> Mapping[str, Image]:
        """The mapped images by name."""
        return MappingProxyType(self._images)

    @property
    def local_file(self) -> Path | None:
        """The file to name when an image is missing."""
        return self._toml

    def names(self) -> list[str]:
        """The mapped names, sorted."""
        return sorted(self._images)

    def command(self, image: str) -> tuple[str, ...]:
        """The `run` of the image's own mapping; empty when it has none, or is not mapped."""
        found = self._images.get(image)
        return found.run if found else ()

    def resolve(self, image: str, run: tuple[str, ...], *, role: str = "", path: str | None = None) -> Resolved:
        """Find what to execute.

        Args:
            image: the manifest's `image`.
            run: the manifest's `run`.
            role: who wants it, for the message.
            path: the PATH for commands without a slash; None means our own.

        Raises:
            PreconditionMissing: the image is not mapped, has no command, or its directory or executable is not there.
        """
        found = self._images.get(image)
        if found is None:
            raise self._unmapped(image, role)
        who = f" (for {role})" if role else ""
        if not found.root.is_dir():
            raise PreconditionMissing(
                f"image {image!r}{who} is mapped to {found.root}, which is not a directory",
                todo=f"correct it in {found.source}",
            )
        command = run or found.run
        if not command:
            raise PreconditionMissing(
                f"image {image!r}{who} has no command: the manifest gives no `run` and neither does its mapping",
                todo=f'add run = ["python", "..."] under [images."{image}"] in {self._toml or LOCAL_FILE}',
            )
        interpreter = found.interpreter()
        if _PYTHON.fullmatch(command[0]):
            executable: Path | None = interpreter
        elif "/" in command[0] or (found.root / command[0]).is_file():
            executable = found.root / command[0]
        else:
            search = os.pathsep.join(
                (str(interpreter.parent), os.environ.get("PATH", os.defpath) if path is None else path)
            )
            which = shutil.which(command[0], path=search)
            executable = Path(which) if which else None
        if executable is None or not executable.is_file():
            raise PreconditionMissing(
                f"the executable {command[0]!r} of image {image!r}{who} does not exist",
                evidence=f"not found as {executable}" if executable else f"neither in {found.root} nor on PATH",
                todo=f"install it, or correct the manifest's `run` or {found.source}",
            )
        if not os.access(executable, os.X_OK):
            raise PreconditionMissing(
                f"{executable} of image {image!r}{who} is not executable", todo=f"run: chmod +x {executable}"
            )
        return Resolved(argv=(str(executable), *command[1:]), root=found.root, env=found.env, interpreter=interpreter)

    def _unmapped(self, image: str, role: str) -> PreconditionMissing:
        where = str(self._toml) if self._toml is not None else f"{LOCAL_FILE} beside the manifest"
        close = difflib.get_close_matches(image, self._images, n=1, cutoff=0.6)
        return PreconditionMissing(
            f"image {image!r}{f' (for {role})' if role else ''} is not mapped to a directory of this machine",
            evidence=f"mapped: {', '.join(self.names()) or 'none'}"
            + (f"; the closest is {close[0]!r}" if close else ""),
            todo=f'pass --image \'{image}=DIR\', or write [images."{image}"] with root = "DIR" into {where}',
        )


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    root: str
    run: tuple[str, ...] = ()
    python: str | None = None
    env: dict[str, str] = {}


class _LocalFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    images: dict[str, _Entry] = {}


def load_images(directory: Path | None, overrides: Mapping[str, str]) -> ImageMap:
    """Read `coworld_local.toml` of `directory`, if there is one, and lay the overrides on top.

    An override replaces an entry's `root` and `python`; its `run` and `env` stay.

    Args:
        directory: where the manifest is; None when it has no directory.
        overrides: `--image NAME=DIR` by name; `~` is expanded, a relative DIR belongs to our working directory.

    Raises:
        Refused: the file is not valid TOML, has an unknown key or a value of the wrong type.
    """
    images: dict[str, Image] = {}
    toml = None if directory is None else directory.absolute() / LOCAL_FILE
    if toml is not None:
        for name, entry in _read(toml).images.items():
            images[name] = Image(
                root=_place(toml.parent, entry.root),
                run=entry.run,
                python=None if entry.python is None else _place(toml.parent, entry.python),
                env=entry.env,
                source=str(toml),
            )
    for name, place in overrides.items():
        known = images.get(name)
        images[name] = Image(
            root=_place(Path.cwd(), place),
            run=known.run if known else (),
            env=known.env if known else {},
            source=f"--image {name}={place}",
        )
    return ImageMap(images, toml)


def _place(base: Path, text: str) -> Path:
    # normpath and not resolve(): a virtual environment's bin/python is a symbolic link that must be kept.
    return Path(os.path.normpath(base / Path(text).expanduser()))


def _read(toml: Path) -> _LocalFile:
    try:
        text = toml.read_text(encoding="utf-8")
    except FileNotFoundError:
        return _LocalFile()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{toml} cannot be read", evidence=str(error)) from error
    try:
        return msgspec.convert(tomllib.loads(text), _LocalFile)
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{toml} is not valid TOML", evidence=str(error), todo="correct that line") from error
    except msgspec.ValidationError as error:
        raise Refused(
            f"{toml} is refused",
            evidence=str(error),
            todo='only [images."NAME"] with root, run, python and env is understood',
        ) from error
