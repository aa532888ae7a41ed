"""`summary.csv`: a row for each player, for spreadsheets."""

from __future__ import annotations

import csv
import io
import math

from coworld_actors.batch.statistics.summary import Estimate, PlayerSummary, Summary
from coworld_protocol.printable import printable

__all__ = ["COLUMNS", "table_csv"]

COLUMNS = (
    "rank", "player", "score", "score_low", "score_high", "standard_error", "win_share", "win_share_low", "win_share_high",
    "elo", "elo_low", "elo_high", "elo_note", "rating", "rating_low", "rating_high", "ladder", "ladder_low", "ladder_high",
    "wins", "draws", "losses", "episodes", "seats", "faults", "fault_kinds",
    "latency_answers", "latency_p50_seconds", "latency_p99_seconds", "latency_longest_seconds",
)  # fmt: skip
"""The first row. Columns are only ever added, at the end."""

_FORMULA = frozenset("=+-@\t\r\n")
"""What a cell's first character must not be, or a spreadsheet takes the text for a formula (OWASP, CSV injection)."""


def table_csv(summary: Summary) -> str:
    """The standings as CSV (RFC 4180), the best player first; what is not known is an empty cell.

    A text that a spreadsheet would run as a formula gets an apostrophe in front, which spreadsheets read as "this is text".
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for player in summary.players:
        writer.writerow(_row(player))
    return out.getvalue()


def _row(player: PlayerSummary) -> list[str]:
    latency = player.latency
    row = [
        "" if player.rank is None else str(player.rank),
        _text(player.name),
        *_estimate(player.score),
        _number(player.standard_error),
        *_estimate(player.win_share),
        *_estimate(player.elo),
        _text(player.elo.note),
        *_estimate(player.rating),
        *_estimate(player.ladder),
        *map(str, (player.wins, player.draws, player.losses, player.episodes, player.seats)),
        str(sum(player.faults.values())),
        _text("; ".join(f"{end} {count}" for end, count in sorted(player.faults.items()))),
    ]
    if latency is None:
        return [*row, "", "", "", ""]
    return [*row, str(latency.answers), *map(_number, (latency.p50, latency.p99, latency.longest))]


def _estimate(estimate: Estimate | None) -> tuple[str, str, str]:
    if estimate is None:
        return "", "", ""
    return _number(estimate.value), _number(estimate.low), _number(estimate.high)


def _number(value: float | None) -> str:
    """All of its digits; a negative number is no formula."""
    return "" if value is None or not math.isfinite(value) else repr(float(value))


def _text(value: str) -> str:
    # White space, too: spreadsheets may take it away before they look.
    shown = printable(value)
    return f"'{shown}" if shown.lstrip()[:1] in _FORMULA and shown.strip() else shown
