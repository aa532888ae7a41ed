"""Commands that can be run in this process, and what the others are told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from coworld_drivers.images import Image, ImageMap
from coworld_drivers.inproc_programs import Programs
from coworld_protocol.errors import PreconditionMissing

ROOT = Path(__file__).parents[1] / "programs"
GAME = ("python", "-m", "memory_roles.game")
PLAYER = ("python", "-m", "memory_roles.player")
ENTRY = ("python", "-m", "coworld_protocol.sdk.entry")


def programs_of(*roots: Path, **fields) -> Programs:
    """Images `0`, `1`, ... at these roots."""
    return Programs(ImageMap({str(number): Image(root=root, **fields) for number, root in enumerate(roots)}))


@pytest.fixture
def programs():
    """One image with the roles of the tests; the import path is as before afterwards."""
    path = sys.path.copy()
    made = programs_of(ROOT)
    yield made
    made.close()
    assert sys.path == path


def test_a_module_is_found_once(programs):
    """A game by its server, a player by its coroutine function."""
    from_game = programs.find("0", GAME, "game")
    assert programs.find("0", GAME, "game") is from_game
    assert sys.modules["memory_roles.game"].game.run == from_game.main
    assert programs.find("0", PLAYER, "player").main is sys.modules["memory_roles.player"].main
    assert str(ROOT) in sys.path


def test_a_function_is_found_with_its_arguments(programs):
    """As `python -m coworld_protocol.sdk.entry` takes them."""
    found = programs.find("0", (*ENTRY, "memory_roles.player:play", "number=3", "times=2"), "player")
    assert found.main.keywords == {"number": "3", "times": "2"}


@pytest.mark.parametrize(
    ("run", "role", "what"),
    [
        (("python", "script.py"), "player", "is no module of the Python that runs this"),
        (("sh", "-c", "true"), "player", "is no module of the Python that runs this"),
        (("python",), "player", "is no module of the Python that runs this"),
        ((*PLAYER, "--depth=3"), "player", "started with arguments"),
        (("python", "-m"), "player", "started with arguments"),
        (GAME, "player", "no `async def main"),
        (PLAYER, "game", "has 0 GameServer objects"),
        (("python", "-m", "memory_roles"), "player", "no `async def main"),
        ((*ENTRY, "memory_roles.player:plain"), "player", "is no `async def`"),
        ((*ENTRY, "memory_roles.player:main"), "game", "is no `async def`"),
        ((*ENTRY, "memory_roles.player:mian"), "player", "has no function mian"),
        ((*ENTRY, "memory_roles.player:play"), "player", "does not take these arguments"),
        (ENTRY, "player", "there is no function to call"),
        ((*ENTRY, "no_such_module_here:main"), "player", "there is no module no_such_module_here"),
    ],
)
def test_what_cannot_be_run_here_is_refused_with_the_next_step(programs, run, role, what):
    """Every refusal says what to do about it."""
    with pytest.raises(PreconditionMissing) as caught:
        programs.find("0", run, role, "player p")
    assert what in caught.value.what
    assert caught.value.todo


def test_what_a_module_raises_is_the_modules(programs):
    """A module that is not there at all, too: `python -m` would fail in the role's own process."""
    with pytest.raises(ModuleNotFoundError):
        programs.find("0", ("python", "-m", "no_such_module_here"), "player")


def test_another_interpreter_is_refused(tmp_path):
    """Its packages are not ours."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    with pytest.raises(PreconditionMissing, match="no module of the Python that runs this"):
        programs_of(tmp_path, python=python).find("0", PLAYER, "player")


def test_an_unmapped_image_is_what_it_is_everywhere(programs):
    """The message is the image map's."""
    with pytest.raises(PreconditionMissing, match="not mapped"):
        programs.find("other", PLAYER, "player")


def write(root: Path, name: str, text: str = "async def main(): ...\n") -> Path:
    root.mkdir(exist_ok=True)
    (root / f"{name}.py").write_text(text)
    return root


def test_two_roots_with_a_module_of_one_name_are_refused(tmp_path):
    """Also when it is only beside what is wanted: an import of it would find the wrong one."""
    one, two = write(tmp_path / "one", "inproc_clash_a"), write(tmp_path / "two", "inproc_clash_b")
    for root in (one, two):
        write(root, "inproc_clash_both")
    programs = programs_of(one, two)
    try:
        programs.find("0", ("python", "-m", "inproc_clash_a"), "player")
        with pytest.raises(PreconditionMissing, match="two images have a module 'inproc_clash_both'") as caught:
            programs.find("1", ("python", "-m", "inproc_clash_b"), "player")
        assert str(one) in caught.value.evidence
        assert str(two) in caught.value.evidence
    finally:
        programs.close()
        sys.modules.pop("inproc_clash_a", None)


def test_a_module_that_another_place_has_taken_is_refused(tmp_path):
    """The one that is imported already is not the one that is meant."""
    root = write(tmp_path / "root", "memory_roles")
    other = programs_of(ROOT)
    other.find("0", PLAYER, "player")
    other.close()
    programs = programs_of(root)
    try:
        with pytest.raises(PreconditionMissing, match="of another place"):
            programs.find("0", ("python", "-m", "memory_roles"), "player")
    finally:
        programs.close()


def test_two_images_of_one_root_share_its_modules(programs):
    """As Orchard's game and players do."""
    both = programs_of(ROOT, ROOT)
    try:
        assert both.find("0", PLAYER, "player").main is both.find("1", PLAYER, "player").main
    finally:
        both.close()
