"""A `docker` that does what a script says, and hands everything else to the real one.

The script is a JSON list of rules. The first rule whose `match`, a regular expression, is found in the words of the call joined
by blanks, and whose `times` are not used up, says what happens, in this order:

    delay    seconds before anything
    real     call the real client first; what it prints is kept back and comes where `stdout` and `stderr` would
    half     of what goes to stdout, only the first half
    stdout   text
    stderr   text
    lines    list of [seconds to wait, text], written to stdout line by line
    flood    bytes of noise to stdout, then as many to stderr
    deaf     ignore SIGTERM
    hang     never end
    signal   kill itself with this signal
    code     exit code; without it 0, or the real client's

Further keys: `first`, call the real client and throw away what it says, before all of it: what was asked for is done, and the
caller does not learn it. Every call is appended to the file `calls` as JSON: words, process id, index of its rule or null.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(os.environ["FAKE_DOCKER"])
REAL = os.environ["FAKE_DOCKER_REAL"]
ARGV = sys.argv[1:]


def choose() -> dict:
    with (HERE / "script.json").open() as script:
        rules = json.load(script)
    with (HERE / "calls").open("a+") as calls:
        fcntl.flock(calls, fcntl.LOCK_EX)
        calls.seek(0)
        used = [json.loads(line)["rule"] for line in calls]
        for number, rule in enumerate(rules):
            if re.search(rule["match"], " ".join(ARGV)) and used.count(number) < rule.get("times", 1 << 30):
                break
        else:
            number, rule = None, {}
        calls.write(json.dumps({"argv": ARGV, "pid": os.getpid(), "rule": number}) + "\n")
    return rule


def say(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def flood(descriptor: int, size: int) -> None:
    chunk = b"noise " * 10000
    while size > 0:
        say(descriptor, chunk[:size])
        size -= len(chunk)


def main() -> int:
    rule = choose()
    if not rule:
        os.execv(REAL, ["docker", *ARGV])
    if rule.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(rule.get("delay", 0))
    out, err, code = rule.get("stdout", "").encode(), rule.get("stderr", "").encode(), 0
    if rule.get("first"):
        subprocess.run([REAL, *ARGV], check=False, capture_output=True)
    if rule.get("real"):
        done = subprocess.run([REAL, *ARGV], check=False, capture_output=True)
        out, err, code = done.stdout + out, done.stderr + err, done.returncode
    if rule.get("half"):
        out = out[: len(out) // 2]
    say(1, out)
    say(2, err)
    for pause, text in rule.get("lines", ()):
        time.sleep(pause)
        say(1, text.encode() + b"\n")
    flood(1, rule.get("flood", 0))
    flood(2, rule.get("flood", 0))
    while rule.get("hang"):
        time.sleep(60)
    if "signal" in rule:
        os.kill(os.getpid(), rule["signal"])
    return rule.get("code", code)


sys.exit(main())
