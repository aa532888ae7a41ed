"""The contract's names: spelled once, all different, and the few functions among them."""

from __future__ import annotations

import re

import pytest

from coworld_protocol import contract
from coworld_protocol.contract import (
    HOSTED_IMAGE_ID,
    ErrorType,
    Role,
    is_safe_id,
    local_port_variable,
    new_token,
    player_artifact_name,
    player_log_name,
)


@pytest.mark.parametrize("prefix", ["ENV_", "ROUTE_", "FILE_"])
def test_constants_of_a_kind_differ(prefix: str) -> None:
    """No two variables, routes or files share a name by a slip of the pen."""
    values = [getattr(contract, name) for name in contract.__all__ if name.startswith(prefix)]
    assert len(values) > 4
    assert len(set(values)) == len(values)


def test_everything_public_is_exported() -> None:
    """A constant that nobody can import is not there."""
    public = {name for name in vars(contract) if re.fullmatch(r"[A-Z][A-Z0-9_]*", name)}
    assert public <= set(contract.__all__)


def test_the_runtimes_variables_are_all_of_them() -> None:
    """One that is missing could be set by a caller, and would lead a role astray."""
    named = {value for name, value in vars(contract).items() if name.startswith("ENV_")}
    assert named == contract.RUNTIME_VARIABLES


def test_variables_of_games_and_players_are_the_references() -> None:
    """The spelling is the contract; a changed letter breaks every world."""
    assert {
        contract.ENV_HOST,
        contract.ENV_PORT,
        contract.ENV_CONFIG_URI,
        contract.ENV_RESULTS_URI,
        contract.ENV_SAVE_REPLAY_URI,
        contract.ENV_LOAD_REPLAY_URI,
        contract.ENV_PLAYER_WS_URL,
        contract.ENV_ENGINE_WS_URL,
        contract.ENV_PLAYER_ARTIFACT_URL,
        contract.ENV_REPORT_REQUEST,
        contract.ENV_EPISODE_BUNDLE_URI,
        contract.ENV_GRADE_URI,
    } == {
        "COGAME_HOST",
        "COGAME_PORT",
        "COGAME_CONFIG_URI",
        "COGAME_RESULTS_URI",
        "COGAME_SAVE_REPLAY_URI",
        "COGAME_LOAD_REPLAY_URI",
        "COWORLD_PLAYER_WS_URL",
        "COGAMES_ENGINE_WS_URL",
        "COWORLD_PLAYER_ARTIFACT_UPLOAD_URL",
        "COGAME_REPORT_REQUEST",
        "COGAME_EPISODE_BUNDLE_URI",
        "COGAME_GRADE_URI",
    }


def test_seat_files_are_named_by_slot() -> None:
    """Logs lie in the log directory, artifacts beside it."""
    assert player_log_name(3) == "logs/policy_agent_3.log"
    assert player_artifact_name(12) == "policy_artifact_12.zip"
    assert local_port_variable(3724) == "COWORLD_LOCAL_PORT_3724"


def test_tokens_are_fresh_and_fit_a_url() -> None:
    """22 characters each, none twice, none in need of escaping."""
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", token) for token in tokens)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        *((text, True) for text in ("a", "A.b_c-9", "...")),
        *((text, False) for text in ("", ".", "..", "a/b", "a b", "ä", "a\n", "a\0")),
    ],
)
def test_safe_ids(text: str, safe: bool) -> None:
    """What may name a directory of a run."""
    assert is_safe_id(text) is safe


def test_hosted_image_ids_are_matched_in_full() -> None:
    """An ordinary image name that begins alike is none."""
    assert HOSTED_IMAGE_ID.fullmatch("img_01234567-89ab-cdef-0123-456789abcdef")
    assert not HOSTED_IMAGE_ID.fullmatch("img_game:latest")


def test_error_types_that_blame_nobody_are_those_one_may_retry() -> None:
    """A game or player that failed is to blame; a machine is not."""
    assert ErrorType.PLATFORM_ERROR.blames_nobody
    assert ErrorType.EPISODE_INCONCLUSIVE.blames_nobody
    assert not any(
        each.blames_nobody
        for each in (ErrorType.PLAYER_ERROR, ErrorType.GAME_UNHEALTHY, ErrorType.CRASH, ErrorType.PLAYERS_MISSING)
    )


def test_roles_are_the_manifests_words() -> None:
    """The enum is what stands in `type`."""
    assert Role("reporter") is Role.REPORTER
    assert len(Role) == 7
