"""Names and numbers of the Coworld contract, each once: variables, routes, file names, error types, waits and limits.

Facts of the public `coworld` package, version 0.1.26 unless a line says otherwise. Everything that crosses a process
boundary is spelled here and nowhere else; a spelling found in another module is a defect. Our own choices (how we schedule,
what we print) do not belong here.

Units: seconds for waits, bytes for sizes, unless the name says otherwise.
"""

from __future__ import annotations

import enum
import re
import secrets
from typing import Final

__all__ = [
    "API_VERSION_V1",
    "ARTIFACT_LIMIT",
    "BAD_TOKEN",
    "BAD_TOKEN_SILENCE",
    "BAD_TOKEN_STATUSES",
    "CONTAINER_ARTIFACT",
    "CONTAINER_HOST",
    "CONTAINER_OWN",
    "CONTAINER_PORT",
    "CONTAINER_REPLAY",
    "CONTAINER_WORKSPACE",
    "CONTRACT_GET_TIMEOUT",
    "DIR_LOGS",
    "DIR_REPORTS",
    "ENV_CONFIG_URI",
    "ENV_ENGINE_WS_URL",
    "ENV_EPISODE_BUNDLE_URI",
    "ENV_EPISODE_ID",
    "ENV_EVENTS_URI",
    "ENV_GAME_IMAGE_DIGEST",
    "ENV_GAME_NAME",
    "ENV_GAME_VERSION",
    "ENV_GRADE_URI",
    "ENV_HOST",
    "ENV_LOAD_REPLAY_URI",
    "ENV_LOCAL_EXTRA_PORTS",
    "ENV_LOCAL_PORTS_JSON",
    "ENV_LOG_URI",
    "ENV_PLAYER_ARTIFACT_URL",
    "ENV_PLAYER_FAILURE_URI",
    "ENV_PLAYER_START_URL",
    "ENV_PLAYER_WS_URL",
    "ENV_POLICY_NAMES",
    "ENV_PORT",
    "ENV_REPLAY_SERVER",
    "ENV_REPORT_REQUEST",
    "ENV_RESULTS_METHOD",
    "ENV_RESULTS_URI",
    "ENV_SAVE_REPLAY_METHOD",
    "ENV_SAVE_REPLAY_URI",
    "ENV_SAVE_TRAJECTORY_URI",
    "ENV_SOURCE_REVISION",
    "ERROR_TAIL",
    "FILE_CONFIG",
    "FILE_ERROR_INFO",
    "FILE_EVENTS",
    "FILE_PLAYER_FAILURE",
    "FILE_REPLAY",
    "FILE_REPORT",
    "FILE_RESULTS",
    "FILE_TRAJECTORY",
    "FIRST_FRAME_WAIT",
    "GLOBAL_FRAME_LIMIT",
    "HEALTH_POLL",
    "HEALTH_TIMEOUT",
    "HOSTED_IMAGE_ID",
    "LOG_GAME_STDERR",
    "LOG_GAME_STDOUT",
    "MANIFEST_FETCH_TIMEOUT",
    "MANIFEST_FILE",
    "OLD_FILE_REPLAY",
    "OLD_ROUTE_CLIENT_ADMIN",
    "OLD_ROUTE_CLIENT_GLOBAL",
    "OLD_ROUTE_CLIENT_PLAYER",
    "OLD_ROUTE_CLIENT_REPLAY",
    "PLAYER_EXIT_GRACE",
    "QUERY_ADDRESS",
    "QUERY_SLOT",
    "QUERY_TOKEN",
    "QUERY_URI",
    "ROUTE_ADMIN",
    "ROUTE_CLIENT_ADMIN",
    "ROUTE_CLIENT_GLOBAL",
    "ROUTE_CLIENT_PLAYER",
    "ROUTE_CLIENT_REPLAY",
    "ROUTE_GLOBAL",
    "ROUTE_HEALTH",
    "ROUTE_PLAYER",
    "ROUTE_REPLAY",
    "RUNTIME_VARIABLES",
    "SAFE_ID",
    "SECRET_REFERENCE_PREFIX",
    "WS_OPEN_TIMEOUT",
    "ErrorType",
    "Role",
    "is_safe_id",
    "local_port_variable",
    "new_token",
    "player_artifact_name",
    "player_log_name",
]


class Role(enum.StrEnum):
    """What a runnable is for; the manifest's `type`, and the name of the manifest section it may sit in."""

    GAME = "game"
    PLAYER = "player"
    REPORTER = "reporter"
    COMMISSIONER = "commissioner"
    GRADER = "grader"
    DIAGNOSER = "diagnoser"
    OPTIMIZER = "optimizer"


class ErrorType(enum.StrEnum):
    """Why an episode is not a good one, as `error_info.json` spells it.

    The first nine are 0.1.26's. The rest came with 0.1.64; `blames_nobody` tells which say that no role is at fault.
    """

    PLAYER_ERROR = "player_error"
    GAME_UNHEALTHY = "game_unhealthy"
    GAME_CONTRACT_VIOLATION = "game_contract_violation"
    RESULTS_MISSING = "results_missing"
    RESULTS_MALFORMED = "results_malformed"
    REPLAY_MISSING = "replay_missing"
    REPLAY_UNLOADABLE = "replay_unloadable"
    EPISODE_TIMEOUT = "episode_timeout"
    CRASH = "crash"
    PLATFORM_ERROR = "platform_error"
    EPISODE_INCONCLUSIVE = "episode_inconclusive"
    PLAYERS_MISSING = "players_missing"
    PLAYER_NEVER_STARTED = "player_never_started"
    NODE_DISRUPTION = "node_disruption"
    WORKER_ERROR = "worker_error"
    CONFIG_ERROR = "config_error"
    ARTIFACT_TRANSPORT_ERROR = "artifact_transport_error"

    @property
    def blames_nobody(self) -> bool:
        """Whether the episode says nothing about its roles and may simply be played again."""
        return self in _RETRYABLE


_RETRYABLE: Final = frozenset(
    {
        ErrorType.PLATFORM_ERROR,
        ErrorType.EPISODE_INCONCLUSIVE,
        ErrorType.PLAYER_NEVER_STARTED,
        ErrorType.NODE_DISRUPTION,
        ErrorType.WORKER_ERROR,
        ErrorType.CONFIG_ERROR,
        ErrorType.ARTIFACT_TRANSPORT_ERROR,
    }
)

# --- the manifest ------------------------------------------------------------------------------------------------------

MANIFEST_FILE: Final = "coworld_manifest.json"
"""Name by convention; a directory given for a manifest is searched for it."""

API_VERSION_V1: Final = "coworld.softmax.com/v1"
"""The only `apiVersion` of 0.1.64; an absent one means the older shape."""

HOSTED_IMAGE_ID: Final = re.compile(r"img_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
"""An image of the hosted platform that nobody resolved to a reference; match it in full."""

SECRET_REFERENCE_PREFIX: Final = "secret://coworld/"  # noqa: S105 - a prefix, no secret
"""0.1.64: an `env` value that the hosted platform replaces; 0.1.26 passes it through untouched."""

SAFE_ID: Final = re.compile(r"[A-Za-z0-9._-]+")
"""Ids name directories of a run, so ours are held to this; match in full. `.` and `..` match and are refused besides."""

MANIFEST_FETCH_TIMEOUT: Final = 60.0
"""For a manifest behind http(s)."""

# --- the network -------------------------------------------------------------------------------------------------------

CONTAINER_HOST: Final = "0.0.0.0"  # noqa: S104 - the contract's bind address inside a container
CONTAINER_PORT: Final = 8080
"""Where games, commissioners and hosted reporters listen inside their container."""

CONTAINER_WORKSPACE: Final = "/coworld"
"""Where game and reporter containers see their workspace."""

CONTAINER_ARTIFACT: Final = "/coworld-artifact"
"""Where a local player container sees the directory for its artifact."""

CONTAINER_REPLAY: Final = "/coworld-replay"
"""Where a game container in replay mode sees the directory of the replay."""

CONTAINER_OWN: Final = "/coworld-own"
"""Where a container finds its own directory when the contract has no name for it; our choice."""

ROUTE_HEALTH: Final = "/healthz"
"""GET; exactly 200 means ready. In every mode."""

ROUTE_CLIENT_PLAYER: Final = "/client/player"
"""GET, with slot and token; HTML page of one seat. 2xx; a redirect fails."""

ROUTE_CLIENT_GLOBAL: Final = "/client/global"
"""GET; the live viewer's page. 2xx; a redirect fails."""

ROUTE_CLIENT_ADMIN: Final = "/client/admin"
"""GET; optional, local only."""

ROUTE_CLIENT_REPLAY: Final = "/client/replay"
"""GET, replay mode; plays at once and loops. A redirect is fine."""

ROUTE_PLAYER: Final = "/player"
"""Websocket, with slot and token; game-defined messages."""

ROUTE_GLOBAL: Final = "/global"
"""Websocket; sends at least one non-empty message, also to a viewer that comes late."""

ROUTE_ADMIN: Final = "/admin"
"""Websocket; optional, local only, never exposed."""

ROUTE_REPLAY: Final = "/replay"
"""Websocket, replay mode; sends at least one non-empty message. 0.1.7 and older took the replay from `?uri=`."""

OLD_ROUTE_CLIENT_PLAYER: Final = "/clients/player"
"""0.1.7 and older; so are the other `OLD_` names."""
OLD_ROUTE_CLIENT_GLOBAL: Final = "/clients/global"
OLD_ROUTE_CLIENT_ADMIN: Final = "/clients/admin"
OLD_ROUTE_CLIENT_REPLAY: Final = "/clients/replay"

QUERY_SLOT: Final = "slot"
"""Zero-based seat number."""
QUERY_TOKEN: Final = "token"  # noqa: S105 - the name of a query item
QUERY_ADDRESS: Final = "address"
"""A page with this query item connects to its value and merges nothing else in."""
QUERY_URI: Final = "uri"
"""0.1.7 and older: the replay that `/clients/replay` and `/replay` show."""

# --- variables the game receives ---------------------------------------------------------------------------------------

ENV_HOST: Final = "COGAME_HOST"
"""Address to bind."""
ENV_PORT: Final = "COGAME_PORT"
"""Port to listen on, decimal."""
ENV_CONFIG_URI: Final = "COGAME_CONFIG_URI"
"""Episode mode: the configuration, tokens included, JSON."""
ENV_RESULTS_URI: Final = "COGAME_RESULTS_URI"
"""Episode mode: where the results go before the game exits."""
ENV_RESULTS_METHOD: Final = "COGAME_RESULTS_METHOD"
"""`PUT` (default) or `POST`, for an http(s) results URI."""
ENV_SAVE_REPLAY_URI: Final = "COGAME_SAVE_REPLAY_URI"
"""Episode mode: where the replay's bytes go."""
ENV_SAVE_REPLAY_METHOD: Final = "COGAME_SAVE_REPLAY_METHOD"
"""`PUT` (default) or `POST`, for an http(s) replay URI."""
ENV_LOAD_REPLAY_URI: Final = "COGAME_LOAD_REPLAY_URI"
"""Its presence turns replay mode on: serve this replay."""
ENV_LOG_URI: Final = "COGAME_LOG_URI"
"""Optional, game and player: POST log lines here as `text/plain`, best effort."""
ENV_LOCAL_EXTRA_PORTS: Final = "COWORLD_LOCAL_EXTRA_PORTS"
"""Set by the manifest: further ports, `CONTAINER[:HOST][/tcp]` with commas between."""
ENV_LOCAL_PORTS_JSON: Final = "COWORLD_LOCAL_PORTS_JSON"
"""Answer to the former: `{"3724":{"host":"127.0.0.1","port":41234}}`, keys sorted, no spaces."""
ENV_POLICY_NAMES: Final = "COGAMES_POLICY_NAMES"
"""0.1.7: the players' display names by slot, a JSON list."""
ENV_REPLAY_SERVER: Final = "COGAME_REPLAY_SERVER"
"""0.1.7 and older: `1` turned replay mode on."""

# 0.1.64.
ENV_PLAYER_FAILURE_URI: Final = "COGAME_PLAYER_FAILURE_URI"
"""Where a game may declare that a player, not itself, broke the episode."""
ENV_SAVE_TRAJECTORY_URI: Final = "COGAME_SAVE_TRAJECTORY_URI"
"""Where a game may write decision trajectories, JSON lines."""
ENV_EVENTS_URI: Final = "COGAME_EVENTS_URI"
"""Where a game may write its events."""
ENV_EPISODE_ID: Final = "COWORLD_EPISODE_ID"
"""A UUID, fresh per episode."""
ENV_GAME_NAME: Final = "COWORLD_GAME_NAME"
ENV_GAME_VERSION: Final = "COWORLD_GAME_VERSION"
ENV_SOURCE_REVISION: Final = "COWORLD_SOURCE_REVISION"
"""The 40-hex commit in `source_url`, else `source_url`, else the image."""
ENV_GAME_IMAGE_DIGEST: Final = "COWORLD_GAME_IMAGE_DIGEST"
"""`sha256:...`, only when the image reference is pinned."""

# --- variables the player receives -------------------------------------------------------------------------------------

ENV_PLAYER_WS_URL: Final = "COWORLD_PLAYER_WS_URL"
"""The complete websocket URL of the seat, query percent-encoded; connect to it as it is."""
ENV_ENGINE_WS_URL: Final = "COGAMES_ENGINE_WS_URL"
"""The same value under its older name."""
ENV_PLAYER_ARTIFACT_URL: Final = "COWORLD_PLAYER_ARTIFACT_UPLOAD_URL"
"""Where a player may leave one zip; absent under `play`."""
ENV_PLAYER_START_URL: Final = "COWORLD_PLAYER_START_URL"
"""0.1.64, players with `startup`: poll until 200, then connect."""

# --- variables the supporting roles receive ----------------------------------------------------------------------------

ENV_REPORT_REQUEST: Final = "COGAME_REPORT_REQUEST"
"""Reporter: the `report_request` message itself, JSON, nulls left out."""
ENV_EPISODE_BUNDLE_URI: Final = "COGAME_EPISODE_BUNDLE_URI"
"""Grader and diagnoser: the episode bundle, a zip."""
ENV_GRADE_URI: Final = "COGAME_GRADE_URI"
"""Grader: where its JSON goes, `{"grader_id": ..., "score": number}`."""

RUNTIME_VARIABLES: Final = frozenset(value for name, value in list(globals().items()) if name.startswith("ENV_"))
"""What a role learns from the runtime and from nobody else."""

# --- files of a workspace ----------------------------------------------------------------------------------------------

FILE_CONFIG: Final = "config.json"
"""Written by the runner with indent 2, tokens included."""
FILE_RESULTS: Final = "results.json"
FILE_REPLAY: Final = "replay"
"""Raw bytes."""
OLD_FILE_REPLAY: Final = "replay.json"
FILE_EVENTS: Final = "events.json"
FILE_TRAJECTORY: Final = "trajectory.jsonl"
FILE_PLAYER_FAILURE: Final = "player_failure.json"
FILE_ERROR_INFO: Final = "error_info.json"
"""`{error_type, message, failed_policy_index}`; only on failure."""
FILE_REPORT: Final = "report.zip"
DIR_LOGS: Final = "logs"
DIR_REPORTS: Final = "reports"
LOG_GAME_STDOUT: Final = "logs/game.stdout.log"
LOG_GAME_STDERR: Final = "logs/game.stderr.log"

# --- waits and limits --------------------------------------------------------------------------------------------------

HEALTH_POLL: Final = 0.2
"""Between two looks at `/healthz`."""
HEALTH_TIMEOUT: Final = 1.0
"""For one of them."""
CONTRACT_GET_TIMEOUT: Final = 5.0
"""For each `/client/...` page."""
WS_OPEN_TIMEOUT: Final = 5.0
"""For a probe's websocket handshake."""
BAD_TOKEN: Final = "bad"  # noqa: S105 - the token that every game has to refuse
BAD_TOKEN_STATUSES: Final = frozenset({401, 403})
"""Upgrade answers that count as a proper refusal; any other status but 101 is a violation."""
BAD_TOKEN_SILENCE: Final = 2.0
"""A game that accepted the bad token has this long to close."""
FIRST_FRAME_WAIT: Final = 10.0
"""Upper bound for the first message of `/global` and `/replay`."""
GLOBAL_FRAME_LIMIT: Final = 1024 * 1024
"""Largest first message of `/global`; 0.1.64 has no limit."""
PLAYER_EXIT_GRACE: Final = 30.0
"""For players to end after the game has ended."""
ARTIFACT_LIMIT: Final = 200_000_000
"""A player's zip: 200 MB."""
ERROR_TAIL: Final = 4000
"""Bytes of a log's end quoted in an error message."""


def is_safe_id(text: str) -> bool:
    """Whether an id may name a directory: letters, digits, `.`, `_`, `-`, and neither `.` nor `..`."""
    return SAFE_ID.fullmatch(text) is not None and text not in {".", ".."}


def player_log_name(slot: int) -> str:
    """Path of a seat's merged stdout and stderr, relative to the workspace."""
    return f"{DIR_LOGS}/policy_agent_{slot}.log"


def player_artifact_name(slot: int) -> str:
    """Name of the zip that a seat may leave."""
    return f"policy_artifact_{slot}.zip"


def local_port_variable(container_port: int) -> str:
    """Name of the variable that tells a game where one of its extra ports is, `127.0.0.1:<host port>`."""
    return f"COWORLD_LOCAL_PORT_{container_port}"


def new_token() -> str:
    """A fresh seat token: 16 random bytes, 22 URL-safe characters. One per seat and episode."""
    return secrets.token_urlsafe(16)
