"""`examples/orchard/orchard/players`: how they choose, and what they depend on."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchard.messages import Observation, Welcome
from orchard.players.greedy import choose
from orchard.players.plain import nearest_step
from orchard.rules import step_cell

PLAYERS = Path(__file__).parents[2] / "examples" / "orchard" / "orchard" / "players"


def world(foragers, trees, ripe=None, *, slot=0, width=9, height=7):
    welcome = Welcome(slot=slot, width=width, height=height, max_ticks=9, regrow_ticks=9, names=["a", "b"], trees=trees)
    return welcome, Observation(tick=0, foragers=foragers, ripe=ripe or "1" * len(trees), scores=[0, 0])


def distance(a, b, width=9, height=7):
    (row, column), (y, x) = divmod(a, width), divmod(b, width)
    down, across = abs(row - y), abs(column - x)
    return min(down, height - down) + min(across, width - across)


@given(st.integers(0, 62), st.integers(0, 62))
def test_greedy_and_plain_walk_a_shortest_way(here, tree):
    """Alone with one tree every step brings the forager nearer, around the edge where that is shorter."""
    step = choose(*world([here, here], [tree]))
    plain = nearest_step(here, [tree], 9, 7)
    for move in (step, plain):
        left = distance(step_cell(here, move, 9, 7), tree)
        assert left == max(0, distance(here, tree) - 1)


def test_greedy_leaves_a_tree_to_whom_is_nearer():
    """With a rival next to the nearest tree it goes to the one it can have."""
    welcome, seen = world([4, 2], [1, 7])
    assert choose(welcome, seen) == "right"
    assert nearest_step(4, [1, 7], 9, 7) == "left"


def test_players_stay_when_nothing_is_ripe():
    """No fruit, no step."""
    assert choose(*world([4, 2], [1, 8], "00")) == "stay"
    assert nearest_step(4, [], 9, 7) == "stay"


def test_the_plain_player_uses_no_code_of_ours():
    """Its imports are the standard library and the public websockets package."""
    tree = ast.parse((PLAYERS / "plain.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    outside = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert outside == {"websockets"}


def test_the_players_on_the_sdk_import_little():
    """64 of them start at once, so no HTTP client, no server side, no schema code and no terminal code comes along."""
    root = Path(__file__).parents[2]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(root / "examples" / "orchard"), str(root / "protocol")])}
    script = (
        "import json, sys, orchard.players.greedy, orchard.players.random_walk; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, check=True)
    loaded = set(json.loads(done.stdout))
    heavy = {"httpx", "trio_websocket", "fastjsonschema", "click", "rich", "structlog", "asyncio", "websockets"}
    assert loaded & heavy == set()
    assert "coworld_protocol.ws.pump" not in loaded


@pytest.mark.parametrize("player", ["greedy", "random_walk", "plain"])
def test_a_player_without_a_url_says_what_is_missing(processes, tmp_path, player):
    """Started by hand without the variable, each names it."""
    process = processes.start(f"orchard.players.{player}", {"COGAMES_ENGINE_WS_URL": ""}, "player.log")
    assert process.wait(60) != 0
    log = (tmp_path / "player.log").read_text()
    assert "COWORLD_PLAYER_WS_URL is not set" in log
    assert "Traceback" not in log
