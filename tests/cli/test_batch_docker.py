"""Batches in containers: several episodes at a time, one player that fails in some of them, stopped, killed and taken up again."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from coworld_actors.batch.plans import player_seed
from coworld_actors.batch.records import EpisodeLine
from coworld_actors.batch.store import read_batch
from tests.cli.played import COMMAND
from tests.coworlds import PROGRAMS, quick_manifest
from tests.engines import made_by

PATIENCE = 240
"""Far more seconds than any batch here takes, also on a busy machine."""

SLOW = {"noise": 5, "ticks": 3, "pause": 0.1, "player_connect_timeout_seconds": 60}
"""Episodes that a signal can hit, of a game that waits for players of a busy engine."""

JANITOR_SECONDS = 30
"""What a janitor may need on a busy machine; on a quiet one it is done within 5."""

MOODY = """
import os, sys
if int(os.environ["COWORLD_ACTORS_PLAYER_SEED"]) % 2 == 0:
    sys.exit("not in the mood")
"""
"""What a player does before it plays: it depends on the episode's seed and on nothing else."""


def in_the_mood(line: EpisodeLine) -> bool:
    """Whether the moody player, which is the second one given, plays that episode."""
    slot = [seat.entrant for seat in line.seats].index(1)
    return player_seed(line.seed, slot) % 2 != 0


class Batch:
    """A batch in a process of its own, and what it makes on the engine."""

    def __init__(self, directory: Path, *arguments: object) -> None:
        self.output = directory / "out"
        words = [*COMMAND, "run", *map(str, arguments)]
        self.process = subprocess.Popen(
            words, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def until(self, lines: int, containers: int) -> None:
        """Wait until so many episodes are over and so many containers are there."""
        path = self.output / "episodes.jsonl"
        end = time.monotonic() + PATIENCE
        while not (path.exists() and path.read_bytes().count(b"\n") >= lines and len(self.left()) >= containers):
            assert time.monotonic() < end, "it never came so far"
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)

    def left(self) -> Sequence[str]:
        """Containers and networks of it that are there."""
        return made_by(self.process.pid)

    def end(self) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err

    def lines(self) -> Sequence[EpisodeLine]:
        """What is known of its episodes."""
        _, lines = read_batch(self.output)
        return lines


def summary_of(directory: Path) -> Mapping[str, Any]:
    """What a batch has found, without what depends on the clock."""
    found: dict[str, Any] = json.loads((directory / "summary.json").read_text())
    assert found.pop("duration") is not None
    return found


@pytest.fixture
def manifest(python_image: str, tmp_path: Path) -> Path:
    """The quick game in containers, with scores that differ by seed and seat, and a player that is not always in the mood."""
    document = quick_manifest(values={"strong": 3, "moody": 1}, config=SLOW)
    game, (strong, moody) = document["game"]["runnable"], document["player"]
    play = (PROGRAMS / "quick_player.py").read_text()
    for role, program in (
        (game, (PROGRAMS / "quick_game.py").read_text()),
        (strong, play),
        (moody, MOODY + play),
    ):
        role |= {"image": python_image, "run": ["python3", "-S", "-E", "-c", program]}
    path = tmp_path / "world" / "coworld_manifest.json"
    path.parent.mkdir()
    path.write_text(json.dumps(document))
    return path


def most_at_once(lines: Sequence[EpisodeLine]) -> int:
    """How many of these episodes were played at the same time."""
    spans = [(begin := datetime.fromisoformat(line.started).timestamp(), begin + line.seconds) for line in lines]
    return max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans)


def test_several_are_played_at_a_time_and_a_crash_is_its_players_alone(manifest: Path, tmp_path: Path) -> None:
    """Every episode has its line and its files; who crashed is blamed where that was, and the episodes beside it count."""
    chosen = ("strong", "moody", "--driver", "docker", "-n", 8, "--parallel", 3, "--variant", "default")
    quickly = ("--set", "player_connect_timeout_seconds=8")
    batch = Batch(tmp_path, manifest, *chosen, *quickly, "--output", "out", "--json")
    code, out, err = batch.end()
    lines = batch.lines()
    choked = any(line.status == "invalid" for line in lines)
    assert code == (3 if choked else 1), err
    assert batch.left() == []
    assert [line.index for line in lines] == list(range(8))
    moods = [in_the_mood(line) for line in lines]
    assert 2 <= sum(moods) <= 6
    # On a machine that chokes a crash proves nothing; that is said, and nobody is blamed either.
    statuses = [
        "good" if mood else "invalid" if line.overload else "failed" for line, mood in zip(lines, moods, strict=True)
    ]
    assert [line.status for line in lines] == statuses
    assert most_at_once(lines) in {2, 3}
    for line, mood in zip(lines, moods, strict=True):
        strong, moody = sorted(line.seats, key=lambda seat: seat.entrant)
        assert (strong.end, strong.fault) == ("finished", False)
        assert (moody.end, moody.fault) == (("finished", False) if mood else ("crashed", True))
        assert ("not in the mood" in moody.evidence) is not mood
        files = batch.output / line.directory
        record = json.loads((files / "episode.json").read_text())
        assert record["driver"] == "docker"
        assert {actor["name"] for actor in record["actors"]} == {"game", "player-0", "player-1"}
        assert json.loads((files / "config.json").read_text())["seed"] == line.seed
    summary = json.loads(out)["summary"]
    assert summary["episodes"]["good"] == sum(moods)
    assert summary["episodes"]["failed"] == statuses.count("failed")
    assert [player["name"] for player in summary["players"]] == ["strong", "moody"]


def test_an_interrupt_in_the_middle_is_orderly_and_can_be_taken_up(manifest: Path, tmp_path: Path) -> None:
    """130 and an empty engine; lines for what is over, the rest open; taken up, it ends with the table that processes make of it."""
    arguments = (manifest, "strong", "-n", 6, "--parallel", 2)
    image = json.loads(manifest.read_text())["game"]["runnable"]["image"]
    whole = Batch(tmp_path, *arguments, "--image", f"{image}={PROGRAMS}", "--output", "whole")
    assert whole.end()[0] == 0
    batch = Batch(tmp_path, *arguments, "--driver", "docker", "--output", "out")
    batch.until(lines=2, containers=3)
    batch.process.send_signal(signal.SIGINT)
    code, out, err = batch.end()
    assert code == 130, err
    assert batch.left() == []
    assert "--resume" in out
    assert "SIGINT received" in out
    before = batch.lines()
    assert 2 <= len(before) < 6
    assert {line.status for line in before} == {"good"}
    assert summary_of(batch.output)["episodes"]["open"] == 6 - len(before)
    again = Batch(tmp_path, "--resume", "out")
    code, _, err = again.end()
    assert code == 0, err
    assert again.left() == []
    after = batch.lines()
    assert list(after[: len(before)]) == list(before)
    assert sorted(line.index for line in after) == list(range(6))
    assert summary_of(tmp_path / "out") == summary_of(tmp_path / "whole")


def test_after_sigkill_the_engine_is_empty_and_the_batch_goes_on(manifest: Path, tmp_path: Path) -> None:
    """The janitor removes what several episodes had; how many are played at once is found out, which changes nothing."""
    batch = Batch(tmp_path, manifest, "strong", "--driver", "docker", "-n", 5, "--output", "out")
    batch.until(lines=1, containers=3)
    batch.process.kill()
    batch.end()
    end = time.monotonic() + JANITOR_SECONDS
    while left := batch.left():
        assert time.monotonic() < end, left
        time.sleep(0.1)
    done = len(batch.lines())
    again = Batch(tmp_path, "--resume", "out")
    code, _, err = again.end()
    assert code == 0, err
    assert "of them played before" in err
    assert again.left() == []
    assert [line.status for line in batch.lines()] == ["good"] * 5
    assert done < 5
