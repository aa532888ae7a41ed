"""The two streams at their worst: closed, full, without a reader, in an encoding from another age."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import TextIO

import pytest

from coworld_actors.cli.streams import Stream, encodable


def opened(path: str, encoding: str = "utf-8") -> TextIO:
    return Path(path).open("w", encoding=encoding)


@pytest.fixture
def nobody_reads() -> Generator[TextIO]:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as file:
        yield file


def test_a_reader_who_has_gone_is_no_trouble(nobody_reads: TextIO) -> None:
    """The failure is kept, nothing is raised, and neither is it when the interpreter flushes at its end."""
    stream = Stream(nobody_reads)
    stream.write("a line\n")
    stream.flush()
    stream.write("another\n")
    stream.flush()
    assert isinstance(stream.failure, BrokenPipeError)
    assert stream.trouble("stdout") is None
    nobody_reads.flush()


def test_a_full_device_is_trouble_for_whoever_wanted_the_text() -> None:
    """It is named with the reason and the next step; later writes are lost in silence."""
    with opened("/dev/full") as file:
        stream = Stream(file)
        stream.write_utf8(b"{}\n")
        stream.write("more\n")
        stream.flush()
        trouble = stream.trouble("stdout")
        assert trouble is not None
        assert trouble.what == "stdout cannot be written: No space left on device"
        assert trouble.todo
        file.flush()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_an_encoding_lacks_is_written_as_its_escape(encoding: str) -> None:
    """A name is shown as well as it can be, and half of a surrogate pair never stops a line."""
    with tempfile.NamedTemporaryFile() as place, opened(place.name, encoding) as file:
        stream = Stream(file)
        stream.write("\xf1and\u2502\udcff")
        stream.flush()
        written = place.read()
    assert written == "\xf1and\u2502\udcff".encode(encoding, "backslashreplace")
    assert stream.failure is None
    assert stream.encoding == encoding


def test_bytes_are_utf8_whatever_the_encoding() -> None:
    """A JSON document does not depend on the locale, and comes after what was written before it."""
    with tempfile.NamedTemporaryFile() as place, opened(place.name, "ascii") as file:
        stream = Stream(file)
        stream.write("first ")
        stream.write_utf8("ñ".encode())
        assert place.read() == "first ñ".encode()


def test_a_stream_that_was_never_there_takes_everything() -> None:
    """Python has None for a descriptor that was closed before it started."""
    stream = Stream(None)
    stream.write("a")
    stream.write_utf8(b"b")
    stream.flush()
    assert not stream.isatty()
    assert stream.trouble("stdout") is None


def test_a_stream_that_is_closed_on_the_way_takes_everything() -> None:
    """Somebody else closed it: there is nobody to tell."""
    file = io.StringIO()
    stream = Stream(file)
    file.close()
    stream.write("a")
    stream.flush()
    assert not stream.isatty()


def test_a_text_without_a_descriptor_is_written_too() -> None:
    """What a test or an embedding service puts in the place of a stream has no bytes below it."""
    file = io.StringIO()
    stream = Stream(file)
    stream.write_utf8("ñ".encode())
    assert file.getvalue() == "ñ"


def test_a_byte_of_a_file_name_becomes_an_escape() -> None:
    """UTF-8 has no way to spell what is no UTF-8."""
    assert encodable(os.fsdecode(b"a\xff\xc3\xb1")) == "a\\udcffñ"
