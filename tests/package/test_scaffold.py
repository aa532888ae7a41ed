"""What `init` writes: complete, clean, named safely, and never over anything."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from coworld_actors.manifest.load import load_manifest
from coworld_actors.package.scaffold import KINDS, init_game, init_player, names_of
from coworld_protocol.errors import PreconditionMissing, Refused

ROOT = Path(__file__).parents[2]
ORCHARD = ROOT / "examples" / "orchard" / "coworld_manifest.json"
RULES = "E,F,W,I,N,UP,B,SIM,RUF,ANN,PT,RET,C4,ASYNC"


def tool(directory: Path, *words: str) -> None:
    done = subprocess.run([sys.executable, "-m", *words], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def other_world(directory: Path) -> Path:
    """A manifest of a game that no player of ours knows, with a name that would end any text."""
    init_game(directory / "other", "other")
    path = directory / "other" / "coworld_manifest.json"
    document = json.loads(path.read_text())
    document["game"]["name"] = 'The """ game \\ @name@ `of` ${all}'
    document["game"]["protocols"]["player"]["value"] = "Say something else. @name@"
    path.write_text(json.dumps(document))
    return path


def begin(directory: Path, kind: str) -> Path:
    """Each of the things that can be begun."""
    target = directory / "berry-race"
    if kind == "game":
        init_game(target)
    elif kind == "orchard":
        init_player(target)
    elif kind == "sparrows":
        init_game(directory / "world")
        init_player(target, manifest=str(directory / "world"))
    else:
        init_player(target, manifest=str(other_world(directory)))
    return target


@pytest.mark.parametrize("kind", ["game", *KINDS])
def test_what_is_begun_is_complete_and_clean(tmp_path: Path, kind: str) -> None:
    """No mark is left in it; linter, formatter and strict type checker find nothing; its own tests pass."""
    directory = begin(tmp_path, kind)
    for path in (path for path in directory.rglob("*") if path.is_file() and path.name != "PROTOCOL.md"):
        assert not re.search(r"@[a-z]+@", path.read_text()), path
    assert {".dockerignore", ".gitignore", "Dockerfile", "README.md", "requirements.txt"} <= {
        path.name for path in directory.iterdir()
    }
    tool(directory, "ruff", "check", "--isolated", "--no-cache", "--line-length", "120", "--select", RULES, ".")
    tool(directory, "ruff", "format", "--isolated", "--no-cache", "--line-length", "120", "--check", ".")
    tool(directory, "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache" / "begun"), ".")
    tool(directory, "pytest", "-q", "-p", "no:cacheprovider")


def test_a_games_manifest_is_good_and_a_template(tmp_path: Path) -> None:
    """It loads as it stands, with the build's placeholder as the image of every role."""
    begun = init_game(tmp_path / "x", "Berry Race")
    loaded = load_manifest(tmp_path / "x")
    assert (loaded.manifest.game.name, loaded.warnings) == ("berry-race", ())
    assert {loaded.manifest.game.runnable.image, *(each.image for each in loaded.manifest.player)} == {"{{IMAGE}}"}
    assert "berry_race/rules.py" in begun.files
    assert "# Berry Race" in (tmp_path / "x" / "README.md").read_text()


def test_a_player_knows_its_game_or_gets_its_protocol(tmp_path: Path) -> None:
    """Orchard's plays Orchard; for another game its own words lie beside the player, and its name ends no text."""
    init_player(tmp_path / "a", manifest=str(ORCHARD))
    assert "ripe" in (tmp_path / "a" / "bot.py").read_text()
    assert "Orchard: the player's socket" in (tmp_path / "a" / "PROTOCOL.md").read_text()
    init_player(tmp_path / "b", manifest=str(other_world(tmp_path)))
    assert (tmp_path / "b" / "PROTOCOL.md").read_text() == "Say something else. @name@\n"
    assert (tmp_path / "b" / "bot.py").read_text().startswith('"""B, a player for The  game  name of all: it listens')
    assert "coworld-actors run ../other/coworld_manifest.json" in (tmp_path / "b" / "README.md").read_text()


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    """A directory with anything in it, hidden or not, and a file are refused; an empty directory will do."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".keep").write_text("mine")
    for start in (init_game, init_player):
        with pytest.raises(Refused, match="nothing is ever overwritten") as caught:
            start(tmp_path / "full", "berry")
        assert caught.value.evidence == ".keep"
        with pytest.raises(Refused, match="is a file"):
            start(tmp_path / "full" / ".keep", "berry")
    assert [path.name for path in (tmp_path / "full").iterdir()] == [".keep"]
    (tmp_path / "empty").mkdir()
    init_game(tmp_path / "empty", "berry")


def test_a_start_that_fails_takes_its_files_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directories that it made, too."""
    opened: list[Path] = []
    real = Path.open

    def full(path: Path, mode: str = "r", *args: object, **more: object) -> object:
        if mode == "x":
            opened.append(path)
            if len(opened) == 5:
                raise OSError(28, "No space left on device")
        return real(path, mode, *args, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(PreconditionMissing, match="cannot be written") as caught:
        init_game(tmp_path / "deep" / "berry")
    assert caught.value.evidence == "No space left on device"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "1st", "a/b", "a..b", "été", "x" * 61, "class", "a\n", '"x"', "-a", "a--b"])
def test_names_that_cannot_be_used_are_refused(tmp_path: Path, name: str) -> None:
    """By what a name may have, with one that would do."""
    with pytest.raises(Refused, match="is no name") as caught:
        names_of(tmp_path, name)
    assert "--name" in caught.value.todo


@pytest.mark.parametrize("name", ["json", "Trio", "tests", "coworld-protocol", "msgspec"])
def test_a_game_hides_no_other_package(tmp_path: Path, name: str) -> None:
    """Its package is the first that Python finds: one that is called like another would be imported in its place."""
    with pytest.raises(Refused, match="cannot be called"):
        init_game(tmp_path / "x", name)
    assert not (tmp_path / "x").exists()


def test_the_spellings_of_a_name(tmp_path: Path) -> None:
    """A manifest's, Python's and people's; without one it is the directory's."""
    names = names_of(tmp_path / "Berry race_2")
    assert (names.name, names.ident, names.title) == ("berry-race-2", "berry_race_2", "Berry Race 2")
