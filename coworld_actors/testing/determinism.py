"""The same run twice: trio's scheduler as a function of a seed.

Trio runs the tasks of one turn in a random order, on purpose. With a virtual clock, a seeded system and this, a run is a function
of its inputs: the same seed and the same faults give the same events.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from trio._core import _run

__all__ = ["deterministic"]


@contextmanager
def deterministic(seed: int | str) -> Generator[None]:
    """Seed trio's scheduler while the block runs, and put everything back as it was.

        with deterministic(7):
            trio.run(main, clock=MockClock(autojump_threshold=0))

    The block has to contain the whole `trio.run`, or at least be entered before the tasks whose order matters exist. It uses the
    two variables by which trio's own Hypothesis plugin does the same (`trio._core._run._r`, `_ALLOW_DETERMINISTIC_SCHEDULING`).

    Args:
        seed: what decides the order of the tasks that could run at the same time.
    """
    run: Any = _run
    allowed, state = run._ALLOW_DETERMINISTIC_SCHEDULING, run._r.getstate()  # noqa: SLF001 - there is no public name for it
    run._ALLOW_DETERMINISTIC_SCHEDULING = True  # noqa: SLF001
    run._r.seed(seed)  # noqa: SLF001
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING = allowed  # noqa: SLF001
        run._r.setstate(state)  # noqa: SLF001
