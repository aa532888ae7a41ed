"""What is started for a player, and what is found out about it before anything is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coworld_actors.batch.commands import check_players, image_notes, refuse_idle_run, runnable_of, with_own_images
from coworld_actors.batch.specs import PlayerSpec, parse_spec
from coworld_actors.manifest.load import check_manifest
from coworld_drivers.images import Image, ImageMap
from coworld_protocol.contract import Role
from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused
from coworld_protocol.manifest import Runnable
from coworld_protocol.sdk.entry import ENTRY_MODULE
from tests.coworlds import IMAGE, scripted_manifest


def spec(text: str) -> PlayerSpec:
    return parse_spec(text, players=("plays", "crashes"), images=("mine", IMAGE))


def runnable(text: str, run: tuple[str, ...] = ()) -> Runnable:
    world = check_manifest(scripted_manifest(players=("plays", "crashes")), source="world.json").manifest
    return runnable_of(spec(text), world.player[0], world, run, ImageMap({}))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(error: type[CoworldError], call: Callable[[], Any]) -> list[str]:
    with pytest.raises(error) as caught:
        call()
    lines: list[str] = caught.value.lines()
    return lines


def test_a_command_is_an_image_of_its_own(here: Path) -> None:
    """Started in our directory, with nothing of the seat's."""
    text = 'cmd:"python bot.py",env.X=1,arg.depth=3'
    assert runnable(text) == Runnable(
        type=Role.PLAYER, image="cmd:python bot.py", run=("python", "bot.py", "--depth=3"), env={"X": "1"}
    )
    images = with_own_images(ImageMap({"mine": Image(root=here / "mine")}), [spec(text), spec("mine"), spec("plays")])
    assert images.names() == ["cmd:python bot.py", "mine"]
    resolved = images.resolve("cmd:python bot.py", ("python", "bot.py"))
    assert (resolved.argv, resolved.root) == ((sys.executable, "bot.py"), here)


def test_a_virtual_environment_here_plays(here: Path) -> None:
    """Its Python replaces `python`, as for any image."""
    python = here / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    images = with_own_images(ImageMap({}), [spec("cmd:python bot.py")])
    assert images.resolve("cmd:python bot.py", ("python", "bot.py")).argv[0] == str(python)


def test_a_function_runs_by_the_entry_module() -> None:
    """With its arguments as `key=value`."""
    assert runnable("py:bots:main,arg.depth=3") == Runnable(
        type=Role.PLAYER, image="py:bots:main", run=("python", "-m", ENTRY_MODULE, "bots:main", "depth=3")
    )


def test_nothing_is_mapped_where_nothing_is_needed() -> None:
    """The caller's map stays the caller's."""
    images = ImageMap({})
    assert with_own_images(images, [spec("plays"), spec("mine")]) is images


def test_arguments_go_behind_the_manifests_command() -> None:
    """And behind `--run` for an image."""
    assert runnable("plays,arg.x=1").run == ("python", "scripted_player.py", "--x=1")
    assert runnable("mine,arg.x=1", run=("sh", "bot.sh")).run == ("sh", "bot.sh", "--x=1")


def test_arguments_behind_an_images_own_command() -> None:
    """A manifest that gives no `run` leaves it to the mapping."""
    images = ImageMap({IMAGE: Image(root=Path("/nowhere"), run=("bot", "--fast"))})
    raw = scripted_manifest(players=("plays", "crashes"))
    del raw["player"][0]["run"]
    world = check_manifest(raw, source="world.json").manifest
    found = runnable_of(spec("plays,arg.x=1"), world.player[0], world, (), images)
    assert found.run == ("bot", "--fast", "--x=1")
    assert runnable_of(spec("plays"), world.player[0], world, (), images).run == ()
    assert said(Refused, lambda: runnable_of(spec("plays,arg.x=1"), world.player[0], world, (), ImageMap({}))) == [
        "plays: arg.x has no command to go behind",
        f"evidence: neither the manifest nor the mapping of {IMAGE} gives one",
        "try: give the command, with --run or in coworld_local.toml",
    ]


def test_run_needs_an_image() -> None:
    """Players, commands and functions bring their own."""
    specs = [spec("plays"), spec("cmd:x"), spec("py:a:b")]
    assert said(Refused, lambda: refuse_idle_run(specs, ("sh",))) == [
        "--run needs an image",
        "evidence: players: plays, cmd:x, py:a:b",
        "try: name an image as a PLAYER",
    ]
    refuse_idle_run(specs, ())
    refuse_idle_run([*specs, spec("mine")], ("sh",))


def test_an_image_with_a_command_of_its_own_is_pointed_out() -> None:
    """Once, and not when `--run` says what to do."""
    images = ImageMap({"mine": Image(root=Path("/nowhere"), run=("bot", "-x")), IMAGE: Image(root=Path("/nowhere"))})
    specs = [spec("mine"), spec("mine,name=b"), spec(IMAGE), spec("plays")]
    assert image_notes(specs, images, ()) == [
        "mine plays with the command of its seat, not with its own `bot -x`; see --run"
    ]
    assert image_notes(specs, images, ("sh",)) == []


def check(*texts: str) -> None:
    specs = [spec(text) for text in texts]
    check_players(specs, with_own_images(ImageMap({}), specs))


def test_good_players_pass_the_check(here: Path) -> None:
    """An executable that is there, a function that takes its arguments; nothing is called."""
    (here / "bots.py").write_text("async def main(depth):\n    raise AssertionError\n")
    check("cmd:python bot.py", "cmd:sh -c true", "py:bots:main,arg.depth=3", "plays", "mine")


@pytest.mark.usefixtures("here")
def test_a_command_that_is_not_there_is_refused() -> None:
    """In the words that the driver has for it."""
    lines = said(PreconditionMissing, lambda: check("cmd:no-such-program --x"))
    assert (
        lines[0]
        == "the executable 'no-such-program' of image 'cmd:no-such-program --x' (for no-such-program) does not exist"
    )


@pytest.mark.parametrize(
    ("text", "error", "what", "todo"),
    [
        (
            "py:nowhere:main",
            PreconditionMissing,
            "py:nowhere:main: there is no module nowhere",
            "try: check its name, and start in the directory that holds it",
        ),
        ("py:bots:mian", Refused, "py:bots:mian: module bots has no function mian", "try: did you mean main?"),
        (
            "py:bots:main,arg.width=3",
            Refused,
            "py:bots:main: bots:main does not take these arguments",
            "try: give key=value for every parameter without a default, and for no other",
        ),
    ],
)
def test_a_function_that_cannot_be_called_is_refused(
    here: Path, text: str, error: type[CoworldError], what: str, todo: str
) -> None:
    """Before an episode starts, in the entry module's own words."""
    (here / "bots.py").write_text("async def main(depth='2'):\n    pass\n")
    lines = said(error, lambda: check(text))
    assert (lines[0], lines[-1]) == (what, todo)


def test_a_module_that_breaks_is_refused_with_its_last_line(here: Path) -> None:
    """And with the command that shows all of it."""
    (here / "bots.py").write_text("import a_module_that_is_not_there\n")
    what, evidence, todo = said(Refused, lambda: check("py:bots:main"))
    assert what == "py:bots:main cannot be imported"
    assert evidence == "evidence: ModuleNotFoundError: No module named 'a_module_that_is_not_there'"
    assert todo == f"try: correct it; {sys.executable} -m {ENTRY_MODULE} --check bots:main in {here} shows all of it"


def test_an_interpreter_without_our_protocol_is_named(here: Path) -> None:
    """A virtual environment in the directory plays, and may lack what a function needs."""
    python = here / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    (here / "bots.py").write_text("async def main():\n    pass\n")
    what, evidence, todo = said(PreconditionMissing, lambda: check("py:bots:main"))
    assert what == f"py:bots:main would be run by {python}, which lacks coworld_protocol"
    assert "No module named 'coworld_protocol'" in evidence
    assert todo.startswith(f"try: run {python} -m pip install coworld-actors, or ")
