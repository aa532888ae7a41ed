"""Which files make a package."""

from __future__ import annotations

from pathlib import Path

import pytest

from coworld_actors.package.sources import find_sources
from coworld_protocol.errors import Refused


def write(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).write_text("")


def test_what_is_not_given_is_looked_for(tmp_path: Path) -> None:
    """A compose file before a Dockerfile, a template before a manifest; the output is below dist/."""
    write(tmp_path, "Dockerfile", "coworld_manifest.json")
    found = find_sources(tmp_path)
    assert (found.compose, found.dockerfile) == (None, tmp_path / "Dockerfile")
    assert found.template == tmp_path / "coworld_manifest.json"
    assert found.output == tmp_path / "dist" / "coworld_manifest.json"
    write(tmp_path, "docker-compose.yml", "coworld_manifest_template.json")
    found = find_sources(tmp_path)
    assert (found.compose, found.dockerfile) == (tmp_path / "docker-compose.yml", None)
    assert found.template == tmp_path / "coworld_manifest_template.json"
    write(tmp_path, "compose.yaml")
    assert find_sources(tmp_path).compose == tmp_path / "compose.yaml"
    alone = find_sources(tmp_path, dockerfile=tmp_path / "Dockerfile")
    assert (alone.compose, alone.dockerfile) == (None, tmp_path / "Dockerfile")


def test_a_package_without_a_template_has_images_alone(tmp_path: Path) -> None:
    """There is no manifest to write then, and asking for one is refused."""
    write(tmp_path, "Dockerfile")
    found = find_sources(tmp_path)
    assert (found.template, found.output) == (None, None)
    with pytest.raises(Refused, match="no manifest template"):
        find_sources(tmp_path, output=tmp_path / "m.json")


def test_what_cannot_be_a_package_is_refused(tmp_path: Path) -> None:
    """Each with the next step."""
    with pytest.raises(Refused, match="nothing to build") as caught:
        find_sources(tmp_path)
    assert "--dockerfile" in caught.value.todo
    with pytest.raises(Refused, match="is no directory"):
        find_sources(tmp_path / "none")
    write(tmp_path, "Dockerfile", "coworld_manifest.json", "compose.yaml")
    with pytest.raises(Refused, match="do not go together"):
        find_sources(tmp_path, compose=tmp_path / "compose.yaml", dockerfile=tmp_path / "Dockerfile")
    with pytest.raises(Refused, match="is not there"):
        find_sources(tmp_path, template=tmp_path / "none.json")
    with pytest.raises(Refused, match="would replace"):
        find_sources(tmp_path, output=tmp_path / "coworld_manifest.json")
    (tmp_path / "built").mkdir()
    with pytest.raises(Refused, match="which is a directory"):
        find_sources(tmp_path, output=tmp_path / "built")
