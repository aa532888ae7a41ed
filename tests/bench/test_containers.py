"""Episodes in containers: what is measured, what is refused, and that nothing stays."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from coworld_bench import containers, documents, worlds
from coworld_bench.containers import AT_ONCE, CONTESTANTS, judge_containers
from coworld_bench.plan import Plan
from coworld_bench.tables import markdown
from coworld_drivers import labels
from coworld_protocol.errors import PreconditionMissing, Refused
from tests.docker_engine import Engine
from tests.references import Reference


def took(*pairs: tuple[float, float]) -> list[containers._Took]:
    return [containers._Took(seconds, processor) for seconds, processor in pairs]


def test_goals_are_ratios_of_each_round() -> None:
    """A time is compared with the reference's of the same round, eight at once with the rate of its one."""
    cells = containers._cells(
        {
            "run-episode": took((4.0, 5.0), (8.0, 5.0), (4.0, 5.0)),
            "run-docker": took((2.0, 4.0), (5.0, 4.0), (2.4, 4.0)),
            "run-docker-8": took((8.0, 20.0), (12.8, 20.0), (6.4, 20.0)),
        }
    )
    found = [(goal.measured and goal.measured.values, goal.verdict) for goal in judge_containers(cells)]
    assert [verdict for _, verdict in found] == ["met", "not measured", "aim met", "not measured"]
    assert found[0][0] == pytest.approx((0.5, 0.625, 0.6))
    assert found[2][0] == pytest.approx((4.0, 5.0, 5.0))
    processor = cells[-1].figures["run-docker-8"].value
    assert processor.median == pytest.approx(20 / AT_ONCE)
    assert {name for cell in cells for name in cell.figures} <= set(CONTESTANTS)


def test_an_unknown_contestant_is_refused(plan: Plan) -> None:
    """With the names that there are."""
    with pytest.raises(Refused, match="no contestant 'podman'") as refused:
        containers.measure(msgspec.structs.replace(plan, names=frozenset({"podman"})))
    assert "run-episode" in refused.value.todo


def test_without_the_reference_nothing_is_measured(plan: Plan, tmp_path: Path) -> None:
    """A directory that has no such package is no reference, and it is said how to name another."""
    with (
        worlds.reference_at(tmp_path),
        pytest.raises(PreconditionMissing, match=r"without coworld 0\.1\.26") as missing,
    ):
        containers.measure(plan)
    assert "--reference" in missing.value.todo


def test_a_python_stands_for_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its link is not followed, and afterwards the reference is where it was."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/usr/bin/python3")
    monkeypatch.setenv(worlds.ENV_REFERENCE, "before")
    with worlds.reference_at(python):
        assert worlds.arena_place() == tmp_path / "venv"
    assert str(worlds.arena_place()) == "before"


@pytest.mark.usefixtures("paint_arena_image")
def test_episodes_are_played_and_gone(engine: Engine, reference: Reference, plan: Plan) -> None:
    """Ours and those by hand; the report says on what engine, and no container or network stays."""
    with worlds.reference_at(reference.venv):
        report = documents.measure(
            "containers", msgspec.structs.replace(plan, names=frozenset({"run-docker", "docker-run"}), seconds=0.0)
        )
    assert engine.version in report.machine["docker engine"]
    text = markdown(report)
    assert CONTESTANTS["docker-run"] in text
    assert "one episode vs coworld 0.1.26 run-episode" in text
    mine = labels.having(labels.OWNER, labels.owner_label())
    assert engine.run("ps", "--all", "--quiet", *mine).stdout == ""
    assert engine.run("network", "ls", "--quiet", *mine).stdout == ""
