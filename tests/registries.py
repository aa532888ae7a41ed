"""A registry on this machine that a real engine pulls from: read-only, in memory, as slow and as broken as a test wants it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["LABEL", "Registry", "registry"]

LABEL = "coworld-test-registry"
"""On every image: the host of the registry that it came from."""

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def _name(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Registry:
    """What it has, and how it behaves.

    Attributes:
        host: `127.0.0.1:PORT`, to which engines speak plain HTTP.
        blobs: layers and configurations, by digest.
        manifests: media type and content, by `NAME/TAG` and by `NAME/DIGEST`.
        statuses: HTTP statuses of the next answers about manifests, before they are right.
        gate: layers are sent while it is set.
        asked: paths, in order.
    """

    def __init__(self, port: int) -> None:
        self.host = f"127.0.0.1:{port}"
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.statuses: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[str] = []

    def add(
        self, name: str, tag: str, *, layers: int = 1, architecture: str = "amd64", listed: bool = False, **config: Any
    ) -> str:
        """Have an image; returns its digest.

        Args:
            name: its repository.
            tag: its tag.
            layers: how many.
            architecture: what it is for.
            listed: as the only entry of a list, as images for several platforms are.
            config: the image's `Config`, as docker writes it.
        """
        archives = [_layer(f"{name}-{number}") for number in range(layers)]
        image = {
            "os": "linux",
            "architecture": architecture,
            "config": {"Labels": {LABEL: self.host}, **config},
            "rootfs": {"type": "layers", "diff_ids": [_name(each) for each in archives]},
        }
        packed = [gzip.compress(each, mtime=0) for each in archives]
        about = json.dumps(image).encode()
        self.blobs |= {_name(data): data for data in (*packed, about)}
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _pointer(_CONFIG, about),
            "layers": [_pointer(_LAYER, data) for data in packed],
        }
        kind, data = _MANIFEST, json.dumps(manifest).encode()
        if listed:
            self.manifests[f"{name}/{_name(data)}"] = kind, data
            entry = {**_pointer(_MANIFEST, data), "platform": {"os": "linux", "architecture": architecture}}
            kind, data = _LIST, json.dumps({"schemaVersion": 2, "mediaType": _LIST, "manifests": [entry]}).encode()
        self.manifests[f"{name}/{tag}"] = self.manifests[f"{name}/{_name(data)}"] = kind, data
        return _name(data)


def _pointer(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "size": len(data), "digest": _name(data)}


def _layer(text: str) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        # Other bytes each time: the engine fetches no layer that it has.
        data = text.encode() + os.urandom(64)
        entry = tarfile.TarInfo(text)
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return archive.getvalue()


@contextmanager
def registry() -> Iterator[Registry]:
    """A registry that serves while the context is open."""
    served: Sequence[Registry] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            (of,) = served
            of.asked.append(self.path)
            match self.path.removeprefix("/v2/").rsplit("/", 2):
                case [""]:
                    self._answer(200, "application/json", b"{}")
                case [name, "manifests", reference] if of.statuses:
                    self._answer(of.statuses.pop(0), "text/plain", f"{name}:{reference}".encode())
                case [name, "manifests", reference] if found := of.manifests.get(f"{name}/{reference}"):
                    self._answer(200, *found)
                case [_, "blobs", digest] if data := of.blobs.get(digest):
                    if not data.startswith(b"{"):
                        of.gate.wait()
                    self._answer(200, "application/octet-stream", data)
                case _:
                    self._answer(
                        404,
                        "application/json",
                        b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}',
                    )

        def _answer(self, status: int, kind: str, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Docker-Content-Digest", _name(data))
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        of = Registry(server.server_address[1])
        served = [of]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield of
        finally:
            of.gate.set()
            server.shutdown()
            thread.join()
