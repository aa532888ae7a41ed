"""Which files of a directory make a package: the compose file or the Dockerfile, the template, the output."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from coworld_protocol.contract import MANIFEST_FILE
from coworld_protocol.errors import Refused

__all__ = ["COMPOSE_FILES", "TEMPLATE_FILE", "Sources", "find_sources"]

COMPOSE_FILES: Final = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
"""In the order in which they are looked for."""

TEMPLATE_FILE: Final = "coworld_manifest_template.json"
DOCKERFILE: Final = "Dockerfile"
OUTPUT: Final = Path("dist") / MANIFEST_FILE


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """What is built, and where to.

    Attributes:
        directory: the package, absolute; the context of a plain Dockerfile.
        compose: the compose file; None when a Dockerfile is built.
        dockerfile: the Dockerfile; None when there is a compose file.
        template: the manifest template; None for a player's package, which has no manifest.
        output: where the manifest goes; None without a template.
    """

    directory: Path
    compose: Path | None
    dockerfile: Path | None
    template: Path | None
    output: Path | None


def find_sources(
    directory: Path,
    *,
    compose: Path | None = None,
    dockerfile: Path | None = None,
    template: Path | None = None,
    output: Path | None = None,
) -> Sources:
    """What to build in a directory; what is not given is looked for there.

    Args:
        directory: the package.
        compose: a compose file, in place of those that are looked for.
        dockerfile: a Dockerfile, in place of a compose file.
        template: a template, in place of `coworld_manifest_template.json`, then `coworld_manifest.json`.
        output: in place of `dist/coworld_manifest.json`.

    Raises:
        Refused: there is nothing to build, an output without a template, or the output is one of the sources or a directory.
    """
    if compose is not None and dockerfile is not None:
        raise Refused("--compose and --dockerfile do not go together", todo="leave one of them out")
    if not directory.is_dir():
        raise Refused(f"{directory} is no directory", todo="give the directory of a package")
    directory = directory.resolve()
    if compose is None and dockerfile is None:
        compose = _first(directory, *COMPOSE_FILES)
        if compose is None:
            dockerfile = _first(directory, DOCKERFILE)
        if compose is None and dockerfile is None:
            raise Refused(
                f"{directory} has nothing to build",
                evidence=f"no {COMPOSE_FILES[0]} and no {DOCKERFILE}",
                todo="name one with --compose or --dockerfile, or begin with coworld-actors init game DIR",
            )
    if template is None:
        template = _first(directory, TEMPLATE_FILE, MANIFEST_FILE)
    if template is None and output is not None:
        raise Refused(
            f"{directory} has no manifest template, so no manifest can be written to {output}",
            evidence=f"no {TEMPLATE_FILE} and no {MANIFEST_FILE}",
            todo=f"write {TEMPLATE_FILE}, name one with --template, or leave --output out to build images alone",
        )
    if template is not None:
        output = directory / OUTPUT if output is None else output.absolute()
    if output is not None and output.is_dir():
        raise Refused(
            f"the manifest cannot be written to {output}, which is a directory",
            todo=f"name a file with --output, {output / MANIFEST_FILE} for example",
        )
    for path in (template, compose, dockerfile):
        if path is None:
            continue
        if not path.is_file():
            raise Refused(f"{path} is not there", todo="check its name")
        if output is not None and path.resolve() == output.resolve():
            raise Refused(
                f"the manifest would replace {path}, from which it is made", todo="name another place with --output"
            )
    return Sources(
        directory=directory,
        compose=compose and compose.absolute(),
        dockerfile=dockerfile and dockerfile.absolute(),
        template=template,
        output=output,
    )


def _first(directory: Path, *names: str) -> Path | None:
    return next((path for name in names if (path := directory / name).is_file()), None)
