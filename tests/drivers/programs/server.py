"""Listens on COGAME_PORT until it is told to end; `reuseport` shares the port, `child` lets a grandchild do the listening."""

import os
import signal
import socket
import subprocess
import sys

if "child" in sys.argv:
    sys.exit(subprocess.call([sys.executable, __file__]))
server = socket.socket()
if "reuseport" in sys.argv:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
server.bind((os.environ["COGAME_HOST"], int(os.environ["COGAME_PORT"])))
server.listen()
print("listening", flush=True)
signal.pause()
