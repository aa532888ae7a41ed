"""What an episode left, and a place where supporting roles work on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from coworld_actors.episode.spec import EpisodeSpec, Limits
from coworld_actors.episode.workspace import Workspace
from coworld_protocol import contract
from tests.episode.conftest import house, play, site, small, spec_of, system, workspace

__all__ = ["finished", "house", "play", "site", "small", "spec_of", "supported", "system", "workspace"]


@pytest.fixture
def finished(workspace: Workspace) -> Workspace:
    """The directory of a good episode of two seats; the second player left an artifact."""
    workspace.results.write_text('{"scores": [3, 4]}')
    workspace.replay.write_bytes(b"\x00replay")
    workspace.game_stdout.write_text("out\n")
    workspace.game_stderr.write_text("err\n")
    for slot in range(2):
        workspace.player_log(slot).write_text(f"connected {slot}\n")
    (workspace.root / contract.player_artifact_name(1)).write_bytes(b"PK")
    for place in (workspace.support, workspace.reports, workspace.grades):
        place.mkdir()
    return workspace


@pytest.fixture
def supported(spec_of: Callable[..., EpisodeSpec]) -> Callable[..., EpisodeSpec]:
    """Makes the spec of an episode with supporting roles of these behaviours."""

    def make(reporters: Sequence[str] = (), graders: Sequence[str] = (), *, limit: float = 60) -> EpisodeSpec:
        spec = spec_of(reporters=reporters, graders=graders)
        return msgspec.structs.replace(spec, limits=Limits(support=limit))

    return make
