"""Wheels of what is installed here, made again from the installed files: an index for those who reach none."""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement

__all__ = ["installed", "needed", "write_wheel"]

_PER_INSTALLATION = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(places: Sequence[str]) -> dict[str, Distribution]:
    """The distributions in directories such as `sys.path`, by their canonical names; of two the first."""
    found: dict[str, Distribution] = {}
    for each in distributions(path=list(places)):
        found.setdefault(_canonical(each.metadata["Name"]), each)
    return found


def needed(
    wanted: Iterable[str], here: Mapping[str, Distribution], environment: Mapping[str, str]
) -> dict[str, Distribution]:
    """What requirements lead to, themselves included.

    Args:
        wanted: requirements such as `httpx` or `coworld-actors[examples]`.
        here: what is installed.
        environment: values of markers that are not those of this interpreter.
    """
    found: dict[str, Distribution] = {}
    done: set[tuple[str, str]] = set()
    waiting = [Requirement(each) for each in wanted]
    while waiting:
        requirement = waiting.pop()
        name = _canonical(requirement.name)
        found[name] = here[name]
        for extra in ("", *requirement.extras):
            if (name, extra) in done:
                continue
            done.add((name, extra))
            for text in here[name].requires or ():
                inner = Requirement(text)
                if inner.marker is None or inner.marker.evaluate({**environment, "extra": extra}):
                    waiting.append(inner)
    return found


def write_wheel(distribution: Distribution, directory: Path) -> Path:
    """Write the wheel that a distribution was installed from, without what its installation has added."""
    about = distribution.read_text("WHEEL")
    assert about is not None, f"{distribution.name} was not installed from a wheel"
    tags = [line.partition(": ")[2].split("-") for line in about.splitlines() if line.startswith("Tag: ")]
    tag = "-".join(".".join(dict.fromkeys(part)) for part in zip(*tags, strict=True))
    stem = f"{re.sub('[-_.]+', '_', distribution.metadata['Name'])}-{distribution.version}"
    path = directory / f"{stem}-{tag}.whl"
    record: list[str] = []
    with zipfile.ZipFile(path, "w") as wheel:
        for file in distribution.files or ():
            # Scripts and manual pages lie outside; an installer makes the scripts anew.
            if ".." in file.parts or "__pycache__" in file.parts:
                continue
            # Only its own: what it brings along of others is content.
            if len(file.parts) == 2 and file.parent.suffix == ".dist-info" and file.name in _PER_INSTALLATION:
                if file.name == "RECORD":
                    record_name = str(file)
                continue
            data = Path(str(distribution.locate_file(file))).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{file},sha256={digest},{len(data)}")
            wheel.writestr(zipfile.ZipInfo(str(file)), data)
        wheel.writestr(zipfile.ZipInfo(record_name), "\n".join([*record, f"{record_name},,"]) + "\n")
    return path
