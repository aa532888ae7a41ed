"""The public Autobahn test suite against our websockets, as server through both of its ways and as client.

    python bench/autobahn/run.py --python27 /path/to/python2.7

The suite runs on Python 2.7 only. It is installed once, below `.cache/autobahn`, where its HTML reports are left as well; what came
out is printed and written into `docs/conformance.md`. Exit codes: 0 nothing failed, 3 something is missing here, 6 a case failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

__all__ = ["main"]

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".cache" / "autobahn"
PAGE = ROOT / "docs" / "conformance.md"
SUITE = "autobahntestsuite"
SUITE_VERSION = "25.10.1"
MARKERS = ("<!-- autobahn: written by `make autobahn` -->", "<!-- autobahn: end -->")

COMMAND = (sys.executable, "-m", "coworld_actors", "bench")
SERVERS = {
    "pump": (*COMMAND, "echo", "--api", "pump", "--deflate", "--port"),
    "connection": (*COMMAND, "echo", "--api", "connection", "--deflate", "--port"),
}
CLIENT = (*COMMAND, "testee", "--deflate")

BEHAVIOURS = ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED")
"""How a case may end, as the suite calls it."""
GOOD_CLOSES = {"OK", "INFORMATIONAL"}
"""Ends of the closing handshake that are no failure."""

START_SECONDS = 30.0
SUITE_SECONDS = 3600.0


class Missing(Exception):
    """Something that this needs is not there; exit code 3."""


@dataclass
class Outcome:
    """What came out for one subject.

    Attributes:
        cases: case to (behaviour, behaviour of the close).
        seconds: how long it took.
    """

    cases: dict[str, tuple[str, str]] = field(default_factory=dict)
    seconds: float = 0.0

    def failed(self) -> list[str]:
        return sorted((case for case, ends in self.cases.items() if _is_failure(*ends)), key=_order)

    def others(self) -> list[str]:
        """Cases that are neither plainly right nor failed, with what the suite calls them."""
        strange = {case: behaviour for case, (behaviour, _) in self.cases.items() if behaviour not in {"OK", "FAILED"}}
        return [f"{case} {strange[case]}" for case in sorted(strange, key=_order)]


def _is_failure(behaviour: str, close: str) -> bool:
    return behaviour not in BEHAVIOURS[:-1] or close not in GOOD_CLOSES


def _order(case: str) -> list[int]:
    return [int(part) for part in case.split(".")]


class Suite:
    """The suite, installed for one Python 2.7."""

    def __init__(self, python27: str) -> None:
        self.python = python27
        self.environ = {**os.environ, "PYTHONUSERBASE": str(HOME / "python2.7"), "PYTHONNOUSERSITE": ""}

    def versions(self) -> dict[str, str]:
        """Versions of what was installed; empty when the suite is not."""
        script = (
            "import json, pkg_resources as p, platform; "
            "d = {n: p.get_distribution(n).version for n in ('autobahntestsuite', 'autobahn', 'Twisted')}; "
            "d['python'] = platform.python_version(); print(json.dumps(d))"
        )
        ran = subprocess.run(
            [self.python, "-W", "ignore", "-c", script], env=self.environ, capture_output=True, text=True, check=False
        )
        return json.loads(ran.stdout) if ran.returncode == 0 else {}

    def install(self) -> None:
        """Install the suite unless this version is there already."""
        if self.versions().get(SUITE) == SUITE_VERSION:
            return
        print(f"installing {SUITE} {SUITE_VERSION} below {HOME}", file=sys.stderr)
        HOME.mkdir(parents=True, exist_ok=True)
        with (HOME / "install.log").open("wb") as log:
            pip = [self.python, "-m", "pip", "install", "--user", "--disable-pip-version-check"]
            ran = subprocess.run(
                [*pip, f"{SUITE}=={SUITE_VERSION}"], env=self.environ, stdout=log, stderr=log, check=False
            )
        if ran.returncode or self.versions().get(SUITE) != SUITE_VERSION:
            raise Missing(f"{SUITE} could not be installed for {self.python}: read {HOME / 'install.log'}.")

    def command(self, mode: str, directory: Path, spec: Mapping[str, object]) -> list[str]:
        """The command of one mode, with its specification written to a fresh directory."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        path = directory / "spec.json"
        path.write_text(json.dumps({**spec, "outdir": str(directory), "exclude-agent-cases": {}}))
        module = [self.python, "-W", "ignore", "-u", "-m", f"{SUITE}.wstest"]
        return [*module, "--mode", mode, "--spec", str(path), "--webport", "0"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _running(
    command: Sequence[str], port: int, log: Path, environ: Mapping[str, str] | None = None
) -> Generator[None, None, None]:
    """A program that listens on a port, ended with the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environ)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise Missing(f"This does not listen, read {log}: {' '.join(command)}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _collect(directory: Path, agent: str) -> dict[str, tuple[str, str]]:
    index = directory / "index.json"
    found = json.loads(index.read_text()) if index.exists() else {}
    return {case: (one["behavior"], one["behaviorClose"]) for case, one in found.get(agent, {}).items()}


def _run(command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None) -> None:
    with log.open("wb") as out:
        ran = subprocess.run(command, stdout=out, stderr=out, env=environ, timeout=SUITE_SECONDS, check=False)
    if ran.returncode:
        raise Missing(f"This ended with exit code {ran.returncode}, read {log}: {' '.join(command)}")


def try_server(suite: Suite, name: str, wanted: Mapping[str, object]) -> Outcome:
    """All cases against one of our echo servers."""
    port = _free_port()
    directory = HOME / "reports" / f"server-{name}"
    servers = [{"agent": name, "url": f"ws://127.0.0.1:{port}"}]
    command = suite.command("fuzzingclient", directory, {**wanted, "servers": servers})
    started = time.monotonic()
    with _running([*SERVERS[name], str(port)], port, directory / "server.log"):
        _run(command, directory / "suite.log", suite.environ)
    return Outcome(_collect(directory, name), time.monotonic() - started)


def try_client(suite: Suite, wanted: Mapping[str, object]) -> Outcome:
    """All cases against our client."""
    port = _free_port()
    directory = HOME / "reports" / "client"
    url = f"ws://127.0.0.1:{port}"
    command = suite.command("fuzzingserver", directory, {**wanted, "url": url, "options": {"failByDrop": False}})
    started = time.monotonic()
    with _running(command, port, directory / "suite.log", suite.environ):
        _run([*CLIENT, url], directory / "client.log")
    agents = json.loads((directory / "index.json").read_text()) if (directory / "index.json").exists() else {}
    return Outcome(_collect(directory, next(iter(agents), "")), time.monotonic() - started)


def try_all(suite: Suite, only: Sequence[str], wanted: Mapping[str, object]) -> dict[str, Outcome]:
    """What was asked for, a subject per core; a case that ran for one subject and not for another counts as failed."""

    def attempt(name: str) -> Outcome:
        kind, _, api = name.partition(" ")
        print(f"{name}: running", file=sys.stderr)
        outcome = try_client(suite, wanted) if kind == "client" else try_server(suite, api, wanted)
        print(f"{name}: {len(outcome.cases)} cases in {outcome.seconds:.0f} s", file=sys.stderr)
        return outcome

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = dict(zip(only, pool.map(attempt, only), strict=True))
    every: set[str] = set().union(*(outcome.cases for outcome in outcomes.values()))
    if not every:
        raise Missing(f"The suite ran no case: read the logs below {HOME / 'reports'}.")
    for outcome in outcomes.values():
        for case in every - outcome.cases.keys():
            outcome.cases[case] = ("FAILED", "not run")
    return outcomes


def summary(outcomes: Mapping[str, Outcome], versions: Mapping[str, str]) -> str:
    """What came out, as Markdown."""
    tools = f"autobahn {versions['autobahn']}, Twisted {versions['Twisted']}, Python {versions['python']}"
    lines = [
        f"Suite {versions[SUITE]} ({tools}); coworld-actors {version('coworld-actors')} with permessage-deflate on.",
        "",
        f"| | cases | {' | '.join(BEHAVIOURS)} | seconds |",
        f"|---|{'--:|' * (len(BEHAVIOURS) + 2)}",
    ]
    for name, outcome in outcomes.items():
        failed = set(outcome.failed())
        counted = Counter("FAILED" if case in failed else ends[0] for case, ends in outcome.cases.items())
        counts = " | ".join(str(counted[behaviour]) for behaviour in BEHAVIOURS)
        lines.append(f"| {name} | {len(outcome.cases)} | {counts} | {outcome.seconds:.0f} |")
    for name, outcome in outcomes.items():
        others = outcome.others()
        lines += ["", f"{name}, neither OK nor FAILED: {', '.join(others) or 'none'}."]
        for case in outcome.failed():
            behaviour, close = outcome.cases[case]
            lines += ["", f"{name}, case {case}: {behaviour}, close {close}."]
    return "\n".join(lines)


def _python27(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Missing(f"There is no {name}; name a Python 2.7: make autobahn PYTHON27=/path/to/python2.7")
    return found


def write_page(text: str) -> None:
    """Put the summary between the page's markers."""
    page = PAGE.read_text()
    before, begin, rest = page.partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not (begin and end):
        raise Missing(f"{PAGE} has lost its markers: put back the lines {MARKERS[0]} and {MARKERS[1]}.")
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite; the exit code."""
    names = [*(f"server {api}" for api in SERVERS), "client"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python27", default="python2.7", help="a Python 2.7 with pip")
    parser.add_argument("--only", action="append", choices=names, help="one subject in place of all; may be repeated")
    parser.add_argument(
        "--case", action="append", help="cases to run, such as 7.* or 12.1.1; may be repeated; nothing is written"
    )
    options = parser.parse_args(arguments)
    try:
        suite = Suite(_python27(options.python27))
        suite.install()
        wanted = {"cases": options.case or ["*"], "exclude-cases": []}
        outcomes = try_all(suite, options.only or names, wanted)
        text = summary(outcomes, suite.versions())
        print(text)
        if not (options.only or options.case):
            write_page(text)
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 3
    return 6 if any(outcome.failed() for outcome in outcomes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
