"""What dead runs have left on an engine: found by label, removed only when their owner is known to be dead.

Nothing that lacks our labels is ever looked at, nothing of a living process is removed, and what another machine has made on a
shared engine is only named. Whether an owner lives is judged by `labels.is_alive`; the dead stay dead, so between looking and
removing nothing can become somebody's again. What somebody else has removed meanwhile is gone, which is all that is wanted.
"""

from __future__ import annotations

import datetime
import enum
import re
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
import trio

from coworld_drivers.docker_client import LOCAL, Docker, EngineGone, Trouble
from coworld_drivers.labels import ACTOR, EPISODE, OWNER, RUN, VERSION, having, is_alive, name_prefix, of_this_run
from coworld_drivers.lifeline import Will
from coworld_protocol.errors import PreconditionMissing

__all__ = [
    "Kept",
    "Kind",
    "Leftover",
    "Leftovers",
    "Removal",
    "find_leftovers",
    "remove_leftovers",
    "sweep_at_start",
    "wills",
]

REMOVAL_SECONDS = 60.0
"""For one round of removals; a hundred running containers take a busy machine of two cores some 8 s."""

START_SECONDS = 15.0
"""What the sweep at a run's start may take; the rest is left to the next one."""

_START_PATIENCE = 1.0
_AT_ONCE = 200
"""Things removed by one call: 64 characters of an id each."""
_ROUNDS = 3
_ROUND_PAUSE = 0.5

_CREATED = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)? ([+-]\d{4})\b")


class Kind(enum.StrEnum):
    """What a leftover is."""

    CONTAINER = "container"
    NETWORK = "network"


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """A container or network that carries our labels.

    Attributes:
        kind: what it is.
        id: by which the engine knows it.
        name: by which people do.
        owner: the process that made it, as its label says.
        run: the driver that made it.
        episode: for this episode; empty for what belongs to a whole run.
        actor: for this role; as above.
        state: the engine's word for what a container does; empty for networks.
        created: Unix time; None when the engine's word for it cannot be read.
    """

    kind: Kind
    id: str
    name: str
    owner: str
    run: str
    episode: str = ""
    actor: str = ""
    state: str = ""
    created: float | None = None


class Leftovers(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on an engine that carries our labels.

    Attributes:
        dead: whose owner is dead, containers first.
        elsewhere: of whose owner nothing can be known from here: another machine's, or that of another container.
        living: how many there are whose owner lives.
    """

    dead: tuple[Leftover, ...] = ()
    elsewhere: tuple[Leftover, ...] = ()
    living: int = 0


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Something that could not be removed.

    Attributes:
        leftover: what it is.
        reason: what the engine says about it.
    """

    leftover: Leftover
    reason: str


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """What became of leftovers.

    Attributes:
        removed: those that are gone, whoever it was.
        kept: those that are still there.
    """

    removed: tuple[Leftover, ...] = ()
    kept: tuple[Kept, ...] = ()


class _Row(msgspec.Struct, frozen=True, array_like=True):
    id: str
    name: str
    created: str
    owner: str
    run: str
    version: str
    episode: str
    actor: str
    state: str = ""


def _template(name: str, *more: str) -> str:
    """One JSON array a line, in the order of `_Row`. Both listings of a client of 20.10 know these words."""
    labels = (f'.Label "{label}"' for label in (OWNER, RUN, VERSION, EPISODE, ACTOR))
    cells = [".ID", name, ".CreatedAt", *labels, *more]
    return "[" + ",".join(f"{{{{json ({cell})}}}}" for cell in cells) + "]"


_LISTINGS = {
    Kind.CONTAINER: ("ps", "--all", "--no-trunc", *having(OWNER), "--format", _template(".Names", ".State")),
    Kind.NETWORK: ("network", "ls", "--no-trunc", *having(OWNER), "--format", _template(".Name")),
}
_REMOVALS = {
    # Containers first: a network goes once nobody is in it.
    Kind.CONTAINER: ("rm", "--force", "--volumes"),
    Kind.NETWORK: ("network", "rm"),
}


def wills(docker: Docker, run: str) -> tuple[Will, ...]:
    """What a janitor has to do so that nothing of a run stays on the engine."""
    program, environ = docker.client.program, docker.client.environ
    listings = {
        Kind.CONTAINER: ("ps", "--all", "--no-trunc", "--quiet"),
        Kind.NETWORK: ("network", "ls", "--no-trunc", "--quiet"),
    }
    return tuple(
        Will(list=(program, *listings[kind], *of_this_run(run)), remove=(program, *removal), environ=environ)
        for kind, removal in _REMOVALS.items()
    )


async def find_leftovers(docker: Docker, *, patience: float | None = None) -> Leftovers:
    """Everything on the engine that carries our labels, by what is known of its owner. Two calls.

    Args:
        docker: the engine.
        patience: seconds for which an engine that is busy or away is asked again; None for what it has itself.

    Raises:
        EngineGone: no engine answers.
        DockerRefused: it says something else than it should.
    """
    found = [each for kind in Kind for each in await _list(docker, kind, patience)]
    alive = {owner: is_alive(owner) for owner in {each.owner for each in found}}
    if None in alive.values() and (await docker.endpoint()).startswith(LOCAL):
        alive = {owner: is_alive(owner, engine_is_here=True) for owner in alive}
    return Leftovers(
        dead=tuple(each for each in found if alive[each.owner] is False),
        elsewhere=tuple(each for each in found if alive[each.owner] is None),
        living=sum(1 for each in found if alive[each.owner] is True),
    )


async def _list(docker: Docker, kind: Kind, patience: float | None) -> list[Leftover]:
    def again(trouble: Trouble) -> bool:
        # Engines stumble over a container that vanishes while they list it.
        return trouble in {Trouble.BUSY, Trouble.ENGINE_AWAY, Trouble.NOT_FOUND}

    done = await docker.ask(*_LISTINGS[kind], what=f"{kind}s cannot be listed", patience=patience, again=again)
    try:
        rows = [msgspec.json.decode(line, type=_Row) for line in done.stdout.splitlines() if line.strip()]
    except msgspec.DecodeError as error:
        raise EngineGone(
            "the docker client's answer cannot be read", Trouble.OTHER, evidence=str(error), todo="run `docker ps -a`"
        ) from error
    return [
        Leftover(
            kind=kind,
            id=row.id,
            name=row.name,
            owner=row.owner,
            run=row.run,
            episode=row.episode,
            actor=row.actor,
            state=row.state,
            created=_unix_time(row.created),
        )
        for row in rows
        # All that everything of ours carries: one label alone may be somebody else's word, and an image that was made of a
        # container of ours passes all of them on to containers of other names.
        if row.id and row.owner and row.run and row.version and row.name.startswith(name_prefix(row.run))
    ]


def _unix_time(text: str) -> float | None:
    found = _CREATED.match(text)
    if found is None:
        return None
    with suppress(ValueError, OverflowError):
        return datetime.datetime.strptime(" ".join(found.groups()), "%Y-%m-%d %H:%M:%S %z").timestamp()
    return None


async def remove_leftovers(docker: Docker, leftovers: Leftovers) -> Removal:
    """Remove what dead owners have left; whatever else was found stays.

    Args:
        docker: the engine.
        leftovers: of which `dead` goes.

    Raises:
        EngineGone: no engine answers any more; some of them may be gone.
        DockerRefused: it says something else than it should.
    """
    there = list(leftovers.dead)
    reasons: dict[str, str] = {}
    for round_ in range(_ROUNDS):
        if round_:
            await trio.sleep(_ROUND_PAUSE * round_)
        for kind, removal in _REMOVALS.items():
            for names in _portions([each.id for each in there if each.kind is kind]):
                done = await docker.client.call(*removal, *names, timeout=REMOVAL_SECONDS)
                if not done.ok:
                    reasons.update(_reasons(names, done.stderr, done.complaint))
        # What a call says about many things at once is no proof; what is still listed is.
        listed = {each.id for kind in Kind if there for each in await _list(docker, kind, None)}
        there = [each for each in there if each.id in listed]
        if not there:
            break
    still = {each.id for each in there}
    return Removal(
        removed=tuple(each for each in leftovers.dead if each.id not in still),
        kept=tuple(Kept(leftover=each, reason=reasons.get(each.id, "it is still listed")) for each in there),
    )


def _portions(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[first : first + _AT_ONCE] for first in range(0, len(names), _AT_ONCE)]


def _reasons(names: Sequence[str], stderr: str, complaint: str) -> dict[str, str]:
    """Why each of them was not removed, as far as a complaint has a line that names it."""
    lines = [" ".join(line.split())[-400:] for line in stderr.splitlines()]
    return {name: next((line for line in lines if name in line), complaint) for name in names}


async def sweep_at_start(docker: Docker, log: Callable[[str], None]) -> None:
    """Before a run: remove what dead ones have left, say so, and let nothing that goes wrong keep the run from starting.

    Args:
        docker: the engine; an engine that is away is not waited for.
        log: is told one sentence when there was something.
    """
    removal = Removal()
    trouble = ""
    with trio.move_on_after(START_SECONDS) as limit:
        try:
            leftovers = await find_leftovers(docker, patience=_START_PATIENCE)
            if leftovers.dead:
                removal = await remove_leftovers(docker, leftovers)
        except PreconditionMissing as missing:
            if isinstance(missing, EngineGone) and missing.trouble in {Trouble.ENGINE_AWAY, Trouble.FORBIDDEN}:
                # The run itself will say so, and better.
                return
            trouble = f"{missing.what} ({missing.evidence})" if missing.evidence else missing.what
    if limit.cancelled_caught:
        trouble = f"it took more than {START_SECONDS:g} s"
    if removal.removed:
        log(f"removed what dead runs had left: {_counted(removal.removed)}")
    if removal.kept:
        trouble = f"{_counted([each.leftover for each in removal.kept])}: {removal.kept[0].reason}"
    if trouble:
        log(f"what dead runs have left on the engine could not be removed: {trouble}; `coworld-actors gc` tries again")


def _counted(leftovers: Sequence[Leftover]) -> str:
    """`3 containers, 1 network`."""
    counts = [(sum(1 for each in leftovers if each.kind is kind), kind) for kind in Kind]
    return ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for count, kind in counts if count)
