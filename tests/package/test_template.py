"""A template's placeholders and version, and what a stranger's template may have in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from coworld_actors.package.template import MOST_PLACEHOLDERS, check_version, placeholder, read_template
from coworld_protocol.errors import ManifestRefused, Refused
from tests.packages import template, write_template

KNOWN = {"GAME_IMAGE": "game:1", "BOT_IMAGE": "bot:1"}


def test_placeholders_are_filled_in_any_text(tmp_path: Path) -> None:
    """In images and in prose, several in one text; keys and everything else stay, and the version follows the name."""
    document = template(
        player="{{BOT_IMAGE}}", readme="run {{GAME_IMAGE}}, {{BOT_IMAGE}}; {{this}} and {GAME_IMAGE} stay"
    )
    document["game"]["config_schema"]["properties"]["{{GAME_IMAGE}}"] = {"default": 1.5}
    read = read_template(write_template(tmp_path, document))
    assert set(read.wanted) == {"GAME_IMAGE", "BOT_IMAGE"}
    filled = read.filled(KNOWN, "1.2rc1")
    assert filled["game"]["runnable"]["image"] == "game:1"
    assert filled["player"][0]["image"] == "bot:1"
    assert filled["game"]["docs"]["readme"]["value"] == "run game:1, bot:1; {{this}} and {GAME_IMAGE} stay"
    assert filled["game"]["config_schema"]["properties"]["{{GAME_IMAGE}}"] == {"default": 1.5}
    assert list(filled["game"])[:3] == ["name", "version", "description"]
    assert filled["game"]["version"] == "1.2rc1"
    assert read.document == document


def test_unknown_placeholders_are_named_with_those_there_are(tmp_path: Path) -> None:
    """Every place at once, and images that would keep half of one."""
    document = template(game="{{GAMES_IMAGE}}", player="{{ game_image }}", readme="{{GAMES_IMAGE}}")
    read = read_template(write_template(tmp_path, document))
    with pytest.raises(ManifestRefused) as caught:
        read.refuse_unknown(KNOWN)
    assert [each.path for each in caught.value.problems] == [
        "$.game.runnable.image",
        "$.game.docs.readme.value",
        "$.player[0].image",
    ]
    assert caught.value.problems[0].found == "{{GAMES_IMAGE}}"
    assert caught.value.problems[0].allowed == "{{BOT_IMAGE}}, {{GAME_IMAGE}}"
    read_template(write_template(tmp_path, template())).refuse_unknown(KNOWN)


def test_the_version_is_the_builds(tmp_path: Path) -> None:
    """A template may not set one, a manifest that is its own template may; the build's wins; none at all is refused."""
    document = template()
    document["game"]["version"] = "0.1.0"
    with pytest.raises(Refused, match=r"sets game\.version"):
        read_template(write_template(tmp_path, document))
    own = read_template(write_template(tmp_path, document, "coworld_manifest.json"))
    assert own.filled(KNOWN, None)["game"]["version"] == "0.1.0"
    assert own.filled(KNOWN, "0.2")["game"]["version"] == "0.2"
    with pytest.raises(Refused, match="no version and none is given") as caught:
        read_template(write_template(tmp_path, template())).filled(KNOWN, None)
    assert "--version" in caught.value.todo
    with pytest.raises(Refused, match="'newest' is no version"):
        own.filled(KNOWN, "newest")
    assert check_version("1.0.post2") == "1.0.post2"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{\n "game": {,\n}', "line 2, column 11"),
        ("[]", r"\$: found an empty list"),
        ('{"game": 1}', r"\$\.game: found 1"),
        ('{"game": {"name": "x"}}', "has no placeholder"),
        ('{"game": {"name": "{{IMAGE}}", "version": 3}}', r"game\.version"),
        (json.dumps({"game": {"name": "{{IMAGE}}" * (MOST_PLACEHOLDERS + 1)}}), "too many placeholders"),
        ("[" * 5000, "nested too deeply"),
        ("{{" * 100_000, "line 1"),
    ],
    ids=["syntax", "list", "game", "nothing", "version", "many", "deep", "braces"],
)
def test_what_is_no_template_is_refused_where_it_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    """With line and column, or the path of the value."""
    path = tmp_path / "coworld_manifest.json"
    path.write_text(text)
    with pytest.raises(Refused) as caught:
        read_template(path)
    assert re.search(says, "\n".join(caught.value.lines())), caught.value.lines()


def test_a_template_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With the option that names another one."""
    with pytest.raises(Refused, match="cannot be read") as caught:
        read_template(tmp_path / "none.json")
    assert "--template" in caught.value.todo


@pytest.mark.parametrize(
    ("service", "name"), [("game", "GAME_IMAGE"), ("my-bot", "MY_BOT_IMAGE"), ("a.b_c", "A_B_C_IMAGE")]
)
def test_a_service_has_its_placeholder(service: str, name: str) -> None:
    """Upper case, with _ for what is no letter, digit or _."""
    assert placeholder(service) == name
