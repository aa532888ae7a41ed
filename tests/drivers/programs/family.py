"""Starts a relative that does not want to die, says its process id, then does what the second word says.

First word: `stubborn` ignores SIGTERM; `holder` keeps our output open; `escapee` double-forks into its own session and ignores
SIGTERM; `holding-escapee` also keeps our output open.
Second word: `wait` for ever, `leave` with exit code 4, or `die` by SIGTERM's default when told to.
"""

import os
import signal
import sys
import time

relative, then = sys.argv[1:3]
read, write = os.pipe()
if os.fork() == 0:
    os.close(read)
    if "escapee" in relative:
        os.setsid()
        if os.fork():
            os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "hold" not in relative:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
    os.write(write, str(os.getpid()).encode())
    os.close(write)
    time.sleep(600)
    os._exit(0)
os.close(write)
pid = os.read(read, 100).decode()
print(f"relative {pid}", flush=True)
if then == "leave":
    print("goodbye", flush=True)
    os._exit(4)
signal.pause()
