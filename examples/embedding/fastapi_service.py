"""Episodes over HTTP, as a FastAPI program of one file: asyncio and uvicorn here, the runtime's trio in a thread of its own.

    python examples/embedding/fastapi_service.py --coworld examples/orchard/coworld_manifest.json --runs runs
    curl -H 'content-type: application/json' -d '{"coworld": "orchard", "variant": "duel"}' localhost:8080/episodes
    curl -N localhost:8080/episodes/ID/events

Copy it and make it yours. The service is the host: it configures the logging, owns the signals and decides who may ask for what
(here: everybody who can reach the port). The runtime below it owns the episodes.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import fastapi
import msgspec
import pydantic
import uvicorn
from fastapi.responses import Response, StreamingResponse
from prometheus_client import CollectorRegistry, generate_latest

from coworld_actors import (
    Admission,
    EpisodeSpec,
    LoadedManifest,
    RuntimeClosed,
    RuntimeFull,
    WhenFull,
    build_plan,
    load_manifest,
    open_runtime_asyncio,
)
from coworld_actors.actors import Record
from coworld_actors.episode.spec import new_id
from coworld_actors.observe.event_log import log_events
from coworld_actors.observe.prometheus import metrics
from coworld_actors.runtime.events import EpisodeClosed
from coworld_actors.runtime.for_asyncio import AsyncioEpisode, AsyncioRuntime
from coworld_actors.runtime.handle import EpisodeState
from coworld_drivers.images import ImageMap, load_images
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import CoworldError, Refused

log = logging.getLogger("fastapi_service")
REGISTRY = CollectorRegistry()

BODY_LIMIT = 64 * 1024
HEARTBEAT = 10.0  # seconds of silence in a stream of events before a comment tells the proxies that it lives
FAREWELL_SECONDS = 5  # for the last answers, when every episode is over
RETRY_AFTER = "5"


class Wish(pydantic.BaseModel):
    """The body of a request for an episode; `settings` change the game's configuration, a key may be dotted."""

    model_config = pydantic.ConfigDict(extra="forbid")

    coworld: str
    variant: str | None = None
    players: list[str] = []
    settings: dict[str, Any] = {}


class Service:
    """What the routes work with.

    Args:
        runtime: plays the episodes.
        coworlds: what can be played, by name.
        runs: where every episode gets its directory.
        keep: how many episodes are remembered after their end.
    """

    def __init__(self, runtime: AsyncioRuntime, coworlds: dict[str, LoadedManifest], runs: Path, keep: int) -> None:
        self.runtime = runtime
        self.episodes: dict[str, AsyncioEpisode] = {}
        self.streams = 0
        self._coworlds = coworlds
        self._runs = runs
        self._keep = keep

    async def start(self, wish: Wish) -> AsyncioEpisode:
        loaded = self._coworlds.get(wish.coworld)
        if loaded is None:
            raise Refused(f"there is no coworld {wish.coworld!r} here", evidence=f"known: {', '.join(self._coworlds)}")
        overrides = [f"{key}={msgspec.json.encode(value).decode()}" for key, value in wish.settings.items()]
        plan = build_plan(loaded, players=wish.players, variant=wish.variant, overrides=overrides)
        name = new_id()
        episode = await self.runtime.start_episode(EpisodeSpec(id=name, plan=plan, directory=self._runs / name))
        self.episodes[name] = episode
        return episode

    def find(self, name: str) -> AsyncioEpisode:
        if name not in self.episodes:
            raise fastapi.HTTPException(404, f"there is no episode {name}; see GET /episodes")
        return self.episodes[name]

    async def forget(self) -> None:
        """Forget the oldest of the episodes that have ended; returns when the runtime is closed."""
        over: deque[str] = deque()
        async for record in self.runtime.events():
            if isinstance(record.event, EpisodeClosed):
                over.append(record.scope)
                if len(over) > self._keep:
                    self.episodes.pop(over.popleft(), None)

    async def follow(self, episode: AsyncioEpisode, *, after: int) -> AsyncGenerator[bytes]:
        """Server-sent events, until the episode is over or the client has gone.

        What waits for a slow client is bounded: uvicorn takes no more from here than it can send, and the subscription drops its
        oldest records and counts them.
        """
        self.streams += 1
        try:
            async with episode.events(after=after) as records:
                dropped = 0
                while True:
                    try:
                        async with asyncio.timeout(HEARTBEAT):
                            batch = await records.batch()
                    except TimeoutError:
                        yield b": still here\n\n"
                        continue
                    if not batch:
                        return
                    if records.dropped > dropped:
                        dropped = records.dropped
                        yield b": too slow, %d events were dropped\n\n" % dropped
                    yield b"".join(map(_sse, batch))
        finally:
            self.streams -= 1


def _sse(record: Record) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (record.seq, msgspec.json.encode(record))


def _json(document: object, status: int = 200, **headers: str) -> Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(msgspec.json.encode(document) + b"\n", status, fields, "application/json")


def _told(error: CoworldError) -> dict[str, object]:
    problems = [str(problem) for problem in getattr(error, "problems", ())]
    return {"what": error.what, "evidence": error.evidence, "todo": error.todo, "problems": problems}


def _service(request: fastapi.Request) -> Service:
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, fastapi.Depends(_service)]
routes = fastapi.APIRouter()


@routes.get("/healthz")
async def health(service: TheService) -> Response:
    return _json({"status": "ok", "streams": service.streams, "runtime": await service.runtime.statistics()})


@routes.get("/metrics")
def exposition() -> Response:
    return Response(generate_latest(REGISTRY), media_type="text/plain")


@routes.post("/episodes")
async def start(wish: Wish, service: TheService) -> Response:
    episode = await service.start(wish)
    here = f"/episodes/{episode.id}"
    return _json({"id": episode.id, "episode": here, "events": f"{here}/events"}, 202, location=here)


@routes.get("/episodes")
async def episodes(service: TheService) -> Response:
    return _json({"episodes": [await episode.status() for episode in tuple(service.episodes.values())]})


@routes.get("/episodes/{name}")
async def look(name: str, service: TheService) -> Response:
    """An episode's status, and its record or its error when it is over."""
    episode = service.find(name)
    view: dict[str, object] = {"status": (status := await episode.status())}
    if status.state is EpisodeState.OVER:
        try:
            view["record"] = await episode.wait()
        except CoworldError as error:
            view["error"] = _told(error)
    return _json(view)


@routes.delete("/episodes/{name}")
async def cancel(name: str, service: TheService) -> Response:
    return _json({"id": name, "cancelled": await service.find(name).cancel("called off over HTTP")}, 202)


@routes.get("/episodes/{name}/events")
async def follow(name: str, service: TheService, last_event_id: Annotated[int, fastapi.Header()] = 0) -> Response:
    events = service.follow(service.find(name), after=last_event_id)
    return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def refuse(_: fastapi.Request, error: Exception) -> Response:
    """How errors of ours are told."""
    assert isinstance(error, CoworldError)
    match error:
        case RuntimeFull():
            return _json(_told(error), 429, retry_after=RETRY_AFTER)
        case RuntimeClosed():
            return _json(_told(error), 503, retry_after=RETRY_AFTER)
        case _:
            return _json(_told(error), 422 if isinstance(error, Refused) else 500)


def make_app(options: argparse.Namespace, stopping: asyncio.Event) -> fastapi.FastAPI:
    """The application. When `stopping` is set, episodes are called off, and the streams of events end with them."""
    manifests = [load_manifest(source) for source in options.coworld]
    coworlds = {loaded.manifest.game.name: loaded for loaded in manifests}
    images = ImageMap.merged(load_images(loaded.directory, {}) for loaded in manifests)
    admission = Admission(parallel=options.parallel, queue=options.queue, when_full=WhenFull.REFUSE)

    @asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncGenerator[None]:
        async with (
            open_runtime_asyncio(
                ProcessDriver(images, log=log.warning),
                name="fastapi-service",
                admission=admission,
                stop_deadline=options.stop_deadline,
                attach=[log_events(log), metrics(REGISTRY)],
            ) as runtime,
            asyncio.TaskGroup() as tasks,
        ):
            app.state.service = Service(runtime, coworlds, options.runs, options.keep)
            forgetter = tasks.create_task(app.state.service.forget())
            stopper = tasks.create_task(stop_when(stopping, runtime))
            yield
            stopping.set()
            await stopper
            forgetter.cancel()

    app = fastapi.FastAPI(title="Episodes", lifespan=lifespan, max_body_size=BODY_LIMIT)
    app.include_router(routes)
    app.add_exception_handler(CoworldError, refuse)
    return app


async def stop_when(stopping: asyncio.Event, runtime: AsyncioRuntime) -> None:
    await stopping.wait()
    report = await runtime.stop()
    log.info("stopped after %.1f s; called off: %d", report.seconds, len(report.cancelled))
    for path in report.killed:
        log.warning("had to be killed: %s", path)


class Server(uvicorn.Server):
    """uvicorn waits for open streams before it tells the application of a signal, and those wait for their episodes: tell it now."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._loop = asyncio.get_running_loop()
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Without super(): it would raise the signal again in the end, and an orderly stop ends with code 0. From here a second
        # signal has its default effect: the process ends at once, and the runtime's janitor sweeps.
        del sig, frame
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._stopping.set)


async def main(options: argparse.Namespace) -> None:
    stopping = asyncio.Event()
    config = uvicorn.Config(
        make_app(options, stopping),
        host=options.host,
        port=options.port,
        log_config=None,
        access_log=False,
        # Streams end with their episodes; this is for a client that does not take its last answer.
        timeout_graceful_shutdown=int(options.stop_deadline) + FAREWELL_SECONDS,
    )
    await Server(config, stopping).serve()


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
        asyncio.run(main(parse()))
    except CoworldError as error:
        sys.exit("\n".join(error.lines()))
