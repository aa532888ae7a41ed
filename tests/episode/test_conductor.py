"""Whole episodes with real processes: one test for every way in which they go well or wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from coworld_actors.actors import Record
from coworld_actors.actors.events import DeadLetter
from coworld_actors.episode.events import PhaseEntered, SeatJoined
from coworld_actors.episode.game import Game
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.episode.player import Player
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import EpisodeSpec, Limits
from coworld_actors.episode.usher import Usher
from coworld_actors.episode.verdict import Blame, EndReason, SeatEnd
from coworld_protocol.contract import ErrorType
from coworld_protocol.errors import InternalFault, PreconditionMissing, Refused
from tests.disks import small_disk

SHORT = Limits(timeout=6, startup=5, first_frame=3, player_grace=2, support=30)


async def test_a_good_episode_is_completed_and_leaves_everything_it_promises(play, tmp_path: Path) -> None:
    """Scores, logs, config, results, replay, events and the record are there and agree."""
    events: list[Record] = []
    record = await play(events=events, config={"ticks": 40})
    assert record.verdict.good, record.verdict
    assert record.verdict.reason is EndReason.COMPLETED
    assert [(seat.end, seat.connected) for seat in record.seats] == [(SeatEnd.FINISHED, True)] * 2
    assert all(seat.score is not None and seat.score > 0 for seat in record.seats)
    run = tmp_path / "run"
    assert json.loads((run / "results.json").read_text())["scores"] == [seat.score for seat in record.seats]
    assert len(set(json.loads((run / "config.json").read_text())["tokens"])) == 2
    for name in ("replay", "events.jsonl", "episode.json", "logs/game.stdout.log", "logs/game.stderr.log"):
        assert (run / name).exists(), name
    assert "connected" in (run / "logs/policy_agent_0.log").read_text()
    assert not (run / "error_info.json").exists()
    assert msgspec.json.decode((run / "episode.json").read_bytes(), type=EpisodeRecord) == record
    kinds = [record["event"]["type"] for record in _lines(run / "events.jsonl")]
    assert kinds.index("episode_started") < kinds.index("role_started") < kinds.index("episode_ended")


async def test_phases_come_in_order_and_the_viewer_before_the_players(play) -> None:
    """Every phase is entered once, and all times of the record fit into its length."""
    events: list[Record] = []
    record = await play(events=events, config={"ticks": 40})
    phases = [r.event.phase for r in events if isinstance(r.event, PhaseEntered)]
    assert phases == ["starting", "probing", "seating", "playing", "closing", "checking", "done"]
    kinds = [(type(r.event).__name__, r.actor.rsplit("/", 1)[-1]) for r in events]
    assert kinds.index(("ActorStarted", "viewer")) < kinds.index(("RoleStarted", "player-0"))
    assert {r.event.slot for r in events if isinstance(r.event, SeatJoined)} == {0, 1}
    assert sum(phase.seconds for phase in record.phases) <= record.seconds + 0.01
    assert {actor.name for actor in record.actors} == {"game", "player-0", "player-1"}
    assert all(actor.seconds is not None for actor in record.actors)
    # Interpreters that have started have used something.
    assert all((actor.cpu_seconds or 0) > 0.001 for actor in record.actors)


@pytest.mark.parametrize("behaviour", ["says_401", "closes_bad_token", "waits_for_players"])
async def test_games_that_keep_the_contract_in_other_words_are_good(play, behaviour: str) -> None:
    """401 instead of 403, a late close of a bad token, a first frame only after the last player: all allowed."""
    record = await play(behaviour)
    assert record.verdict.good, record.verdict


@pytest.mark.parametrize(
    ("behaviour", "reason", "error", "words"),
    [
        ("exits_at_once", EndReason.GAME_START_FAILED, ErrorType.GAME_UNHEALTHY, "exit code 3; last line: no such map"),
        ("never_healthy", EndReason.GAME_NEVER_HEALTHY, ErrorType.GAME_UNHEALTHY, "HTTP status 503"),
        ("hangs_at_start", EndReason.GAME_NEVER_HEALTHY, ErrorType.GAME_UNHEALTHY, "not healthy after 5 s"),
        ("no_player_page", EndReason.CONTRACT_VIOLATED, ErrorType.GAME_CONTRACT_VIOLATION, "HTTP status 404"),
        ("global_page_redirects", EndReason.CONTRACT_VIOLATED, ErrorType.GAME_CONTRACT_VIOLATION, "HTTP status 302"),
        ("player_404", EndReason.CONTRACT_VIOLATED, ErrorType.GAME_CONTRACT_VIOLATION, "HTTP status 404"),
        ("accepts_bad_token", EndReason.CONTRACT_VIOLATED, ErrorType.GAME_CONTRACT_VIOLATION, "still open after 2 s"),
        ("greets_bad_token", EndReason.CONTRACT_VIOLATED, ErrorType.GAME_CONTRACT_VIOLATION, "a message sent"),
        ("no_global", EndReason.CONTRACT_VIOLATED, ErrorType.GAME_CONTRACT_VIOLATION, "HTTP status 404"),
        ("silent_global", EndReason.CONTRACT_VIOLATED, ErrorType.GAME_CONTRACT_VIOLATION, ""),
        ("closes_global", EndReason.CONTRACT_VIOLATED, ErrorType.GAME_CONTRACT_VIOLATION, "close"),
        ("empty_frame", EndReason.CONTRACT_VIOLATED, ErrorType.GAME_CONTRACT_VIOLATION, ""),
        ("crashes_mid", EndReason.GAME_CRASHED, ErrorType.GAME_UNHEALTHY, "exit code 3; last line: the sky is falling"),
        ("killed_mid", EndReason.GAME_CRASHED, ErrorType.GAME_UNHEALTHY, "SIGSEGV"),
        ("fails_at_end", EndReason.GAME_CRASHED, ErrorType.GAME_UNHEALTHY, "exit code 5"),
        ("no_results", EndReason.RESULTS_MISSING, ErrorType.RESULTS_MISSING, "results.json does not exist"),
        ("results_no_json", EndReason.RESULTS_MALFORMED, ErrorType.RESULTS_MALFORMED, "no JSON"),
        ("results_break_schema", EndReason.RESULTS_MALFORMED, ErrorType.RESULTS_MALFORMED, "$.scores"),
        ("results_link", EndReason.RESULTS_MALFORMED, ErrorType.RESULTS_MALFORMED, "cannot be read"),
        ("results_pipe", EndReason.RESULTS_MALFORMED, ErrorType.RESULTS_MALFORMED, "no regular file"),
        ("hangs_after_results", EndReason.STALLED, ErrorType.EPISODE_TIMEOUT, ""),
        ("endless", EndReason.TIMED_OUT, ErrorType.EPISODE_TIMEOUT, "its last frame is"),
    ],
)
async def test_each_bad_game_gets_the_verdict_that_names_its_fault(
    play, tmp_path: Path, behaviour: str, reason: EndReason, error: ErrorType, words: str
) -> None:
    """One reason of the closed set, the contract's error type, evidence, and `error_info.json` beside the record."""
    record = await play(behaviour, limits=SHORT)
    verdict = record.verdict
    assert (verdict.reason, verdict.error_type, verdict.blame) == (reason, error, Blame.GAME), verdict
    assert words in verdict.evidence
    info = json.loads((tmp_path / "run/error_info.json").read_text())
    assert info == {"error_type": error, "message": verdict.message, "failed_policy_index": None}


async def test_results_of_a_game_that_hangs_after_them_are_named_in_the_verdict(play) -> None:
    """A game that wrote its results and stays is told apart from one that is still playing."""
    record = await play("hangs_after_results", limits=SHORT)
    assert record.verdict.message == "the game wrote its results and did not exit"


@pytest.mark.parametrize(
    ("behaviour", "end", "words"),
    [
        ("crashes_at_once", SeatEnd.CRASHED, "exit code 7; last line: cannot find my weights"),
        ("crashes_mid", SeatEnd.CRASHED, "exit code 8; last line: division by zero"),
        ("crashes_after_end", SeatEnd.CRASHED, "exit code 9; last line: could not save"),
        ("never_connects", SeatEnd.NEVER_CONNECTED, "SIG"),
        ("never_ends", SeatEnd.OVERSTAYED, "SIGTERM"),
        ("ignores_sigterm", SeatEnd.OVERSTAYED, "SIGKILL"),
        ("leaves_early", SeatEnd.LEFT_EARLY, ""),
    ],
)
async def test_a_bad_player_spoils_its_seat_and_not_the_episode(play, behaviour: str, end: SeatEnd, words: str) -> None:
    """The game goes on without it, the results count, and its seat says what happened, with evidence."""
    limits = Limits(timeout=60, startup=30, player_grace=1.5)
    record = await play(
        players=("plays", behaviour), limits=limits, config={"player_connect_timeout_seconds": 2, "ticks": 60}
    )
    assert record.verdict.good, record.verdict
    assert record.seats[0].end is SeatEnd.FINISHED
    bad = record.seats[1]
    assert bad.end is end
    assert words in bad.evidence
    assert record.verdict.failed_seats == (() if end is SeatEnd.LEFT_EARLY else (1,))


async def test_the_players_share_one_grace(play) -> None:
    """Eight players that never leave cost one grace together, not eight."""
    limits = Limits(timeout=60, startup=30, player_grace=2)
    record = await play(players=("never_ends",) * 8, limits=limits)
    closing = next(phase for phase in record.phases if phase.phase == "closing")
    assert [seat.end for seat in record.seats] == [SeatEnd.OVERSTAYED] * 8
    assert 2 <= closing.seconds < 8


async def test_all_bad_seats_are_reported_when_the_game_never_begins(play, tmp_path: Path) -> None:
    """Players that crash before the first frame are to blame for its absence, every one of them by seat."""
    record = await play("waits_for_players", ("crashes_at_once", "crashes_at_once"), limits=SHORT)
    assert record.verdict.reason is EndReason.PLAYER_FAILED
    assert record.verdict.blame is Blame.PLAYERS
    assert record.verdict.failed_seats == (0, 1)
    assert "seat 0: exit code 7" in record.verdict.evidence
    assert "seat 1: exit code 7" in record.verdict.evidence
    assert json.loads((tmp_path / "run/error_info.json").read_text())["failed_policy_index"] == 0


async def test_floods_of_output_are_cut_with_a_marker_and_change_nothing(play, tmp_path: Path) -> None:
    """A game and a player that write 40 MB each are played to the end; their logs stay bounded."""
    record = await play("floods", ("floods", "plays"))
    assert record.verdict.good, record.verdict
    for name in ("game.stdout.log", "policy_agent_0.log"):
        assert (tmp_path / "run/logs" / name).stat().st_size < 20 * 1024 * 1024


async def test_a_player_sees_its_own_seat_only(play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own token and directory, a secret that was given to it, and nothing else of ours or of the other's."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ours-alone")
    record = await play(players=("shows_environment", "plays"), secret_env={"API_KEY": "given"})
    assert record.verdict.good, record.verdict
    shown = (tmp_path / "run/logs/policy_agent_0.log").read_text()
    environment = json.loads(next(line for line in shown.splitlines() if line.startswith("{")))
    tokens = json.loads((tmp_path / "run/config.json").read_text())["tokens"]
    assert f"slot=0&token={tokens[0]}" in environment["COWORLD_PLAYER_WS_URL"]
    assert tokens[1] not in shown
    assert "ours-alone" not in shown
    assert environment["API_KEY"] == "given"
    assert environment["COGAMES_ENGINE_WS_URL"] == environment["COWORLD_PLAYER_WS_URL"]
    rest = b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("*.json*"))
    assert b"given" not in rest


async def test_an_artifact_ends_up_in_the_workspace(play, tmp_path: Path) -> None:
    """What a player leaves under the contract's name is collected; its absence elsewhere is no fault."""
    record = await play(players=("leaves_artifact", "plays"))
    assert record.verdict.good, record.verdict
    assert (tmp_path / "run/policy_artifact_0.zip").exists()
    assert not (tmp_path / "run/policy_artifact_1.zip").exists()


async def test_an_interrupt_ends_the_episode_in_order_and_says_who_did_it(play, tmp_path: Path) -> None:
    """A cancelled episode has a record like any other; nobody of the roles is to blame."""
    interrupt = Interrupt()
    record: list[EpisodeRecord] = []
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            record.append(await play("endless", interrupt=interrupt))
            nursery.cancel_scope.cancel()

        nursery.start_soon(run)
        with trio.fail_after(30):
            while "connected" not in _text(tmp_path / "run/logs/policy_agent_1.log"):
                await trio.sleep(0.05)
        interrupt.throw("enough")
    assert record[0].verdict.reason is EndReason.CANCELLED
    assert record[0].verdict.blame is Blame.CALLER
    assert record[0].verdict.failed_seats == ()
    assert (tmp_path / "run/episode.json").exists()


async def test_cancelling_the_caller_leaves_nothing_running(play, tmp_path: Path) -> None:
    """A host that is cancelled in the middle gets its cancellation back; the session fixture finds no process."""
    with trio.move_on_after(30) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(play, "endless")
            while "connected" not in _text(tmp_path / "run/logs/policy_agent_1.log"):
                await trio.sleep(0.05)
            scope.cancel()
    assert scope.cancelled_caught


async def test_a_directory_with_files_of_an_earlier_run_is_refused(play, tmp_path: Path) -> None:
    """A stale results.json can never pass for a new one: the run does not begin."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/results.json").write_text('{"scores": [9, 9]}')
    with pytest.raises(Refused, match="is not empty"):
        await play("no_results")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["results.json"]


async def test_a_directory_that_cannot_be_made_is_a_missing_precondition(play, tmp_path: Path) -> None:
    """A file where the directory should be is named with the next step."""
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(PreconditionMissing) as caught:
        await play()
    assert "--output" in caught.value.todo


async def test_two_episodes_can_run_at_once_in_one_system(play, spec_of) -> None:
    """Actors, events and files of two episodes in one system do not meet."""
    from coworld_actors.actors import open_system
    from coworld_actors.episode.conductor import run_episode
    from coworld_drivers.images import load_images
    from coworld_drivers.process import ProcessDriver

    first: EpisodeSpec = spec_of()
    directory = first.directory.parent
    second = msgspec.structs.replace(first, id="e-2", directory=directory / "run-2")
    records: list[EpisodeRecord] = []
    async with ProcessDriver(load_images(directory / "coworld", {})) as driver, open_system("two") as system:
        async with trio.open_nursery() as nursery:
            for spec in (first, second):

                async def run(spec: EpisodeSpec = spec) -> None:
                    records.append(await run_episode(system, driver, spec))

                nursery.start_soon(run)
    assert all(record.verdict.good for record in records)
    for record in records:
        scopes = {line["scope"] for line in _lines(Path(record.directory) / "events.jsonl")}
        assert scopes == {record.id}


@pytest.mark.parametrize("behaviour", ["plays", "no_replay", "replay_crashes", "silent_replay"])
async def test_the_replay_is_loaded_again_when_asked(play, behaviour: str) -> None:
    """A replay that shows itself passes; an absent, a crashing and a silent one are told apart from it."""
    record = await play(behaviour, verify_replay=True, limits=Limits(timeout=60, first_frame=3, replay=20))
    expected = {
        "plays": EndReason.COMPLETED,
        "no_replay": EndReason.REPLAY_MISSING,
    }.get(behaviour, EndReason.REPLAY_UNLOADABLE)
    assert record.verdict.reason is expected, record.verdict


async def test_a_game_that_dies_after_its_health_check_is_not_a_taken_port(play) -> None:
    """Nobody listens any more, and nobody else does: the exit is the reason, with its code."""
    record = await play("dies_after_health", limits=SHORT)
    assert record.verdict.reason in {EndReason.GAME_START_FAILED, EndReason.GAME_CRASHED}, record.verdict
    assert "exit code 3" in record.verdict.evidence
    assert record.verdict.failed_seats == ()


async def test_a_deadline_before_the_start_up_limit_says_the_same(play) -> None:
    """A game that is not healthy at the deadline never became healthy; its last answer is the evidence."""
    record = await play("never_healthy", limits=Limits(timeout=3))
    assert record.verdict.reason is EndReason.GAME_NEVER_HEALTHY
    assert "HTTP status 503" in record.verdict.evidence


async def _until_closing(events: list[Record]) -> None:
    with trio.fail_after(60):
        while not any(isinstance(r.event, PhaseEntered) and r.event.phase == "closing" for r in events):
            await trio.sleep(0.02)


async def test_an_interrupt_while_players_leave_does_not_undo_the_episode(play) -> None:
    """The game had ended by itself; the players are sent away at once, and the results count."""
    interrupt, events, records = Interrupt(), [], []
    limits = Limits(timeout=60, startup=30, player_grace=60)
    with trio.fail_after(50):
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                records.append(await play(players=("never_ends",), interrupt=interrupt, events=events, limits=limits))

            nursery.start_soon(run)
            await _until_closing(events)
            interrupt.throw("enough")
    assert records[0].verdict.good
    assert records[0].seats[0].end is SeatEnd.STOPPED


async def test_a_cancelled_host_does_not_wait_for_players_to_leave(play) -> None:
    """The grace is the players' only while somebody waits for the episode."""
    events: list[Record] = []
    limits = Limits(timeout=60, startup=30, player_grace=60)
    with trio.fail_after(50):
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                await play(players=("never_ends",), events=events, limits=limits)

            nursery.start_soon(run)
            await _until_closing(events)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("actor", [Game, Player, Usher])
async def test_a_crash_of_an_actor_of_ours_is_never_a_good_episode(
    play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, actor: type
) -> None:
    """It is raised as our own fault, and the episode is recorded as ended for that reason."""

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(actor, "_look" if actor is Usher else "ended", fail)
    with pytest.raises(InternalFault, match="defect"):
        await play(limits=SHORT)
    verdict = json.loads((tmp_path / "run/episode.json").read_text())["verdict"]
    assert (verdict["good"], verdict["reason"], verdict["error_type"]) == (False, "internal", "crash")


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_no_token_reaches_the_log_of_an_embedding_host(play, tmp_path: Path, caplog) -> None:
    """A host that logs everything finds no seat's token in it."""
    with caplog.at_level("DEBUG"):
        await play()
    tokens = json.loads((tmp_path / "run/config.json").read_text())["tokens"]
    assert not any(token in caplog.text for token in tokens)


async def test_a_full_disk_ends_the_play_at_once(play, tmp_path: Path) -> None:
    """Nobody waits for the deadline of an episode that cannot be recorded, and no role is blamed."""
    with small_disk(tmp_path / "run"), trio.fail_after(40):
        with pytest.raises(PreconditionMissing, match=r"episode\.json"):
            await play("floods", config={"ticks": 100000}, limits=Limits(timeout=600))


async def test_a_good_episode_has_no_dead_letters(play) -> None:
    """Dead letters are a sign of trouble; they would be none if every episode left some."""
    events: list[Record] = []
    assert (await play(events=events)).verdict.good
    assert [record for record in events if isinstance(record.event, DeadLetter)] == []
