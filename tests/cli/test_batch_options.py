"""The options that commands share: each means the same everywhere, and what cannot be meant is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from coworld_actors.cli import batch_options
from coworld_actors.cli.batch_options import BATCH_ONLY, pairs, player_access, secret_variables, tap_spec
from coworld_actors.cli.compare import compare
from coworld_actors.cli.pickup import pickup
from coworld_actors.cli.run import run, scrimmage
from coworld_protocol.errors import PreconditionMissing, Refused
from tests.coworlds import scripted_manifest, write_coworld

COMMANDS = (run, scrimmage, compare, pickup)


def options(command: click.Command) -> dict[str, click.Option]:
    found = [each for each in command.params if isinstance(each, click.Option)]
    assert len({name for each in found for name in each.opts}) == sum(len(each.opts) for each in found)
    return {each.opts[-1]: each for each in found}


def test_an_option_means_the_same_in_every_command() -> None:
    """Same parameter, same default, same words."""
    everywhere = [options(command) for command in COMMANDS]
    for name in set.intersection(*(set(each) for each in everywhere)):
        assert len({(each[name].name, repr(each[name].default), each[name].help) for each in everywhere}) == 1
    assert {"--parallel", "--resume", "--seed", "--events", "--tap"} <= set.intersection(*map(set, everywhere))


def test_what_only_batches_have_is_named_as_it_is_written() -> None:
    """The refusal of a single episode names options that there are."""
    found = options(run)
    for parameter, option in BATCH_ONLY.items():
        assert found[option].name == parameter


@pytest.mark.parametrize(("text", "number"), [("auto", None), ("1", 1), ("64", 64)])
def test_parallel_is_a_number_or_auto(text: str, number: int | None) -> None:
    """Auto is None."""
    assert options(run)["--parallel"].type.convert(text, None, None) == number


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "Auto", "all"])
def test_anything_else_is_neither(text: str) -> None:
    """The error says what would be right."""
    with pytest.raises(click.BadParameter, match="neither auto nor a number"):
        options(run)["--parallel"].type.convert(text, None, None)


def test_pairs_need_both_halves() -> None:
    """`NAME=DIR`."""
    assert pairs(("a=b", "c=d=e"), "--image", "NAME=DIR") == {"a": "b", "c": "d=e"}
    for wrong in ("a", "=b", "a="):
        with pytest.raises(Refused, match="NAME=DIR"):
            pairs((wrong,), "--image", "NAME=DIR")


def test_secrets_come_from_the_environment_or_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name alone is looked up."""
    monkeypatch.setenv("FROM_OUTSIDE", "1")
    assert secret_variables(("FROM_OUTSIDE", "GIVEN=2")) == {"FROM_OUTSIDE": "1", "GIVEN": "2"}
    for wrong in ("NOT_SET_ANYWHERE", "=1", "A B=1", "COGAME_PORT=1"):
        with pytest.raises(Refused):
            secret_variables((wrong,))


def test_no_tap_unless_something_asks_for_one() -> None:
    """Each of the three options implies it."""
    assert tap_spec(tap=False, budget=None, record=None, chaos=None) is None
    assert tap_spec(tap=True, budget=None, record=None, chaos=None) is not None
    found = tap_spec(tap=False, budget="55ms:3", record=Path("a.cwt"), chaos="delay=5ms")
    assert found is not None
    assert (found.recording, found.budget is None, found.chaos is None) == (Path("a.cwt"), False, False)


def test_the_public_names_are_there() -> None:
    """Other commands build on them."""
    assert all(hasattr(batch_options, name) for name in batch_options.__all__)


def access(**values: Any) -> batch_options.PlayerAccess:
    nothing = {"secrets": (), "use_bedrock": False, "aws_profile": None, "aws_region": None, "use_llm": False}
    return player_access({**nothing, **values})


def test_players_get_what_is_said_and_no_network_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider's variables only when they are asked for; what is said one by one counts more."""
    monkeypatch.setenv("COWORLD_LLM_ENDPOINT", "http://gateway.example.org")
    monkeypatch.setenv("COWORLD_LLM_MODEL", "small")
    assert access(secrets=("A=1",)) == ({"A": "1"}, False)
    secrets, outside = access(use_llm=True, secrets=("COWORLD_LLM_MODEL=large",))
    assert secrets == {
        "COWORLD_LLM_ENABLED": "true",
        "COWORLD_LLM_ENDPOINT": "http://gateway.example.org",
        "COWORLD_LLM_MODEL": "large",
    }
    assert outside


def test_a_provider_that_this_machine_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is played without what was asked for."""
    monkeypatch.delenv("COWORLD_LLM_ENDPOINT", raising=False)
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    with pytest.raises(PreconditionMissing, match="--use-llm needs"):
        access(use_llm=True)


@pytest.mark.parametrize("values", [{"aws_profile": "p"}, {"aws_region": ""}, {"use_llm": True, "aws_region": "r"}])
def test_a_profile_or_region_is_for_bedrock(values: dict[str, Any]) -> None:
    """Alone it means nothing, so it is a mistake."""
    with pytest.raises(Refused, match="is for --use-bedrock"):
        access(**values)


def test_credentials_reach_players_and_no_file_of_ours(tmp_path: Path) -> None:
    """The player has all of them in its environment; records, events and output of the command have none."""
    (tmp_path / "bin").mkdir()
    told = {"Version": 1, "AccessKeyId": "AKIAHUSH", "SecretAccessKey": "hush-hush", "SessionToken": "hush-token"}
    (tmp_path / "bin/aws").write_text(f"#!/bin/sh\necho '{json.dumps(told)}'\n")
    (tmp_path / "bin/aws").chmod(0o755)
    manifest = scripted_manifest()
    program = (
        "import os; print(*(os.environ.get(k) for k in os.environ if 'AWS' in k), sep='\\n'); print('bye', flush=True)"
    )
    manifest["player"][0]["run"] = ["python", "-c", program]
    coworld = write_coworld(tmp_path / "coworld", manifest)
    words = ["run", str(coworld), "--use-bedrock", "--aws-region", "eu-west-1", "--output", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "coworld_actors", *words, "--json", "--timeout", "60"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
    )
    assert done.returncode in {0, 1}, done
    log = (tmp_path / "run/logs/policy_agent_0.log").read_text()
    for value in ("AKIAHUSH", "hush-hush", "hush-token", "eu-west-1"):
        assert value in log
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and path.parent.name != "logs"]
    assert {"episode.json", "events.jsonl", "config.json"} <= {path.name for path in written}
    for text in (done.stdout, done.stderr, *(path.read_text(errors="replace") for path in written)):
        assert "hush" not in text.lower()
