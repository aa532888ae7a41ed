"""Coworlds under supervision: every game, player, reporter and grader is an actor of one tree.

General layout, inner first; each may import what stands above it:

    coworld_protocol      what travels: contract, manifest, messages, frames, the authors' SDK
    coworld_drivers       where roles run
    actors                the actor runtime; it knows nothing of games
    manifest              a manifest is loaded, checked and resolved
    episode               one episode as one supervised tree, its verdict and its record
    evidence              what reporters and graders make of an episode's files
    cli                   the command line
"""

from __future__ import annotations

__all__: list[str] = []
