"""A game that keeps the contract, or breaks exactly the clause that its configuration names under `behaviour`.

Uses a public websocket library and nothing of ours. Its rules: every tick each connected player may say a number; scores add up.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import urllib.parse
from http import HTTPStatus
from pathlib import Path

from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.http11 import Response


def path_of(variable: str) -> Path:
    return Path(urllib.parse.unquote(urllib.parse.urlparse(os.environ[variable]).path))


REPLAY_MODE = "COGAME_LOAD_REPLAY_URI" in os.environ
CONFIG = {} if REPLAY_MODE else json.loads(path_of("COGAME_CONFIG_URI").read_text())
BEHAVIOUR = (
    json.loads(path_of("COGAME_LOAD_REPLAY_URI").read_text())["behaviour"] if REPLAY_MODE else CONFIG["behaviour"]
)
TOKENS = CONFIG.get("tokens", [])
SCORES = [0.0] * len(TOKENS)
SEATS: dict[int, object] = {}
OVER = asyncio.Event()
TICK = 0


def die() -> None:
    print("weights missing", file=sys.stderr, flush=True)
    os._exit(3)


def page(status: HTTPStatus, text: str = "page") -> Response:
    body = text.encode()
    return Response(
        status, status.phrase, Headers([("Content-Length", str(len(body))), ("Content-Type", "text/html")]), body
    )


def answer(connection, request):
    url = urllib.parse.urlparse(request.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    if url.path == "/healthz":
        if BEHAVIOUR == "never_healthy":
            return page(HTTPStatus.SERVICE_UNAVAILABLE)
        if BEHAVIOUR == "dies_after_health":
            asyncio.get_running_loop().call_later(0.005, die)
        if BEHAVIOUR == "health_hangs":
            return asyncio.sleep(60, page(HTTPStatus.OK))
        return page(HTTPStatus.OK)
    if url.path == "/client/player":
        return page(HTTPStatus.NOT_FOUND if BEHAVIOUR == "no_player_page" else HTTPStatus.OK)
    if url.path == "/client/global":
        return page(HTTPStatus.FOUND if BEHAVIOUR == "global_page_redirects" else HTTPStatus.OK)
    if url.path == "/client/replay" and REPLAY_MODE:
        return page(HTTPStatus.OK)
    if url.path == "/replay" and REPLAY_MODE:
        return None
    if url.path == "/global":
        return page(HTTPStatus.NOT_FOUND) if BEHAVIOUR == "no_global" else None
    if url.path == "/player":
        if BEHAVIOUR == "player_404":
            return page(HTTPStatus.NOT_FOUND)
        right = query.get("slot", "").isdigit() and int(query["slot"]) < len(TOKENS)
        right = right and query.get("token") == TOKENS[int(query["slot"])]
        if right or BEHAVIOUR in {"accepts_bad_token", "greets_bad_token", "closes_bad_token"}:
            return None
        return page(HTTPStatus.UNAUTHORIZED if BEHAVIOUR == "says_401" else HTTPStatus.FORBIDDEN)
    return page(HTTPStatus.NOT_FOUND)


async def serve_socket(connection):
    url = urllib.parse.urlparse(connection.request.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    if url.path == "/replay":
        if BEHAVIOUR != "silent_replay":
            await connection.send("{}")
        await asyncio.sleep(60)
    if url.path == "/global":
        if BEHAVIOUR == "silent_global":
            await OVER.wait()
            return
        if BEHAVIOUR == "closes_global":
            return
        if BEHAVIOUR == "waits_for_players":
            while len(SEATS) < len(TOKENS):
                await asyncio.sleep(0.01)
        await connection.send("" if BEHAVIOUR == "empty_frame" else json.dumps({"tick": TICK}))
        last = TICK
        while not OVER.is_set():
            await asyncio.sleep(0.02)
            if last != TICK:
                last = TICK
                await connection.send(json.dumps({"tick": TICK}))
        return
    if query.get("token") == "bad":
        if BEHAVIOUR == "greets_bad_token":
            await connection.send("hello")
        if BEHAVIOUR != "closes_bad_token":
            await asyncio.sleep(30)
        return
    slot = int(query["slot"])
    SEATS[slot] = connection
    try:
        async for message in connection:
            SCORES[slot] += float(message)
    finally:
        await OVER.wait()


async def play() -> None:
    global TICK
    deadline = asyncio.get_running_loop().time() + CONFIG.get("player_connect_timeout_seconds", 5)
    while len(SEATS) < len(TOKENS) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.01)
    for TICK in range(1, CONFIG.get("ticks", 5) + 1):
        for slot, seat in list(SEATS.items()):
            try:
                await seat.send(json.dumps({"tick": TICK, "slot": slot}))
            except Exception:
                SEATS.pop(slot)
        await asyncio.sleep(0.05)
        if BEHAVIOUR == "crashes_mid" and TICK == 2:
            print("the sky is falling", file=sys.stderr, flush=True)
            os._exit(3)
        if BEHAVIOUR == "killed_mid" and TICK == 2:
            os.kill(os.getpid(), signal.SIGSEGV)
        if BEHAVIOUR == "stalls" and TICK == 2:
            await asyncio.sleep(600)
    while BEHAVIOUR == "endless":
        TICK += 1
        await asyncio.sleep(0.02)


def write_replay() -> None:
    target = path_of("COGAME_SAVE_REPLAY_URI")
    if BEHAVIOUR == "replay_pipe":
        os.mkfifo(target)
    elif BEHAVIOUR == "replay_link":
        elsewhere = target.with_name("elsewhere.bin")
        elsewhere.write_text(json.dumps({"behaviour": BEHAVIOUR}))
        target.symlink_to(elsewhere)
    elif BEHAVIOUR != "no_replay":
        target.write_text(json.dumps({"behaviour": BEHAVIOUR}))


def take_names(directory: Path) -> None:
    (directory / "elsewhere").mkdir()
    for name in ("reports", "support", "replay-check"):
        (directory / name).symlink_to("elsewhere")
    (directory / "grades").write_text("mine")
    (directory / "bundle.zip").symlink_to("elsewhere/bundle.zip")
    (directory / "episode.json").mkdir()
    (directory / "error_info.json").symlink_to("elsewhere/error_info.json")


def write_results() -> None:
    target = path_of("COGAME_RESULTS_URI")
    if BEHAVIOUR == "no_results":
        return
    if BEHAVIOUR == "results_no_json":
        target.write_text('{"scores": [1,')
    elif BEHAVIOUR == "results_break_schema":
        target.write_text(json.dumps({"scores": "many"}))
    elif BEHAVIOUR == "results_link":
        elsewhere = target.with_name("elsewhere.json")
        elsewhere.write_text(json.dumps({"scores": SCORES}))
        target.symlink_to(elsewhere)
    elif BEHAVIOUR == "results_pipe":
        os.mkfifo(target)
    elif BEHAVIOUR == "results_directory":
        target.mkdir()
    else:
        target.write_text(json.dumps({"scores": SCORES}))


async def until_free(host: str, port: int) -> None:
    while True:
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                await asyncio.sleep(0.05)
            else:
                return


async def main() -> int:
    if BEHAVIOUR == "exits_at_once":
        print("no such map", file=sys.stderr)
        return 3
    if BEHAVIOUR == "hangs_at_start" or (BEHAVIOUR == "replay_hangs" and REPLAY_MODE):
        await asyncio.sleep(600)
    if BEHAVIOUR == "ignores_sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if BEHAVIOUR == "floods":
        block = "x" * 1023 + "\n"
        for _ in range(40 * 1024):
            sys.stdout.write(block)
    host, port = os.environ["COGAME_HOST"], int(os.environ["COGAME_PORT"])
    if BEHAVIOUR == "waits_for_its_port":
        await until_free(host, port)
    async with serve(serve_socket, host, port, process_request=answer, ping_interval=None, close_timeout=0.2):
        if REPLAY_MODE:
            if BEHAVIOUR == "replay_crashes":
                return 4
            await asyncio.sleep(600)
        await play()
        write_replay()
        write_results()
        if BEHAVIOUR == "takes_our_names":
            take_names(path_of("COGAME_RESULTS_URI").parent)
        for seat in list(SEATS.values()):
            with contextlib.suppress(Exception):
                await seat.send(json.dumps({"final": True}))
        OVER.set()
        if BEHAVIOUR in {"hangs_after_results", "endless"}:
            await asyncio.sleep(600)
    return 5 if BEHAVIOUR == "fails_at_end" else 0


if __name__ == "__main__":
    code = asyncio.run(main())
    sys.stdout.flush()
    os._exit(code)
