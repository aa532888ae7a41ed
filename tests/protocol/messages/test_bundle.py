"""The bundle's manifest as the contract spells it."""

import json

import msgspec
import pytest

from coworld_protocol.messages.bundle import BundleManifest


def test_a_manifest_has_the_contracts_shape() -> None:
    """Tokens name entries, logs a map of them; the JSON is the contract's own example."""
    text = (
        '{"ereq_id": "ereq_1", "status": "success", "include": ["results", "replay", "game_logs", "player_logs"],'
        ' "files": {"results": "results.json", "replay": "replay", "game_logs": {"combined": "logs/game.log"},'
        ' "player_logs": {"0": "logs/policy_agent_0.log"}}}'
    )
    manifest = msgspec.json.decode(text, type=BundleManifest)
    assert manifest.files["results"] == "results.json"
    assert json.loads(msgspec.json.encode(manifest)) == json.loads(text)


@pytest.mark.parametrize("change", [{"status": "maybe"}, {"include": ["secrets"]}])
def test_unknown_states_and_tokens_are_refused(change: dict[str, object]) -> None:
    """The sets of the contract are closed."""
    manifest = {"ereq_id": "e", "status": "success", "include": [], "files": {}, **change}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(manifest, BundleManifest)
