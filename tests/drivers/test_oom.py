"""Which SIGKILL was the kernel's own."""

from __future__ import annotations

import pytest

from coworld_drivers import oom
from coworld_drivers.oom import OomCounter


@pytest.fixture
def vmstat(tmp_path, monkeypatch):
    file = tmp_path / "vmstat"
    monkeypatch.setattr(oom, "VMSTAT", file)

    def write(count: int) -> None:
        file.write_text(f"nr_free_pages 17\noom_kill {count}\nunevictable_pgs_culled 0\n")

    write(5)
    return write


def test_each_kill_explains_one_death(vmstat):
    """Two counted kills explain two deaths, not three; kills from before do not count."""
    counter = OomCounter()
    assert not counter.explains()
    vmstat(7)
    assert [counter.explains() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("text", ["", "oom_kill many\n", "nr_free_pages 1\n", None])
def test_a_kernel_that_does_not_count_explains_nothing(vmstat, text):
    """Without a number nothing is blamed on memory, now or when it disappears later."""
    counted = OomCounter()
    if text is None:
        oom.VMSTAT.unlink()
    else:
        oom.VMSTAT.write_text(text)
    uncounted = OomCounter()
    assert not counted.explains()
    vmstat(99)
    assert not uncounted.explains()


def test_the_real_file_is_understood():
    """This machine's kernel counts."""
    assert OomCounter()._explained is not None
