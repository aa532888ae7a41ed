"""`coworld_protocol.sdk.sites`: which route shows what, without a network."""

from __future__ import annotations

import zlib

import pytest

from coworld_protocol.errors import Refused
from coworld_protocol.sdk.episode import Episode
from coworld_protocol.sdk.sites import EpisodeSite, ReplaySite, load_replay
from coworld_protocol.ws.web import Request, Response

PAGES = {
    name: Response(body=name.encode()) for name in ("player.html", "global.html", "admin.html", "replay.html", "a.js")
}
REPLAY = b'{"type":"replay","start":{},"frames":[],"results":{}}'


@pytest.fixture
def make_site(sum_rules, sum_types):
    """An episode's site, with or without administrators and old names."""

    def make(**options) -> EpisodeSite:
        return EpisodeSite(PAGES, Episode(*sum_rules(2), sum_types[3]), **{"admin": False, **options})

    return make


def get(site, path):
    answer = site.respond(Request(method="GET", path=path, query={}))
    return None if answer is None else (answer.status, answer.body)


def ask(site, path, **query):
    return site.upgrade(Request(method="GET", path=path, query=query))


def status(answer):
    return answer.status if isinstance(answer, Response) else 101


@pytest.mark.parametrize("old_names", [False, True])
def test_the_current_names_always_work(make_site, old_names):
    """The switch adds names and takes none away."""
    site = make_site(old_names=old_names)
    assert get(site, "/client/player") == (200, b"player.html")
    assert get(site, "/client/global") == (200, b"global.html")
    assert get(site, "/client/a.js") == (200, b"a.js")
    assert get(site, "/client/replay") is None
    assert get(site, "/client/player.html") is None
    assert get(site, "/player")[0] == 426
    assert status(ask(site, "/player", slot="1", token="token-1")) == 101
    assert status(ask(site, "/player", slot="1", token="token-0")) == 403
    assert status(ask(site, "/global")) == 101
    assert status(ask(site, "/replay")) == 404


@pytest.mark.parametrize("name", ["player", "global", "admin"])
def test_the_old_pages_are_there_when_asked_for(make_site, name):
    """`/clients/NAME` is `/client/NAME`, and what the page loads beside it is there too; without the switch neither is."""
    assert get(make_site(admin=True, old_names=True), f"/clients/{name}") == (200, f"{name}.html".encode())
    assert get(make_site(admin=True, old_names=True), "/clients/a.js") == (200, b"a.js")
    assert get(make_site(admin=True), f"/clients/{name}") is None
    assert get(make_site(admin=True), "/clients/a.js") is None


def test_an_administrators_routes_are_there_only_on_request(make_site):
    """Without `admin` neither page nor socket exists, under any name."""
    for old_names in (False, True):
        site = make_site(old_names=old_names)
        assert get(site, "/client/admin") is None
        assert get(site, "/clients/admin") is None
        assert status(ask(site, "/admin")) == 404
    assert status(ask(make_site(admin=True), "/admin")) == 101


def test_a_replay_is_one_message(held_socket):
    """Whoever opens `/replay` gets it whole; what they name besides is not looked at."""
    site = ReplaySite(PAGES, REPLAY)
    assert get(site, "/client/replay") == (200, b"replay.html")
    assert get(site, "/clients/replay") is None
    assert get(site, "/client/player") is None
    socket = held_socket()
    ask(site, "/replay", uri="/etc/passwd").opened(socket)
    assert socket.messages() == [{"type": "replay", "start": {}, "frames": [], "results": {}}]


def test_with_the_old_names_a_viewer_may_name_the_replay(held_socket):
    """The one that was named is fetched; without a name there is the fixed one, or a refusal when there is none."""
    asked = []
    site = ReplaySite(PAGES, REPLAY, lambda uri, socket: asked.append((uri, socket)))
    assert get(site, "/clients/replay") == (200, b"replay.html")
    named, fixed = held_socket(), held_socket()
    ask(site, "/replay", uri="file:///r.json").opened(named)
    ask(site, "/replay").opened(fixed)
    assert asked == [("file:///r.json", named)]
    assert named.frames == []
    assert len(fixed.messages()) == 1
    assert status(ask(ReplaySite(PAGES, None, lambda uri, socket: None), "/replay")) == 400


def test_a_replay_is_text():
    """A replay whose strings are not UTF-8 could not be sent as text, so it is refused when it is read."""
    assert load_replay(zlib.compress(REPLAY)) == REPLAY
    with pytest.raises(Refused, match="cannot be shown"):
        load_replay(REPLAY.replace(b'"start":{}', b'"start":{"a":"\xff"}'))
