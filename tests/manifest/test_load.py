"""Where manifests come from, which version they are read as, and what a reader is told who gave a wrong one."""

from __future__ import annotations

import copy
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coworld_actors.manifest.document import SIZE_LIMIT
from coworld_actors.manifest.load import LoadedManifest, ManifestOrigin, check_manifest, load_manifest
from coworld_protocol.errors import ManifestRefused, PreconditionMissing, Refused
from coworld_protocol.manifest import RegisteredReporter, TextDoc, WasmReporter

Raw = dict[str, Any]
Load = Callable[[], LoadedManifest]
Refusal = Callable[[], list[str]]


@pytest.fixture
def serve() -> Iterator[Callable[[int, bytes, dict[str, str]], str]]:
    """Answers every GET with one status, body and headers; gives the address."""
    answer: list[tuple[int, bytes, dict[str, str]]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, headers = answer[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keeps the tests' output clean."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def start(status: int, body: bytes, headers: dict[str, str]) -> str:
        answer.append((status, body, headers))
        return f"http://127.0.0.1:{server.server_port}/world.json"

    yield start
    server.shutdown()
    thread.join()
    server.server_close()


def write(directory: Path, raw: Raw) -> Path:
    path = directory / "coworld_manifest.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    return path


def test_path_directory_and_file_address_are_the_same_manifest(raw: Raw, tmp_path: Path) -> None:
    """A directory stands for the manifest in it, and so does a file address."""
    path = write(tmp_path, raw)
    loaded = [load_manifest(path), load_manifest(tmp_path), load_manifest(str(path)), load_manifest(path.as_uri())]
    assert {each.manifest.game.name for each in loaded} == {"demo"}
    assert {each.directory for each in loaded} == {tmp_path.resolve()}
    assert loaded[0].raw == raw


def test_where_it_was_read_is_kept_without_what_may_be_a_secret(raw: Raw, serve: Any, tmp_path: Path) -> None:
    """A file by its absolute path, an address without user, password and query; a document in memory was read nowhere."""
    path = tmp_path / "my manifest.json"
    path.write_text(json.dumps(raw))
    assert load_manifest(path).origin == ManifestOrigin(source=str(path), place=str(path))
    assert load_manifest(path.as_uri()).origin == ManifestOrigin(source=path.as_uri(), place=str(path))
    assert check_manifest(raw, source="memory").origin is None
    url = serve(200, json.dumps(raw).encode(), {})
    origin = load_manifest(url.replace("://", "://me:hush@") + "?key=hush").origin
    assert origin == ManifestOrigin(source=url, place=url)


def test_file_address_is_percent_decoded(raw: Raw, tmp_path: Path) -> None:
    """Spaces in directory names survive the way through an address."""
    directory = tmp_path / "a world"
    directory.mkdir()
    assert "%20" in write(directory, raw).as_uri()
    assert load_manifest(write(directory, raw).as_uri()).directory == directory.resolve()


@pytest.mark.parametrize("wrapped", [False, True])
def test_http_body_is_the_manifest_or_holds_it(raw: Raw, serve: Any, wrapped: bool) -> None:
    """Both bodies that servers give are read; there is no directory beside them."""
    body = json.dumps({"manifest": raw} if wrapped else raw).encode()
    loaded = load_manifest(serve(200, body, {}))
    assert loaded.manifest.game.name == "demo"
    assert loaded.directory is None


def test_http_redirect_is_not_followed(serve: Any) -> None:
    """Where a redirect leads is for the caller to decide."""
    with pytest.raises(Refused) as caught:
        load_manifest(serve(302, b"", {"Location": "http://127.0.0.1:9/elsewhere"}))
    assert caught.value.evidence == "status 302, redirected to http://127.0.0.1:9/elsewhere"


def test_http_failure_names_its_status(serve: Any) -> None:
    """A missing document is a refusal, not a manifest of an error page."""
    with pytest.raises(Refused, match="gives no manifest") as caught:
        load_manifest(serve(404, b"{}", {}))
    assert caught.value.evidence == "status 404"


def test_endless_http_body_is_cut(serve: Any) -> None:
    """No server can fill our memory."""
    with pytest.raises(Refused, match="too large"):
        load_manifest(serve(200, b" " * (SIZE_LIMIT + 1), {}))


def test_silent_host_is_a_missing_precondition() -> None:
    """A host that does not answer is no fault of the manifest."""
    with pytest.raises(PreconditionMissing, match="cannot be reached"):
        load_manifest("http://127.0.0.1:1/world.json")


def test_missing_manifest_says_where_it_looked(tmp_path: Path) -> None:
    """No manifest: the next step names the file that is looked for."""
    with pytest.raises(Refused) as caught:
        load_manifest(tmp_path)
    assert caught.value.lines() == [
        f"the directory {tmp_path} has no coworld_manifest.json",
        f"evidence: no file {tmp_path / 'coworld_manifest.json'}",
        "try: give the path of a coworld_manifest.json or of the directory that holds it",
    ]
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("ftp://example.org/world.json", "cannot be read"),
        ("file://elsewhere/world.json", "names another machine"),
        ("nul\0byte", "cannot be read"),
    ],
)
def test_other_sources_are_refused(source: str, sentence: str) -> None:
    """Only paths, this machine's files and http(s) are read."""
    with pytest.raises(Refused, match=sentence):
        load_manifest(source)


def test_invalid_json_names_line_and_column(tmp_path: Path) -> None:
    """Where the mistake is, and what stands there."""
    path = tmp_path / "world.json"
    path.write_text('{\n  "game": {,\n}', encoding="utf-8")
    with pytest.raises(Refused) as caught:
        load_manifest(path)
    assert caught.value.what == f"{path} is not JSON"
    assert caught.value.evidence.startswith("line 2, column 12: ")
    assert caught.value.evidence.endswith('near `"game": {,`')


def test_a_list_is_no_manifest() -> None:
    """The document is an object; anything else is named for what it is."""
    with pytest.raises(ManifestRefused) as caught:
        check_manifest([], source="world.json")
    assert caught.value.lines() == [
        "world.json is refused: 1 problem",
        "  $: found an empty list; allowed: an object",
        "try: correct the values named above and run the command again",
    ]


def test_wrong_types_are_all_named(raw: Raw, refusal: Refusal) -> None:
    """Every wrong type of the document in one refusal."""
    raw["game"]["name"] = 7
    raw["game"]["docs"] = []
    raw["player"][0]["run"] = "python main.py"
    raw["player"][1]["env"] = {"A": 1}
    raw["players_per_user"] = True
    del raw["game"]["owner"]
    assert set(refusal()) == {
        "$.game.name: found 7; allowed: a text",
        "$.game.owner: found nothing; allowed: a text that is not empty",
        "$.game.docs: found an empty list; allowed: an object",
        '$.player[0].run: found "python main.py"; allowed: a list',
        "$.player[1].env.A: found 1; allowed: a text",
        "$.players_per_user: found true; allowed: a whole number",
    }


def test_baseline_manifest_is_closed_at_every_depth(raw: Raw, refusal: Refusal) -> None:
    """Unknown keys of a 0.1.26 manifest are refused, with the nearest known one."""
    raw["variant"] = 1
    raw["player"][0]["imge"] = "x"
    raw["game"]["docs"]["readme"]["colour"] = "red"
    assert set(refusal()) == {
        "$.variant: found an unknown key; allowed: `variants`",
        "$.player[0].imge: found an unknown key; allowed: `image`",
        "$.game.docs.readme.colour: found an unknown key; allowed: one of value, type",
    }


def test_v1_manifest_is_tolerant_at_every_depth(raw: Raw, load: Load) -> None:
    """A later manifest plays although it has keys that nobody here knows; each is named in a warning."""
    raw["apiVersion"] = "coworld.softmax.com/v1"
    raw["novelty"] = 1
    raw["player"][0]["novelty"] = 1
    raw["game"]["protocols"]["engine_runtime"] = "cogweb"
    assert sorted(load().warnings) == [
        "$.novelty: an unknown key; ignored",
        "$.player[0].novelty: an unknown key; ignored",
    ]


def test_other_api_versions_are_refused(raw: Raw, refusal: Refusal) -> None:
    """A version that does not exist yet may mean anything."""
    raw["apiVersion"] = "coworld.softmax.com/v2"
    assert refusal() == ['$.apiVersion: found "coworld.softmax.com/v2"; allowed: one of "coworld.softmax.com/v1"']


@pytest.mark.parametrize(
    "change",
    [
        {"tags": ["a", "b", "c"]},
        {"episode_timeout_minutes": 20},
        {"reporter": [{"reporter": "owner/name@3"}]},
    ],
)
def test_later_fields_make_a_later_manifest(raw: Raw, load: Load, change: Raw) -> None:
    """Without `apiVersion`, a field that 0.1.26 did not know tells the version."""
    raw.update(change)
    raw["novelty"] = 1
    assert "$.novelty: an unknown key; ignored" in load().warnings


def test_later_resources_make_a_later_manifest(raw: Raw, load: Load) -> None:
    """Limits came with 0.1.64, where requests may be left out."""
    raw["player"][0]["resources"] = {"limits": {"cpu": "2"}}
    resources = load().manifest.player[0].resources
    assert resources is not None
    assert resources.limits is not None
    assert resources.limits.cpu == "2"


def test_later_values_are_checked_too(raw: Raw, refusal: Refusal) -> None:
    """Tolerant means unknown keys, not wrong values."""
    raw["tags"] = ["a", ""]
    raw["episode_timeout_minutes"] = 1441
    raw["player"][0]["startup"] = {"port": 80}
    raw["player"][1]["file"] = "bot.zip"
    raw["reporter"] = [{"reporter": "Owner/name@0"}, {"wasm": "r.wasm"}]
    assert set(refusal()) == {
        "$.tags: found a list of 2; allowed: a list of at least 3",
        '$.tags[1]: found ""; allowed: a text that is not empty',
        "$.episode_timeout_minutes: found 1441; allowed: a whole number from 1 to 1440",
        "$.player[0].startup.port: found 80; allowed: a whole number from 1024 to 65535",
        "$.player[1]: found both `image` and `file`; allowed: exactly one of them",
        (
            r'$.reporter[0].reporter: found "Owner/name@0"; allowed: a text that matches '
            r"^[a-z0-9]+/[a-z0-9][a-z0-9_.-]*@[1-9][0-9]*$"
        ),
        "$.reporter[1].id: found nothing; allowed: a text that is not empty",
    }


def test_reporters_that_cannot_run_here_are_kept_apart(raw: Raw, load: Load) -> None:
    """Registered and WebAssembly reporters are accepted, marked and skipped; containers stay."""
    raw["reporter"] = [
        {"reporter": "owner/name@3"},
        {**raw["player"][0], "id": "story", "type": "reporter"},
        {"wasm": "r.wasm", "id": "sums"},
    ]
    loaded = load()
    assert [each.id for each in loaded.manifest.reporter] == ["story"]
    assert loaded.reporter_references == (
        RegisteredReporter(reporter="owner/name@3"),
        WasmReporter(wasm="r.wasm", id="sums"),
    )
    assert loaded.warnings == (
        "$.reporter[0]: the registered reporter owner/name@3 cannot run here; skipped",
        "$.reporter[2]: the WebAssembly reporter sums cannot run here; skipped",
    )


def test_line_ends_behind_a_page_id_do_not_count(raw: Raw, load: Load) -> None:
    """The reference strips them, so a page named by a tool that leaves them is the same page."""
    text = {"type": "text", "value": "words"}
    raw["game"]["docs"]["pages"] = [{"id": "rules.md\r\n", "title": "t", "content": text}]
    (page,) = load().manifest.game.docs.pages
    assert page.id == "rules.md"
    assert page.content == TextDoc(value="words")


def test_reporter_section_of_another_type_is_refused(raw: Raw, refusal: Refusal) -> None:
    """The section that is looked at on its own is looked at."""
    raw["reporter"] = {"id": "x"}
    assert refusal() == ["$.reporter: found an object with id; allowed: a list"]


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*path, key)
        yield from _places(part, (*path, key))


JUNK = st.sampled_from(
    [None, True, 0, -1, 1.5, "", "x", "#", "game", [], ["a"], {}, {"type": "text"}, [[]], [{}], {"$ref": "#"}]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_document_is_loaded_or_refused(raw: Raw, data: st.DataObject) -> None:
    """Whatever stands anywhere in a manifest, the answer is the manifest or a list of problems."""
    changed = copy.deepcopy(raw)
    changed["reporter"] = [{"reporter": "owner/name@1"}, {"wasm": "r.wasm", "id": "x"}]
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(list(_places(changed))))
        place: Any = changed
        for key in way:
            place = place[key]
        place[last] = copy.deepcopy(data.draw(JUNK))
    try:
        loaded = check_manifest(changed, source="world.json")
    except ManifestRefused as refused:
        problems = refused.problems
        assert len(set(problems)) == len(problems) > 0
    else:
        assert loaded.raw == changed


@pytest.mark.parametrize("source", ["http://[x", "http://127.0.0.1:99999/m.json"])
def test_an_address_that_is_none_is_refused(source: str) -> None:
    """It is bad input, not a defect and not a silent host."""
    with pytest.raises(Refused, match="is no address"):
        load_manifest(source)
