"""What a runtime answers to each request. Nothing here waits: an answer is of one moment."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import assert_never, final

from coworld_actors.actors import ActorRef, ChildInfo, Record
from coworld_actors.control.anomalies import find, still_there, worth_a_look
from coworld_actors.control.messages import (
    Anomalies,
    AnomaliesFound,
    AnyRequest,
    Cancel,
    ControlStatistics,
    Done,
    EpisodeList,
    Episodes,
    Events,
    Failure,
    Pause,
    Reply,
    Resume,
    SetParallel,
    Statistics,
    StatisticsReply,
    Tree,
    TreeReply,
)
from coworld_actors.control.tree import ActorStatus, status_of, walk
from coworld_actors.runtime.handle import HISTORY
from coworld_actors.runtime.runtime import Runtime
from coworld_protocol.errors import CoworldError, Refused

__all__ = ["ACTORS_LISTED", "FINDINGS_LISTED", "Answers"]

ACTORS_LISTED = 5_000
"""Actors that one reply lists; about 1 MB, and 50 ms of the event loop."""
FINDINGS_LISTED = 1_000


@final
class Answers:
    """Answers for one runtime.

    Args:
        runtime: whom they are about.
        history: the last records of its stream, the oldest first.
        control: counts of the control socket itself.
    """

    def __init__(self, runtime: Runtime, history: Iterable[Record], control: Callable[[], ControlStatistics]) -> None:
        self._runtime = runtime
        self._history = history
        self._control = control

    def to(self, request: AnyRequest) -> Reply:
        """Do what is asked and say how that went; never raises."""
        try:
            return self._do(request)
        except CoworldError as error:
            return Failure(exit_code=error.exit_code, what=error.what, evidence=error.evidence, todo=error.todo)
        except Exception as error:  # noqa: BLE001 - a defect of ours ends neither the connection nor the host
            return Failure(
                exit_code=4, what=f"internal error: {type(error).__name__}: {error}", todo="report the request and this"
            )

    def _do(self, request: AnyRequest) -> Reply:
        runtime = self._runtime
        match request:
            case Tree(prefix=prefix):
                found = walk(runtime.tree(), prefix)
                actors = tuple(self._status(info, depth) for info, depth in itertools.islice(found, ACTORS_LISTED))
                return TreeReply(actors=actors, left_out=sum(1 for _ in found))
            case Statistics():
                return StatisticsReply(runtime=runtime.statistics(), control=self._control())
            case Episodes():
                return EpisodeList(episodes=tuple(runtime.episodes()))
            case Anomalies(over=over):
                return self._anomalies(over)
            case Cancel(id=episode, reason=reason):
                return self._cancel(episode, reason)
            case Pause():
                changed = not runtime.statistics().paused
                runtime.pause()
                return Done(what=f"{runtime.name} is paused: no further episode begins", changed=changed)
            case Resume():
                changed = runtime.statistics().paused
                runtime.resume()
                return Done(what=f"{runtime.name} begins episodes as their turn comes", changed=changed)
            case SetParallel(parallel=parallel):
                changed = runtime.statistics().parallel != parallel
                runtime.set_parallel(parallel)
                return Done(what=f"{runtime.name} plays at most {parallel} at once", changed=changed)
            case Events():
                raise AssertionError("events are not one reply")
        assert_never(request)

    def _anomalies(self, over: float) -> AnomaliesFound:
        runtime = self._runtime
        episodes = runtime.episodes()
        actors = (self._status(info) for info, _ in walk(runtime.tree()) if worth_a_look(info))
        findings = find(actors, episodes, runtime.statistics(), over)
        return AnomaliesFound(
            running=tuple(still_there(episodes, over)),
            findings=tuple(findings[:FINDINGS_LISTED]),
            left_out=max(len(findings) - FINDINGS_LISTED, 0),
        )

    def _cancel(self, episode: str, reason: str) -> Done:
        handle = self._runtime.episode(episode)
        if handle is None:
            raise Refused(
                f"no episode that runs or waits has the id {episode!r}", todo="coworld-actors ctl episodes lists them"
            )
        if handle.cancel(reason):
            return Done(what=f"episode {handle.id} is called off; its record will say so", changed=True)
        return Done(what=f"episode {handle.id} had been called off before", changed=False)

    def _status(self, info: ChildInfo, depth: int = 0) -> ActorStatus:
        ref = self._runtime.system.registry.find(info.path)
        return status_of(info, depth, ref.statistics().capacity if isinstance(ref, ActorRef) else 0)

    async def kept(self, after: int, until: int, episode: str) -> list[Record]:
        """The records that are still there, by `seq`: the last ones of everything, and the last ones of each living episode.

        Args:
            after: leave out records up to this `seq`,
            until: and those beyond this one.
            episode: only of episodes whose id begins so; empty for everything.
        """
        found = {record.seq: record for record in self._history}
        for status in self._runtime.episodes():
            handle = self._runtime.episode(status.id) if status.id.startswith(episode) else None
            if handle is not None:
                reader = handle.events(after=after)
                reader.close()
                found.update({record.seq: record for record in await reader.batch(HISTORY)})
        wanted = sorted(seq for seq in found if after < seq <= until)
        return [found[seq] for seq in wanted if found[seq].scope.startswith(episode)]
