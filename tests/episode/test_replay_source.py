"""What a person names as a replay: found, unpacked within bounds, and its manifest known; or refused with the reason."""

from __future__ import annotations

import gzip
import http.server
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coworld_actors.episode import replay_source
from coworld_actors.episode.replay_source import ReplaySource, find_replay, manifest_of
from coworld_actors.manifest.load import ManifestOrigin
from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused
from tests.coworlds import scripted_manifest, write_coworld
from tests.records import record

DATA = bytes(range(256)) * 1000


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """An empty directory."""
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Answers every GET below `/there`, and sends `/moved` on to it; gives the address without a path."""
    answer: list[tuple[int, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer[0]
            moved = self.path.startswith("/moved")
            self.send_response(302 if moved else status)
            if moved:
                self.send_header("Location", self.path.replace("/moved", "/there"))
            self.end_headers()
            if not moved:
                try:
                    self.wfile.write(body)
                except OSError:
                    return

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def start(status: int, body: bytes) -> str:
        answer.append((status, body))
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    server.shutdown()
    thread.join()
    server.server_close()


def refused(source: str | Path, scratch: Path) -> list[str]:
    with pytest.raises(CoworldError) as caught:
        find_replay(str(source), scratch)
    assert caught.value.todo
    assert caught.value.exit_code in {2, 3}
    return caught.value.lines()


def test_a_file_is_taken_where_it_lies(tmp_path: Path, scratch: Path) -> None:
    """By path or address; nothing is copied, whatever its bytes look like."""
    path = tmp_path / "my replay"
    path.write_bytes(gzip.compress(DATA))
    for source in (str(path), path.as_uri()):
        assert find_replay(source, scratch) == ReplaySource(file=path)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("a.z", zlib.compress(DATA)),
        ("a.gz", gzip.compress(DATA)),
        ("a.z", gzip.compress(DATA)),
        ("a.gz", gzip.compress(DATA[:70000]) + gzip.compress(DATA[70000:])),
        ("a.z", zlib.compress(DATA, 0)),
        ("a.gz", gzip.compress(DATA) + bytes(1000)),
        ("a.gz", gzip.compress(DATA) + bytes(200_000)),
        ("a.gz", gzip.compress(DATA[:70000]) + bytes(512) + gzip.compress(DATA[70000:])),
    ],
)
def test_what_is_compressed_is_unpacked(tmp_path: Path, scratch: Path, name: str, packed: bytes) -> None:
    """zlib, gzip, gzip under the name of zlib, several in a row, padded: the game sees the bytes that it wrote."""
    (tmp_path / name).write_bytes(packed)
    found = find_replay(str(tmp_path / name), scratch)
    assert found.file.parent == scratch
    assert found.file.read_bytes() == DATA


@settings(max_examples=60, deadline=None)
@given(data=st.binary(min_size=1, max_size=3000), cut=st.floats(0, 0.999), ending=st.sampled_from([".z", ".gz"]))
def test_what_is_cut_anywhere_is_refused(tmp_path_factory, data: bytes, cut: float, ending: str) -> None:
    """No prefix of a compressed replay passes for a replay."""
    place = tmp_path_factory.mktemp("cut")
    packed = zlib.compress(data) if ending == ".z" else gzip.compress(data)
    (place / f"a{ending}").write_bytes(packed[: int(len(packed) * cut)])
    (place / "scratch").mkdir()
    assert "cannot be unpacked" in refused(place / f"a{ending}", place / "scratch")[0]


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (b"", "it is empty"),
        (b"\x1f\x8b", "it ends in the middle"),
        (b"no gzip at all", "its bytes do not"),
        (gzip.compress(DATA) + b"behind", "its bytes do not"),
        (gzip.compress(b""), "is empty when it is unpacked"),
    ],
)
def test_what_is_not_compressed_as_its_name_says_is_refused(
    tmp_path: Path, scratch: Path, packed: bytes, words: str
) -> None:
    """With what is wrong with it."""
    (tmp_path / "a.gz").write_bytes(packed)
    assert words in "\n".join(refused(tmp_path / "a.gz", scratch))


def test_a_bomb_is_refused_before_the_disk_is_full(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What grows a thousandfold is written up to the limit, and no further than a piece."""
    monkeypatch.setattr(replay_source, "UNPACKED_LIMIT", 1_000_000)
    (tmp_path / "a.z").write_bytes(zlib.compress(bytes(100_000_000), 9))
    assert "too large" in refused(tmp_path / "a.z", scratch)[0]
    assert sum(path.stat().st_size for path in scratch.iterdir()) < 1_100_000


def test_what_is_no_readable_file_is_refused(tmp_path: Path, scratch: Path) -> None:
    """Missing, empty, a pipe that nobody writes to, a name that is none, another machine's, another scheme."""
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    assert "is not there" in refused(tmp_path / "nowhere", scratch)[0]
    assert "is empty" in refused(tmp_path / "empty", scratch)[0]
    assert "no regular file" in refused(tmp_path / "pipe", scratch)[0]
    assert "cannot be read" in refused("a\0b", scratch)[0]
    assert "cannot be read" in refused("a\0b/c", scratch)[0]
    assert "cannot be read" in refused("x" * 5000, scratch)[0]
    assert "is no address" in refused("http://[bad", scratch)[0]
    assert "is no address" in refused("file://[bad", scratch)[0]
    assert "another machine" in refused("file://elsewhere/replay", scratch)[0]
    assert "scheme 'ftp'" in refused("ftp://127.0.0.1/replay", scratch)[1]


def test_an_address_is_fetched_and_unpacked(serve: Any, scratch: Path) -> None:
    """Redirects are followed, as the public package does; the name behind them is the one that was given."""
    base = serve(200, gzip.compress(DATA))
    assert find_replay(f"{base}/moved/a.gz?key=hush", scratch).file.read_bytes() == DATA


def test_an_address_that_gives_nothing_is_refused_without_its_key(
    serve: Any, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status, a host that is not there, more than is fetched: each with its reason; the query stays unsaid."""
    monkeypatch.setattr(replay_source, "FETCH_LIMIT", 1000)
    base = serve(404, b"")
    lines = refused(f"{base}/there/a?key=hush", scratch)
    assert lines[1] == "evidence: status 404"
    assert "hush" not in "".join(lines)
    (scratch / "fetched").unlink()
    assert "cannot be reached" in refused("http://127.0.0.1:9/a?key=hush", scratch)[0]


def test_an_address_that_never_ends_is_cut(serve: Any, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit for what is fetched."""
    monkeypatch.setattr(replay_source, "FETCH_LIMIT", 1000)
    base = serve(200, bytes(10_000_000))
    assert "too large" in refused(f"{base}/there/a", scratch)[0]


@pytest.mark.parametrize("head", [False, True])
def test_an_address_that_drips_is_given_up(scratch: Path, monkeypatch: pytest.MonkeyPatch, head: bool) -> None:
    """Byte by byte, each in time, from the head on or behind it: all of it has a deadline, too."""
    monkeypatch.setattr(replay_source, "FETCH_SECONDS", 0.3)
    given_up = threading.Event()

    class Dripping(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if head:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            else:
                self.send_response(200)
                self.end_headers()
            # Far less than a piece in all, and an end for the case that nobody gives up.
            for _ in range(300):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    break
                if given_up.wait(0.05):
                    break

        def log_message(self, *_: Any) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            lines = refused(f"http://127.0.0.1:{server.server_address[1]}/a", scratch)
        finally:
            given_up.set()
            server.shutdown()
            thread.join()
    assert "did not arrive in time" in lines[0]
    assert (scratch / "fetched").stat().st_size < 300 if not head else True


def test_a_bucket_has_an_address() -> None:
    """`s3://BUCKET/KEY` is fetched as anybody may, unsigned."""
    assert replay_source._address("s3://bucket/a/b.z", urlsplit("s3://bucket/a/b.z")) == (
        "https://bucket.s3.amazonaws.com/a/b.z"
    )
    with pytest.raises(Refused):
        replay_source._address("s3://bucket", urlsplit("s3://bucket"))


class Run:
    """The directory of a run, and its Coworld."""

    def __init__(self, tmp_path: Path, **changes: Any) -> None:
        manifest = write_coworld(tmp_path / "coworld", scripted_manifest())
        self.manifest = manifest
        self.directory = tmp_path / "run"
        self.directory.mkdir()
        fields = {"coworld": "scripted", "game_version": "1.0.0", **changes}
        fields.setdefault("manifest", ManifestOrigin(source="coworld", place=str(manifest)))
        (self.directory / "episode.json").write_bytes(msgspec.json.encode(record(**fields)))
        (self.directory / "replay").write_bytes(DATA)


def test_a_run_knows_its_replay_and_its_manifest(tmp_path: Path, scratch: Path) -> None:
    """Named by its directory, or through a link; nothing else has to be said."""
    run = Run(tmp_path)
    (tmp_path / "latest").symlink_to("run")
    for name in ("run", "latest"):
        found = find_replay(str(tmp_path / name), scratch)
        assert found.file.resolve() == run.directory / "replay"
        loaded, notes = manifest_of(found, None)
        assert (loaded.manifest.game.name, notes) == ("scripted", ())


def asked_for(found: ReplaySource) -> str:
    with pytest.raises(Refused, match="is not used without being asked for") as caught:
        manifest_of(found, None)
    assert "--manifest" in caught.value.todo
    return caught.value.evidence


@pytest.mark.parametrize("name", ["run/replay", "latest/replay"])
def test_a_record_beside_a_file_is_no_reason_to_start_what_it_names(tmp_path: Path, scratch: Path, name: str) -> None:
    """Whoever names a file has not said that its folder is to be trusted; with the manifest named, all is well."""
    run = Run(tmp_path)
    (tmp_path / "latest").symlink_to("run")
    found = find_replay(str(tmp_path / name), scratch)
    assert "only the file was named" in asked_for(found)
    assert manifest_of(found, str(run.manifest))[0].manifest.game.name == "scripted"


@pytest.mark.parametrize("place", ["coworld/coworld_manifest.json", "../coworld/coworld_manifest.json", "http:/x"])
def test_a_run_whose_manifest_depends_on_where_one_stands_was_not_made_by_us(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A relative path is found by whoever sends a folder, not by whoever has played."""
    run = Run(tmp_path, manifest=ManifestOrigin(source=place, place=place))
    monkeypatch.chdir(tmp_path)
    assert "relative path" in asked_for(find_replay(str(run.directory), scratch))


def test_a_run_of_another_user_is_not_believed(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its manifest would be played as this one."""
    run = Run(tmp_path)
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert "another user's" in asked_for(find_replay(str(run.directory), scratch))


def test_a_run_without_a_replay_says_so(tmp_path: Path, scratch: Path) -> None:
    """Missing, or in disguise: a game may have put a link there, which is not followed."""
    run = Run(tmp_path)
    (run.directory / "replay").rename(tmp_path / "elsewhere")
    assert "left no replay" in refused(run.directory, scratch)[0]
    (run.directory / "replay").symlink_to(tmp_path / "elsewhere")
    assert "no regular file" in "\n".join(refused(run.directory, scratch))


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path, scratch: Path) -> None:
    """With what it lacks; a batch has many runs."""
    assert "is no run" in refused(tmp_path, scratch)[0]
    (tmp_path / "batch.json").write_text("{}")
    assert "it is a batch" in refused(tmp_path, scratch)[1]


def test_a_bare_file_needs_a_manifest(tmp_path: Path, scratch: Path) -> None:
    """Nothing says whose it is; what lies beside it and cannot be read says nothing either."""
    (tmp_path / "a").write_bytes(DATA)
    (tmp_path / "episode.json").write_text("[")
    found = find_replay(str(tmp_path / "a"), scratch)
    with pytest.raises(Refused) as caught:
        manifest_of(found, None)
    assert caught.value.todo == "name the game's manifest with --manifest"
    loaded, notes = manifest_of(found, str(write_coworld(tmp_path / "coworld", scripted_manifest())))
    assert (loaded.manifest.game.name, notes) == ("scripted", ())


def test_a_manifest_that_has_gone_is_named(tmp_path: Path, scratch: Path) -> None:
    """With what to do: it is the first thing that is missing on another machine."""
    run = Run(tmp_path)
    run.manifest.unlink()
    with pytest.raises(Refused) as caught:
        manifest_of(find_replay(str(run.directory), scratch), None)
    assert "cannot be used any more" in caught.value.what
    assert "scripted 1.0.0 with --manifest" in caught.value.todo


def test_a_manifest_whose_host_is_silent_is_named(tmp_path: Path, scratch: Path) -> None:
    """It may be there again later: a missing precondition."""
    place = "http://127.0.0.1:9/coworld_manifest.json"
    run = Run(tmp_path, manifest=ManifestOrigin(source=place, place=place))
    with pytest.raises(PreconditionMissing, match="cannot be used any more"):
        manifest_of(find_replay(str(run.directory), scratch), None)


def test_a_run_whose_manifest_has_no_address_is_refused(tmp_path: Path, scratch: Path) -> None:
    """What a record says is input like any other."""
    place = "http://[x"
    run = Run(tmp_path, manifest=ManifestOrigin(source=place, place=place))
    with pytest.raises(Refused, match="is no address"):
        manifest_of(find_replay(str(run.directory), scratch), None)


def test_a_run_from_before_manifests_were_kept_needs_one(tmp_path: Path, scratch: Path) -> None:
    """And so does one whose manifest was made in memory."""
    run = Run(tmp_path, manifest=None)
    with pytest.raises(Refused, match="nothing says where the manifest"):
        manifest_of(find_replay(str(run.directory), scratch), None)


def test_another_version_is_a_warning_and_another_game_is_refused(tmp_path: Path, scratch: Path) -> None:
    """Unless the caller has named it: then both are a warning."""
    older = find_replay(str(Run(tmp_path, game_version="0.9.0").directory), scratch)
    _, notes = manifest_of(older, None)
    assert len(notes) == 1
    assert "played with scripted 0.9.0" in notes[0]
    (tmp_path / "two").mkdir()
    other = Run(tmp_path / "two", coworld="orchard")
    found = find_replay(str(other.directory), scratch)
    with pytest.raises(Refused, match="another game's now"):
        manifest_of(found, None)
    assert len(manifest_of(found, str(other.manifest))[1]) == 1
