"""The SDK for authors of games, players, reporters and graders.

Import from the module that fits the role, so that a player does not pay for a server:

    coworld_protocol.sdk.game       `GameServer`; the rules it runs are described in `sdk.rules`
    coworld_protocol.sdk.player     `connect_player`, `run_player`
    coworld_protocol.sdk.roles      one-shot roles: reporters and graders
    coworld_protocol.sdk.uris       reading and writing what a URI names
"""

from __future__ import annotations

__all__: list[str] = []
