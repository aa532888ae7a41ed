"""The words of the protocol: what is read is what was written, and nothing else is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coworld_actors.actors import Event, Record
from coworld_actors.control import messages
from coworld_actors.control.messages import (
    RECORD_LIMIT,
    Anomalies,
    AnyRequest,
    Cancel,
    Done,
    Episodes,
    Events,
    Pause,
    RecordLine,
    Resume,
    SetParallel,
    Statistics,
    Tree,
    encode,
    encode_record,
    read_reply,
    read_request,
)


class Odd(Event, frozen=True):
    """What an embedding program might publish."""

    value: Any


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


REQUESTS = st.one_of(
    st.builds(Tree, prefix=st.text()),
    st.builds(Statistics),
    st.builds(Episodes),
    st.builds(Events, follow=st.booleans(), after=st.integers(0, 2**53), episode=st.text()),
    st.builds(Anomalies, over=st.floats(0, 1e9)),
    st.builds(Cancel, id=st.text(min_size=1), reason=st.text(min_size=1, max_size=1000)),
    st.builds(Pause),
    st.builds(Resume),
    st.builds(SetParallel, parallel=st.integers(1, 2**31)),
)


@given(REQUESTS)
def test_a_request_is_read_as_it_was_written(request: AnyRequest) -> None:
    """In one line."""
    line = encode(request)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert read_request(line[:-1]) == request


@given(st.binary(max_size=200))
def test_garbage_is_refused_with_a_reason(line: bytes) -> None:
    """By one kind of error, never another."""
    with pytest.raises(ValueError, match=r"."):
        read_request(line)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"type":"stop"}',
        b'{"type":"tree","path":"x"}',
        b'{"type":"tree","prefix":7}',
        b'{"type":"cancel"}',
        b'{"type":"cancel","id":""}',
        b'{"type":"cancel","id":"x","reason":""}',
        b'{"type":"set_parallel","parallel":0}',
        b'{"type":"set_parallel","parallel":1.5}',
        b'{"type":"set_parallel","parallel":true}',
        b'{"type":"anomalies","over":-1}',
        b'{"type":"anomalies","over":NaN}',
        b'{"type":"anomalies","over":1e999}',
        b'{"type":"events","after":-1}',
        b'{"type":"tree","prefix":"\xff"}',
        b'{"type":"tree","prefix":"\\ud800"}',
        b"[" * 60_000,
        b'{"type":"tree","prefix":' + b"[" * 60_000,
        b'{"type":"tree"} {"type":"tree"}',
    ],
)
def test_a_request_that_is_not_quite_one_is_refused(line: bytes) -> None:
    """Unknown types and fields too: who misspells an option is told so, rather than answered as if it were not there."""
    with pytest.raises(ValueError, match=r"."):
        read_request(line)


def test_a_reply_may_have_fields_that_a_client_does_not_know() -> None:
    """A newer runtime is understood; one that leaves out what is needed is not."""
    assert read_reply(b'{"type":"done","what":"w","changed":true,"news":1}') == Done(what="w", changed=True)
    for line in (b'{"type":"done"}', b'{"type":"news"}', b"x"):
        with pytest.raises(ValueError, match=r"."):
            read_reply(line)


def test_words_that_utf_8_cannot_spell_are_escaped() -> None:
    """A file's name may have such bytes; the rest of the reply is as it was."""
    reply = read_reply(encode(Done(what="in d\udcff", changed=False))[:-1])
    assert reply == Done(what="in d\\udcff", changed=False)
    request = read_request(encode(Tree(prefix="d\udcff"))[:-1])
    assert request == Tree(prefix="d\\udcff")


def record(event: Event, scope: str = "e-1") -> Record:
    return Record(7, 1.0, 0.5, scope, "a/b", 2, event)


def read(line: bytes) -> dict[str, Any]:
    reply = read_reply(line.removesuffix(b"\n"))
    assert isinstance(reply, RecordLine)
    found: dict[str, Any] = msgspec.json.decode(reply.record)
    return found


def test_a_record_travels_as_it_is_in_a_runs_file() -> None:
    """Field by field."""
    one = record(Odd(value=[1, "two\n\x1b"]))
    line = encode_record(one)
    assert line.count(b"\n") == 1
    assert read(line) == msgspec.json.decode(msgspec.json.encode(one))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (ValueError("x"), {"type": "odd", "value": "ValueError('x')"}),
        ("\udcff", {"type": "odd", "value": "\\udcff"}),
        ({"\udcff": ["\udcfe"]}, {"type": "odd", "value": {"\\udcff": ["\\udcfe"]}}),
        ("x" * (RECORD_LIMIT + 1), {"type": "odd", "left_out": RECORD_LIMIT + 26}),
    ],
)
def test_there_is_a_line_for_whatever_an_event_holds(value: object, shown: dict[str, Any]) -> None:
    """No event of an embedding program ends a reader's stream, and none is larger than a reader has to expect."""
    found = read(encode_record(record(Odd(value=value), scope="\udcff")))
    assert found["event"] == shown
    assert found["scope"] == "\\udcff"


def test_what_cannot_even_be_described_is_named_by_its_type() -> None:
    """And why."""
    assert read(encode_record(record(Odd(value=Unspeakable()))))["event"] == {
        "type": "odd",
        "unreadable": "RuntimeError",
    }
    loop: list[Any] = []
    loop.append(loop)
    assert read(encode_record(record(Odd(value=loop))))["event"] == {"type": "odd", "unreadable": "RecursionError"}


def test_every_message_is_described() -> None:
    """The reference in the documentation is made from what is here: each has a docstring, and a tag of its own."""
    kinds = [*messages.AnyRequest.__args__, *messages.AnyReply.__args__]
    assert all(kind.__doc__ for kind in kinds)
    for union in (messages.AnyRequest, messages.AnyReply):
        tags = [kind.__struct_config__.tag for kind in union.__args__]
        assert len(set(tags)) == len(tags)
    assert Cancel.__struct_config__.tag == "cancel"
    assert Episodes.__struct_config__.tag == "episodes"


def test_the_documentation_has_every_message_and_every_field_of_a_request() -> None:
    """In its table; who adds one is told here."""
    page = (Path(__file__).parent.parent.parent / "docs/control.md").read_text()
    table = page[page.index("| request | fields | reply |") :]
    rows = {row.split("|")[1].strip(" `"): row for row in table.splitlines() if row.startswith("| `")}
    assert set(rows) == {kind.__struct_config__.tag for kind in messages.AnyRequest.__args__}
    for kind in messages.AnyRequest.__args__:
        for field in kind.__struct_fields__:
            assert f"`{field}`" in rows[kind.__struct_config__.tag]
    for kind in messages.AnyReply.__args__:
        assert f"`{kind.__struct_config__.tag}`" in page
