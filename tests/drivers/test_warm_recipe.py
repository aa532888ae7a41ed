"""Which commands can be warmed, and what makes two starts the same."""

from __future__ import annotations

import pytest

from coworld_drivers.janitor import MARK
from coworld_drivers.warm_recipe import Recipe, recipe

PYTHON = "/opt/bin/python3.11"

GOOD = {
    ("-m", "game"): ("module", "game", (), ()),
    ("-m", "game", "-m", "x"): ("module", "game", (), ("-m", "x")),
    ("-c", "pass", "a"): ("code", "pass", (), ("a",)),
    ("bot.py", "-u"): ("script", "bot.py", (), ("-u",)),
    ("-u", "-OO", "-W", "ignore", "-X", "dev", "-m", "game"): (
        "module",
        "game",
        ("-u", "-OO", "-W", "ignore", "-X", "dev"),
        (),
    ),
    ("-Wignore", "-Xutf8", "bot.py"): ("script", "bot.py", ("-Wignore", "-Xutf8"), ()),
}

BAD = {
    (): "nothing to run",
    ("-",): "nothing to run",
    ("-m",): "nothing to run",
    ("-i", "bot.py"): "unknown options of the interpreter",
    ("-um", "game"): "unknown options of the interpreter",
    ("--version",): "unknown options of the interpreter",
    ("-X", "importtime", "bot.py"): "unknown options of the interpreter",
    ("-W",): "unknown options of the interpreter",
    ("absent.py",): "neither a module nor a script",
    ("bot.pyc",): "neither a module nor a script",
    ("-m", "nul\0"): "a command or a variable that cannot be passed on",
}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "bot.py").touch()
    (tmp_path / "bot.pyc").touch()
    return tmp_path


@pytest.mark.parametrize("words", GOOD)
def test_commands_that_can_be_warmed(root, words):
    """Modules, scripts and code, after options that change nothing about how a program is begun."""
    made = recipe((PYTHON, *words), root, {})
    assert isinstance(made, Recipe)
    assert (made.kind, made.what, made.options, made.arguments) == GOOD[words]


@pytest.mark.parametrize("words", BAD)
def test_commands_that_cannot(root, words):
    """Everything else says why."""
    assert recipe((PYTHON, *words), root, {}) == BAD[words]


def test_what_is_no_interpreter(root):
    """The name of the executable decides."""
    assert recipe(("/bin/sh", "-c", "pass"), root, {}) == "not a Python interpreter"
    assert recipe(("/opt/bin/python3-config", "-c", "pass"), root, {}) == "not a Python interpreter"


def test_the_same_but_for_what_varies(root):
    """Variables of one start make no difference, all others do, and so do arguments and directory."""
    argv = (PYTHON, "-m", "game")
    one = {"A": "1", "HOME": "/a", MARK: "m.1", "COGAME_PORT": "1"}
    same = {"A": "1", "TMPDIR": "/b", MARK: "m.2", "COWORLD_PLAYER_WS_URL": "ws://"}
    assert recipe(argv, root, one) == recipe(argv, root, same)
    others = [
        recipe(argv, root, {**one, "A": "2"}),
        recipe(argv, root, {**one, "SECRET": "2"}),
        recipe((*argv, "x"), root, one),
        recipe(argv, root / "sub", one),
        recipe((PYTHON, "-O", *argv[1:]), root, one),
    ]
    assert len({recipe(argv, root, one), *others}) == 6
