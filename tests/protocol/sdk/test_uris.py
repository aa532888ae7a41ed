"""`coworld_protocol.sdk.uris`: files and a real HTTP server."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from coworld_protocol.sdk import uris
from coworld_protocol.sdk.uris import (
    UriFailed,
    compress,
    encoding_of,
    file_path,
    inflate,
    is_small_file,
    read_uri,
    write_uri,
)


class Shelf(ThreadingHTTPServer):
    """Keeps what is put on it; answers with the statuses it is told to first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Shelf.Handler)
        self.kept: dict[str, bytes] = {}
        self.statuses: list[int] = []
        self.seen: list[tuple[str, str | None, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    class Handler(BaseHTTPRequestHandler):
        server: Shelf

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.server.seen.append((self.command, self.headers["Content-Type"], self.headers["User-Agent"]))
            status = self.server.statuses.pop(0) if self.server.statuses else 200
            data = b""
            if status == 200 and self.command != "GET":
                self.server.kept[self.path] = body
            elif status == 200:
                data = self.server.kept.get(self.path, b"")
                status = 200 if self.path in self.server.kept else 404
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/there")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass


@pytest.fixture
def shelf(monkeypatch) -> Iterator[Shelf]:
    server = Shelf()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setattr(uris, "_sleep", lambda seconds: None)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_which_uris_are_files():
    """`file://` is percent-decoded, a bare path is a path, http is none, anything else is refused."""
    assert file_path("file:///a/b%20c") == Path("/a/b c")
    assert file_path("/a/b%20c") == Path("/a/b%20c")
    assert file_path("a.json") == Path("a.json")
    assert file_path("file://localhost/a") == Path("/a")
    assert file_path("https://x/y") is None
    with pytest.raises(UriFailed, match="ftp"):
        file_path("ftp://x/y?secret")


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_file_is_written_whole_and_read_back(tmp_path, form):
    """Parents are made, nothing else is left in the directory, and an older file is replaced."""
    uri = form.format(tmp_path / "deep" / "er" / "f.json")
    for data in (b"one", b"two"):
        write_uri(uri, data, "application/json")
        assert read_uri(uri) == data
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["f.json"]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    """A directory in the way is a sentence, and no temporary file stays behind."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(UriFailed) as failed:
        write_uri(f"file://{tmp_path}/taken", b"x", "text/plain")
    assert "cannot be written" in failed.value.what
    assert failed.value.todo
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_missing_file_is_a_sentence(tmp_path):
    """Reading what is not there names the path."""
    with pytest.raises(UriFailed, match="nowhere"):
        read_uri(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_http_is_written_and_read(shelf, method):
    """The method, the content type and an agent of our own are sent; the bytes come back."""
    write_uri(f"{shelf.url}/a", b"data", "application/zip", method)
    assert read_uri(f"{shelf.url}/a") == b"data"
    assert shelf.seen[0] == (method, "application/zip", "coworld-actors")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again(shelf, status):
    """Three further attempts are made for each of these statuses."""
    shelf.statuses = [status] * 3
    write_uri(f"{shelf.url}/a", b"data", "text/plain")
    assert shelf.kept == {"/a": b"data"}
    shelf.statuses = [status] * 4
    with pytest.raises(UriFailed) as failed:
        read_uri(f"{shelf.url}/a")
    assert str(status) in failed.value.evidence


@pytest.mark.parametrize("status", [400, 403, 404, 409])
def test_a_clear_no_is_not_asked_again(shelf, status):
    """Other statuses fail at once, and the message holds no query."""
    shelf.statuses = [status]
    with pytest.raises(UriFailed) as failed:
        write_uri(f"{shelf.url}/a?signature=s3cret", b"data", "text/plain")
    assert len(shelf.seen) == 1
    assert "s3cret" not in " ".join(failed.value.lines())


def test_redirects_are_followed_when_reading(shelf):
    """A read goes where it is sent."""
    shelf.kept["/there"] = b"found"
    shelf.statuses = [302]
    assert read_uri(f"{shelf.url}/here") == b"found"


def test_an_unreachable_server_is_a_sentence(monkeypatch):
    """After the last attempt the failure names the address."""
    waits: list[float] = []
    monkeypatch.setattr(uris, "_sleep", waits.append)
    with pytest.raises(UriFailed, match=r"127\.0\.0\.1:9/x"):
        read_uri("http://127.0.0.1:9/x")
    assert waits == [0.5, 1.0, 2.0]


def test_inflate_undoes_what_was_done():
    """Each encoding is undone; identity is left alone."""
    assert inflate(zlib.compress(b"abc"), "zlib") == b"abc"
    assert inflate(gzip.compress(b"abc"), "gzip") == b"abc"
    assert inflate(b"abc", "identity") == b"abc"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [(b"abc", "zlib"), (zlib.compress(b"abc" * 100)[:-3], "zlib"), (zlib.compress(b"a"), "gzip"), (b"", "br")],
)
def test_data_in_another_encoding_is_a_sentence(data, encoding):
    """Wrong, cut off or unknown encodings are refused."""
    with pytest.raises(UriFailed):
        inflate(data, encoding)


def test_a_compression_bomb_is_refused(monkeypatch):
    """What grows beyond the limit is refused."""
    monkeypatch.setattr(uris, "_INFLATED_LIMIT", 1000)
    with pytest.raises(UriFailed) as failed:
        inflate(zlib.compress(b"\0" * 100_000), "zlib")
    assert "more than" in failed.value.evidence


@pytest.mark.parametrize("uri", ["file://elsewhere/a", "ftp://x/y", "s3://bucket/key", "http://["])
def test_what_cannot_be_written_is_refused_before_anything_is_tried(uri):
    """Another machine's files, other schemes, buckets, and what is no URI."""
    with pytest.raises(UriFailed) as failed:
        write_uri(uri, b"", "text/plain")
    assert failed.value.todo


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_password_is_not_repeated(shelf, method):
    """A failure names the address without user, password and query."""
    shelf.statuses = [403]
    with pytest.raises(UriFailed) as failed:
        write_uri(f"{shelf.url.replace('//', '//me:s3cret@')}/a?k=s3cret", b"", "text/plain", method)
    assert "s3cret" not in " ".join(failed.value.lines())
    assert "127.0.0.1" in failed.value.what


def test_a_bucket_is_read_without_a_signature(monkeypatch):
    """`s3://bucket/key` is a plain GET of the object's public address, with the key quoted."""
    asked = []
    monkeypatch.setattr(uris, "_request", lambda *request: asked.append(request) or b"data")
    assert read_uri("s3://some-bucket/deep/a b?.z") == b"data"
    assert asked == [("GET", "https://some-bucket.s3.amazonaws.com/deep/a%20b%3F.z", None, "")]


@pytest.mark.parametrize(
    "uri", ["s3://", "s3://bucket", "s3://bucket/", "s3://evil.example@x/y", "s3://a:80/y", "s3://UP/y"]
)
def test_what_is_no_bucket_is_refused(uri):
    """Nothing but a bucket's name can get into the address that is asked."""
    with pytest.raises(UriFailed, match="does not name an object"):
        read_uri(uri)


@pytest.mark.parametrize(
    ("uri", "encoding"),
    [
        ("file:///a/replay", "identity"),
        ("replay.json.z", "zlib"),
        ("/a.z/replay", "identity"),
        ("https://x/y/r.GZ?signature=a.z", "gzip"),
        ("http://[", "identity"),
    ],
)
def test_a_name_says_how_its_file_is_compressed(uri, encoding):
    """The suffix of the path counts; a query does not."""
    assert encoding_of(uri) == encoding


@pytest.mark.parametrize("encoding", ["identity", "zlib", "gzip"])
def test_what_is_compressed_is_inflated_to_the_same(encoding):
    """Both ways, and twice the same bytes."""
    data = b"fruit" * 1000
    assert inflate(compress(data, encoding), encoding) == data
    assert compress(data, encoding) == compress(data, encoding)


def test_a_small_file_is_a_regular_one_of_this_machine(tmp_path: Path) -> None:
    """Anything else is read in a thread, which may wait."""
    path = tmp_path / "a b"
    path.write_bytes(b"12345")
    assert is_small_file(path.as_uri(), 5)
    assert is_small_file(str(path), 5)
    assert not is_small_file(str(path), 4)
    for other in ("http://127.0.0.1/x", "s3://bucket/key", str(tmp_path), str(tmp_path / "none"), "gopher://x", "\0"):
        assert not is_small_file(other, 5)
