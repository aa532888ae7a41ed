"""What a game left behind: are the results there, do they obey their schema, what are the scores."""

from __future__ import annotations

import math
import time
from typing import Any

import msgspec
import trio

from coworld_actors.episode.verdict import ResultsCheck
from coworld_actors.episode.workspace import RESULTS_LIMIT, FileRefused, Workspace, read_role_file
from coworld_actors.manifest.schema import Validator, compile_schema
from coworld_protocol.contract import ErrorType

__all__ = ["check_results", "compiled", "is_quick", "scores_of", "written_at"]

SHOWN_PROBLEMS = 3
"""Schema problems named in one sentence; the count tells how many more there are."""

QUICK = 16 * 1024
"""Bytes of results that are checked without a thread: less than a millisecond, where a thread costs as much."""

_SCHEMAS = 32
_compiled: dict[bytes, Validator] = {}


def compiled(schema: dict[str, Any]) -> Validator:
    """The validator of a game's results. It is made once and kept, because the episodes of a batch have the same.

    Raises:
        ManifestRefused: the schema cannot be used.
    """
    key = msgspec.json.encode(schema)
    validator = _compiled.pop(key, None) or compile_schema(schema)
    # The newest is last, and the oldest goes.
    _compiled[key] = validator
    while len(_compiled) > _SCHEMAS:
        _compiled.pop(next(iter(_compiled)), None)
    return validator


def is_quick(workspace: Workspace) -> bool:
    """Whether there is little to check."""
    try:
        return workspace.results.lstat().st_size <= QUICK
    except OSError:
        return True


def check_results(workspace: Workspace, schema: Validator) -> ResultsCheck:
    """Read and validate `results.json`."""

    def malformed(message: str) -> ResultsCheck:
        return ResultsCheck(error=ErrorType.RESULTS_MALFORMED, message=message)

    try:
        data = read_role_file(workspace.results, RESULTS_LIMIT)
    except FileRefused as error:
        return malformed(error.what)
    if data is None:
        return ResultsCheck(error=ErrorType.RESULTS_MISSING, message="results.json does not exist")
    try:
        results: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        return malformed(f"results.json is no JSON: {error}")
    problems = schema.problems(results)
    if problems:
        shown = "; ".join(str(problem) for problem in problems[:SHOWN_PROBLEMS])
        more = len(problems) - SHOWN_PROBLEMS
        return malformed(f"{shown}; and {more} more" if more > 0 else shown)
    return ResultsCheck(scores=scores_of(results))


def written_at(workspace: Workspace) -> float | None:
    """When the results were written, on trio's clock; None without results.

    The file has a wall-clock time. The clocks are compared now, so a wall clock that was set during the episode is wrong by that.
    """
    try:
        age = time.time() - workspace.results.lstat().st_mtime
    except OSError:
        return None
    return trio.current_time() - age


def scores_of(results: Any) -> tuple[float, ...]:
    """The list `scores` of finite numbers by slot; empty when the results have none."""
    scores = results.get("scores") if isinstance(results, dict) else None
    if not isinstance(scores, list):
        return ()
    if any(isinstance(score, bool) or not isinstance(score, int | float) for score in scores):
        return ()
    try:
        numbers = tuple(float(score) for score in scores)
    except OverflowError:
        return ()
    return numbers if all(math.isfinite(number) for number in numbers) else ()
