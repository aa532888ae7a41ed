"""The images of a package: names, placeholders, and what the compose plugin says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coworld_actors.package.services import Service, by_placeholder, find_services, repository_of, single_service
from coworld_actors.package.sources import find_sources
from coworld_drivers.docker_client import Docker
from coworld_protocol.errors import PreconditionMissing, Refused
from tests.packages import scripted_docker, with_compose


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A directory with a compose file of three services."""
    directory = tmp_path / "Berry Race!"
    directory.mkdir()
    services = {
        "game": {"build": {"context": "."}},
        "my-bot": {"image": "registry:5000/team/bots:dev", "build": {"context": "."}, "platform": "linux/arm64"},
        "cache": {"image": "redis:7"},
    }
    (directory / "compose.yaml").write_text(json.dumps({"services": services}))
    (directory / "Dockerfile").write_text("FROM scratch\n")
    return directory


async def test_services_of_a_compose_file(engine: object, package: Path, tmp_path: Path) -> None:
    """One without an image of its own is called after project and service."""
    docker = Docker(with_compose(tmp_path / "bin"))
    game, bot, cache = await find_services(docker, find_sources(package))
    assert (game.placeholders, game.image, game.built) == (("GAME_IMAGE",), "Berry Race!-game", True)
    assert (bot.placeholders, bot.repository, bot.platform) == (
        ("MY_BOT_IMAGE",),
        "registry:5000/team/bots",
        "linux/arm64",
    )
    assert (cache.image, cache.built) == ("redis:7", False)


async def test_a_missing_plugin_is_a_precondition(package: Path, tmp_path: Path) -> None:
    """With what to install, and that the Dockerfile can be built without it."""
    environ = scripted_docker(tmp_path / "bin", "import sys; sys.exit(\"docker: 'compose' is not a docker command.\")")
    with pytest.raises(PreconditionMissing, match="compose plugin") as caught:
        await find_services(Docker(environ), find_sources(package))
    assert "not a docker command" in caught.value.evidence
    assert "docker-compose-plugin" in caught.value.todo
    assert "--dockerfile" in caught.value.todo


@pytest.mark.parametrize(
    ("said", "error", "match"),
    [
        ('sys.exit("services.game.build must be a \\x1b[31mstring")', Refused, "does not accept"),
        ('print("{half")', PreconditionMissing, "cannot be read"),
        ("print('{\"services\": [1]}')", PreconditionMissing, "cannot be read"),
        ("print('{\"services\": {}}')", Refused, "has no services"),
    ],
)
async def test_what_the_plugin_may_say(
    package: Path, tmp_path: Path, said: str, error: type[Exception], match: str
) -> None:
    """A file it does not like, and answers that are none; no control code of it gets through."""
    environ = scripted_docker(tmp_path / "bin", f'import sys\nif sys.argv[-1] == "version": sys.exit()\n{said}')
    with pytest.raises(error, match=match) as caught:
        await find_services(Docker(environ), find_sources(package))
    assert "\x1b" not in str(getattr(caught.value, "evidence", ""))


def test_a_dockerfiles_image_is_called_after_its_directory(package: Path) -> None:
    """In the letters that an image's name may have, and by two placeholders."""
    (package / "compose.yaml").unlink()
    single = single_service(find_sources(package))
    assert single.image == "berry-race"
    assert single.placeholders == ("IMAGE", "BERRY_RACE__IMAGE")


def test_a_placeholder_of_two_services_is_refused_where_it_is_used() -> None:
    """And nobody minds where it is not."""
    services = [Service(name=name, placeholders=("A_B_IMAGE",), image=name, built=True) for name in ("a-b", "a_b")]
    assert by_placeholder(services, {})["A_B_IMAGE"].name == "a-b"
    with pytest.raises(Refused, match="stands for two services") as caught:
        by_placeholder(services, {"A_B_IMAGE": ()})
    assert caught.value.evidence == "a-b, a_b"


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        ("game", "game"),
        ("game:1", "game"),
        ("host:5000/game", "host:5000/game"),
        ("host:5000/team/game:1.2@sha256:00", "host:5000/team/game"),
    ],
)
def test_the_repository_of_an_image(image: str, repository: str) -> None:
    """A port is no tag."""
    assert repository_of(image) == repository
