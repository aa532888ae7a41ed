"""Who is first, by how much, and against whom: the upper half of a batch's page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from coworld_actors.batch.pages.frame import clipped, key, number, percent, table, text
from coworld_actors.batch.pages.plots import Row, whisker
from coworld_actors.batch.statistics.summary import Estimate, Pair, PlayerSummary, Summary

__all__ = ["HEAT_STYLE", "STANDINGS_SHOWN", "cell", "head_to_head", "headline", "span", "standings"]

STANDINGS_SHOWN = 200
"""Players in the table at most; `summary.csv` has all of them."""

MATRIX_SHOWN = 64
"""Players in the matrix at most: it grows with their square."""

PAIRS_SHOWN = 100
"""Pairs in the list below the matrix at most."""

_NAMED_COLUMNS = 6
"""Up to so many players have their names above the columns, too."""

_LOSS, _EVEN, _WIN = (230, 97, 1), (247, 247, 245), (33, 102, 172)
"""Orange and blue: told apart with every common colour blindness, and each cell has its number as well."""

_SHADES = 11


def _shade(place: int) -> str:
    share = place / (_SHADES - 1)
    start, end, weight = (_LOSS, _EVEN, share * 2) if share < 0.5 else (_EVEN, _WIN, share * 2 - 1)
    colour = tuple(round(a + (b - a) * weight) for a, b in zip(start, end, strict=True))
    light = sum(part * _linear(value) for part, value in zip((0.2126, 0.7152, 0.0722), colour, strict=True))
    # Black on a light ground and white on a dark one: where both have the same contrast, it is 4.6 to 1.
    ink = "#000" if light > 0.179 else "#fff"
    return f".h{place} {{ background: rgb{colour}; color: {ink}; }}"


def _linear(value: int) -> float:
    part = value / 255
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


HEAT_STYLE = (
    "\n".join(_shade(place) for place in range(_SHADES))
    + """
.heat { width: auto; } .heat td { text-align: center; padding: .25rem .4rem; border: 1px solid var(--paper); print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }
.heat th[scope=col] { text-align: center; } .whisker { width: 10rem; min-width: 7rem; height: 1.3rem; }
"""
)


def span(estimate: Estimate, words: Callable[[float], str]) -> str:
    """The interval in words, open ends included; empty without one."""
    low, high = estimate.low, estimate.high
    if low is not None and high is not None:
        return f"{words(low)} to {words(high)}"
    if low is not None:
        return f"{words(low)} or more"
    return f"{words(high)} or less" if high is not None else ""


def cell(estimate: Estimate | None, words: Callable[[float], str]) -> str:
    """A value and below it its interval, as HTML."""
    if estimate is None:
        return "-"
    shown = text(words(estimate.value)) if estimate.value is not None else text(estimate.note) or "-"
    around = span(estimate, words)
    return shown + (f"<small>{text(around)}</small>" if around else "")


def headline(summary: Summary) -> str:
    """Who is first, as sentences."""
    ranked = [player for player in summary.players if player.rank is not None]
    counts = summary.episodes
    others = [
        f"{value} {word}"
        for value, word in (
            (counts.failed, "failed"),
            (counts.invalid, "not valid because the machine was choking"),
            (counts.infrastructure, "not played for a reason of the machine's"),
            (counts.open, "not played yet"),
        )
        if value
    ]
    counted = f"{counts.good} of {counts.requested} episodes are good" + "".join(f", {each}" for each in others)
    blocks = f"{summary.blocks} complete block{'' if summary.blocks == 1 else 's'}"
    below = f"<p>{counted}. The figures rest on {blocks}.</p>"
    if not ranked or not summary.blocks:
        return f'<p class="lead">Nothing can be said about the players yet: no block is complete and good.</p>{below}'
    return f'<p class="lead">{_who_is_first(summary, ranked)}</p>{below}'


def _who_is_first(summary: Summary, ranked: Sequence[PlayerSummary]) -> str:
    first = ranked[0]
    name = f"<strong><bdi>{text(first.name)}</bdi></strong>"
    around = _half(first.score)
    score = f"{number(first.score.value, around)} a seat"
    interval = span(first.score, lambda value: number(value, around))
    score += f" (95 % interval {text(interval)})" if interval else ""
    if len(ranked) == 1:
        return f"{name} scores {score}."
    equal = [player for player in ranked if player.rank == first.rank]
    if len(equal) > 1:
        names = ", ".join(f"<strong><bdi>{text(player.name)}</bdi></strong>" for player in equal[:5])
        more = f" and {len(equal) - 5} more" if len(equal) > 5 else ""
        return f"{names}{more} share the first place: {score} each."
    found = f"{name} is first of {len(ranked)}: {score}."
    pair = _pairs(summary).get((first.entrant, ranked[1].entrant))
    if pair is None or pair.score.value is None:
        return found
    share = f"{percent(pair.score.value)} of the points"
    interval = span(pair.score, percent)
    share += f" ({text(interval)})" if interval else ""
    low, high = pair.score.low, pair.score.high
    if low is not None and low > 0.5:
        judged = "it is the better one"
    elif high is not None and high < 0.5:
        judged = "head to head it is the weaker one"
    else:
        judged = "that does not tell them apart"
    return f"{found} Against <bdi>{text(ranked[1].name)}</bdi>, who is second, it takes {share}: {judged}."


def standings(summary: Summary) -> str:
    """Every player's figures, with the intervals of the scores on one axis."""
    players = summary.players[:STANDINGS_SHOWN]
    ends = [
        each
        for player in players
        for each in (player.score.value, player.score.low, player.score.high)
        if each is not None
    ]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    rated = any(player.rating is not None for player in players)
    laddered = any(player.ladder is not None for player in players)
    headings = [
        "player",
        "rank",
        "score a seat",
        "95 % interval",
        "points won",
        "won / drawn / lost",
        "Elo to the field",
    ]
    headings += ["rating"] * rated + ["ladder"] * laddered + ["episodes", "seats", "faults"]
    rows: list[list[str]] = []
    for place, player in enumerate(players):
        around = _half(player.score)

        def words(value: float, around: float | None = around) -> str:
            return number(value, around)

        said = f"{clipped(player.name, 60)}: {number(player.score.value, around)}, {span(player.score, words)}"
        row = Row(
            place=place,
            name=player.name,
            value=player.score.value,
            low=player.score.low,
            high=player.score.high,
            words=said,
        )
        faults = ", ".join(f"{count} {end}" for end, count in sorted(player.faults.items())) or "0"
        cells = [
            f"{key(place)}<bdi>{text(player.name)}</bdi>",
            "-" if player.rank is None else str(player.rank),
            cell(player.score, words),
            whisker(row, low, high) if player.score.value is not None else "-",
            cell(player.win_share, percent),
            f"{player.wins} / {player.draws} / {player.losses}",
            cell(player.elo, _elo),
        ]
        cells += [cell(player.rating, _elo)] * rated + [cell(player.ladder, number)] * laddered
        rows.append([*cells, str(player.episodes), str(player.seats), text(faults)])
    left_out = len(summary.players) - len(players)
    more = f"<p>{left_out} more players are in summary.csv.</p>" if left_out else ""
    better = "lower is better" if summary.lower_is_better else "higher is better"
    caption = f"Standings; {better}. Small figures are 95 % intervals."
    return f"<h2>Standings</h2>{table(caption, headings, rows)}{more}"


def head_to_head(summary: Summary) -> str:
    """Everybody against everybody: a matrix of the shares of points, and the pairs in figures."""
    players = [player for player in summary.players if player.rank is not None][:MATRIX_SHOWN]
    if len(players) < 2 or not summary.pairs:
        return ""
    pairs = _pairs(summary)
    named = len(players) <= _NAMED_COLUMNS
    head = "".join(
        f'<th scope="col"><abbr title="{text(player.name)}">{place}{_short(player) if named else ""}</abbr></th>'
        for place, player in enumerate(players, 1)
    )
    rows = "\n".join(
        f'<tr><th scope="row">{place}. <bdi>{text(clipped(row.name, 40))}</bdi></th>'
        + "".join(_heat(pairs.get((row.entrant, column.entrant)), row is column) for column in players)
        + "</tr>"
        for place, row in enumerate(players, 1)
    )
    caption = "Per cent of the points that the player of the row takes from the player of the column; 50 is even."
    left_out = sum(player.rank is not None for player in summary.players) - len(players)
    more = f"<p>{left_out} more players are in summary.json.</p>" if left_out else ""
    return (
        f'<h2>Head to head</h2><div class="scroll" role="region" tabindex="0" aria-label="head to head">'
        f'<table class="heat"><caption>{caption}</caption>\n'
        f'<thead><tr><th scope="col" class="left">player</th>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'
        f"{more}{_pair_list(summary)}"
    )


def _heat(pair: Pair | None, same: bool) -> str:
    if same:
        return "<td>-</td>"
    if pair is None or pair.score.value is None:
        return '<td title="never met">·</td>'
    share = pair.score.value
    place = min(max(round(share * (_SHADES - 1)), 0), _SHADES - 1)
    interval = span(pair.score, percent)
    words = f"{pair.wins} won, {pair.draws} drawn, {pair.losses} lost" + (f"; {interval}" if interval else "")
    return f'<td class="h{place}" title="{text(words)}">{share * 100:.0f}</td>'


def _pair_list(summary: Summary) -> str:
    names = {player.entrant: player.name for player in summary.players}

    def named(entrant: int) -> str:
        return f"<bdi>{text(clipped(names.get(entrant, str(entrant)), 40))}</bdi>"

    rows = [
        (
            f"{named(pair.first)} against {named(pair.second)}",
            str(pair.blocks),
            f"{pair.wins} / {pair.draws} / {pair.losses}",
            cell(pair.score, percent),
            cell(pair.elo, _elo),
            percent(pair.superiority),
            cell(pair.margin, number),
        )
        for pair in summary.pairs[:PAIRS_SHOWN]
    ]
    headings = ("pair", "blocks", "won / drawn / lost", "points", "Elo", "superiority", "difference of scores")
    left_out = len(summary.pairs) - len(rows)
    more = f"<p>{left_out} more pairs are in summary.json.</p>" if left_out else ""
    caption = "Superiority is the probability that the first one is the stronger one."
    return f"<details><summary>The pairs in figures</summary>{table(caption, headings, rows)}{more}</details>"


def _pairs(summary: Summary) -> Mapping[tuple[int, int], Pair]:
    """Every pair from both sides."""
    found = {(pair.first, pair.second): pair for pair in summary.pairs}
    return {(pair.second, pair.first): _turned(pair) for pair in summary.pairs} | found


def _turned(pair: Pair) -> Pair:
    score = pair.score
    return Pair(
        first=pair.second,
        second=pair.first,
        blocks=pair.blocks,
        wins=pair.losses,
        draws=pair.draws,
        losses=pair.wins,
        score=Estimate(
            value=_rest(score.value), low=_rest(score.high), high=_rest(score.low), note=score.note
        ),
        elo=Estimate(),
        superiority=_rest(pair.superiority),
        margin=Estimate(),
    )  # fmt: skip


def _rest(share: float | None) -> float | None:
    return None if share is None else 1 - share


def _short(player: PlayerSummary) -> str:
    return f". {text(clipped(player.name, 14))}"


def _elo(value: float) -> str:
    return f"{value:+.0f}"


def _half(estimate: Estimate) -> float | None:
    """How far the interval reaches, for the digits that are worth showing."""
    if estimate.low is None or estimate.high is None:
        return None
    return (estimate.high - estimate.low) / 2
