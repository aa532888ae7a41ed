"""What a role finds in its environment, and what it does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from coworld_drivers.driver import Address, ExtraPort, Launch, Mount
from coworld_drivers.environment import child_mark, inherited, role_environment, unpassable
from coworld_drivers.images import Resolved
from coworld_drivers.janitor import MARK

OURS = {
    "PATH": "/usr/bin",
    "LANG": "C.UTF-8",
    "LC_ALL": "C",
    "TZ": "UTC",
    "SSL_CERT_FILE": "/certs",
    "HOME": "/home/me",
    "AWS_PROFILE": "hidden",
    "OPENAI_API_KEY": "hidden",
    "PYTHONPATH": "/mine",
    "PYTHONSTARTUP": "/mine.py",
    "HTTPS_PROXY": "http://user:hidden@proxy",
    "SSH_AUTH_SOCK": "/hidden",
    "LD_PRELOAD": "/hidden.so",
}


def build(
    root: Path = Path("/root-of-image"), image_env: dict[str, str] | None = None, address=None, extra_ports=(), **fields
) -> dict[str, str]:
    launch = Launch(name="n", role="player", image="i", stdout=Path("/x"), **fields)
    resolved = Resolved(argv=("/bin/sh",), root=root, env=image_env or {}, interpreter=Path(sys.executable))
    return role_environment(launch, resolved, environ=OURS, mark="run.1.1", address=address, extra_ports=extra_ports)


def test_only_what_is_on_the_list_is_passed_on():
    """Locale, time zone, certificates and PATH; no home, no secrets, no Python settings."""
    assert inherited(OURS) == {name: OURS[name] for name in ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE")}
    assert "hidden" not in " ".join(build().values())


def test_later_sources_win():
    """Image, then launch, then secrets."""
    env = build(image_env={"A": "i", "B": "i", "C": "i"}, env={"B": "l", "C": "l"}, secret_env={"C": "s"})
    assert (env["A"], env["B"], env["C"]) == ("i", "l", "s")


@pytest.mark.parametrize("field", ["env", "secret_env"])
def test_mark_and_address_cannot_be_overridden(field):
    """A manifest cannot take a role out of our sight, nor send it to another port."""
    mine = {MARK: "other", "COGAME_HOST": "0.0.0.0", "COGAME_PORT": "80"}
    env = build(address=Address(host="127.0.0.1", port=1234), **{field: mine})
    assert (env[MARK], env["COGAME_HOST"], env["COGAME_PORT"]) == ("run.1.1", "127.0.0.1", "1234")


def test_a_game_is_told_where_its_extra_ports_are():
    """Whatever its manifest says in their place; without any, nothing is said."""
    env = build(
        extra_ports=(ExtraPort(inside=3724, outside=3724),), env={"COWORLD_LOCAL_PORT_3724": "elsewhere", "OTHER": "1"}
    )
    assert (env["COWORLD_LOCAL_PORT_3724"], env["OTHER"]) == ("127.0.0.1:3724", "1")
    assert env["COWORLD_LOCAL_PORTS_JSON"] == '{"3724":{"host":"127.0.0.1","port":3724}}'
    assert "COWORLD_LOCAL_PORTS_JSON" not in build()


def test_root_leads_the_python_path():
    """The image's modules are found first; a path of the manifest's own stays behind it."""
    assert build()["PYTHONPATH"] == "/root-of-image"
    assert build(env={"PYTHONPATH": "lib"})["PYTHONPATH"] == "/root-of-image:lib"


def test_home_is_the_own_directory():
    """A role never gets our home; without a directory of its own it has none."""
    env = build(
        mounts=(Mount(path=Path("/own"), at="/a", writable=True), Mount(path=Path("/other"), at="/b", writable=True))
    )
    assert (env["HOME"], env["TMPDIR"]) == ("/own", "/own")
    assert build()["HOME"] == "/nonexistent"
    assert "TMPDIR" not in build()


def test_the_interpreter_leads_the_path():
    """A role that calls `python` itself gets the interpreter of its image."""
    assert build()["PATH"] == f"{Path(sys.executable).parent}:/usr/bin"


def test_buffering_may_be_chosen():
    """Unbuffered output is only the default."""
    assert build()["PYTHONUNBUFFERED"] == "1"
    assert build(env={"PYTHONUNBUFFERED": ""})["PYTHONUNBUFFERED"] == ""


@pytest.mark.parametrize(
    ("outer", "expected"),
    [("", "new"), ("a1.2.3", "a1.2.3.new"), ("bad\nmark", "new"), ("x" * 600, "new"), ("a=b", "new")],
)
def test_a_run_inside_a_role_is_below_it(outer, expected):
    """Nested runs carry the outer mark in front, so that the outer run can end them; a strange mark is not believed."""
    assert child_mark({MARK: outer}, "new") == expected
    assert child_mark({}, "new") == "new"


def test_what_cannot_be_passed_on_is_named_without_values():
    """NUL and lone surrogates anywhere, `=` and nothing as a name; values may be secret."""
    env = {"A": "1", "B": "secret\0", "C": "secret\ud800", "D=E": "secret", "": "secret", "F": "=\u00e4"}
    assert unpassable(("python", "a\0"), env) == [
        "'a\\x00'", "variable 'B'", "variable 'C'", "variable 'D=E'", "variable ''"
    ]  # fmt: skip
    assert unpassable(("python",), {"A": "1"}) == []
