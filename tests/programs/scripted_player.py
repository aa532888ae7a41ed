"""A player that plays well, or misbehaves as BEHAVIOUR says. Uses a public websocket library and nothing of ours."""

import json
import os
import signal
import sys
import time
import urllib.parse
import zipfile
from pathlib import Path

BEHAVIOUR = os.environ.get("BEHAVIOUR", "plays")

if BEHAVIOUR == "crashes_at_once":
    print("cannot find my weights", file=sys.stderr)
    sys.exit(7)
if BEHAVIOUR == "shouts_and_dies":
    print(" ".join(os.environ.values()), file=sys.stderr)
    sys.exit(7)
if BEHAVIOUR == "stays_away":
    sys.exit(0)
if BEHAVIOUR == "never_connects":
    time.sleep(600)
if BEHAVIOUR == "floods":
    for _ in range(40 * 1024):
        sys.stdout.write("x" * 1023 + "\n")
if BEHAVIOUR == "ignores_sigterm":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

with connect(os.environ["COWORLD_PLAYER_WS_URL"], ping_timeout=None) as socket:
    print("connected", flush=True)
    try:
        for number, message in enumerate(socket):
            if json.loads(message).get("final"):
                break
            if BEHAVIOUR == "crashes_mid" and number == 1:
                print("division by zero", file=sys.stderr)
                os._exit(8)
            if BEHAVIOUR == "leaves_early" and number == 1:
                os._exit(0)
            socket.send(os.environ.get("STRENGTH", "1"))
    except ConnectionClosed:
        pass
if BEHAVIOUR == "crashes_after_end":
    print("could not save", file=sys.stderr)
    sys.exit(9)
if BEHAVIOUR in {"never_ends", "ignores_sigterm"}:
    time.sleep(600)
if BEHAVIOUR == "leaves_artifact":
    target = Path(urllib.parse.unquote(urllib.parse.urlparse(os.environ["COWORLD_PLAYER_ARTIFACT_UPLOAD_URL"]).path))
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("notes.txt", "I did well")
if BEHAVIOUR == "shows_environment":
    print(json.dumps(dict(os.environ)), flush=True)
