"""A small game of the contract's first versions: it knows their names and no others.

Pages below `/clients/`, replay mode by `COGAME_REPLAY_SERVER`, the replay named by whoever connects to `/replay`.
"""

import asyncio
import json
import os
import sys
import urllib.parse
from http import HTTPStatus
from pathlib import Path

from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.http11 import Response

REPLAY_MODE = os.environ.get("COGAME_REPLAY_SERVER") == "1"
PAGES = {"/clients/replay"} if REPLAY_MODE else {"/clients/player", "/clients/global"}


def path_of(uri: str) -> Path:
    return Path(urllib.parse.unquote(urllib.parse.urlparse(uri).path))


def read(uri: str) -> dict:
    return json.loads(path_of(uri).read_text())


def write(variable: str, document: dict) -> None:
    path_of(os.environ[variable]).write_text(json.dumps(document))


CONFIG = {} if REPLAY_MODE else read(os.environ["COGAME_CONFIG_URI"])
SEATS: dict[int, object] = {}
OVER = asyncio.Event()


def page(status: HTTPStatus) -> Response:
    return Response(status, status.phrase, Headers([("Content-Length", "0")]), b"")


def answer(connection, request):
    url = urllib.parse.urlparse(request.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    if url.path == "/healthz" or url.path in PAGES:
        return page(HTTPStatus.OK)
    if REPLAY_MODE:
        try:
            return None if url.path == "/replay" and read(query["uri"]) else page(HTTPStatus.NOT_FOUND)
        except (KeyError, OSError, ValueError):
            return page(HTTPStatus.BAD_REQUEST)
    if url.path == "/global":
        return None
    if url.path == "/player":
        slot = query.get("slot", "")
        right = slot.isdigit() and int(slot) < len(CONFIG["tokens"])
        return None if right and query.get("token") == CONFIG["tokens"][int(slot)] else page(HTTPStatus.FORBIDDEN)
    return page(HTTPStatus.NOT_FOUND)


async def serve_socket(connection):
    url = urllib.parse.urlparse(connection.request.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    if url.path == "/replay":
        await connection.send(json.dumps(read(query["uri"])))
        await asyncio.sleep(60)
    if url.path == "/global":
        await connection.send("{}")
        await OVER.wait()
        return
    SEATS[int(query["slot"])] = connection
    await OVER.wait()


async def main() -> None:
    port = int(os.environ["COGAME_PORT"])
    async with serve(serve_socket, "0.0.0.0", port, process_request=answer, ping_interval=None, close_timeout=0.2):
        if REPLAY_MODE:
            await asyncio.sleep(600)
        print("names:", os.environ.get("COGAMES_POLICY_NAMES"), flush=True)
        while len(SEATS) < len(CONFIG["tokens"]):
            await asyncio.sleep(0.01)
        write("COGAME_RESULTS_URI", {"scores": [0.0] * len(SEATS)})
        write("COGAME_SAVE_REPLAY_URI", {"old": True})
        for seat in SEATS.values():
            await seat.send(json.dumps({"final": True}))
        OVER.set()


if __name__ == "__main__":
    asyncio.run(main())
    sys.stdout.flush()
