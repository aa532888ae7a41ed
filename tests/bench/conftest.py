"""Short runs of the benchmarks: what is measured is looked at, never how fast it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from coworld_bench.cores import plan_cores
from coworld_bench.plan import Plan
from coworld_bench.programs import compiled


@pytest.fixture(scope="session", autouse=True)
def own_programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The C programs are compiled once for the session, into a directory that goes away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        compiled.cache_clear()
        yield
    compiled.cache_clear()


@pytest.fixture
def plan() -> Plan:
    """The shortest plan that measures anything."""
    return Plan(rounds=1, seconds=0.1, warmup=0.05, quick=True, cores=plan_cores())
