"""From an image's name to a command on this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from coworld_drivers.images import LOCAL_FILE, ImageMap, load_images
from coworld_protocol.errors import PreconditionMissing, Refused


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def write(directory: Path, text: str) -> Path:
    (directory / LOCAL_FILE).write_text(text)
    return directory


def test_root_is_relative_to_the_file(tmp_path):
    """`root` belongs to the directory of the toml, whatever our own is."""
    (tmp_path / "game").mkdir()
    images = load_images(write(tmp_path, '[images."game:latest"]\nroot = "game"\nenv = { MODE = "x" }\n'), {})
    found = images.resolve("game:latest", ("sh", "-c", "true"))
    assert found.root == tmp_path / "game"
    assert found.env == {"MODE": "x"}
    assert Path(found.argv[0]).name == "sh"
    assert found.argv[1:] == ("-c", "true")


def test_run_of_the_file_is_only_the_default(tmp_path):
    """The manifest's `run` wins over the file's."""
    images = load_images(write(tmp_path, '[images.g]\nroot = "."\nrun = ["sh", "default"]\n'), {})
    assert images.resolve("g", ()).argv[1:] == ("default",)
    assert images.resolve("g", ("sh", "manifest")).argv[1:] == ("manifest",)


@pytest.mark.parametrize("word", ["python", "python3", "python3.12"])
def test_python_of_the_file_replaces_a_leading_python(tmp_path, word):
    """Only the first word is replaced, whatever the interpreter is called."""
    mine = executable(tmp_path / "venv" / "bin" / "python")
    images = load_images(write(tmp_path, '[images.g]\nroot = "."\npython = "venv/bin/python"\n'), {})
    assert images.resolve("g", (word, "-m", "python")).argv == (str(mine), "-m", "python")
    assert images.resolve("g", ("sh", word)).argv[1:] == (word,)


def test_python_may_start_with_a_tilde(tmp_path, monkeypatch):
    """`~` is the home directory."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    mine = executable(tmp_path / "home" / "py" / "python3")
    images = load_images(write(tmp_path, '[images.g]\nroot = "."\npython = "~/py/python3"\n'), {})
    assert images.resolve("g", ("python",)).argv == (str(mine),)


@pytest.mark.parametrize("place", ["bin/python", ".venv/bin/python"])
def test_a_directory_that_is_or_has_a_virtual_environment_brings_its_python(tmp_path, place):
    """`--image NAME=DIR` takes the interpreter found at DIR."""
    mine = executable(tmp_path / place)
    found = load_images(None, {"g": str(tmp_path)}).resolve("g", ("python3", "x.py"))
    assert found.argv == (str(mine), "x.py")
    assert found.interpreter == mine


def test_without_a_virtual_environment_our_own_python_is_used(tmp_path):
    """A directory without an interpreter runs under the one that runs us."""
    assert load_images(None, {"g": str(tmp_path)}).resolve("g", ("python",)).argv == (sys.executable,)


def test_a_symbolic_link_to_an_interpreter_is_kept(tmp_path):
    """A virtual environment is known by the path of its link; following it would lose the environment."""
    real = executable(tmp_path / "real" / "python3")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(real)
    found = load_images(None, {"g": str(tmp_path)}).resolve("g", ("python",))
    assert found.argv == (str(tmp_path / "bin" / "python"),)


def test_relative_executables_belong_to_the_root(tmp_path):
    """A word with a slash, and a bare word that exists under the root, are the image's own files."""
    own = executable(tmp_path / "bin" / "serve")
    bare = executable(tmp_path / "start")
    images = load_images(None, {"g": str(tmp_path)})
    assert images.resolve("g", ("bin/serve",)).argv == (str(own),)
    assert images.resolve("g", ("./start",)).argv == (str(bare),)
    assert images.resolve("g", ("start",)).argv == (str(bare),)


def test_commands_beside_the_interpreter_are_found(tmp_path):
    """Console scripts of the image's virtual environment need no path."""
    executable(tmp_path / ".venv" / "bin" / "python")
    script = executable(tmp_path / ".venv" / "bin" / "my-game")
    assert load_images(None, {"g": str(tmp_path)}).resolve("g", ("my-game",)).argv == (str(script),)


def test_an_override_wins_and_keeps_run_and_env(tmp_path):
    """`--image` replaces root and python of the file's entry."""
    executable(tmp_path / "elsewhere" / "python")
    other = tmp_path / "other"
    other.mkdir()
    text = '[images.g]\nroot = "."\npython = "elsewhere/python"\nrun = ["python", "a"]\nenv = { K = "v" }\n'
    found = load_images(write(tmp_path, text), {"g": str(other)}).resolve("g", ())
    assert found.root == other
    assert found.argv == (sys.executable, "a")
    assert found.env == {"K": "v"}


def test_an_override_may_be_relative_to_us_or_the_home(tmp_path, monkeypatch):
    """DIR is what a shell would make of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "d").mkdir()
    for text in ("d", "./d/", "~/d"):
        assert load_images(None, {"g": text}).resolve("g", ("sh",)).root == tmp_path / "d"


def test_an_unmapped_image_is_told_with_both_ways(tmp_path):
    """The refusal names image and role, the closest known name, the option and the file."""
    images = load_images(write(tmp_path, '[images."arena:v1"]\nroot = "."\n'), {})
    with pytest.raises(PreconditionMissing) as caught:
        images.resolve("arena:v2", ("sh",), role="player greedy")
    text = "\n".join(caught.value.lines())
    assert "image 'arena:v2' (for player greedy) is not mapped" in text
    assert "closest is 'arena:v1'" in text
    assert "--image 'arena:v2=DIR'" in text
    assert f'[images."arena:v2"] with root = "DIR" into {tmp_path / LOCAL_FILE}' in text
    assert len(caught.value.lines()) <= 4


def test_without_a_directory_the_file_is_still_named():
    """A manifest that came from elsewhere has no directory; the message says where the file would be."""
    with pytest.raises(PreconditionMissing, match="not mapped") as caught:
        load_images(None, {}).resolve("g", ())
    assert f"{LOCAL_FILE} beside the manifest" in caught.value.todo


def test_a_root_that_does_not_exist_is_told(tmp_path):
    """The message names the directory and where it was said."""
    with pytest.raises(PreconditionMissing, match="which is not a directory") as caught:
        load_images(None, {"g": str(tmp_path / "none")}).resolve("g", ("sh",))
    assert "--image g=" in caught.value.todo


@pytest.mark.parametrize(
    ("text", "evidence"),
    [
        ('[images.g]\nroot = "."\nrot = 1\n', "rot"),
        ('[image.g]\nroot = "."\n', "image"),
        ('[images.g]\nrun = ["a"]\n', "root"),
        ("[images.g]\nroot = 1\n", "$.images[...].root"),
        ('[images.g]\nroot = "."\nrun = "python x"\n', "run"),
        ('[images.g]\nroot = "."\nenv = { A = 1 }\n', "env"),
        ("images = 3\n", "$.images"),
        ("[images.g\n", "line 1"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path, text, evidence):
    """Unknown keys, wrong types and broken TOML are refused with the place."""
    with pytest.raises(Refused) as caught:
        load_images(write(tmp_path, text), {})
    assert evidence in caught.value.evidence
    assert LOCAL_FILE in caught.value.what


def test_a_file_that_is_not_text_is_refused(tmp_path):
    """Bytes that are not UTF-8 and a directory in the file's place are refusals, not tracebacks."""
    (tmp_path / LOCAL_FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="cannot be read"):
        load_images(tmp_path, {})
    (tmp_path / LOCAL_FILE).unlink()
    (tmp_path / LOCAL_FILE).mkdir()
    with pytest.raises(Refused, match="cannot be read"):
        load_images(tmp_path, {})


def test_names(tmp_path):
    """The mapped names are at hand for messages and completion."""
    images = load_images(write(tmp_path, '[images.b]\nroot = "."\n[images.a]\nroot = "."\n'), {"c": "."})
    assert images.names() == ["a", "b", "c"]
    assert "a" in images
    assert "d" not in images


def test_an_image_shows_its_own_command(tmp_path):
    """Whoever seats an image can see that its mapping has a command of its own."""
    (tmp_path / "coworld_local.toml").write_text(
        '[images.a]\nroot = "."\nrun = ["python", "a.py"]\n[images.b]\nroot = "."\n'
    )
    images = load_images(tmp_path, {})
    assert images.command("a") == ("python", "a.py")
    assert images.command("b") == images.command("unmapped") == ()


def beside(directory: Path, text: str) -> ImageMap:
    directory.mkdir()
    return load_images(write(directory, text), {})


def test_maps_of_several_coworlds_become_one(tmp_path):
    """Every name of every map is there and means what it meant; a missing one is told with the first file."""
    first = beside(tmp_path / "a", '[images.a]\nroot = "."\n')
    second = beside(tmp_path / "b", '[images.b]\nroot = "."\nenv = { K = "v" }\n')
    merged = ImageMap.merged([load_images(None, {"c": str(tmp_path)}), first, second])
    assert merged.names() == ["a", "b", "c"]
    assert merged.resolve("a", ("sh",)).root == tmp_path / "a"
    assert merged.resolve("b", ("sh",)).env == {"K": "v"}
    assert first.names() == ["a"]
    with pytest.raises(PreconditionMissing) as caught:
        merged.resolve("d", ("sh",))
    assert str(tmp_path / "a" / LOCAL_FILE) in caught.value.todo


def test_nothing_merged_is_an_empty_map():
    """No Coworld, no images."""
    assert ImageMap.merged([]).names() == []


def test_a_name_may_be_in_two_maps_if_it_means_the_same(tmp_path):
    """Two Coworlds may share an image: where it was said does not matter, what it means does."""
    (tmp_path / "shared").mkdir()
    maps = [beside(tmp_path / name, f'[images.g]\nroot = "{tmp_path}/shared"\n') for name in "ab"]
    assert ImageMap.merged(maps).resolve("g", ("sh",)).root == tmp_path / "shared"


@pytest.mark.parametrize(
    "other",
    ['root = "."', 'root = "../a"\nrun = ["sh"]', 'root = "../a"\nenv = { K = "v" }', 'root = "../a"\npython = "p"'],
)
def test_a_name_with_two_meanings_is_refused(tmp_path, other):
    """Whichever part differs; both files are named."""
    maps = [
        beside(tmp_path / "a", '[images.g]\nroot = "."\n'),
        beside(tmp_path / "b", f"[images.g]\n{other}\n"),
    ]
    with pytest.raises(Refused, match="image 'g' means two different things") as caught:
        ImageMap.merged(maps)
    for place in ("a", "b"):
        assert str(tmp_path / place / LOCAL_FILE) in caught.value.evidence
