"""What is said over a control socket: JSON objects, one a line, each with its `type`.

The server speaks first, with `hello`. Then each request is answered in turn: with one reply, or, for `events`, with any number
of `record` and `lost`, and `end`. What cannot be answered gets an `error`, and the connection goes on.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from coworld_actors.actors import Record
from coworld_actors.actors.events import snake_case
from coworld_actors.control.anomalies import Finding
from coworld_actors.control.tree import ActorStatus
from coworld_actors.runtime.handle import EpisodeStatus
from coworld_actors.runtime.statistics import RuntimeStatistics

__all__ = [
    "LINE_LIMIT",
    "PROTOCOL",
    "RECORD_LIMIT",
    "Anomalies",
    "AnomaliesFound",
    "AnyReply",
    "AnyRequest",
    "Cancel",
    "ControlStatistics",
    "Done",
    "End",
    "EpisodeList",
    "Episodes",
    "Events",
    "Failure",
    "Hello",
    "Lost",
    "Pause",
    "RecordLine",
    "Reply",
    "Request",
    "Resume",
    "SetParallel",
    "Statistics",
    "StatisticsReply",
    "Tree",
    "TreeReply",
    "encode",
    "encode_record",
    "read_reply",
    "read_request",
]

PROTOCOL = 1
"""Grows when a client of before would misunderstand; further fields and requests do not make it grow."""
LINE_LIMIT = 64 * 1024
"""Bytes of a request, its line's end included."""
RECORD_LIMIT = 256 * 1024
"""Bytes of an event that is sent; of a longer one only its type and length are."""


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag=snake_case):
    """What a client asks for."""


class Tree(Request, frozen=True):
    """The living actors and supervisors.

    Attributes:
        prefix: only those whose path begins so.
    """

    prefix: str = ""


class Statistics(Request, frozen=True):
    """Counters of this moment."""


class Episodes(Request, frozen=True):
    """All accepted episodes that have not ended."""


class Events(Request, frozen=True):
    """What has happened lately, as far as it is kept, and what happens from now on if that is asked for.

    Attributes:
        follow: go on until the runtime has stopped, or the client says something or leaves.
        after: leave out records up to this `seq`.
        episode: only those of episodes whose id begins so; empty for everything.
    """

    follow: bool = False
    after: Annotated[int, msgspec.Meta(ge=0)] = 0
    episode: str = ""


class Anomalies(Request, frozen=True):
    """What is still running, and what looks wrong.

    Attributes:
        over: seconds that something may take without being named.
    """

    over: Annotated[float, msgspec.Meta(ge=0)] = 10.0


class Cancel(Request, frozen=True):
    """Call an episode off.

    Attributes:
        id: its whole id. A beginning might mean another one by the time that it arrives.
        reason: for its record.
    """

    id: Annotated[str, msgspec.Meta(min_length=1)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)] = "called off through the control socket"


class Pause(Request, frozen=True):
    """Begin no further episode."""


class Resume(Request, frozen=True):
    """Begin those that wait."""


class SetParallel(Request, frozen=True):
    """Change how many episodes run at once."""

    parallel: Annotated[int, msgspec.Meta(ge=1)]


class Reply(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=snake_case):
    """What the server says."""


class Hello(Reply, frozen=True):
    """The first line of every connection.

    Attributes:
        protocol: see `PROTOCOL`.
        version: of the package that the runtime runs with.
        name: the runtime's.
        pid: its process, as that itself sees it.
        seconds: since it was opened.
        parallel: episodes that may run at once.
        paused: whether new ones wait in any case.
        running: episodes that run.
        queued: accepted ones that wait for their turn.
    """

    protocol: int
    version: str
    name: str
    pid: int
    seconds: float
    parallel: int
    paused: bool
    running: int
    queued: int


class Failure(Reply, frozen=True, tag="error"):
    """A request was not done; the next one may be.

    Attributes:
        exit_code: 2 a request that cannot be done, 3 something is missing, 4 a defect of the server's.
        what: one sentence.
        evidence: the fact that it rests on.
        todo: the next step.
    """

    exit_code: int
    what: str
    evidence: str = ""
    todo: str = ""


class TreeReply(Reply, frozen=True, tag="tree"):
    """Actors in start order, each before those below it.

    Attributes:
        actors: the first of them.
        left_out: how many more there are.
    """

    actors: tuple[ActorStatus, ...]
    left_out: int = 0


class ControlStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The control socket's own counters.

    Attributes:
        connections: open ones, the asking one included.
        accepted: all there ever were.
        turned_away: one too many at a time.
        strangers: of other users.
        malformed: lines that were no request.
        stalled: connections that were dropped because the client did not read, or did not finish a line, in time.
        lost: records that slow followers did not get.
    """

    connections: int = 0
    accepted: int = 0
    turned_away: int = 0
    strangers: int = 0
    malformed: int = 0
    stalled: int = 0
    lost: int = 0


class StatisticsReply(Reply, frozen=True, tag="statistics"):
    """Attributes:
    runtime: the runtime's counters.
    control: the socket's.
    """

    runtime: RuntimeStatistics
    control: ControlStatistics


class EpisodeList(Reply, frozen=True, tag="episodes"):
    """Episodes in the order of their acceptance."""

    episodes: tuple[EpisodeStatus, ...]


class AnomaliesFound(Reply, frozen=True, tag="anomalies"):
    """Attributes:
    running: episodes that have been accepted for longer than was asked, the longest first.
    findings: what looks wrong.
    left_out: findings that were too many to list.
    """

    running: tuple[EpisodeStatus, ...]
    findings: tuple[Finding, ...]
    left_out: int = 0


class Done(Reply, frozen=True):
    """A change was made.

    Attributes:
        what: the state now, as a sentence.
        changed: whether it was another one before.
    """

    what: str
    changed: bool


class RecordLine(Reply, frozen=True, tag="record"):
    """One record of the stream, as in a run's `events.jsonl`."""

    record: msgspec.Raw


class Lost(Reply, frozen=True):
    """The client was too slow, and so many records are missing here."""

    count: int


class End(Reply, frozen=True):
    """No more records.

    Attributes:
        last: the highest `seq` that there was to send; to go on from here, ask for what is after it.
        why: as a sentence.
    """

    last: int
    why: str


AnyRequest = Tree | Statistics | Episodes | Events | Anomalies | Cancel | Pause | Resume | SetParallel
AnyReply = Hello | Failure | TreeReply | StatisticsReply | EpisodeList | AnomaliesFound | Done | RecordLine | Lost | End

_REQUESTS: msgspec.json.Decoder[AnyRequest] = msgspec.json.Decoder(AnyRequest)
_REPLIES: msgspec.json.Decoder[AnyReply] = msgspec.json.Decoder(AnyReply)


def read_request(line: bytes) -> AnyRequest:
    """A line as a request.

    Raises:
        ValueError: it is none; the text says why.
    """
    request: AnyRequest = _read(_REQUESTS, line)
    return request


def read_reply(line: bytes) -> AnyReply:
    """A line as a reply.

    Raises:
        ValueError: it is none; the text says why.
    """
    reply: AnyReply = _read(_REPLIES, line)
    return reply


def _read(decoder: msgspec.json.Decoder[Any], line: bytes) -> Any:
    try:
        return decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def encode(message: Request | Reply) -> bytes:
    """A message as a line, its end included. Words that UTF-8 cannot spell, a file's name for example, are written as escapes."""
    try:
        return msgspec.json.encode(message) + b"\n"
    except UnicodeEncodeError:
        return msgspec.json.encode(_spellable(msgspec.to_builtins(message))) + b"\n"


def encode_record(record: Record) -> bytes:
    """A record as a `record` line. Whatever an embedding program puts into its events, this has a line for it."""
    try:
        event = msgspec.to_builtins(record.event, enc_hook=repr)
        try:
            data = msgspec.json.encode(event)
        except UnicodeEncodeError:
            data = msgspec.json.encode(_spellable(event))
    except Exception as error:  # noqa: BLE001 - a stranger's `repr`, or a value that JSON has no word for
        data = msgspec.json.encode({"type": _type_of(record), "unreadable": type(error).__name__})
    if len(data) > RECORD_LIMIT:
        data = msgspec.json.encode({"type": _type_of(record), "left_out": len(data)})
    place = {
        "seq": record.seq,
        "time": record.time,
        "at": record.at,
        "scope": _spellable(record.scope),
        "actor": record.actor,
        "incarnation": record.incarnation,
        "event": msgspec.Raw(data),
    }
    return encode(RecordLine(record=msgspec.Raw(msgspec.json.encode(place))))


def _type_of(record: Record) -> str:
    return str(record.event.__struct_config__.tag)


def _spellable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_spellable(key): _spellable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_spellable(each) for each in value]
    return value
