"""The reporter: one HTML page per request with the scores over time: `python -m orchard.reporter`.

The page obeys the safe render profile: no scripts, no outside resources, the picture is an inline SVG element.
"""

from __future__ import annotations

from html import escape
from itertools import pairwise

import msgspec

from coworld_protocol.errors import Refused
from coworld_protocol.messages.reporter import EpisodeInput, ReportManifest
from coworld_protocol.sdk.roles import read_artifact, read_report_request, run_role, write_report
from coworld_protocol.sdk.rules import Replay
from orchard.messages import Results, State, Tick

__all__ = ["REPORTER_ID", "Episode", "curves", "read_episode", "render"]

REPORTER_ID = "orchard-summary"

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #2b2a24; background: #f3efe4; margin: 0; padding: 1.5rem; }
main { max-width: 52rem; margin: 0 auto; }
section { background: #fffdf7; border: 1px solid #e2dccb; border-radius: 0.8rem; padding: 1rem 1.3rem; margin: 0 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 0.25rem 0.5rem; border-bottom: 1px solid #e2dccb; }
th { color: #7b776a; font-weight: 600; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.dot { display: inline-block; width: 0.7em; height: 0.7em; border-radius: 50%; margin-right: 0.4em; }
svg { width: 100%; height: auto; } .soft { color: #7b776a; }
"""


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """What a report is about.

    Attributes:
        name: the episode's id.
        start: the world before the first tick.
        ticks: what each tick changed.
        results: how it ended.
        history: per tick, from 0, the score of each seat.
    """

    name: str
    start: State
    ticks: list[Tick]
    results: Results
    history: list[list[int]]


def read_episode(source: EpisodeInput) -> Episode:
    """Fetch and unfold one episode.

    Raises:
        Refused: the episode failed, or its files are not Orchard's.
    """
    if source.status != "success":
        raise Refused(
            f"Episode {source.episode_request_id} did not succeed.", todo="ask for reports on successful episodes"
        )
    try:
        replay = msgspec.json.decode(read_artifact(source.artifacts.replay), type=Replay)
        start = msgspec.json.decode(replay.start, type=State)
        ticks = [msgspec.json.decode(frame, type=Tick) for frame in replay.frames]
        results = msgspec.json.decode(read_artifact(source.artifacts.results), type=Results)
    except msgspec.MsgspecError as error:
        todo = "use this reporter on Orchard episodes"
        raise Refused("The episode's files are not Orchard's.", evidence=str(error), todo=todo) from error
    history = [start.scores]
    for tick in ticks:
        scores = history[-1].copy()
        for slot, _ in tick.picked:
            scores[slot] += 1
        history.append(scores)
    return Episode(name=source.episode_request_id, start=start, ticks=ticks, results=results, history=history)


def curves(episode: Episode, width: int = 720, height: int = 300) -> str:
    """The scores over time as an SVG element: one line per seat, axes with numbers."""
    history = episode.history
    last, top = max(1, len(history) - 1), max(1, *history[-1])
    left, right, above, below = 40, 12, 12, 28

    def x(tick: int) -> float:
        return left + tick / last * (width - left - right)

    def y(score: float) -> float:
        return height - below - score / top * (height - above - below)

    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="scores over time" font-size="12" fill="#7b776a">'
    ]
    for step in range(5):
        score, tick = top * step / 4, round(last * step / 4)
        parts.append(
            f'<line x1="{left}" x2="{width - right}" y1="{y(score):.1f}" y2="{y(score):.1f}" stroke="#e2dccb"/>'
            f'<text x="{left - 6}" y="{y(score) + 4:.1f}" text-anchor="end">{score:g}</text>'
            f'<text x="{x(tick):.1f}" y="{height - 8}" text-anchor="middle">{tick}</text>'
        )
    stride = max(1, len(history) // 400)
    ticks = [*range(0, len(history), stride), *([len(history) - 1] if (len(history) - 1) % stride else [])]
    for slot in range(len(history[0])):
        points = " ".join(f"{x(tick):.1f},{y(history[tick][slot]):.1f}" for tick in ticks)
        name = escape(episode.start.names[slot])
        line = f'fill="none" stroke="{_colour(slot)}" stroke-width="2" stroke-linejoin="round"'
        parts.append(f'<polyline points="{points}" {line}><title>{name}</title></polyline>')
    return "".join([*parts, "</svg>"])


def render(episodes: list[Episode]) -> str:
    """The whole page."""
    body = "".join(_section(episode) for episode in episodes)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Orchard</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>Orchard</h1>{body}</main></body></html>"
    )


def _section(episode: Episode) -> str:
    results, names = episode.results, episode.start.names
    best = max(results.scores)
    winner = escape(names[results.winner]) if results.winner is not None else "nobody alone"
    rows = []
    for slot in sorted(range(len(names)), key=lambda slot: (-results.scores[slot], slot)):
        moved = sum(here != there for here, there in pairwise(_cells(episode, slot)))
        score = results.scores[slot]
        per_step = f"{score / moved:.2f}" if moved else "0.00"
        rows.append(
            f'<tr><td class="n">{slot}</td><td><span class="dot" style="background: {_colour(slot)}"></span>{escape(names[slot])}</td>'
            f'<td class="n">{score}</td><td class="n">{moved}</td><td class="n">{per_step}</td></tr>'
        )
    return (
        f"<section><h2>{escape(episode.name)}: {winner} won with {best} fruit</h2>{curves(episode)}"
        f'<p class="soft">Scores over {results.ticks} ticks on {episode.start.width} by {episode.start.height} cells with '
        f"{len(episode.start.trees)} trees; {results.contested} times several foragers reached the same fruit together.</p>"
        '<table><thead><tr><th class="n">seat</th><th>player</th><th class="n">fruit</th><th class="n">steps</th>'
        f'<th class="n">fruit per step</th></tr></thead><tbody>{"".join(rows)}</tbody></table></section>'
    )


def _cells(episode: Episode, slot: int) -> list[int]:
    return [episode.start.foragers[slot], *(tick.foragers[slot] for tick in episode.ticks)]


def _colour(slot: int) -> str:
    return f"hsl({(slot * 137.508 + 205) % 360:.0f} 62% {46 + slot % 3 * 5}%)"


def main() -> None:
    request = read_report_request()
    page = render([read_episode(source) for source in request.episodes])
    write_report(
        request.report_uri,
        ReportManifest(reporter_id=REPORTER_ID, render="report.html"),
        {"report.html": page.encode()},
    )


if __name__ == "__main__":
    raise SystemExit(run_role(main))
