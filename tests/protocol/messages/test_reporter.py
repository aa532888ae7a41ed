"""The reporter's request and the report's manifest as the contract spells them."""

import msgspec
import pytest

from coworld_protocol.messages.bundle import BundleManifest
from coworld_protocol.messages.reporter import Artifact, Artifacts, EpisodeInput, ReportManifest, ReportRequest


def test_a_request_is_tagged_and_leaves_out_what_is_not_there() -> None:
    """Absent artifacts are absent keys, not nulls: the reference's reader refuses nulls where it expects maps."""
    bundle = BundleManifest(ereq_id="e", status="success", include=("results",), files={"results": "results.json"})
    artifacts = Artifacts(results=Artifact(uri="file:///r", media_type="application/json"))
    episode = EpisodeInput(episode_request_id="e", status="success", manifest=bundle, artifacts=artifacts)
    request = ReportRequest(request_id="r", report_uri="file:///report.zip", episodes=(episode,))
    document = msgspec.json.decode(msgspec.json.encode(request))
    assert document["type"] == "report_request"
    assert document["episodes"][0]["artifacts"] == {
        "results": {"uri": "file:///r", "media_type": "application/json", "encoding": "identity"}
    }
    assert document["episodes"][0]["inline_json"] == {}
    assert msgspec.convert(document, ReportRequest) == request


def test_a_report_manifest_is_closed() -> None:
    """Unknown keys are refused, and the reporter's id is required."""
    assert msgspec.json.decode(b'{"reporter_id": "r"}', type=ReportManifest).render is None
    for text in (b'{"reporter_id": "r", "extra": 1}', b'{"render": "a.md"}'):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text, type=ReportManifest)
