"""Model providers for players: what this machine has to reach one with, as variables that are shown nowhere.

Contract 4.6: `--use-bedrock` passes on what the AWS command line client says, version 0.1.64's `--use-llm` a gateway or a key. Whoever
has them reaches the provider over the network, so players that are given them need the outside world.
"""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Mapping

import msgspec

from coworld_drivers.command import Client
from coworld_protocol.errors import PreconditionMissing, Refused

__all__ = ["ProviderAccess", "provider_secrets"]

CALL_SECONDS = 60.0
"""For one call of the client: a profile with single sign-on asks another server."""

_PROGRAM = "aws"
_KEY = "AWS_ACCESS_KEY_ID"
_SECRET = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - a name
_SESSION = "AWS_SESSION_TOKEN"
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_ENDPOINT = "COWORLD_LLM_ENDPOINT"
_OPENROUTER = "OPENROUTER_API_KEY"
_MODEL = "COWORLD_LLM_MODEL"


class ProviderAccess(msgspec.Struct, frozen=True, kw_only=True):
    """Which providers players are to reach.

    Attributes:
        bedrock: Amazon Bedrock, with the credentials of the AWS client.
        profile: of the AWS client; None for its own choice.
        region: of Bedrock; None to find it out.
        llm: the gateway of `COWORLD_LLM_ENDPOINT`, or OpenRouter.

    Raises:
        Refused: a profile or region without Bedrock, or an empty one.
    """

    bedrock: bool = False
    profile: str | None = None
    region: str | None = None
    llm: bool = False

    def __post_init__(self) -> None:
        for option, value in (("--aws-profile", self.profile), ("--aws-region", self.region)):
            if value is not None and not self.bedrock:
                raise Refused(f"{option} is for --use-bedrock", todo=f"add --use-bedrock, or leave {option} out")
            if value is not None and (not value.strip() or value.startswith("-")):
                raise Refused(f"{option} {value!r} is no name", todo="leave it out for the client's own choice")

    @property
    def outside(self) -> bool:
        """Whether players have to reach more than their game."""
        return self.bedrock or self.llm


class _Credentials(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What `aws configure export-credentials --format process` prints."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    expiration: str | None = None


async def provider_secrets(access: ProviderAccess, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables for players, to be kept secret all of them.

    Args:
        access: which providers.
        environ: our own variables: where the client is, and what need not be asked for.

    Raises:
        PreconditionMissing: this machine has none, or not all of them; no message has a value in it.
    """
    found: dict[str, str] = {}
    if access.bedrock:
        found |= await _bedrock(access, environ)
    if access.llm:
        found |= _llm(environ)
    return found


async def _bedrock(access: ProviderAccess, environ: Mapping[str, str]) -> dict[str, str]:
    program = shutil.which(_PROGRAM, path=environ.get("PATH", os.defpath))
    client = None if program is None else Client(program, {**environ, "AWS_PAGER": ""})
    found = {"USE_BEDROCK": "true"}
    if client is not None:
        found |= await _exported(client, access.profile)
    elif access.profile is None and environ.get(_KEY) and environ.get(_SECRET):
        found |= {name: environ[name] for name in (_KEY, _SECRET, _SESSION) if environ.get(name)}
    else:
        raise PreconditionMissing(
            "--use-bedrock asks the `aws` program for credentials, and it is not on PATH",
            todo=f"install the AWS command line client, or export {_KEY} and {_SECRET}",
        )
    region = access.region or next((environ[name] for name in _REGIONS if environ.get(name)), "")
    if not region and client is not None:
        region = (await client.call("configure", "get", "region", *_profile(access.profile), timeout=CALL_SECONDS)).text
    if not region:
        raise PreconditionMissing(
            "--use-bedrock needs a region, and none is set", todo="name one with --aws-region, or export AWS_REGION"
        )
    return {**found, **dict.fromkeys(_REGIONS, region)}


async def _exported(client: Client, profile: str | None) -> dict[str, str]:
    words = ("configure", "export-credentials", "--format", "process")
    done = await client.call(*words, *_profile(profile), timeout=CALL_SECONDS)
    login = f"aws sso login{'' if profile is None else f' --profile {profile}'}"
    todo = f"run `{login}` or `aws configure`, and see that `aws sts get-caller-identity` works"
    if not done.ok:
        raise PreconditionMissing(
            "the `aws` program has no credentials for --use-bedrock", evidence=done.complaint, todo=todo
        )
    try:
        told = msgspec.json.decode(done.stdout, type=_Credentials)
    except msgspec.DecodeError:
        # Without its cause: what could not be read may have a secret in it.
        raise PreconditionMissing(
            "the `aws` program's credentials cannot be read",
            todo="use version 2 of the client, which has `aws configure export-credentials`",
        ) from None
    if not told.access_key_id or not told.secret_access_key:
        raise PreconditionMissing("the `aws` program's credentials are empty", todo=todo)
    if told.expiration is not None and _is_over(told.expiration):
        raise PreconditionMissing(f"the `aws` program's credentials are over since {told.expiration}", todo=todo)
    found = {_KEY: told.access_key_id, _SECRET: told.secret_access_key}
    return {**found, _SESSION: told.session_token} if told.session_token else found


def _llm(environ: Mapping[str, str]) -> dict[str, str]:
    name = next((name for name in (_ENDPOINT, _OPENROUTER) if environ.get(name)), None)
    if name is None:
        raise PreconditionMissing(
            f"--use-llm needs {_ENDPOINT} or {_OPENROUTER}, and neither is set",
            todo="export one of them first",
        )
    found = {"COWORLD_LLM_ENABLED": "true", name: environ[name]}
    return {**found, _MODEL: environ[_MODEL]} if environ.get(_MODEL) else found


def _profile(profile: str | None) -> tuple[str, ...]:
    return () if profile is None else ("--profile", profile)


def _is_over(text: str) -> bool:
    try:
        end = datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return end.astimezone(datetime.UTC) <= datetime.datetime.now(datetime.UTC)
