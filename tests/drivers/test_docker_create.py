"""The words of `docker create`."""

import itertools
from pathlib import Path

import pytest

from coworld_drivers.docker_create import (
    DEFAULTS,
    Confinement,
    Joined,
    Variables,
    bounded,
    container_uri,
    create_words,
    role_variables,
    variables,
)
from coworld_drivers.driver import ExtraPort, Launch, Mount, Resources, StartFailed
from coworld_protocol.errors import InternalFault

OURS = Confinement(user="7:8", cpus=4.0)


def launch(**changes: object) -> Launch:
    """A role."""
    return Launch(**{"name": "player-3", "role": "player", "image": "bot:1", "stdout": Path("/log"), **changes})  # type: ignore[arg-type]


def words(
    role: Launch,
    *,
    joined: Joined | None = None,
    ports: tuple[ExtraPort, ...] = (),
    confinement: Confinement = OURS,
    variables: Variables | None = None,
) -> list[str]:
    """The words for a role."""
    return create_words(
        role,
        name="c-1",
        image=role.image,
        labels={"a": "b"},
        joined=joined or Joined(),
        ports=ports,
        resources=bounded(role.resources, confinement),
        confinement=confinement,
        variables=variables or Variables(lines=b"", named={}, spoken={}),
    )


def values(found: list[str], option: str) -> list[str]:
    """What an option was given."""
    return [value for name, value in itertools.pairwise(found) if name == option]


def test_image_and_command_come_last():
    """The first word of `run` replaces the image's entry point; without one the image's default stays."""
    found = words(launch(run=("python", "-m", "bot", "--name=x")))
    assert found[-4:] == ["bot:1", "-m", "bot", "--name=x"]
    assert values(found, "--entrypoint") == ["python"]
    plain = words(launch())
    assert plain[-1] == "bot:1"
    assert "--entrypoint" not in plain


def test_nothing_secret_is_among_the_words():
    """Neither secrets nor tokens: variables do not come by argv."""
    role = launch(env={"URL": "ws://game/player?token=abc"}, secret_env={"KEY": "hunter2"})
    split = variables(role_variables(role, {}, own_home=True), role.name)
    text = " ".join(words(role, variables=split))
    assert "abc" not in text
    assert "hunter2" not in text
    assert b"KEY=hunter2\n" in split.lines


def test_a_role_is_confined():
    """No privilege, no way to get one, limits on everything that an engine can limit."""
    found = words(launch())
    assert values(found, "--user") == ["7:8"]
    assert values(found, "--cap-drop") == ["ALL"]
    assert values(found, "--security-opt") == ["no-new-privileges"]
    assert "--read-only" in found
    assert [value.split(":")[0] for value in values(found, "--tmpfs")] == ["/tmp", "/var/tmp", "/run"]
    assert values(found, "--memory") == values(found, "--memory-swap") == [str(DEFAULTS.memory)]
    assert values(found, "--cpus") == ["1.00"]
    assert values(found, "--pids-limit") == ["512"]
    assert "--init" in found
    assert "--rm" not in found
    assert values(found, "--network") == ["none"]


def test_trust_leaves_only_the_limits():
    """The image's user, the engine's capabilities, a root that can be written."""
    found = words(launch(), confinement=Confinement(capabilities=True, writable_root=True))
    for option in ("--user", "--cap-drop", "--security-opt", "--read-only", "--tmpfs"):
        assert option not in found
    assert "--memory" in found


def test_an_engine_that_cannot_limit_is_not_asked_to():
    """It would only complain."""
    found = words(launch(), confinement=Confinement(memory=False, swap=False, pids=False, cpus=0.0))
    for option in ("--memory", "--memory-swap", "--pids-limit", "--cpus"):
        assert option not in found


@pytest.mark.parametrize(
    ("wish", "cpus", "memory"),
    [
        (Resources(), 1.0, 1 << 30),
        (Resources(cpus=0.001, memory=10), 0.01, 6 << 20),
        (Resources(cpus=64, memory=8 << 30), 4.0, 8 << 30),
    ],
)
def test_wishes_are_bounded(wish: Resources, cpus: float, memory: int):
    """Not below what engines accept, not more processors than the machine has: the engine would refuse that."""
    found = bounded(wish, OURS)
    assert (found.cpus, found.memory) == (cpus, memory)


def test_only_a_role_that_serves_is_published():
    """On loopback alone; the engine chooses the contract's port's place."""
    game = launch(name="game", role="game", serves=True)
    joined = Joined(network="front", publishes=True)
    found = words(game, joined=joined, ports=(ExtraPort(inside=3724, outside=4000),))
    assert values(found, "--publish") == ["127.0.0.1::8080", "127.0.0.1:4000:3724"]
    assert "--publish" not in words(launch(), joined=Joined(network="seats", ip="10.0.0.3"))


def test_names_are_not_looked_up_unless_allowed():
    """The engine's own resolver would ask the host's."""
    assert values(words(launch(), joined=Joined(network="seats")), "--dns") == ["127.0.0.1"]
    assert values(words(launch(), joined=Joined(network="seats", names=True)), "--dns") == []


def test_mounts_are_quoted_and_others_directories_hidden(tmp_path: Path):
    """A comma or quote in a path is no field's end; what is not there needs no hiding."""
    place = tmp_path / 'a,"b'
    (place / "players").mkdir(parents=True)
    found = words(launch(mounts=(Mount(path=place, at="/coworld", writable=True, hides=("players", "logs")),)))
    bind, hidden = values(found, "--mount")
    assert bind == f'type=bind,"src={str(place).replace(chr(34), chr(34) * 2)}",dst=/coworld'
    assert hidden.startswith("type=tmpfs,dst=/coworld/players,")
    (only,) = values(words(launch(mounts=(Mount(path=place, at="/x"),))), "--mount")
    assert only.endswith(",readonly")


def test_uris_are_those_of_the_container(tmp_path: Path):
    """By the innermost mount; spaces and the like are encoded; what is nowhere is a defect."""
    mounts = (
        Mount(path=tmp_path, at="/coworld", writable=True),
        Mount(path=tmp_path / "own", at="/coworld-own", writable=True),
    )
    assert container_uri(tmp_path / "config.json", mounts) == "file:///coworld/config.json"
    assert container_uri(tmp_path / "own" / "a b#.zip", mounts) == "file:///coworld-own/a%20b%23.zip"
    assert container_uri(tmp_path / "own", mounts) == "file:///coworld-own"
    with pytest.raises(InternalFault):
        container_uri(tmp_path.parent / "elsewhere", mounts)


def test_a_role_gets_its_home_and_where_to_listen():
    """Ours come first, then the role's, then the place's; where to listen cannot be overridden."""
    game = launch(
        serves=True,
        env={"COGAME_PORT": "1", "PYTHONUNBUFFERED": "0", "A": "public"},
        secret_env={"A": "secret"},
        mounts=(Mount(path=Path("/x"), at="/coworld", writable=True),),
    )
    found = role_variables(game, {"COWORLD_LOCAL_PORT_1": "127.0.0.1:2"}, own_home=True)
    assert found == {
        "PYTHONUNBUFFERED": "0",
        "HOME": "/coworld",
        "TMPDIR": "/tmp",
        "A": "secret",
        "COWORLD_LOCAL_PORT_1": "127.0.0.1:2",
        "COGAME_HOST": "0.0.0.0",
        "COGAME_PORT": "8080",
    }
    assert "HOME" not in role_variables(game, {}, own_home=False)


def test_variables_go_the_way_that_can_carry_them():
    """Lines in a file; what has line breaks or is long by argv, and in the client's environment when it is secret."""
    odd = {"JSON": "[\n]", "CR": "x\r", "LONG": "y" * 70_000}
    public = variables({"A": "x = #y ", **odd, "EMPTY": ""}, "game")
    assert public.lines == b"A=x = #y \nEMPTY=\n"
    assert (public.named, public.spoken) == ({}, odd)
    assert {f"{name}={value}" for name, value in odd.items()} <= set(values(words(launch(), variables=public), "--env"))
    secret = variables({"A": "x", **odd}, "game", odd.keys())
    assert (secret.named, secret.spoken) == (odd, {})
    assert values(words(launch(), variables=secret), "--env") == list(odd)


@pytest.mark.parametrize("name", ["LD_PRELOAD", "GODEBUG", "DOCKER_HOST", "PATH", "https_proxy"])
def test_no_manifest_tells_the_client_what_to_do(name: str):
    """The client is a program of this machine: what its loader or itself would obey never comes into its environment."""
    assert variables({name: "/tmp/evil.so:\n"}, "game").named == {}
    with pytest.raises(StartFailed, match=name):
        variables({name: "a\nb"}, "game", {name})


@pytest.mark.parametrize("run", [("",), ("python", "a\0b"), ("python", "\udc80"), ("python", "x" * 131_072)])
def test_a_command_that_cannot_be_passed_is_its_owners_fault(run: tuple[str, ...]):
    """No process can be started with it; an empty program would silently be the image's own."""
    with pytest.raises(StartFailed, match="player-3 could not be started"):
        words(launch(run=run))


@pytest.mark.parametrize(
    "bad", [{"": "x"}, {"A=B": "x"}, {"A": "\0"}, {"A B": "x"}, {"A": "x" * 131_072}, {"A": "\ud800"}]
)
def test_a_variable_that_no_way_can_carry_is_refused(bad: dict[str, str]):
    """By name, never with its value."""
    with pytest.raises(StartFailed, match="cannot be passed"):
        variables(bad, "game")
