"""The next step after an episode that does not count: which file to read, which knob to turn."""

from __future__ import annotations

from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.verdict import Blame, EndReason
from coworld_protocol import contract

__all__ = ["next_step"]

_GAME_LOG = f"read {contract.LOG_GAME_STDERR} and {contract.LOG_GAME_STDOUT}"

_STEPS = {
    EndReason.GAME_START_FAILED: _GAME_LOG,
    EndReason.GAME_NEVER_HEALTHY: f"the game has to answer GET {contract.ROUTE_HEALTH} with 200 on the host and port of its "
    f"environment ({contract.ENV_HOST}, {contract.ENV_PORT}); {_GAME_LOG}",
    EndReason.GAME_CRASHED: _GAME_LOG,
    EndReason.GAME_OUT_OF_MEMORY: "give the game more memory, or a smaller configuration with --set",
    EndReason.CONTRACT_VIOLATED: f"docs/contract.md says what a game has to serve; {_GAME_LOG}",
    EndReason.TIMED_OUT: "allow more time with --timeout, or shorten the game with --set",
    EndReason.STALLED: f"the game has to exit by itself once it has written its results; {_GAME_LOG}",
    EndReason.RESULTS_MISSING: f"the game has to write the file that {contract.ENV_RESULTS_URI} names before it exits",
    EndReason.RESULTS_MALFORMED: f"compare {contract.FILE_RESULTS} with the manifest's game.results_schema",
    EndReason.REPLAY_MISSING: f"the game has to write the file that {contract.ENV_SAVE_REPLAY_URI} names before it exits",
    EndReason.REPLAY_UNLOADABLE: "read logs/replay.stderr.log and logs/replay.stdout.log",
    EndReason.INFRASTRUCTURE: "free what is short on this machine and run the same command again",
    EndReason.INTERNAL: "run the same command with --debug and report what it prints",
    EndReason.CANCELLED: "run the same command again",
}


def next_step(record: EpisodeRecord) -> str:
    """What to do about a bad verdict; empty for a good one."""
    verdict = record.verdict
    if verdict.blame is Blame.PLAYERS and verdict.failed_seats:
        return f"read {record.seats[verdict.failed_seats[0]].log}"
    if verdict.reason is EndReason.INFRASTRUCTURE and record.driver == "docker":
        return "`coworld-actors doctor --driver docker` looks at the engine; then run the same command again"
    return _STEPS.get(verdict.reason, "")
