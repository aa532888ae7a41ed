"""A player for `quick_game.py` that costs as little: standard library only. Misbehaves as BEHAVIOUR says; answers VALUE."""

import json
import os
import socket
import sys
import time
from urllib.parse import urlsplit

BEHAVIOUR = os.environ.get("BEHAVIOUR", "plays")
VALUE = os.environ.get("VALUE", "1").encode()
if BEHAVIOUR == "crashes_at_once":
    print("cannot find my weights", file=sys.stderr)
    sys.exit(7)

url = urlsplit(os.environ["COWORLD_PLAYER_WS_URL"])
connection = socket.create_connection((url.hostname, url.port))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
connection.sendall(
    f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
)
reader = connection.makefile("rb")
while reader.readline().strip():
    pass
while len(head := reader.read(2)) == 2:
    message = json.loads(reader.read(head[1]))
    if message.get("final"):
        break
    if BEHAVIOUR == "crashes_mid" and message["tick"] == 2:
        print("division by zero", file=sys.stderr, flush=True)
        os._exit(8)
    if BEHAVIOUR == "thinks_long" and message["tick"] == 2:
        time.sleep(3)
    # A client's frame is masked; with a mask of zeros that changes nothing.
    connection.sendall(bytes([0x81, 0x80 | len(VALUE)]) + b"\0\0\0\0" + VALUE)
