"""A player's actor: what keeps it from starting is told as what it is, its own fault or the machine's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from coworld_actors.actors import ChildSpec, Restart, SupervisorRef
from coworld_actors.episode.findings import Facts
from coworld_actors.episode.player import Player
from coworld_actors.episode.referee import Findings, Referee
from coworld_drivers.driver import Launch
from coworld_drivers.process import ProcessSite
from tests.coworlds import IMAGE
from tests.disks import is_full


async def play(house: SupervisorRef, site: ProcessSite, log: Path, *run: str, **more: Any) -> Facts:
    """Play seat 1 to the player's end; returns what the referee was told."""
    launch = Launch(name="player-1", role="player", image=IMAGE, run=run, stdout=log, **more)
    referee = await house.start_actor(ChildSpec(name="referee", start=lambda: Referee(2, 0), restart=Restart.TEMPORARY))
    player = await house.start_actor(
        ChildSpec(name="player-1", start=lambda: Player(site, launch, 1, referee), restart=Restart.TEMPORARY)
    )
    with trio.fail_after(60):
        await player.wait()
    return await referee.ask(Findings(), deadline=30)


async def test_a_player_that_ends_is_told_with_its_last_line(
    house: SupervisorRef, site: ProcessSite, tmp_path: Path
) -> None:
    """Start and end of its seat, and no fault of the machine's."""
    facts = await play(house, site, tmp_path / "log", "sh", "-c", "echo farewell; exit 3")
    assert set(facts.started) == {1}
    assert facts.seats[1].status is not None
    assert (facts.seats[1].status.code, facts.seats[1].tail) == (3, "farewell")
    assert facts.fault is None


async def test_a_program_that_cannot_be_executed_is_the_players_fault(
    house: SupervisorRef, site: ProcessSite, tmp_path: Path
) -> None:
    """It ends its seat, with the kernel's words."""
    (tmp_path / "program").write_bytes(b"\x7fELF not really")
    (tmp_path / "program").chmod(0o755)
    facts = await play(house, site, tmp_path / "log", str(tmp_path / "program"))
    assert facts.seats[1].status is None
    assert "Exec format error" in facts.seats[1].tail
    assert facts.fault is None


@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
async def test_what_has_the_place_of_its_log_is_not_the_players_fault(
    house: SupervisorRef, site: ProcessSite, tmp_path: Path, kind: str
) -> None:
    """The referee is told of a fault that says what is there and who can have put it there, without a second advice."""
    log = tmp_path / "log"
    make = {
        "directory": f"mkdir {log}",
        "link": f"ln -s {tmp_path / 'victim'} {log}",
        "pipe": f"mkfifo {log}",
    }
    (tmp_path / "victim").write_text("precious")
    planter = await site.start(
        Launch(name="game", role="game", image=IMAGE, run=("sh", "-c", make[kind]), stdout=tmp_path / "game.log")
    )
    assert (await planter.wait()).ok
    facts = await play(house, site, log, "sh", "-c", "echo overwritten")
    assert facts.seats == {}
    assert facts.fault is not None
    assert kind in facts.fault.message
    assert "the log of player-1" in facts.fault.message
    assert "such as the game" in facts.fault.message
    assert "try:" not in facts.fault.message
    assert (tmp_path / "victim").read_text() == "precious"


async def test_a_log_that_cannot_be_written_is_told_with_its_evidence(
    house: SupervisorRef, site: ProcessSite, small: Path
) -> None:
    """A full disk ends no player; its end is told, and what the machine lacked, in the kernel's words."""
    facts = await play(house, site, small / "log", "sh", "-c", "head -c 300000 /dev/zero; exit 0")
    assert facts.seats[1].status is not None
    assert facts.seats[1].status.ok
    assert facts.fault is not None
    assert is_full(facts.fault.message)
