"""A batch without a command line: prepared, played, summed up and written down by whoever embeds it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from coworld_actors.batch.conclusion import SUMMARY_CSV, SUMMARY_HTML, SUMMARY_JSON, conclude, write_down
from coworld_actors.batch.events import BatchEvent, EpisodePlaying, EpisodeSettled
from coworld_actors.batch.options import BatchOptions, Handling
from coworld_actors.batch.preparation import Prepared, check_machine, prepare_batch
from coworld_actors.batch.session import find_room, open_session
from coworld_actors.batch.store import BatchStore
from coworld_protocol.errors import Refused

ORCHARD = Path(__file__).parents[2] / "examples/orchard/coworld_manifest.json"


def duels(driver: str, rounds: int = 4) -> Prepared:
    return prepare_batch(
        BatchOptions(
            manifest=str(ORCHARD),
            directory=str(Path.cwd()),
            players=("greedy", "random"),
            variants=("duel",),
            overrides=("max_ticks=10",),
            rounds=rounds,
            driver=driver,
        )
    )


@pytest.mark.parametrize(
    ("driver", "handling"),
    [
        ("process", Handling(parallel=2)),
        ("inproc", Handling(parallel=2, workers=1)),
        ("inproc", Handling(parallel=2, workers=2)),
    ],
    ids=["processes", "tasks", "workers"],
)
async def test_a_batch_in_a_few_lines(tmp_path: Path, driver: str, handling: Handling) -> None:
    """Inside of somebody's trio run, with any driver: standings, documents, and events as they happen."""
    prepared = duels(driver)
    await check_machine(prepared, {})
    events: list[BatchEvent] = []
    with BatchStore.create(tmp_path / "run", prepared.head) as store:
        async with open_session(prepared, store, handling, tell=events.append) as session:
            end = await session.run()
        assert (end.stopped, end.error) == ("", None)
        conclusion = conclude(prepared, store, stopped=end.stopped)
        assert write_down(prepared, store, conclusion) is None
    assert [player.name for player in conclusion.summary.players] == ["greedy", "random"]
    assert conclusion.summary.episodes.good == 4
    assert sum(isinstance(event, EpisodePlaying) for event in events) == 4
    assert sum(isinstance(event, EpisodeSettled) for event in events) == 4
    assert json.loads((tmp_path / "run" / SUMMARY_JSON).read_text())["players"][0]["name"] == "greedy"
    assert "greedy" in (tmp_path / "run" / SUMMARY_CSV).read_text()
    assert "greedy" in (tmp_path / "run" / SUMMARY_HTML).read_text()


@pytest.mark.parametrize("how", ["stop", "kill", "cancel"])
@pytest.mark.parametrize("driver", ["process", "inproc"])
async def test_a_session_ends_in_every_way(tmp_path: Path, driver: str, how: str) -> None:
    """Stopped in order, its roles killed, or its host cancelled: leaving the block is the end of all of it."""
    prepared = duels(driver, rounds=2000)
    settled = trio.Event()

    def tell(event: BatchEvent) -> None:
        if isinstance(event, EpisodeSettled):
            settled.set()

    with BatchStore.create(tmp_path / "run", prepared.head) as store, trio.CancelScope() as scope:
        async with open_session(prepared, store, Handling(parallel=2, workers=None), tell=tell) as session:
            async with trio.open_nursery() as nursery:

                async def end_it() -> None:
                    await settled.wait()
                    if how == "cancel":
                        scope.cancel()
                        return
                    session.stop("enough", cancel=True)
                    if how == "kill":
                        session.kill()

                nursery.start_soon(end_it)
                with trio.fail_after(60):
                    end = await session.run()
            assert end.stopped == "enough"
    assert scope.cancelled_caught is (how == "cancel")
    assert 0 < len(store.lines) < 2000


def test_workers_are_for_roles_that_are_tasks() -> None:
    """With processes they would be one more layer of them; and nobody gets more places than there are."""
    prepared = duels("process")
    with pytest.raises(Refused, match="--workers"):
        find_room(prepared, Handling(workers=2))
    assert find_room(prepared, Handling(parallel=1)).most >= 1
    with pytest.raises(Refused, match="--parallel"):
        find_room(prepared, Handling(parallel=99_999_999))
