"""What a person sees of a batch: a picture that fits, lines that are not too many, and nobody's control codes."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from coworld_actors.batch.events import (
    BatchEnded,
    BatchLaunched,
    EpisodeBegan,
    EpisodePlaying,
    EpisodeRetried,
    EpisodeSettled,
    ParallelChanged,
)
from coworld_actors.batch.records import Status
from coworld_actors.cli.batch_progress import BatchProgress
from coworld_actors.cli.batch_screen import ROWS, BatchScreen, _Picture
from coworld_actors.cli.screen import Detail
from tests.batches import line, schedule

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
HOSTILE = "evil\x1b[2J\x07\u202ename"


def play(total: int, detail: Detail = Detail.NORMAL, **changes: Any) -> None:
    """Every event of a batch, through a screen without a terminal."""
    screen = BatchScreen(detail, off_stdout=False)
    progress = BatchProgress(schedule(total))
    with screen.follow(progress, "title"):
        for event in (
            BatchLaunched(
                id="b", directory="/b", coworld="c 1", entrants=("a", "b"), episodes=total, open=total - 1, parallel=2
            ),
            *(
                event
                for index in range(total)
                for event in (
                    EpisodeBegan(index=index, seats=(0, 1), attempt=1),
                    EpisodePlaying(index=index, seconds=0.5),
                    EpisodeSettled(line=line(index, **changes), done=index + 1, total=total),
                )
            ),
            EpisodeRetried(index=0, attempt=1, reason="the machine", wait=1),
            ParallelChanged(parallel=4, because="it pays"),
            BatchEnded(stopped="", done=total, total=total, seconds=3),
        ):
            progress.take(event)
            screen.tell(event)
    screen.show(["outcome", HOSTILE])


def test_a_short_batch_has_a_line_for_each_episode(capsys: pytest.CaptureFixture[str]) -> None:
    """Progress on stderr, the outcome on stdout."""
    play(5)
    out, err = capsys.readouterr()
    assert err.count("a 1, b 0") == 5
    assert "5/5" in err
    assert "1 of them played before" in err
    assert "tried again in 1 s, attempt 1 failed: the machine" in err
    assert "4 at once: it pays" in err
    assert "starts" not in err
    assert out.startswith("outcome\n")


def test_a_long_batch_is_thinned_but_for_bad_news(capsys: pytest.CaptureFixture[str]) -> None:
    """Thousands of good episodes are a few lines; the first failures are all told, and then they are thinned, too."""
    play(2000)
    good = len(capsys.readouterr().err.splitlines())
    assert good < 60
    play(2000, status=Status.FAILED, message="it crashed")
    bad = capsys.readouterr().err
    assert 50 <= bad.count("it crashed") < 120


def test_verbose_tells_starts_and_quiet_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Each asked for by its option."""
    play(3, Detail.VERBOSE)
    assert "e0000 starts: a b" in capsys.readouterr().err
    play(3, Detail.QUIET)
    out, err = capsys.readouterr()
    assert err == ""
    assert "outcome" in out


def test_strangers_words_reach_no_terminal_as_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """Names of players, last words of roles."""
    play(3, status=Status.FAILED, message=f"it said {HOSTILE}")
    out, err = capsys.readouterr()
    assert "it said" in err
    assert not CONTROL.search(out + err)
    assert "\u202e" not in out + err


def test_the_picture_fits_however_much_runs() -> None:
    """At most so many rows of running episodes, and a count of the rest; standings, counts, warnings."""
    progress = BatchProgress(schedule(500, entrants=("a", HOSTILE)), [line(index) for index in range(100)])
    for index in range(100, 200):
        progress.take(EpisodeBegan(index=index, seats=(0, 1), attempt=1))
    progress.take(EpisodePlaying(index=100, seconds=1))
    progress.take(EpisodeRetried(index=101, attempt=1, reason="7 tasks wanted each core", wait=1))
    progress.take(ParallelChanged(parallel=99, because="more would not pay"))
    progress.remark = "LLR 1.20 in (-2.94, 2.94)"
    console = Console(file=io.StringIO(), width=100)
    console.print(_Picture(progress, "orchard 0.1.0  duel"))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "done 100/500" in text
    assert "running 99" in text
    assert "99 at once (more would not pay)" in text
    assert "warning: 7 tasks wanted each core" in text
    assert "LLR 1.20" in text
    assert "100 blocks" in text
    assert "playing" in text
    assert f"... {99 - ROWS} more" in text
    assert len(text.splitlines()) < 25
    assert not CONTROL.search(text)


def test_a_table_is_not_squeezed_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe has no width."""
    table = Table()
    for _ in range(6):
        table.add_column("a heading of some length")
    BatchScreen(Detail.NORMAL, off_stdout=False).show(table)
    assert "a heading of some length" in capsys.readouterr().out
