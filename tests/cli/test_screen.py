"""What a person sees: plain lines, a table, an outcome in four lines; a picture that fits however many seats there are."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from coworld_actors.actors import Event, EventStream, open_system
from coworld_actors.cli.screen import Detail, Screen, _Picture
from coworld_actors.episode.events import (
    GameRestarted,
    OldNamesSpoken,
    Phase,
    PhaseEntered,
    RoleEnded,
    RoleStarted,
    SeatJoined,
    SupportEnded,
)
from coworld_actors.episode.record import SupportReport
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.verdict import Blame, EndReason, SeatEnd
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from tests.coworlds import scripted_manifest, write_coworld
from tests.records import bad, record, seat

CONTROL = re.compile(r"\x1b|\r")
HAPPENED: list[Event] = [
    PhaseEntered(phase=Phase.STARTING),
    RoleStarted(role="game", name="game"),
    GameRestarted(port=4711, attempt=1),
    OldNamesSpoken(),
    PhaseEntered(phase=Phase.PLAYING),
    RoleStarted(role="player", name="player-0", slot=0),
    SeatJoined(slot=0),
    RoleEnded(role="player", name="player-0", end="exit code 0", ok=True, slot=0),
    RoleEnded(role="player", name="player-1", end="killed by SIGSEGV", ok=False, slot=1),
    SupportEnded(role="grader", id="g", ok=True),
    SupportEnded(role="reporter", id="r", ok=False, message="no zip"),
    PhaseEntered(phase=Phase.DONE),
]


def spec(tmp_path: Path, seats: int = 2) -> EpisodeSpec:
    manifest = scripted_manifest(players=("plays",) * seats)
    plan = build_plan(load_manifest(write_coworld(tmp_path / "coworld", manifest)))
    return EpisodeSpec(id="e-1", plan=plan, directory=tmp_path / "run")


async def follow(detail: Detail, made: EpisodeSpec) -> EventStream:
    async with open_system("test") as system:
        with Screen(detail, as_json=False).follow(system.events, made):
            for event in HAPPENED:
                system.events.publish(event, scope="e-1")
        assert system.events.statistics().subscribers == 0
        return system.events


async def test_without_a_terminal_what_matters_is_a_plain_line(capsys, tmp_path: Path) -> None:
    """On stderr, with a time, no control codes; what only a log needs is left out."""
    stream = await follow(Detail.NORMAL, spec(tmp_path))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert not CONTROL.search(shown.err)
    assert [line.split("s  ", 1)[1] for line in shown.err.splitlines()] == [
        "starting the game",
        "port 4711 was taken by somebody else; starting the game again",
        "the game speaks the contract's old names",
        "playing",
        "player-1 ended: killed by SIGSEGV",
        "grader g: done",
        "reporter r: no zip",
    ]
    assert stream.statistics().failed == 0


async def test_quiet_shows_nothing_on_the_way(capsys, tmp_path: Path) -> None:
    """Neither events nor notes."""
    await follow(Detail.QUIET, spec(tmp_path))
    Screen(Detail.QUIET, as_json=False).note("by the way")
    assert capsys.readouterr() == ("", "")


async def test_verbose_shows_every_event_as_a_line(capsys, tmp_path: Path) -> None:
    """With its episode and its fields, in order, without colours where there is no terminal."""
    stream = await follow(Detail.VERBOSE, spec(tmp_path))
    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if "episode=e-1" in line]
    assert len(lines) == len(HAPPENED)
    assert "port=4711" in lines[2]
    assert not CONTROL.search(shown.err)
    assert shown.out == ""
    assert stream.statistics().failed == 0


def drawn(picture: _Picture) -> str:
    console = Console(width=100, force_terminal=False)
    with console.capture() as shown:
        console.print(picture)
    return shown.get()


async def test_the_live_picture_has_a_line_per_role(tmp_path: Path) -> None:
    """Phase, then every role with its state: running, connected, finished, or how it ended."""
    picture = _Picture(spec(tmp_path))
    async with open_system("test") as system:
        system.events.subscribe(picture.on_record)
        for event in HAPPENED[:9]:
            system.events.publish(event, scope="e-1")
    text = drawn(picture)
    assert "playing" in text.splitlines()[0]
    assert re.search(r"game +running", text)
    assert re.search(r"seat 0 .* finished", text)
    assert re.search(r"seat 1 .* killed by SIGSEGV", text)


async def test_many_seats_are_counted_instead_of_listed(tmp_path: Path) -> None:
    """Sixty-four rows do not fit a terminal: one line says how many are where."""
    picture = _Picture(spec(tmp_path, 64))
    async with open_system("test") as system:
        system.events.subscribe(picture.on_record)
        for slot in range(64):
            system.events.publish(RoleStarted(role="player", name=f"player-{slot}", slot=slot))
        for slot in range(40):
            system.events.publish(SeatJoined(slot=slot))
    text = drawn(picture)
    assert len(text.splitlines()) < 10
    assert re.search(r"64 players +40 connected, 24 running", text)


def test_a_good_outcome_is_a_table_and_a_place(capsys) -> None:
    """The best first, supporting roles with what they made, the directory last; all on stdout."""
    reports = (
        SupportReport(role="grader", id="g", ok=True, output="grades/g.json", score=0.5),
        SupportReport(role="reporter", id="r", ok=False, message="no zip", evidence="exit code 1"),
    )
    Screen(Detail.NORMAL, as_json=False).outcome(record(reports=reports), interrupted=False)
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.index("P 1") < shown.out.index("P 0")
    assert "grader g: score 0.5, grades/g.json" in shown.out
    assert "reporter r failed: no zip (exit code 1)" in shown.out
    assert shown.out.splitlines()[-1] == "files: runs/e-1"


def test_a_bad_outcome_ends_in_four_lines_on_stderr(capsys) -> None:
    """What, the evidence, the next step, the files; the seats that are at fault say why."""
    seats = (seat(0), seat(1, SeatEnd.CRASHED, fault=True, score=None, evidence="exit code 7"))
    verdict = bad(EndReason.PLAYER_FAILED, Blame.PLAYERS, evidence="seat 1: exit code 7", failed_seats=(1,))
    Screen(Detail.NORMAL, as_json=False).outcome(record(verdict, seats=seats), interrupted=False)
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [
        "error: episode e-1 does not count: it went wrong",
        "  evidence: seat 1: exit code 7",
        "  try: read logs/policy_agent_1.log",
        "  files: runs/e-1",
    ]
    assert "crashed (exit code 7)" in shown.out


def test_an_outcome_that_was_stopped_says_so(capsys) -> None:
    """An interrupt is no failure of the episode's."""
    verdict = bad(EndReason.CANCELLED, Blame.CALLER)
    Screen(Detail.QUIET, as_json=False).outcome(record(verdict), interrupted=True)
    shown = capsys.readouterr()
    assert "episode e-1 was stopped" in shown.err
    assert shown.out == ""


def test_quiet_has_scores_and_files(capsys) -> None:
    """Two lines for a good episode; a seat without a score is a dash."""
    Screen(Detail.QUIET, as_json=False).outcome(record(seats=(seat(0), seat(1, score=None))), interrupted=False)
    assert capsys.readouterr().out == "e-1: completed; scores 0=0, 1=-\nfiles: runs/e-1\n"


def test_under_json_stdout_belongs_to_the_document(capfd: pytest.CaptureFixture[str]) -> None:
    """Table and files go to stderr."""
    Screen(Detail.NORMAL, as_json=True).outcome(record(), interrupted=False)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "files: runs/e-1" in shown.err


HOSTILE = "\x1b]0;mine\x07\x1b[31m\u202e\nerror: lies"
SPELLED = r"\u001b]0;mine\u0007\u001b[31m\u202e\u000aerror: lies"


async def test_no_control_code_of_a_stranger_reaches_the_terminal(capsys, tmp_path: Path) -> None:
    """Names, last words, messages and file names are spelled out wherever they are shown."""
    report = SupportReport(role="reporter", id="r", ok=True, output="o.zip", render=f"{HOSTILE}.html")
    failed = SupportReport(role="grader", id="g", ok=False, message=HOSTILE, evidence=HOSTILE)
    verdict = bad(EndReason.GAME_CRASHED, message=HOSTILE, evidence=HOSTILE)
    seats = (msgspec.structs.replace(seat(0), name=HOSTILE), seat(1, SeatEnd.CRASHED, fault=True, evidence=HOSTILE))
    screen = Screen(Detail.NORMAL, as_json=False)
    screen.note(HOSTILE)
    for made in (record(seats=seats, coworld=HOSTILE, reports=(report, failed)), record(verdict, directory=HOSTILE)):
        screen.outcome(made, interrupted=False)
    async with open_system("test") as system:
        with screen.follow(system.events, spec(tmp_path)):
            system.events.publish(SupportEnded(role="grader", id="g", ok=False, message=HOSTILE), scope="e-1")
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", text) is None
        assert SPELLED in text
        assert "\nerror: lies" not in text


async def test_the_live_picture_has_no_control_code_of_a_stranger_either(tmp_path: Path) -> None:
    """It is drawn over and over, from names that a manifest gave."""
    made = spec(tmp_path)
    game = msgspec.structs.replace(made.plan.manifest.game, name=HOSTILE)
    manifest = msgspec.structs.replace(made.plan.manifest, game=game)
    picture = _Picture(msgspec.structs.replace(made, plan=msgspec.structs.replace(made.plan, manifest=manifest)))
    async with open_system("test") as system:
        system.events.subscribe(picture.on_record)
        system.events.publish(RoleEnded(role="player", name="player-0", end=HOSTILE, ok=False, slot=0))
    text = drawn(picture)
    assert "\x1b" not in text
    assert SPELLED.split("]", maxsplit=1)[0] in text


def test_advice_that_a_message_carries_is_the_only_one(capsys) -> None:
    """Two pieces of advice contradict each other sooner or later."""
    message = "the log of player-0 cannot be written; evidence: No space left; try: choose another --output directory"
    Screen(Detail.QUIET, as_json=False).outcome(
        record(bad(EndReason.INFRASTRUCTURE, Blame.INFRASTRUCTURE, message=message)), interrupted=False
    )
    shown = capsys.readouterr().err
    assert shown.count("try: ") == 1
    assert len(shown.splitlines()) <= 4


def test_an_end_without_advice_has_no_empty_line_of_it(capsys) -> None:
    """Nobody is helped by `try:` and nothing behind it."""
    Screen(Detail.QUIET, as_json=False).outcome(record(bad(EndReason.PLAYER_FAILED)), interrupted=False)
    assert "try:" not in capsys.readouterr().err


def test_names_cannot_write_markup_or_control_codes(capsys) -> None:
    """A player's name comes from a stranger: it is shown as it is spelled."""
    seats = (seat(0), seat(1, end=SeatEnd.FINISHED))
    made = record(seats=seats, coworld="[bold]game[/bold]", directory="runs/[red]e-1")
    Screen(Detail.NORMAL, as_json=False).outcome(made, interrupted=False)
    shown = capsys.readouterr().out
    assert "[bold]game[/bold]" in shown
    assert "runs/[red]e-1" in shown
