"""Episodes over HTTP, as a trio program of one file: trio for the runtime, h11 for the protocol, nothing else.

    python examples/embedding/trio_service.py --coworld examples/orchard/coworld_manifest.json --runs runs
    curl -d '{"coworld": "orchard", "variant": "duel"}' localhost:8080/episodes
    curl -N localhost:8080/episodes/ID/events

Copy it and make it yours. The service is the host: it configures the logging, owns the signals and decides who may ask for what
(here: everybody who can reach the port). The runtime below it owns the episodes.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import h11
import msgspec
import trio
from prometheus_client import CollectorRegistry, generate_latest

from coworld_actors import (
    Admission,
    EpisodeHandle,
    EpisodeSpec,
    LoadedManifest,
    Runtime,
    RuntimeClosed,
    RuntimeFull,
    WhenFull,
    build_plan,
    load_manifest,
    open_runtime,
)
from coworld_actors.actors import Record
from coworld_actors.episode.spec import new_id
from coworld_actors.observe.event_log import log_events
from coworld_actors.observe.prometheus import metrics
from coworld_actors.runtime.events import EpisodeClosed
from coworld_actors.runtime.handle import EpisodeState
from coworld_drivers.images import ImageMap, load_images
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused

log = logging.getLogger("trio_service")
REGISTRY = CollectorRegistry()

BODY_LIMIT = 64 * 1024
REQUEST_SECONDS = 10.0  # for a whole request to arrive
SEND_SECONDS = 20.0  # for a client to take what it is sent; then it is cut off
HEARTBEAT = 10.0  # seconds of silence in a stream of events before a comment tells the proxies that it lives
FAREWELL_SECONDS = 5.0  # for the last answers, when every episode is over
RETRY_AFTER = "5"


class Wish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a request for an episode; `settings` change the game's configuration, a key may be dotted."""

    coworld: str
    variant: str | None = None
    players: tuple[str, ...] = ()
    settings: dict[str, Any] = {}


class Exchange:
    """One request and its answer, on a connection of its own."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.method, self.path, self.body = "", "", b""
        self.headers: dict[bytes, bytes] = {}
        self._http = h11.Connection(h11.SERVER)

    async def receive(self) -> bool:
        """Read the request; False if the client has gone before its end."""
        with trio.fail_after(REQUEST_SECONDS):
            while True:
                match self._http.next_event():
                    case h11.NEED_DATA:
                        self._http.receive_data(await self.stream.receive_some())
                    case h11.Request() as request:
                        self.method, self.path = request.method.decode(), urlsplit(request.target.decode()).path
                        self.headers = dict(request.headers)
                    case h11.Data(data=data):
                        self.body += data
                        if len(self.body) > BODY_LIMIT:
                            raise h11.RemoteProtocolError(f"more than {BODY_LIMIT} bytes", error_status_hint=413)
                    case event:
                        return isinstance(event, h11.EndOfMessage)

    async def begin(self, status: int, **headers: str) -> None:
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        await self._send(h11.Response(status_code=status, headers=[("Connection", "close"), *fields]))

    async def write(self, data: bytes) -> None:
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        await self._send(h11.EndOfMessage())
        with trio.move_on_after(FAREWELL_SECONDS):  # Closed with bytes unread, TCP would take the answer back.
            await self.stream.send_eof()
            while await self.stream.receive_some():
                pass

    async def answer(self, status: int, document: object, **headers: str) -> None:
        data = document if isinstance(document, bytes) else msgspec.json.encode(document) + b"\n"
        kind = "text/plain" if document is data else "application/json"
        await self.begin(status, content_type=kind, content_length=str(len(data)), **headers)
        if self.method != "HEAD":
            await self.write(data)
        await self.end()

    async def _send(self, event: h11.Event) -> None:
        with trio.fail_after(SEND_SECONDS):
            await self.stream.send_all(self._http.send(event) or b"")


class Service:
    """What this program makes of requests.

    Args:
        runtime: plays the episodes.
        coworlds: what can be played, by name.
        runs: where every episode gets its directory.
        keep: how many episodes are remembered after their end.
    """

    def __init__(self, runtime: Runtime, coworlds: dict[str, LoadedManifest], runs: Path, keep: int) -> None:
        self._runtime = runtime
        self._coworlds = coworlds
        self._runs = runs
        self._keep = keep
        self._episodes: dict[str, EpisodeHandle] = {}
        self._over: deque[str] = deque()
        self._streams = 0

    def forget(self, record: Record) -> None:
        """Forget the oldest of the episodes that have ended."""
        if isinstance(record.event, EpisodeClosed):
            self._over.append(record.scope)
            if len(self._over) > self._keep:
                del self._episodes[self._over.popleft()]

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection. Whatever happens on it, the service goes on."""
        exchange = Exchange(stream)
        try:
            async with stream:
                try:
                    if await exchange.receive():
                        await self._route(exchange)
                except h11.RemoteProtocolError as error:
                    await exchange.answer(error.error_status_hint, {"what": str(error)})
                except (RuntimeFull, RuntimeClosed) as error:
                    status = 429 if isinstance(error, RuntimeFull) else 503
                    await exchange.answer(status, _told(error), retry_after=RETRY_AFTER)
                except CoworldError as error:
                    await exchange.answer(422 if isinstance(error, Refused) else 500, _told(error))
        except* (trio.BrokenResourceError, trio.TooSlowError):
            log.info("a client has gone, or was too slow")
        except* Exception:
            log.exception("a request failed")

    async def _route(self, exchange: Exchange) -> None:
        match exchange.method, exchange.path.strip("/").split("/"):
            case "GET", ["healthz"]:
                health = {"status": "ok", "streams": self._streams, "runtime": self._runtime.statistics()}
                await exchange.answer(200, health)
            case "GET", ["metrics"]:
                await exchange.answer(200, generate_latest(REGISTRY))
            case "POST", ["episodes"]:
                handle = await self._start(exchange.body)
                here = f"/episodes/{handle.id}"
                answer = {"id": handle.id, "episode": here, "events": f"{here}/events"}
                await exchange.answer(202, answer, location=here)
            case "GET", ["episodes"]:
                await exchange.answer(200, {"episodes": [handle.status() for handle in self._episodes.values()]})
            case "GET", ["episodes", id] if id in self._episodes:
                await exchange.answer(200, await _view(self._episodes[id]))
            case "DELETE", ["episodes", id] if id in self._episodes:
                news = self._episodes[id].cancel("called off over HTTP")
                await exchange.answer(202, {"id": id, "cancelled": news})
            case "GET", ["episodes", id, "events"] if id in self._episodes:
                last = exchange.headers.get(b"last-event-id", b"")
                await self._follow(exchange, self._episodes[id], after=int(last) if last.isdigit() else 0)
            case _:
                todo = f"see GET /episodes; the last {self._keep} that ended are remembered"
                await exchange.answer(404, {"what": f"there is no {exchange.method} {exchange.path}", "todo": todo})

    async def _start(self, body: bytes) -> EpisodeHandle:
        try:
            wish = msgspec.json.decode(body, type=Wish)
        except msgspec.DecodeError as error:
            raise Refused("the body is no request for an episode", evidence=str(error)) from error
        loaded = self._coworlds.get(wish.coworld)
        if loaded is None:
            raise Refused(f"there is no coworld {wish.coworld!r} here", evidence=f"known: {', '.join(self._coworlds)}")
        overrides = [f"{key}={msgspec.json.encode(value).decode()}" for key, value in wish.settings.items()]
        plan = build_plan(loaded, players=wish.players, variant=wish.variant, overrides=overrides)
        name = new_id()
        handle = await self._runtime.start_episode(EpisodeSpec(id=name, plan=plan, directory=self._runs / name))
        self._episodes[name] = handle
        return handle

    async def _follow(self, exchange: Exchange, handle: EpisodeHandle, *, after: int) -> None:
        """Server-sent events, until the episode is over or the client has gone.

        What waits for a slow client is bounded: the subscription drops its oldest records and counts them, and a client that
        takes nothing for `SEND_SECONDS` is cut off.
        """
        await exchange.begin(200, content_type="text/event-stream", cache_control="no-store")
        self._streams += 1
        try:
            with handle.events(after=after) as records:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_watch, exchange.stream, nursery.cancel_scope)
                    dropped = 0
                    while True:
                        batch: list[Record] = []
                        with trio.move_on_after(HEARTBEAT) as silence:
                            batch = await records.batch()
                        if not batch and not silence.cancelled_caught:
                            break
                        if records.dropped > dropped:
                            dropped = records.dropped
                            await exchange.write(b": too slow, %d events were dropped\n\n" % dropped)
                        await exchange.write(b"".join(map(_sse, batch)) or b": still here\n\n")
                    nursery.cancel_scope.cancel()
            await exchange.end()
        finally:
            self._streams -= 1


def _sse(record: Record) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (record.seq, msgspec.json.encode(record))


async def _watch(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    """Cancel a stream of events as soon as its client hangs up."""
    try:
        while await stream.receive_some():
            pass
    except trio.BrokenResourceError:
        pass
    scope.cancel()


async def _view(handle: EpisodeHandle) -> dict[str, object]:
    """An episode's status, and its record or its error when it is over."""
    view: dict[str, object] = {"status": handle.status()}
    if handle.state is EpisodeState.OVER:
        try:
            view["record"] = await handle.wait()
        except CoworldError as error:
            view["error"] = _told(error)
    return view


def _told(error: CoworldError) -> dict[str, object]:
    problems = [str(problem) for problem in getattr(error, "problems", ())]
    return {"what": error.what, "evidence": error.evidence, "todo": error.todo, "problems": problems}


async def main(options: argparse.Namespace) -> None:
    manifests = [load_manifest(source) for source in options.coworld]
    coworlds = {loaded.manifest.game.name: loaded for loaded in manifests}
    images = ImageMap.merged(load_images(loaded.directory, {}) for loaded in manifests)
    try:
        listeners = await trio.open_tcp_listeners(options.port, host=options.host)
    except OSError as error:
        raise PreconditionMissing(
            f"cannot listen on {options.host}:{options.port}", evidence=str(error), todo="give another --host or --port"
        ) from error
    async with open_runtime(
        ProcessDriver(images, log=log.warning),
        name="trio-service",
        admission=Admission(parallel=options.parallel, queue=options.queue, when_full=WhenFull.REFUSE),
        stop_deadline=options.stop_deadline,
        attach=[log_events(log), metrics(REGISTRY)],
    ) as runtime:
        service = Service(runtime, coworlds, options.runs, options.keep)
        runtime.system.events.subscribe(service.forget)
        async with trio.open_nursery() as clients:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(partial(trio.serve_listeners, service.serve, listeners, handler_nursery=clients))
                with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                    log.info("listening on http://%s:%d", *listeners[0].socket.getsockname()[:2])
                    received = await anext(aiter(signals))
                for number in (signal.SIGINT, signal.SIGTERM):
                    # From here a second one has its default effect: the process ends at once, and its janitor sweeps.
                    signal.signal(number, signal.SIG_DFL)
                log.info("%s: no more requests, and what is played is called off", signal.Signals(received).name)
                accepting.cancel_scope.cancel()
            report = await runtime.stop()
            log.info("stopped after %.1f s; called off: %d", report.seconds, len(report.cancelled))
            for path in report.killed:
                log.warning("had to be killed: %s", path)
            # Streams end with their episodes; this is for a client that does not take its last answer.
            clients.cancel_scope.deadline = trio.current_time() + FAREWELL_SECONDS


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coworld", action="append", required=True, help="a manifest; may be given several times")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="directory for the episodes' files")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--parallel", type=int, default=4, help="episodes at once")
    parser.add_argument("--queue", type=int, default=100, help="episodes that wait for their turn")
    parser.add_argument("--keep", type=int, default=200, help="episodes remembered after their end")
    parser.add_argument("--stop-deadline", type=float, default=20.0, help="seconds for episodes to end in order")
    return parser.parse_args()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        trio.run(main, parse())
    except CoworldError as error:
        sys.exit("\n".join(error.lines()))
