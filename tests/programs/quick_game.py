# ruff: noqa: PTH120, PTH123
"""A game that costs almost nothing: run as `python -S -E quick_game.py`, standard library only, up in some 20 ms.

It keeps the contract or breaks it as `behaviour` in its configuration says. It plays `ticks` rounds of `pause` seconds: it sends
a number to every seat, reads one back, and the numbers add up. No pathlib: importing it would cost as much as the rest.

`noise` adds 0 to so much to every score, by seed and seat. `table` replaces the scores: from `SEED:SUM`, the sum of what was
added up, to the scores of each player, its own sum being its name, in the order of their seats; null makes the game crash.
"""

import binascii
import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import time
from _thread import start_new_thread
from urllib.parse import parse_qs, unquote, urlsplit

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def path_of(variable):
    return unquote(urlsplit(os.environ[variable]).path)


with open(path_of("COGAME_CONFIG_URI"), encoding="utf-8") as file:
    CONFIG = json.load(file)
BEHAVIOUR = CONFIG.get("behaviour", "plays")
TOKENS = CONFIG["tokens"]
SEATS = {}
VIEWERS = []


def frame(value):
    data = json.dumps(value).encode()
    assert len(data) < 126
    return bytes([0x81, len(data)]) + data


def exactly(reader, count):
    data = reader.read(count)
    if len(data) < count:
        raise ConnectionError("gone")
    return data


def read_number(reader):
    head = exactly(reader, 2)
    if head[0] != 0x81:
        raise ConnectionError("closed")
    mask = exactly(reader, 4)
    return float(bytes(byte ^ mask[index % 4] for index, byte in enumerate(exactly(reader, head[1] & 0x7F))))


def serve(connection):
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer(connection, connection.makefile("rb"))
    except OSError:
        connection.close()


def answer(connection, reader):
    while line := reader.readline():
        url = urlsplit(line.split()[1].decode())
        headers = {}
        while field := reader.readline().strip():
            name, _, value = field.partition(b":")
            headers[name.lower()] = value.strip()
        if url.path == "/player":
            query = parse_qs(url.query)
            slot = int(query["slot"][0])
            if query["token"][0] != TOKENS[slot]:
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                continue
        elif url.path != "/global":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Type: text/html\r\n\r\npage")
            continue
        key = binascii.b2a_base64(hashlib.sha1(headers[b"sec-websocket-key"] + GUID).digest()).strip()
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + key
            + b"\r\n\r\n"
        )
        if url.path == "/global":
            connection.sendall(frame({"tick": 0}))
            VIEWERS.append(connection)
        else:
            SEATS[slot] = (connection, reader)
        return


def play(scores):
    deadline = time.monotonic() + CONFIG.get("player_connect_timeout_seconds", 5)
    while len(SEATS) < len(TOKENS) and time.monotonic() < deadline:
        time.sleep(0.002)
    for tick in range(1, CONFIG.get("ticks", 3) + 1):
        for slot, (connection, reader) in list(SEATS.items()):
            try:
                connection.sendall(frame({"tick": tick}))
                scores[slot] += read_number(reader)
            except OSError:
                del SEATS[slot]
        for viewer in VIEWERS:
            viewer.sendall(frame({"tick": tick}))
        time.sleep(CONFIG.get("pause", 0))
        if tick == 2 and BEHAVIOUR == "crashes_mid":
            print("the sky is falling", file=sys.stderr, flush=True)
            os._exit(3)
        if tick == 2 and BEHAVIOUR == "killed_mid":
            os.kill(os.getpid(), signal.SIGKILL)


def judged(scores):
    seed, most = CONFIG.get("seed", 0), CONFIG.get("noise", 0)
    if most:
        digests = (hashlib.md5(f"{seed}/{slot}".encode()).digest() for slot in range(len(scores)))
        scores = [score + digest[0] % (most + 1) for score, digest in zip(scores, digests, strict=True)]
    key = f"{seed}:{sum(scores):g}"
    if key in CONFIG.get("table", {}):
        found = CONFIG["table"][key]
        if found is None:
            print("no such table", file=sys.stderr, flush=True)
            os._exit(3)
        rest = {name: list(values) for name, values in found.items()}
        scores = [rest[f"{score:g}"].pop(0) for score in scores]
    return scores


def main():
    if BEHAVIOUR == "exits_at_once":
        print("no such map", file=sys.stderr, flush=True)
        os._exit(3)
    if BEHAVIOUR == "ignores_sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with socket.create_server((os.environ["COGAME_HOST"], int(os.environ["COGAME_PORT"])), backlog=64) as server:
        start_new_thread(accept, (server,))
        scores = [0.0] * len(TOKENS)
        play(scores)
        scores = judged(scores)
        results = path_of("COGAME_RESULTS_URI")
        if BEHAVIOUR == "takes_the_directory":
            shutil.rmtree(os.path.dirname(results))
            os._exit(0)
        with open(path_of("COGAME_SAVE_REPLAY_URI"), "w", encoding="utf-8") as replay:
            json.dump({"scores": scores}, replay)
        with open(results, "w", encoding="utf-8") as file:
            file.write("{" if BEHAVIOUR == "results_no_json" else json.dumps({"scores": scores}))
        for connection, _ in SEATS.values():
            connection.sendall(frame({"final": True}))
    os._exit(0)


def accept(server):
    while True:
        start_new_thread(serve, (server.accept()[0],))


main()
