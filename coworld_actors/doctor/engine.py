"""The Docker client and its engine: whether they are there, new enough and willing, and what the engine cannot keep to."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import trio

from coworld_actors.doctor.finding import Finding, Status, Surroundings, quantity
from coworld_actors.doctor.holdings import check_holdings
from coworld_actors.doctor.places import look_at_disk
from coworld_drivers.command import Client, Completed
from coworld_drivers.docker_client import LOCAL, Trouble, find_docker, trouble_of
from coworld_protocol.errors import PreconditionMissing

__all__ = ["OLDEST", "Engine", "check_engine", "judge_engine", "release_of"]

OLDEST = (20, 10)
"""Version of client and engine from which on the driver is tried; they need not be the same."""
SKEW_SECONDS = 5.0

_TODO = {
    Trouble.ENGINE_AWAY: "start the engine (systemctl start docker, or dockerd), or set DOCKER_HOST",
    Trouble.FORBIDDEN: "add this user to the group docker and log in again, or set DOCKER_HOST to a rootless engine",
    Trouble.NO_ANSWER: "see what the engine is doing (its log), and start it again if it hangs",
}
_LIMITS = (("MemoryLimit", "memory"), ("SwapLimit", "swap"), ("CpuCfsQuota", "cpu"), ("PidsLimit", "pids"))
_NO_CONTEXT = re.compile(r'context "[^"]*".* not found', re.IGNORECASE | re.DOTALL)
_RELEASE = re.compile(r"v?(\d+)\.(\d+)")


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """What the client told.

    Attributes:
        info: of `docker info`.
        endpoint: where the engine is, such as `unix:///var/run/docker.sock`; empty when it is not known.
        now: the time here when the answer came, in seconds of the epoch.
    """

    info: Mapping[str, Any]
    endpoint: str
    now: float

    @property
    def here(self) -> bool:
        """Whether it is reached through a file of this machine; then it is an engine that sees our files."""
        return not self.endpoint or self.endpoint.startswith(LOCAL)

    @property
    def rootless(self) -> bool:
        """Whether it runs without the rights of root."""
        return any("rootless" in str(option) for option in self.info.get("SecurityOptions") or ())


async def check_engine(here: Surroundings) -> Sequence[Finding]:
    """From the client to what the engine has room for; what comes after a failure is left out."""
    missing = here.missing("docker")
    try:
        client = Client(find_docker(here.environ), {**here.environ, "LC_ALL": "C", "DOCKER_CLI_HINTS": "false"})
    except PreconditionMissing as error:
        todo = (
            error.todo if "docker" in here.drivers else "nothing, unless roles are to run from images: then install it"
        )
        return [Finding(name="docker", status=missing, text="there is no `docker` on PATH", todo=todo)]
    done = await client.call("version", "--format", "{{json .}}", timeout=here.patience)
    if done.code is None:
        return [_silent("docker", "version", here)]
    try:
        versions = msgspec.json.decode(done.stdout, type=dict[str, dict[str, Any] | None])
        found = [_release("docker", "client", str((versions.get("Client") or {})["Version"]), client.program, missing)]
    except (msgspec.DecodeError, KeyError):
        if _NO_CONTEXT.search(done.complaint):
            text = f"the client is to find its engine in a context that is not there: {done.complaint}"
            todo = "unset DOCKER_CONTEXT, or choose one of `docker context ls` with `docker context use`"
            return [Finding(name="docker", status=missing, text=text, todo=todo)]
        if done.ok or trouble_of(done) is Trouble.OTHER:
            text = f"{client.program} is no client that we know: {done.complaint}"
            return [Finding(name="docker", status=missing, text=text, todo="put the docker client first on PATH")]
        found, versions = [], {}
    server = versions.get("Server")
    if not done.ok or server is None:
        return [*found, _away(done, here)]
    answers: dict[str, Completed] = {}

    async def ask(name: str, *words: str) -> None:
        answers[name] = await client.call(*words, timeout=here.patience)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "info", "info", "--format", "{{json .}}")
        nursery.start_soon(ask, "context", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    if answers["info"].code is None:
        return [*found, _silent("docker engine", "info", here)]
    try:
        info = msgspec.json.decode(answers["info"].stdout, type=dict[str, Any])
    except msgspec.DecodeError:
        return [*found, _away(answers["info"], here)]
    endpoint = here.environ.get("DOCKER_HOST") or (answers["context"].text if answers["context"].ok else "")
    now = datetime.datetime.now(datetime.UTC).timestamp()
    engine = Engine(info={"ServerVersion": server.get("Version", ""), **info}, endpoint=endpoint, now=now)
    found += judge_engine(engine, here)
    root = Path(str(info.get("DockerRootDir") or "/"))
    # The place of a rootless or remote engine may be one that we do not see, or another one.
    if engine.here and await trio.to_thread.run_sync(_is_ours, root, abandon_on_cancel=True):
        disk = await look_at_disk(
            "docker disk", root, worst=missing, todo="free some: docker system df shows what takes it"
        )
        found.append(disk)
    return [*found, *await check_holdings(here)]


def _is_ours(root: Path) -> bool:
    return root.is_dir() and os.access(root, os.W_OK | os.X_OK)


def judge_engine(engine: Engine, here: Surroundings) -> list[Finding]:
    """What an engine's own description means for the driver.

    Args:
        engine: what it told.
        here: which drivers have to work.
    """
    info, missing = engine.info, here.missing("docker")
    kind = f"{info.get('OSType', 'an unknown system')}/{info.get('Architecture', '?')}"
    where = (" rootless" if engine.rootless else "") + ("" if engine.here else f" at {_public(engine.endpoint)}")
    head = _release("docker engine", "engine", str(info.get("ServerVersion", "")), f"{kind}{where}", missing)
    if head.status is Status.OK and info.get("OSType") not in {"linux", None}:
        head = _worse(head, missing, "it runs no Linux containers", "switch it to Linux containers")
    elif head.status is not Status.FAIL and not engine.here:
        text = f"the docker driver refuses it, for it is not reached by {LOCAL} and may not see this machine's files"
        todo = "unset DOCKER_HOST or DOCKER_CONTEXT, or `docker context use default`; or play where the engine is"
        head = _worse(head, missing, text, todo)
    elif head.status is Status.OK and (skew := _skew(engine)) > SKEW_SECONDS:
        head = _worse(head, Status.WARN, f"its clock differs from ours by {skew:.0f} s", "set both clocks by NTP")
    return [head, _limits(info), _storage(info), _plugins(info)]


def _limits(info: Mapping[str, Any]) -> Finding:
    version = str(info.get("CgroupVersion") or "1")
    lacking = [word for key, word in _LIMITS if info.get(key) is False]
    text = f"cgroup v{version} ({info.get('CgroupDriver', 'unknown driver')})"
    if str(info.get("CgroupDriver")) == "none":
        lacking = [word for _, word in _LIMITS]
    if not lacking:
        kept = ", ".join(word for _, word in _LIMITS)
        return Finding(name="docker limits", status=Status.OK, text=f"{text}; limits of {kept} are enforced")
    todo = (
        "boot with swapaccount=1 cgroup_enable=memory"
        if lacking == ["swap"]
        else "delegate these controllers to the engine (rootless: systemd's Delegate=), or use cgroup v2"
    )
    text = f"{text}; no limits of {', '.join(lacking)}: a player may take more than its share"
    return Finding(name="docker limits", status=Status.WARN, text=text, todo=todo)


def _storage(info: Mapping[str, Any]) -> Finding:
    driver = str(info.get("Driver", "unknown"))
    text = f"{driver} in {info.get('DockerRootDir', 'an unknown place')}, {info.get('Images', 0)} images"
    if driver == "vfs":
        text += ": every container is a copy of its whole image"
        return Finding(name="docker storage", status=Status.WARN, text=text, todo="use overlay2 or fuse-overlayfs")
    memory = info.get("MemTotal")
    if isinstance(memory, int) and memory > 0:
        text += f"; {info.get('NCPU', '?')} processors and {quantity(memory)} of memory for containers"
    return Finding(name="docker storage", status=Status.OK, text=text)


def _plugins(info: Mapping[str, Any]) -> Finding:
    client = info.get("ClientInfo")
    plugins = (client.get("Plugins") if isinstance(client, Mapping) else None) or []
    there = {
        str(each.get("Name")): str(each.get("Version", ""))
        for each in plugins
        if isinstance(each, Mapping) and not each.get("Err")
    }
    text = ", ".join(f"{name} {there[name]}".strip() for name in ("compose", "buildx") if name in there)
    if "compose" in there and "buildx" in there:
        return Finding(name="docker build", status=Status.OK, text=text)
    if "compose" in there:
        text += "; no buildx: Dockerfiles are built by the engine's own, older builder"
        return Finding(name="docker build", status=Status.OK, text=text)
    text = f"{text}; no compose" if text else "neither compose nor buildx"
    return Finding(
        name="docker build",
        status=Status.WARN,
        text=f"{text}: `build` works for a Dockerfile, not for a compose file",
        todo="install the compose plugin (Debian: docker-compose; elsewhere docker-compose-plugin)",
    )


def release_of(version: str) -> tuple[int, int] | None:
    """The first two numbers of a version; None when it has none."""
    match = _RELEASE.match(version)
    return None if match is None else (int(match[1]), int(match[2]))


def _release(name: str, what: str, version: str, more: str, missing: Status) -> Finding:
    release = release_of(version)
    text = f"{what} {version or 'of an unknown version'}, {more}"
    if release is not None and release < OLDEST:
        text += f": older than {OLDEST[0]}.{OLDEST[1]}, the oldest that is supported"
        return Finding(name=name, status=missing, text=text, todo=f"install a newer {what}")
    if release is None:
        return Finding(name=name, status=Status.WARN, text=text, todo=f"install a release of the {what}")
    return Finding(name=name, status=Status.OK, text=text)


def _worse(finding: Finding, status: Status, text: str, todo: str) -> Finding:
    return msgspec.structs.replace(finding, status=status, text=f"{finding.text}: {text}", todo=todo)


def _silent(name: str, word: str, here: Surroundings) -> Finding:
    text = f"`docker {word}` did not answer within {here.patience:g} s"
    return Finding(name=name, status=here.missing("docker"), text=text, todo=_TODO[Trouble.NO_ANSWER])


def _away(done: Completed, here: Surroundings) -> Finding:
    trouble = trouble_of(done)
    words = {Trouble.ENGINE_AWAY: "no engine answers", Trouble.FORBIDDEN: "the engine is not for this user"}
    text = f"{words.get(trouble, 'the engine does not answer as it should')}: {done.complaint}"
    todo = _TODO.get(trouble, "see what `docker info` says")
    return Finding(name="docker engine", status=here.missing("docker"), text=text, todo=todo)


def _skew(engine: Engine) -> float:
    """Seconds between the engine's clock and ours; 0 when it does not tell."""
    # Nanoseconds are more digits than a datetime takes.
    told = re.sub(r"(\.\d{6})\d+", r"\1", str(engine.info.get("SystemTime", "")))
    try:
        return abs(datetime.datetime.fromisoformat(told).timestamp() - engine.now)
    except ValueError:
        return 0.0


def _public(endpoint: str) -> str:
    """Without what may be a password before the host."""
    return re.sub(r"//[^/@]*@", "//", endpoint)
