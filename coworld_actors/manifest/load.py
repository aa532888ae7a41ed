"""Reading a manifest from where it is, and refusing it with everything that is wrong with it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlunsplit

import httpx
import msgspec

from coworld_actors.manifest.address import split_address
from coworld_actors.manifest.document import SIZE_LIMIT, describe, json_path, parse_json, printable
from coworld_actors.manifest.rules import check_rules, notes_of
from coworld_actors.manifest.structure import compare
from coworld_protocol.contract import MANIFEST_FETCH_TIMEOUT, MANIFEST_FILE, Role
from coworld_protocol.errors import ManifestRefused, PreconditionMissing, Problem, Refused
from coworld_protocol.manifest import (
    LATER_KEYS,
    ROLE_SECTIONS,
    Manifest,
    RegisteredReporter,
    RoleEntry,
    WasmReporter,
)

__all__ = ["LoadedManifest", "ManifestOrigin", "check_manifest", "is_later", "load_manifest", "read_document"]

_USER_AGENT: Final = "coworld-actors"
"""Some hosts refuse a library's own name."""


class ManifestOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a manifest was read, so that it can be found again; nothing in it is secret.

    Attributes:
        source: as the caller said it; of an address without what may be a secret: user, password, query.
        place: the absolute path of its file, or the address.
    """

    source: str
    place: str


class LoadedManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest that keeps every rule.

    Attributes:
        manifest: its typed form.
        raw: the document as it was read, every key kept.
        source: where from, as the caller said it.
        directory: where files beside it are; None for one that came over the network.
        origin: where it can be found again; None for one that was made in memory.
        reporter_references: 0.1.64's reporters, which cannot run here and are skipped.
        warnings: what is accepted but will surprise: keys that are ignored, roles that are skipped. A sentence each.
    """

    manifest: Manifest
    raw: dict[str, Any]
    source: str
    directory: Path | None
    origin: ManifestOrigin | None = None
    reporter_references: tuple[RegisteredReporter | WasmReporter, ...] = ()
    warnings: tuple[str, ...] = ()


def load_manifest(source: str | Path) -> LoadedManifest:
    """Reads and checks a manifest.

    Args:
        source: a path, a directory with a `coworld_manifest.json`, or a `file://` or `http(s)://` address, whose body may
            also be `{"manifest": ...}`.

    Raises:
        Refused: there is nothing to read, or it is not JSON.
        ManifestRefused: it breaks rules; all of them are named.
        PreconditionMissing: the host of the address does not answer.
    """
    document, directory = read_document(source)
    if directory is None and isinstance(document, dict) and set(document) == {"manifest"}:
        document = document["manifest"]
    loaded = check_manifest(document, source=str(source), directory=directory)
    return msgspec.structs.replace(loaded, origin=_origin(source, directory))


def check_manifest(document: Any, *, source: str, directory: Path | None = None) -> LoadedManifest:
    """Checks a manifest that has been read, and gives it its types.

    Args:
        document: what `parse_json` gives.
        source: how errors name it.
        directory: where files beside it are.

    Raises:
        ManifestRefused: it breaks rules; all of them are named.
    """
    if not isinstance(document, dict):
        raise ManifestRefused(source, [Problem(path="$", found=describe(document), allowed="an object")])
    later = is_later(document)
    raw = _without_line_ends(document)
    containers, references = _split_reporters(raw)
    problems, unknown = _compare_all(raw, references)
    problems += [] if later else unknown
    problems += check_rules(raw, later=later)
    if problems:
        raise ManifestRefused(source, list(dict.fromkeys(problems)))
    try:
        manifest = msgspec.convert({**raw, Role.REPORTER.value: containers}, Manifest)
        skipped = tuple(_reference(each) for _, each in references)
    except msgspec.ValidationError as error:
        # Not to be reached while `compare` and msgspec agree, which a property test keeps; a refusal is still the truth.
        raise ManifestRefused(source, [Problem(path="$", found=str(error), allowed="the manifest's shape")]) from error
    warnings = [f"{each.path}: an unknown key; ignored" for each in unknown]
    warnings += [f"$.reporter[{index}]: {_reference_name(each)} cannot run here; skipped" for index, each in references]
    warnings += notes_of(raw)
    return LoadedManifest(
        manifest=manifest,
        raw=document,
        source=source,
        directory=directory,
        reporter_references=skipped,
        warnings=tuple(warnings),
    )


def is_later(raw: dict[str, Any]) -> bool:
    """Whether a document is read as 0.1.64: it has `apiVersion` or another key that 0.1.26 did not know, in its place."""
    game = raw.get("game")
    places: list[tuple[str, Any]] = [("$", raw), ("$.game", game)]
    runnables: list[Any] = []
    if isinstance(game, dict):
        places.append(("$.game.protocols", game.get("protocols")))
        runnables.append(game.get("runnable"))
    for section in ROLE_SECTIONS:
        entries = raw.get(section)
        for entry in entries if isinstance(entries, list) else []:
            places.append((f"$.{section}[]", entry))
            runnables.append(entry)
    for runnable in runnables:
        resources = runnable.get("resources") if isinstance(runnable, dict) else None
        if isinstance(resources, dict):
            places += [("resources", resources), ("resources.requests", resources.get("requests"))]
    return any(
        isinstance(value, dict) and not LATER_KEYS.get(place, frozenset()).isdisjoint(value) for place, value in places
    )


def read_document(source: str | Path) -> tuple[Any, Path | None]:
    """The JSON value behind a path or address, and the directory it lies in.

    Raises:
        Refused: there is nothing to read, or it is not JSON.
        PreconditionMissing: the host of the address does not answer.
    """
    text = str(source)
    split = split_address(text) if isinstance(source, str) else None
    if split is None:
        return _read_path(Path(text), text)
    if split.scheme == "file":
        if split.netloc not in {"", "localhost"}:
            raise Refused(
                f"{text} names another machine", evidence=f"host {split.netloc!r}", todo="write file:///absolute/path"
            )
        return _read_path(Path(unquote(split.path)), text)
    if split.scheme in {"http", "https"}:
        return parse_json(_fetch(text), source=text), None
    raise Refused(
        f"{text} cannot be read",
        evidence=f"scheme {split.scheme!r}",
        todo="give a path, or a file://, http:// or https:// address",
    )


def _origin(source: str | Path, directory: Path | None) -> ManifestOrigin:
    """Where a document was read that lay in `directory`, or came over the network."""
    text = str(source)
    split = split_address(text) if isinstance(source, str) else None
    if split is not None and directory is None:
        bare = urlunsplit((split.scheme, split.netloc.rpartition("@")[2], split.path, "", ""))
        return ManifestOrigin(source=bare, place=bare)
    path = Path(text if split is None else unquote(split.path)).absolute()
    return ManifestOrigin(source=text, place=str(path / MANIFEST_FILE if path.is_dir() else path))


def _read_path(path: Path, source: str) -> tuple[Any, Path]:
    directory = False
    try:
        directory = path.is_dir()
        if directory:
            path /= MANIFEST_FILE
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError as error:
        raise Refused(
            f"the directory {source} has no {MANIFEST_FILE}" if directory else f"{source} is not there",
            evidence=f"no file {path}",
            todo=f"give the path of a {MANIFEST_FILE} or of the directory that holds it",
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Refused(f"{source} cannot be read", evidence=reason, todo="check its name and permissions") from error
    return parse_json(data, source=source), path.resolve().parent


def _fetch(url: str) -> bytes:
    """The body of an address: no redirects, one deadline for the whole of it."""
    deadline = time.monotonic() + MANIFEST_FETCH_TIMEOUT
    data = bytearray()
    try:
        with httpx.stream("GET", url, timeout=MANIFEST_FETCH_TIMEOUT, headers={"User-Agent": _USER_AGENT}) as response:
            if response.status_code != 200:
                target = response.headers.get("location")
                raise Refused(
                    f"{url} gives no manifest",
                    evidence=f"status {response.status_code}" + (f", redirected to {target}" if target else ""),
                    todo="give the address of the document itself",
                )
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > SIZE_LIMIT:
                    break
                if time.monotonic() > deadline:
                    raise PreconditionMissing(
                        f"{url} did not arrive in time",
                        evidence=f"{len(data)} bytes in {MANIFEST_FETCH_TIMEOUT:.0f} s",
                        todo="download it and give the file",
                    )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PreconditionMissing(
            f"{url} cannot be reached",
            evidence=str(error) or type(error).__name__,
            todo="check the address and the network",
        ) from error
    return bytes(data)


def _without_line_ends(raw: dict[str, Any]) -> dict[str, Any]:
    """A copy in which page ids have lost the line ends behind them, which the reference strips before it looks."""
    game = raw.get("game")
    docs = game.get("docs") if isinstance(game, dict) else None
    pages = docs.get("pages") if isinstance(docs, dict) else None
    if not isinstance(game, dict) or not isinstance(docs, dict) or not isinstance(pages, list):
        return raw
    stripped = [
        {**page, "id": page["id"].rstrip("\r\n")}
        if isinstance(page, dict) and isinstance(page.get("id"), str)
        else page
        for page in pages
    ]
    return {**raw, "game": {**game, "docs": {**docs, "pages": stripped}}}


Indexed = list[tuple[int, dict[str, Any]]]


def _split_reporters(raw: dict[str, Any]) -> tuple[list[Any], Indexed]:
    """The reporters that can be started, and with their places those that are references."""
    containers: list[Any] = []
    references: Indexed = []
    entries = raw.get(Role.REPORTER)
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if isinstance(entry, dict) and ("reporter" in entry or "wasm" in entry):
            references.append((index, entry))
        else:
            containers.append(entry)
    return containers, references


def _compare_all(raw: dict[str, Any], references: Indexed) -> tuple[list[Problem], list[Problem]]:
    """Wrong values and unknown keys of the whole document."""
    places = dict(references)
    whole = compare({key: value for key, value in raw.items() if key != Role.REPORTER}, Manifest)
    found = [whole]
    entries = raw.get(Role.REPORTER, [])
    problems: list[Problem] = []
    if isinstance(entries, list):
        for index, entry in enumerate(entries):
            shape = _reference_shape(entry) if index in places else RoleEntry
            found.append(compare(entry, shape, (Role.REPORTER.value, index)))
    else:
        problems.append(Problem(path=json_path([Role.REPORTER.value]), found=describe(entries), allowed="a list"))
    problems += [problem for each in found for problem in each.problems]
    carried = {f"$.game.protocols.{key}" for key in LATER_KEYS["$.game.protocols"]}
    return problems, [problem for each in found for problem in each.unknown if problem.path not in carried]


def _reference_shape(entry: dict[str, Any]) -> type[RegisteredReporter | WasmReporter]:
    return RegisteredReporter if "reporter" in entry else WasmReporter


def _reference(entry: dict[str, Any]) -> RegisteredReporter | WasmReporter:
    return msgspec.convert(entry, _reference_shape(entry))


def _reference_name(entry: dict[str, Any]) -> str:
    if "reporter" in entry:
        return f"the registered reporter {entry['reporter']}"
    return f"the WebAssembly reporter {printable(entry['id'])}"
