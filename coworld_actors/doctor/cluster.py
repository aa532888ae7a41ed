"""kubectl and the cluster behind its context: only asked whether jobs may be made, never to make one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import Any

import msgspec

from coworld_actors.doctor.finding import Finding, Status, Surroundings
from coworld_drivers.command import Client

__all__ = ["check_cluster"]


def _absolute(program: str) -> str:
    """A program's path from the root; a link stays what it is, for the client may look at its own name."""
    return os.path.abspath(program)  # noqa: PTH100 - `resolve` would follow links


async def check_cluster(here: Surroundings) -> Sequence[Finding]:
    """The client, its context, and the right to create jobs there."""
    asked = "kubectl" in here.drivers
    missing = here.missing("kubectl")
    program = shutil.which("kubectl", path=here.environ.get("PATH"))
    if program is None:
        text = "there is no `kubectl` on PATH" + ("" if asked else "; nothing but roles in a cluster needs it")
        todo = "install kubectl" if asked else ""
        return [Finding(name="kubectl", status=missing if asked else Status.OK, text=text, todo=todo)]
    client = Client(_absolute(program), {**here.environ, "LC_ALL": "C"})
    done = await client.call("version", "--client", "-o", "json", timeout=here.patience)
    if done.code is None:
        text = f"`kubectl version --client` did not answer within {here.patience:g} s"
        return [Finding(name="kubectl", status=missing, text=text, todo="run it by hand")]
    try:
        version = str(msgspec.json.decode(done.stdout, type=dict[str, Any])["clientVersion"]["gitVersion"])
    except (msgspec.DecodeError, KeyError, TypeError):
        text = f"{program} is no client that we know: {done.complaint}"
        return [Finding(name="kubectl", status=missing, text=text, todo="put kubectl first on PATH")]
    found = [Finding(name="kubectl", status=Status.OK, text=f"client {version}, {program}")]
    done = await client.call("config", "current-context", timeout=here.patience)
    context = done.text
    if not done.ok or not context:
        text = "no context is chosen" + ("" if asked else "; nothing but roles in a cluster needs one")
        todo = "kubectl config use-context NAME" if asked else ""
        status = missing if asked else Status.OK
        return [*found, Finding(name="cluster", status=status, text=text, todo=todo)]
    # It may ask for a name where there are no credentials, and a plugin of its own may wait for a browser.
    seconds = f"--request-timeout={max(int(here.patience / 2), 1)}s"
    done = await client.call("auth", "can-i", "create", "jobs", "--context", context, seconds, timeout=here.patience)
    if done.ok and done.text.splitlines()[-1:] == ["yes"]:
        return [*found, Finding(name="cluster", status=Status.OK, text=f"{context}: jobs may be created")]
    if done.text.splitlines()[-1:] == ["no"]:
        text, todo = f"{context}: jobs may not be created", "ask for a role that may create jobs in this namespace"
    else:
        text, todo = f"{context} does not answer: {done.complaint}", "kubectl cluster-info; or choose another context"
    return [*found, Finding(name="cluster", status=missing, text=text, todo=todo)]
