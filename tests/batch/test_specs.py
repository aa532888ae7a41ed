"""Players on the command line: what they mean, and what whoever got one wrong is told."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coworld_actors.batch.specs import PlayerSpec, RefKind, entrant_names, parse_spec
from coworld_protocol.errors import Refused

PLAYERS = ("greedy", "random", "tag:3")
IMAGES = ("orchard:0.1.0", "mine", "greedy:3")


def spec(text: str) -> PlayerSpec:
    return parse_spec(text, players=PLAYERS, images=IMAGES[:2])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("greedy", {"kind": RefKind.PLAYER}),
        ("tag:3", {"kind": RefKind.PLAYER}),
        ("mine", {"kind": RefKind.IMAGE}),
        ("orchard:0.1.0,share=2", {"kind": RefKind.IMAGE, "ref": "orchard:0.1.0", "share": 2.0}),
        ("registry.test:5000/team/bot:2", {"kind": RefKind.IMAGE}),
        ("bot@sha256:00", {"kind": RefKind.IMAGE}),
        ("greedy,name=careful", {"ref": "greedy", "name": "careful"}),
        ("greedy,share=.5", {"ref": "greedy", "share": 0.5}),
        (
            "greedy,env.DEPTH=3,env.MODE=a=b,arg.x-y=1,arg.z=",
            {"ref": "greedy", "env": {"DEPTH": "3", "MODE": "a=b"}, "args": {"x-y": "1", "z": ""}},
        ),
        ('greedy,name="Ada, the first"', {"ref": "greedy", "name": "Ada, the first"}),
        (r'greedy,env.X="a\"b\\,"', {"ref": "greedy", "env": {"X": 'a"b\\,'}}),
        ('greedy,env.X=a"b,c"', {"ref": "greedy", "env": {"X": 'a"b,c"'}}),
        (r"greedy,env.X=a\b", {"ref": "greedy", "env": {"X": r"a\b"}}),
        ('"greedy"', {"ref": "greedy", "kind": RefKind.PLAYER}),
        ("cmd:python bot.py", {"kind": RefKind.COMMAND}),
        (
            'cmd:"python bot.py --x 1,2",share=2',
            {"kind": RefKind.COMMAND, "ref": "cmd:python bot.py --x 1,2", "share": 2.0},
        ),
        ('"cmd:python bot.py --x 1,2"', {"kind": RefKind.COMMAND, "ref": "cmd:python bot.py --x 1,2"}),
        ("py:bots.careful:main", {"kind": RefKind.FUNCTION}),
        ('py:"bots:main"', {"kind": RefKind.FUNCTION, "ref": "py:bots:main"}),
        ("py:bot:Bot.play,arg.depth=3", {"kind": RefKind.FUNCTION, "ref": "py:bot:Bot.play", "args": {"depth": "3"}}),
    ],
)
def test_a_player_is_read(text: str, expected: dict[str, Any]) -> None:
    """Every field, every kind of reference, and commas and quotes inside quotes."""
    assert spec(text) == PlayerSpec(**{"ref": text, "kind": RefKind.PLAYER, **expected})


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("cmd:python bot.py", ("python", "bot.py")),
        ('cmd:"python bot.py --x 1,2"', ("python", "bot.py", "--x", "1,2")),
        ("cmd:\"python 'my bot.py'\",arg.depth=3,arg.on=", ("python", "my bot.py", "--depth=3", "--on=")),
        ('cmd:sh -c "a, b"', ("sh", "-c", "a, b")),
        ("py:bot:main,arg.depth=3,arg.name=a b", ("bot:main", "depth=3", "name=a b")),
        ("greedy,arg.depth=3", ()),
        ("mine,arg.depth=3", ()),
    ],
)
def test_commands_and_functions_have_words(text: str, argv: tuple[str, ...]) -> None:
    """Split like a shell does, arguments behind; a function has `key=value` instead of `--key=value`."""
    assert spec(text).argv == argv


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("greedy", "greedy"),
        ("greedy,name=x", "x"),
        ("host:5000/team/bot:2", "bot"),
        ("cmd:python bots/bot.py --x", "bot.py"),
        ("cmd:/usr/bin/python3.12 -m bots.careful", "bots.careful"),
        ("cmd:node bot.js", "bot.js"),
        ("cmd:./target/release/bot --fast", "bot"),
        ("cmd:java -jar bot.jar", "java"),
        ("cmd:env -m x", "env"),
        ("py:bots.careful:main", "bots.careful"),
        ("py:bots.careful:play", "bots.careful:play"),
        ('cmd:"\x1b[2Jbot"', "\\u001b[2Jbot"),
        (f"cmd:{'b' * 300}", "b" * 200),
    ],
)
def test_a_player_without_a_name_is_called_by_its_reference(text: str, name: str) -> None:
    """By the part of it that tells players apart."""
    assert spec(text).called == name


def test_equal_names_are_told_apart() -> None:
    """The same player may be named several times."""
    assert entrant_names([spec("greedy"), spec("greedy,env.X=1"), spec("random,name=greedy")]) == (
        "greedy",
        "greedy (2)",
        "greedy (3)",
    )


KNOWN = "evidence: players: greedy, random, tag:3"
VARIABLE_OR_OPTION = "a variable is written env.depth=3, an option of the command arg.depth=3"
FORM = "REF[,name=..][,share=N][,env.K=V][,arg.K=V]"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["a player without a reference", KNOWN, f"try: write {FORM}"]),
        (",share=2", ["a player without a reference", KNOWN, f"try: write {FORM}"]),
        ("share=2", ["share=2 stands where the player has to be", KNOWN, "try: begin with the player: greedy,share=2"]),
        (
            "env.X=1,greedy",
            ["env.X=1 stands where the player has to be", KNOWN, "try: begin with the player: greedy,env.X=1"],
        ),
        ("greedy:3", ["greedy:3 is no player", KNOWN, "try: a share is written greedy,share=3"]),
        ("greedy:0.5,name=x", ["greedy:0.5 is no player", KNOWN, "try: a share is written greedy,share=0.5"]),
        (
            "gredy",
            [
                "the manifest has no player 'gredy'",
                KNOWN,
                "try: did you mean greedy?; if it is an image, write a tag behind it (gredy:latest) or map it with --image",
            ],
        ),
        (
            "zzz",
            [
                "the manifest has no player 'zzz'",
                KNOWN,
                "try: choose one of them; if it is an image, write a tag behind it (zzz:latest) or map it with --image",
            ],
        ),
        (
            "img_01234567-89ab-cdef-0123-456789abcdef",
            [
                "img_01234567-89ab-cdef-0123-456789abcdef is an id of the hosted platform, not an image",
                KNOWN,
                "try: give an image reference or a player",
            ],
        ),
        (
            "python bot.py",
            [
                "python bot.py is no player and no image: it has spaces in it",
                KNOWN,
                'try: a command is written cmd:"python bot.py"',
            ],
        ),
        (
            "./bot.py",
            [
                "./bot.py is a file, no player and no image",
                KNOWN,
                'try: a script is written cmd:"python ./bot.py"',
            ],
        ),
        ("cmd:", ["cmd: names no command", 'try: write for example cmd:"python bot.py"']),
        ('cmd:""', ["cmd: names no command", 'try: write for example cmd:"python bot.py"']),
        ("cmd:''", ["cmd:'' names no command", 'try: write for example cmd:"python bot.py"']),
        (
            "cmd:sh -c 'echo 1,2'",
            [
                "cmd:sh -c 'echo 1 cannot be split into words",
                "evidence: No closing quotation",
                'try: quote it as a shell wants it; a comma of the command needs double quotes around all of it: cmd:"..."',
            ],
        ),
        (
            "py:bot.py",
            [
                "py:bot.py is not of the form py:module:function",
                "evidence: module and function are dotted names",
                "try: write py:bot:main",
            ],
        ),
        (
            "py:bots/careful.py:play",
            [
                "py:bots/careful.py:play is not of the form py:module:function",
                "evidence: module and function are dotted names",
                "try: write py:bots.careful:play",
            ],
        ),
        (
            "py:bots.careful.play",
            [
                "py:bots.careful.play is not of the form py:module:function",
                "evidence: module and function are dotted names",
                "try: write py:bots.careful:play",
            ],
        ),
        (
            "py:bots.careful:play()",
            [
                "py:bots.careful:play() is not of the form py:module:function",
                "evidence: module and function are dotted names",
                "try: write py:bots.careful:play",
            ],
        ),
        (
            "py:",
            [
                "py: is not of the form py:module:function",
                "evidence: module and function are dotted names",
                "try: write py:module:main",
            ],
        ),
        (
            'greedy,name="Ada',
            [
                'player greedy,name="Ada has a double quote that is not closed',
                'evidence: open since name="Ada',
                'try: close it; a quote inside quotes is written \\"',
            ],
        ),
        ("greedy,", ["player greedy, has a comma too many", f"try: write {FORM}"]),
        (
            "greedy,random",
            [
                "player greedy,random: 'random' is not KEY=VALUE",
                "try: random is a player of its own: put a space before it instead of the comma",
            ],
        ),
        ("greedy,3", ["player greedy,3: '3' is not KEY=VALUE", "try: a share is written share=3"]),
        (
            "greedy,fast",
            [
                "player greedy,fast: 'fast' is not KEY=VALUE",
                f"try: write {FORM}; a text with a comma in it needs double quotes",
            ],
        ),
        ("greedy,share=1,share=2", ["player greedy,share=1,share=2 says share twice", "try: say share= once"]),
        (
            "greedy,env.A=1,env.A=2",
            ["player greedy,env.A=1,env.A=2 says env.A twice", "try: say env.A= once"],
        ),
        (
            "greedy,depth=3",
            [
                "player greedy,depth=3: there is no field 'depth'",
                "evidence: fields: name, share, env.K, arg.K",
                f"try: {VARIABLE_OR_OPTION}; a text with a comma in it needs double quotes",
            ],
        ),
        (
            "greedy,proportion=3",
            [
                "player greedy,proportion=3: there is no field 'proportion'",
                "evidence: fields: name, share, env.K, arg.K",
                "try: write share=3",
            ],
        ),
        (
            "greedy,kw.depth=3",
            [
                "player greedy,kw.depth=3: there is no field 'kw.depth'",
                "evidence: fields: name, share, env.K, arg.K",
                "try: write arg.depth=3",
            ],
        ),
        (
            "greedy,env=3",
            [
                "player greedy,env=3: there is no field 'env'",
                "evidence: fields: name, share, env.K, arg.K",
                "try: write env.NAME=3",
            ],
        ),
        *(
            (
                f"greedy,share={share}",
                [
                    f"player greedy,share={share}: {share or 'nothing'} is no share",
                    "evidence: a share is a number above 0",
                    "try: write for example share=2 for twice as many seats",
                ],
            )
            for share in ("0", "-1", "nan", "inf", "1e999", "two", "", "1_0", "1:2")
        ),
        (
            "greedy,name=",
            [
                "player greedy,name=: this name cannot be shown",
                "evidence: a name has 1 to 200 visible characters",
                "try: write for example name=careful, or leave it out",
            ],
        ),
        (
            "greedy,name=a\x1bb",
            [
                "player greedy,name=a\\u001bb: this name cannot be shown",
                "evidence: a name has 1 to 200 visible characters",
                "try: write for example name=careful, or leave it out",
            ],
        ),
        (
            "greedy,env.1X=1",
            [
                "player greedy,env.1X=1: '1X' is no name of a variable",
                "evidence: letters, digits and _, the first one no digit",
                "try: write for example env.DEPTH=3",
            ],
        ),
        *(
            (
                f"greedy,env.{name}=1",
                [f"player greedy,env.{name}=1: the variable {name} is set by the runtime", "try: leave it out"],
            )
            for name in ("COWORLD_PLAYER_WS_URL", "COGAME_PORT", "COWORLD_ACTORS_PLAYER_SEED")
        ),
        (
            "greedy,arg.-x=1",
            [
                "player greedy,arg.-x=1: '-x' is no name of an option",
                "evidence: letters, digits, - and _, the first one a letter or digit",
                "try: write for example arg.depth=3, which becomes --depth=3",
            ],
        ),
        (
            "py:bot:main,arg.x-y=1",
            [
                "player py:bot:main,arg.x-y=1: 'x-y' is no name of a parameter",
                "evidence: letters, digits and _, the first one no digit",
                "try: write for example arg.depth=3",
            ],
        ),
        ("greedy,env.X=a\0b", ["player greedy,env.X=a\\u0000b has a NUL in it", "try: leave it out"]),
    ],
)
def test_a_player_that_cannot_be_read_is_refused(text: str, lines: list[str]) -> None:
    """Every message says what would have been right."""
    with pytest.raises(Refused) as caught:
        spec(text)
    assert caught.value.lines() == lines


def test_a_mapped_image_may_look_like_a_share() -> None:
    """Whoever maps `greedy:3` means the image."""
    assert parse_spec("greedy:3", players=PLAYERS, images=IMAGES).kind is RefKind.IMAGE


TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)


def quoted(text: str) -> str:
    """A text as the grammar's quotes want it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(TEXT, st.lists(TEXT, min_size=1, max_size=4), st.floats(1e-6, 1e6))
def test_quotes_carry_any_text(value: str, words: list[str], share: float) -> None:
    """What is quoted comes back as it was: values, and commands that a shell would split into these words."""
    command = shlex.join(["program", *words])
    found = spec(f"cmd:{quoted(command)},env.X={quoted(value)},arg.y={quoted(value)},share={share!r}")
    assert found.argv == ("program", *words, f"--y={value}")
    assert (found.env, found.share) == ({"X": value}, share)


@given(st.text(max_size=40))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    """Whatever is written, it is a player or a refusal with a next step."""
    try:
        result: PlayerSpec | Refused = spec(text)
    except Refused as error:
        result = error
    assert result.todo if isinstance(result, Refused) else result.called
