"""Read and write what a URI names: `file://`, a bare path, `http(s)://`; and read the public objects behind `s3://bucket/key`.

Files are written under a temporary name and renamed, so a reader never sees half of one. Servers that say 429 or 5xx, or that
cannot be reached, are asked again after 0.5, 1 and 2 seconds. The functions block; call them from a thread inside trio.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from coworld_protocol.errors import PreconditionMissing

__all__ = [
    "RETRY_DELAYS",
    "Encoding",
    "UriFailed",
    "compress",
    "encoding_of",
    "file_path",
    "inflate",
    "is_small_file",
    "read_uri",
    "write_uri",
]

Encoding = Literal["identity", "zlib", "gzip"]

RETRY_DELAYS = (0.5, 1.0, 2.0)
"""Seconds before each further attempt."""

_RETRIED = frozenset({429, 500, 502, 503, 504})
_READ_TIMEOUT = 30.0
_WRITE_TIMEOUT = 60.0
_INFLATED_LIMIT = 1024 * 1024 * 1024
_SUFFIXES: dict[str, Encoding] = {".z": "zlib", ".gz": "gzip"}
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# Some content networks turn the default agents of Python's clients away.
_AGENT = "coworld-actors"


class UriFailed(PreconditionMissing):
    """Something could not be read from or written to where a URI points."""


def file_path(uri: str) -> Path | None:
    """The path behind a `file://` URI or a bare path, percent-decoded; None for http(s).

    Raises:
        UriFailed: the scheme is not one of those three.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise UriFailed(
            "A URI cannot be parsed.", evidence=str(error), todo="check what is between // and /"
        ) from error
    if parts.scheme in {"http", "https"}:
        return None
    if parts.scheme == "file":
        if parts.netloc not in {"", "localhost"}:
            raise UriFailed(
                f"{_shown(uri)} names another machine.", todo="a file:// URI has three slashes: file:///path"
            )
        return Path(unquote(parts.path))
    if parts.scheme and "://" in uri:
        raise UriFailed(
            f"The scheme of {_shown(uri)} is not supported.", todo="use file://, a path, http:// or https://"
        )
    return Path(uri)


def is_small_file(uri: str, limit: int) -> bool:
    """Whether a URI names a regular file of this machine with at most `limit` bytes; False for whatever cannot be looked at."""
    try:
        path = None if uri.startswith("s3://") else file_path(uri)
        found = None if path is None else path.stat()
    except (OSError, ValueError, UriFailed):
        return False
    return found is not None and stat.S_ISREG(found.st_mode) and found.st_size <= limit


def read_uri(uri: str) -> bytes:
    """The bytes behind a URI, as they are; redirects are followed.

    Raises:
        UriFailed: they cannot be had.
    """
    if uri.startswith("s3://"):
        return _request("GET", _public_address(uri), None, "")
    path = file_path(uri)
    if path is None:
        return _request("GET", uri, None, "")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UriFailed(
            f"{path} cannot be read.", evidence=str(error), todo="check the path and its permissions"
        ) from error


def write_uri(uri: str, data: bytes, content_type: str, method: Literal["PUT", "POST"] = "PUT") -> None:
    """Write `data` so that it is there whole or not at all; parents of a file are made.

    Args:
        uri: where to.
        data: the content.
        content_type: sent with http(s), otherwise unused.
        method: how http(s) is asked.

    Raises:
        UriFailed: it could not be written; nothing is left behind under the name.
    """
    path = file_path(uri)
    if path is None:
        _request(method, uri, data, content_type)
        return
    try:
        try:
            _replace(path, data)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, data)
    except OSError as error:
        todo = "check that the directory is writable and the disk not full"
        raise UriFailed(f"{path} cannot be written.", evidence=str(error), todo=todo) from error


def encoding_of(uri: str) -> Encoding:
    """How a file's name says that it is compressed: `.z` stands for zlib, `.gz` for gzip, anything else for not at all."""
    return _SUFFIXES.get(PurePosixPath(uri.partition("?")[0].partition("#")[0]).suffix.lower(), "identity")


def compress(data: bytes, encoding: Encoding) -> bytes:
    """Do what `inflate` undoes; the same data always becomes the same bytes."""
    if encoding == "zlib":
        return zlib.compress(data)
    return gzip.compress(data, mtime=0) if encoding == "gzip" else data


def inflate(data: bytes, encoding: str) -> bytes:
    """Undo `zlib`, `gzip` or `identity`; at most 1 GiB comes out.

    Raises:
        UriFailed: the data is not what `encoding` says, or larger.
    """
    if encoding == "identity":
        return data
    if encoding not in {"zlib", "gzip"}:
        raise UriFailed(f"The encoding {encoding!r} is not supported.", todo="use identity, zlib or gzip")
    decoder = zlib.decompressobj(wbits=31 if encoding == "gzip" else zlib.MAX_WBITS)
    try:
        out = decoder.decompress(data, _INFLATED_LIMIT)
    except zlib.error as error:
        raise UriFailed(f"The data is not {encoding}.", evidence=str(error), todo="write it again") from error
    if not decoder.eof:
        reason = "it holds more than 1 GiB" if decoder.unconsumed_tail else "its end is missing"
        raise UriFailed(f"The {encoding} data cannot be used.", evidence=reason, todo="write it again")
    return out


def _replace(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        # mkstemp makes files for the owner only; readers of a shared workspace may be somebody else.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _request(method: str, uri: str, data: bytes | None, content_type: str) -> bytes:
    import httpx  # noqa: PLC0415 - 70 ms that a game or player on files does not need

    headers = {"User-Agent": _AGENT} | ({"Content-Type": content_type} if data is not None else {})
    timeout = _READ_TIMEOUT if data is None else _WRITE_TIMEOUT
    evidence = ""
    with httpx.Client(timeout=timeout, follow_redirects=data is None, headers=headers) as client:
        for delay in (*RETRY_DELAYS, None):
            try:
                response = client.request(method, uri, content=data)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                evidence = str(error) or type(error).__name__
                if isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol)):
                    break
            else:
                if response.is_success:
                    return response.content
                evidence = f"HTTP status {response.status_code}"
                if response.status_code not in _RETRIED:
                    break
            if delay is not None:
                _sleep(delay)
    what = f"{_shown(uri)} cannot be {'read' if data is None else 'written'}."
    raise UriFailed(what, evidence=evidence, todo="check the address and that the server is up")


def _public_address(uri: str) -> str:
    """Where a public object of a bucket is had without a signature."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not (_BUCKET.fullmatch(bucket) and key):
        raise UriFailed(f"{uri} does not name an object.", todo="write s3://bucket/key")
    return f"https://{bucket}.s3.amazonaws.com/{quote(key)}"


def _shown(uri: str) -> str:
    """A URI without what may be secret: its query, which may hold a signature, and a user's name and password."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


_sleep: Callable[[float], None] = time.sleep
