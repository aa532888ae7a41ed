"""Trees of plain actors and a script of messages for them, drawn from a seed: what fault plans are let loose on."""

from __future__ import annotations

from random import Random

import trio

from coworld_actors.actors import (
    Actor,
    ActorError,
    ActorRef,
    ActorSystem,
    AutoShutdown,
    Backoff,
    ChildSpec,
    Restart,
    RestartPolicy,
    Strategy,
    SupervisorSpec,
)

__all__ = ["Worker", "draw_tree", "talk_to_all"]


class Worker(Actor[int]):
    """Works so many hundredths of a second on a message, has a background task, and takes its time to leave."""

    async def on_start(self) -> None:
        self.context.spawn(trio.sleep_forever)

    async def handle(self, message: int) -> None:
        await trio.sleep(message / 100)

    async def on_stop(self, reason) -> None:
        await trio.sleep(0.1)


def draw_tree(seed: int, scope: str = "", depth: int = 2) -> SupervisorSpec:
    """A supervisor with two to four children, some of them supervisors again, with every policy there is."""
    draw = Random(f"{seed} {depth} {scope}")
    auto = draw.choice([AutoShutdown.NEVER, AutoShutdown.NEVER, *AutoShutdown])
    children = []
    for number in range(draw.randint(2, 4)):
        restart = draw.choice([Restart.PERMANENT, *Restart])
        inner = depth > 0 and draw.random() < 0.4
        children.append(
            ChildSpec(
                name=f"{'s' if inner else 'w'}{number}",
                start=draw_tree(draw.randrange(1000), depth=depth - 1) if inner else Worker,
                restart=restart,
                shutdown=draw.choice([0.0, 0.05, 1.0]),
                significant=restart is not Restart.PERMANENT and auto is not AutoShutdown.NEVER and draw.random() < 0.5,
            )
        )
    policy = RestartPolicy(
        max_restarts=draw.choice([0, 1, 3, 10]),
        within=draw.choice([1.0, 60.0]),
        backoff=Backoff(first=draw.choice([0.0, 0.5]), jitter=draw.choice([0.0, 0.5])),
    )
    return SupervisorSpec(
        strategy=draw.choice(list(Strategy)), restarts=policy, auto_shutdown=auto, children=tuple(children), scope=scope
    )


async def talk_to_all(system: ActorSystem, seed: int, rounds: int = 6) -> None:
    """Send every living worker a message, again and again, with pauses; who is gone is passed over."""
    draw = Random(seed)
    for _ in range(rounds):
        for path in system.registry:
            ref = system.registry[path]
            if isinstance(ref, ActorRef):
                try:
                    ref.tell_nowait(draw.randrange(5))
                except ActorError:
                    continue
        await trio.sleep(draw.choice([0.01, 0.3, 2.0]))
