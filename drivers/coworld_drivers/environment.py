"""The environment that a local role gets: an allow-list of ours, then the image's, then the contract's. Nothing else leaks."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from coworld_drivers.driver import Address, ExtraPort, Launch
from coworld_drivers.extra_ports import port_variables
from coworld_drivers.images import Resolved
from coworld_drivers.janitor import MARK
from coworld_protocol import contract

__all__ = ["ALLOWED", "child_mark", "inherited", "role_environment", "unpassable"]

ALLOWED = frozenset(
    {
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "PATH",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TZ",
        "TZDIR",
    }
)
"""Variables of ours that a role may see, besides `LC_*`."""

_MARK_TEXT = re.compile(r"[A-Za-z0-9.-]{1,512}")


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """What of our own environment a role may see."""
    return {name: value for name, value in environ.items() if name in ALLOWED or name.startswith("LC_")}


def child_mark(environ: Mapping[str, str], name: str) -> str:
    """The mark of a run: `name`, below the run that we ourselves were started by, if any."""
    outer = environ.get(MARK, "")
    return f"{outer}.{name}" if _MARK_TEXT.fullmatch(outer) else name


def role_environment(
    launch: Launch,
    resolved: Resolved,
    *,
    environ: Mapping[str, str],
    mark: str,
    address: Address | None,
    extra_ports: Sequence[ExtraPort] = (),
) -> dict[str, str]:
    """Everything a role finds in its environment.

    Args:
        launch: its variables win over the image's, the secret ones over the public ones.
        resolved: the image's variables, root (first on PYTHONPATH) and interpreter (its directory leads PATH).
        environ: our own environment, of which the allow-list is passed on.
        mark: value of `MARK`; cannot be overridden.
        address: where it has to listen; cannot be overridden.
        extra_ports: where its further ports are found; cannot be overridden.
    """
    env = inherited(environ)
    env["PATH"] = os.pathsep.join((str(resolved.interpreter.parent), env.get("PATH", os.defpath)))
    own = "" if launch.home is None else str(launch.home)
    env["HOME"] = own or "/nonexistent"
    if own:
        env["TMPDIR"] = own
    env["PYTHONUNBUFFERED"] = "1"
    env.update(resolved.env)
    env.update(launch.env)
    env.update(launch.secret_env)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(resolved.root), env.get("PYTHONPATH", ""))))
    if address is not None:
        env[contract.ENV_HOST] = address.host
        env[contract.ENV_PORT] = str(address.port)
    env.update(port_variables(extra_ports))
    env[MARK] = mark
    return env


def unpassable(argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """What of this the kernel cannot be given, in words and without any variable's value; nothing when all is well."""
    names = [repr(word) for word in argv if not _passable(word)]
    names += [
        f"variable {name!r}"
        for name, value in env.items()
        if not (_passable(name + value) and "=" not in name and name)
    ]
    return names


def _passable(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False
