"""What players are given to reach a model provider, and what is said where this machine has nothing to give."""

from __future__ import annotations

import json
import os
import traceback
from pathlib import Path
from typing import Any

import pytest
import trio

from coworld_actors.runtime import provider_secrets as module
from coworld_actors.runtime.provider_secrets import ProviderAccess, provider_secrets
from coworld_protocol.errors import PreconditionMissing, Refused

KEYS = {"Version": 1, "AccessKeyId": "AKIA1", "SecretAccessKey": "hush+1/=", "SessionToken": "hush-2"}


def aws(directory: Path, credentials: str, region: str = "", *, code: int = 0) -> dict[str, str]:
    """An environment whose `aws` answers so; it writes down what it was asked."""
    directory.mkdir()
    (directory / "credentials").write_text(credentials)
    script = f"""#!/bin/sh
echo "$*" >> {directory}/asked
case "$*" in
"configure export-credentials "*) cat {directory}/credentials; [ {code} = 0 ] || echo 'no login' >&2; exit {code} ;;
"configure get region"*) [ -n "{region}" ] && echo "{region}" ;;
esac"""
    (directory / "aws").write_text(script)
    (directory / "aws").chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}", "HOME": str(directory)}


def asked(environ: dict[str, str]) -> list[str]:
    return (Path(environ["HOME"]) / "asked").read_text().splitlines()


async def test_credentials_and_region_come_from_the_client(tmp_path: Path) -> None:
    """In the contract's variables, the region under both of its names; the profile is passed on to every question."""
    environ = aws(tmp_path / "bin", json.dumps({**KEYS, "Expiration": "2999-01-01T00:00:00+00:00"}), "eu-west-1")
    found = await provider_secrets(ProviderAccess(bedrock=True, profile="mine"), environ)
    assert found == {
        "USE_BEDROCK": "true",
        "AWS_ACCESS_KEY_ID": "AKIA1",
        "AWS_SECRET_ACCESS_KEY": "hush+1/=",
        "AWS_SESSION_TOKEN": "hush-2",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    assert asked(environ) == [
        "configure export-credentials --format process --profile mine",
        "configure get region --profile mine",
    ]


@pytest.mark.parametrize(
    ("option", "variables", "region"),
    [
        ("a", {"AWS_REGION": "b", "AWS_DEFAULT_REGION": "c"}, "a"),
        (None, {"AWS_REGION": "b", "AWS_DEFAULT_REGION": "c"}, "b"),
        (None, {"AWS_REGION": "", "AWS_DEFAULT_REGION": "c"}, "c"),
        (None, {}, "d"),
    ],
)
async def test_the_order_of_regions(tmp_path: Path, option: str | None, variables: dict[str, str], region: str) -> None:
    """The option, the two variables, the client's own; without a session token there is no variable for one."""
    credentials = {name: value for name, value in KEYS.items() if name != "SessionToken"}
    environ = {**aws(tmp_path / "bin", json.dumps(credentials), "d"), **variables}
    found = await provider_secrets(ProviderAccess(bedrock=True, region=option), environ)
    assert (found["AWS_REGION"], found["AWS_DEFAULT_REGION"]) == (region, region)
    assert "AWS_SESSION_TOKEN" not in found


@pytest.mark.parametrize(
    ("credentials", "code", "words"),
    [
        ("", 255, "has no credentials"),
        ("not hush-json", 0, "cannot be read"),
        (json.dumps({"AccessKeyId": "AKIA1", "SecretAccessKey": ["hush"]}), 0, "cannot be read"),
        (json.dumps({**KEYS, "SecretAccessKey": ""}), 0, "are empty"),
        (json.dumps({**KEYS, "Expiration": "2020-01-01T00:00:00Z"}), 0, "over since 2020-01-01"),
    ],
)
async def test_a_client_without_good_credentials(tmp_path: Path, credentials: str, code: int, words: str) -> None:
    """Each says what to do next, and none has a value in it, nor has its traceback."""
    environ = aws(tmp_path / "bin", credentials, "eu-west-1", code=code)
    with pytest.raises(PreconditionMissing, match=words) as caught:
        await provider_secrets(ProviderAccess(bedrock=True), environ)
    assert caught.value.todo
    assert "hush" not in "".join(traceback.format_exception(caught.value)) + caught.value.evidence


async def test_no_region_anywhere(tmp_path: Path) -> None:
    """The option that names one is told."""
    environ = aws(tmp_path / "bin", json.dumps(KEYS))
    with pytest.raises(PreconditionMissing, match="needs a region") as caught:
        await provider_secrets(ProviderAccess(bedrock=True), environ)
    assert "--aws-region" in caught.value.todo


async def test_without_a_client_the_variables_do(tmp_path: Path) -> None:
    """But no profile can be looked up, and half of the variables are none."""
    keys = {"AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_REGION": "r"}
    environ = {"PATH": str(tmp_path), **keys}
    assert await provider_secrets(ProviderAccess(bedrock=True), environ) == {
        "USE_BEDROCK": "true",
        "AWS_DEFAULT_REGION": "r",
        **keys,
    }
    for access, less in (
        (ProviderAccess(bedrock=True, profile="mine"), environ),
        (ProviderAccess(bedrock=True), {**environ, "AWS_SECRET_ACCESS_KEY": ""}),
    ):
        with pytest.raises(PreconditionMissing, match="not on PATH"):
            await provider_secrets(access, less)


async def test_a_client_that_waits_for_somebody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended after its time."""
    monkeypatch.setattr(module, "CALL_SECONDS", 0.5)
    (tmp_path / "aws").write_text("#!/bin/sh\nexec sleep 1000\n")
    (tmp_path / "aws").chmod(0o755)
    with trio.fail_after(60), pytest.raises(PreconditionMissing) as caught:
        await provider_secrets(ProviderAccess(bedrock=True), {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert caught.value.evidence == "no answer in time"


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"COWORLD_LLM_ENDPOINT": "e", "OPENROUTER_API_KEY": "k"}, {"COWORLD_LLM_ENDPOINT": "e"}),
        ({"COWORLD_LLM_ENDPOINT": "", "OPENROUTER_API_KEY": "k"}, {"OPENROUTER_API_KEY": "k"}),
        (
            {"OPENROUTER_API_KEY": "k", "COWORLD_LLM_MODEL": "m"},
            {"OPENROUTER_API_KEY": "k", "COWORLD_LLM_MODEL": "m"},
        ),
    ],
)
async def test_a_gateway_or_else_a_key(environ: dict[str, str], found: dict[str, str]) -> None:
    """Only the one that counts is passed on, and the model where one is named."""
    assert await provider_secrets(ProviderAccess(llm=True), environ) == {"COWORLD_LLM_ENABLED": "true", **found}


async def test_neither_gateway_nor_key() -> None:
    """Both are named."""
    with pytest.raises(PreconditionMissing, match="COWORLD_LLM_ENDPOINT or OPENROUTER_API_KEY"):
        await provider_secrets(ProviderAccess(llm=True), {"COWORLD_LLM_MODEL": "m"})


async def test_nothing_asked_for_is_nothing_given() -> None:
    """Whatever there is stays here."""
    assert await provider_secrets(ProviderAccess(), {"OPENROUTER_API_KEY": "k"}) == {}


@pytest.mark.parametrize(
    "fields", [{"profile": "p"}, {"region": "r"}, {"llm": True, "region": "r"}, {"bedrock": True, "profile": " "}]
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any]) -> None:
    """A profile or a region is one of Bedrock's, and has a name."""
    with pytest.raises(Refused) as caught:
        ProviderAccess(**fields)
    assert caught.value.todo


def test_whoever_needs_a_provider_needs_the_outside() -> None:
    """Players are otherwise left alone with their game."""
    outside = [ProviderAccess(**fields).outside for fields in ({}, {"bedrock": True}, {"llm": True})]
    assert outside == [False, True, True]
