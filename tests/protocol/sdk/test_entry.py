"""A function as a player: the words that name it, what is called, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused
from coworld_protocol.sdk.entry import ENTRY_MODULE, Entry, entry_of, load_entry, main, parse_entry, parse_target

MODULE = """
import sys
import trio
from coworld_protocol.errors import PreconditionMissing

LIMIT = 3


async def play(depth="2"):
    await trio.sleep(0)
    print("played", repr(depth))


def plain(depth="2"):
    print("plain", repr(depth))


def status():
    return 7


def later():
    return play("later")


async def fails():
    raise PreconditionMissing("no weights", todo="train first")


def plain_fails():
    raise PreconditionMissing("no weights", todo="train first")


async def breaks():
    raise ZeroDivisionError("by hand")


async def leaves():
    sys.exit(5)


async def waits():
    print("waiting", flush=True)
    await trio.sleep_forever()


def plain_waits():
    import time

    print("waiting", flush=True)
    while True:
        time.sleep(60)


class Bot:
    async def __call__(self):
        await trio.sleep(0)
        print("called")

    @staticmethod
    async def inner(depth):
        await trio.sleep(0)
        print("inner", depth)


bot = Bot()
"""


@pytest.fixture
def bots(tmp_path: Path) -> Iterator[Path]:
    """A directory with the module above, and one that misses another."""
    (tmp_path / "my_bots").mkdir()
    (tmp_path / "my_bots" / "careful.py").write_text(MODULE)
    (tmp_path / "my_bots" / "broken.py").write_text("import a_module_that_is_not_there\n")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("my_bots", "counted")):
            del sys.modules[name]


def run(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", ENTRY_MODULE, *words],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("function", "words", "out", "status"),
    [
        ("play", [], "played '2'", 0),
        ("play", ["depth=3=4"], "played '3=4'", 0),
        ("plain", ["depth="], "plain ''", 0),
        ("status", [], "", 7),
        ("later", [], "played 'later'", 0),
        ("leaves", [], "", 5),
        ("bot", [], "called", 0),
        ("Bot.inner", ["depth=9"], "inner 9", 0),
    ],
)
def test_a_function_is_called(bots: Path, function: str, words: list[str], out: str, status: int) -> None:
    """Async under trio, plain as it is, with texts as keyword arguments; the exit status is the function's."""
    done = run(bots, f"my_bots.careful:{function}", *words)
    assert (done.stdout.strip(), done.stderr, done.returncode) == (out, "", status)


@pytest.mark.parametrize("function", ["fails", "plain_fails"])
def test_an_error_of_the_tree_ends_as_with_run_player(bots: Path, function: str) -> None:
    """Its lines and its exit status."""
    done = run(bots, f"my_bots.careful:{function}")
    assert (done.stderr, done.returncode) == ("no weights\ntry: train first\n", 3)


def test_any_other_error_has_its_traceback(bots: Path) -> None:
    """A defect of the player's own is shown whole."""
    done = run(bots, "my_bots.careful:breaks")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("ZeroDivisionError: by hand\n")


@pytest.mark.parametrize("function", ["waits", "plain_waits"])
def test_an_interrupt_ends_it(bots: Path, function: str) -> None:
    """With the status that shells give to it, and without a traceback."""
    words = [sys.executable, "-m", ENTRY_MODULE, f"my_bots.careful:{function}"]
    with subprocess.Popen(words, cwd=bots, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (errors, process.returncode) == ("", 130)


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ([], ["there is no function to call", f"try: write python -m {ENTRY_MODULE} module:function [key=value]..."]),
        (
            ["my_bots/careful.py"],
            [
                "my_bots/careful.py is not of the form module:function",
                "evidence: module and function are dotted names",
                "try: write my_bots.careful:main",
            ],
        ),
        (
            ["my_bots.careful:play", "depth"],
            [
                "'depth' is no keyword argument",
                "evidence: a key has letters, digits and _, the first one no digit",
                "try: write for example my_bots.careful:play depth=3",
            ],
        ),
        (
            ["my_bots.careful:play", "--depth=3"],
            [
                "'--depth=3' is no keyword argument",
                "evidence: a key has letters, digits and _, the first one no digit",
                "try: write for example my_bots.careful:play depth=3",
            ],
        ),
        (
            ["my_bots.careful:play", "a=1", "a=2"],
            ["the keyword argument a comes twice", "try: give it once"],
        ),
        (
            ["my_bots.careful:plai"],
            [
                "module my_bots.careful has no function plai",
                "evidence: it has PreconditionMissing, play, plain, status, later, fails, plain_fails, breaks, leaves, waits",
                "try: did you mean plain?",
            ],
        ),
        (
            ["my_bots.careful:Bot.zzz"],
            ["module my_bots.careful has no function Bot.zzz", "evidence: it has inner", "try: choose one of them"],
        ),
        (
            ["my_bots.careful:LIMIT"],
            ["my_bots.careful:LIMIT is int, no function", "try: name a function that plays one episode"],
        ),
        (
            ["my_bots.careful:play", "width=3"],
            [
                "my_bots.careful:play does not take these arguments",
                "evidence: got an unexpected keyword argument 'width'; it is called as play(depth='2')",
                "try: give key=value for every parameter without a default, and for no other",
            ],
        ),
        (
            ["my_bots.careful:Bot.inner"],
            [
                "my_bots.careful:Bot.inner does not take these arguments",
                "evidence: missing a required argument: 'depth'; it is called as inner(depth)",
                "try: give key=value for every parameter without a default, and for no other",
            ],
        ),
    ],
)
def test_what_cannot_be_called_is_refused(
    bots: Path, words: list[str], lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every message; the same with `--check`, which calls nothing."""
    monkeypatch.syspath_prepend(bots)
    for given in (words, ["--check", *words]):
        assert main(given) == 2
        assert capsys.readouterr().err.splitlines() == lines


def test_a_module_that_is_not_there(bots: Path) -> None:
    """The places that were looked at are named; it is the machine that lacks something."""
    done = run(bots, "my_bot.careful:play")
    assert done.returncode == 3
    what, evidence, todo = done.stderr.splitlines()
    assert what == "there is no module my_bot.careful"
    assert evidence.startswith(f"evidence: looked for in {bots}, ")
    assert todo == "try: check its name, and start in the directory that holds it"


def test_a_module_that_misses_another_keeps_its_traceback(bots: Path) -> None:
    """The name in the message is that of the missing one, and where it was wanted."""
    done = run(bots, "my_bots.broken:play")
    assert done.returncode == 1
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'a_module_that_is_not_there'\n")


def test_check_imports_and_calls_nothing(bots: Path) -> None:
    """A function that would break is fine as long as it takes the arguments."""
    done = run(bots, "--check", "my_bots.careful:breaks")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_a_launch_is_recognised_by_its_words() -> None:
    """What a driver needs to call the function in its own process."""
    entry = Entry(module="bots", function="Bot.play", arguments={"depth": "3", "x": ""})
    assert entry_of([sys.executable, "-m", ENTRY_MODULE, "bots:Bot.play", "depth=3", "x="]) == entry
    assert entry_of(["python", "-m", "orchard.game"]) is None
    assert entry_of(["python", "bot.py", ENTRY_MODULE]) is None
    assert entry_of([]) is None
    assert entry.target == "bots:Bot.play"
    with pytest.raises(Refused):
        entry_of(["python", "-m", ENTRY_MODULE])


def test_a_loaded_entry_can_be_called_again(bots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The arguments are bound; a driver calls it once per episode."""
    monkeypatch.syspath_prepend(bots)
    (bots / "counted.py").write_text("calls = []\ndef play(depth):\n    calls.append(depth)\n    return calls\n")
    call = load_entry(parse_entry(["counted:play", "depth=3"]))
    assert (call(), call()) == (["3", "3"], ["3", "3"])
    with pytest.raises(PreconditionMissing):
        load_entry(Entry(module="nowhere_at_all", function="play"))


@pytest.mark.parametrize("text", ["bots:main", "a.b.c:D.e"])
def test_a_target_is_split(text: str) -> None:
    """At its only colon."""
    assert ":".join(parse_target(text)) == text


@pytest.mark.parametrize("text", ["", "a", "a:", ":a", "a:b:c", "a b:c", "1a:b", "a..b:c", f"a{os.sep}b.py:c"])
def test_every_wrong_target_gets_a_right_one(text: str) -> None:
    """What is proposed can be read itself."""
    with pytest.raises(CoworldError) as caught:
        parse_target(text)
    assert ":".join(parse_target(caught.value.todo.removeprefix("write "))) == caught.value.todo.removeprefix("write ")
