"""docs/drivers.md: the figures that it gives for containers are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coworld_drivers import (
    command,
    docker_client,
    docker_create,
    docker_disk,
    docker_handle,
    docker_images,
    docker_network_kinds,
    docker_pull,
    docker_subnets,
    janitor,
    labels,
)
from coworld_protocol import contract

PAGE = (Path(__file__).parent.parent / "docs/drivers.md").read_text()
CONTAINERS = " ".join(PAGE[PAGE.index("\n## Containers") : PAGE.index("\n## Everything in one process")].split())
NUMBERS = {3: "Three", 16: "Sixteen"}
LOG_SIZE = next(option for option in docker_create.LOG_OPTIONS if option.startswith("max-size="))


@pytest.mark.parametrize(
    "sentence",
    [
        f"{command.MOST_CALLS} at a time at most",
        f"repeated for {docker_client.PATIENCE:g} s while",
        f"{NUMBERS[docker_client.MOST_STARTS]} containers are started at a time",
        f"else {(docker_create.DEFAULTS.memory or 0) >> 30} GiB and {docker_create.DEFAULTS.cpus:g} processor;",
        f"else {(docker_create.DEFAULTS.disk or 0) >> 30} GiB, for its own directory",
        f"| processes | {docker_create.PIDS}, threads included |",
        f"The engine keeps {LOG_SIZE[9:-1]} MiB besides",
        f"more than {docker_disk.MOST_FILES:,} files",
        f"fails within {docker_handle.SECOND_CHANCE:g} s of its start",
        f"{NUMBERS[docker_images.PULLS]} images are pulled at a time",
        f"about the progress every {docker_pull.NARRATION_SECONDS:g} s",
        " and then ".join(str(each) for each in docker_subnets.DEFAULT_RANGES),
        f"can have {docker_network_kinds.MOST_GAMES:,} games at a time",
        f"`{docker_subnets.VARIABLE}=",
    ],
)
def test_a_figure_is_that_of_the_code(sentence: str) -> None:
    """Word by word, with the constant in it."""
    assert sentence in CONTAINERS


def test_times_in_words() -> None:
    """Half an hour for a pull, three tries, a minute for the janitor, a look at disks each second."""
    assert (docker_pull.PULL_SECONDS, docker_pull.TRIES) == (1800, 3)
    assert (janitor.WILL_SECONDS, docker_disk.LOOK) == (60, 1)
    for words in (
        "for half an hour each at most",
        "asked three times",
        "trying for a minute",
        "looked at once a second",
    ):
        assert words in CONTAINERS


def test_the_table_of_labels_is_complete() -> None:
    """Every label that we write, and no other."""
    ours = {labels.RUN, labels.MARK, labels.EPISODE, labels.ROLE, labels.ACTOR, labels.OWNER, labels.VERSION}
    assert set(re.findall(r"`(coworld\.[a-z]+)`", CONTAINERS)) == ours


def test_the_places_in_a_container_are_those_of_the_contract() -> None:
    """Where a role finds its directories, and the memory that it may write to."""
    places = (
        contract.CONTAINER_WORKSPACE,
        contract.CONTAINER_ARTIFACT,
        contract.CONTAINER_OWN,
        *docker_create.SCRATCH_PLACES,
    )
    for place in places:
        assert f"`{place}`" in CONTAINERS
    assert f"`{contract.CONTAINER_REPLAY}/{contract.FILE_REPLAY}`" in CONTAINERS
    assert "size=256m" in docker_create.SCRATCH
    assert "256 MiB each at most" in CONTAINERS
    for sign in docker_handle.ROOT_IS_READ_ONLY:
        assert f"`{sign.decode()}`" in CONTAINERS
