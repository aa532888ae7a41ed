"""The actor runtime: supervised actors in one structured-concurrency tree. It knows nothing of games.

errors, refusals              what can go wrong between actors, and in their specifications
asks, mailbox, ref            how a message travels, and how it is accounted for
parking, deadlines            how a task sleeps and is woken for the price of one turn; one timer for all asks
actor, incarnation, cell      what an author writes; one life of it; all its lives
current                       on whose behalf the running task runs
restarts, specs               the policies and specifications, as values
children, supervisor          the tree, and who restarts whom
background                    an actor's own tasks
monitors, registry            who has ended, who lives
events, stream, dead_letters  what happened, and who is told
system                        the block that everything lives in
"""

from __future__ import annotations

from coworld_actors.actors.actor import Actor, Context, StopReason
from coworld_actors.actors.asks import Deferred, Request
from coworld_actors.actors.children import ChildInfo, State
from coworld_actors.actors.current import Place, current_actor
from coworld_actors.actors.dead_letters import DeadLetterReason, DeadLetters, Undeliverable
from coworld_actors.actors.errors import (
    ActorCrashed,
    ActorError,
    ActorStopped,
    AskFailed,
    AskTimeout,
    MailboxFull,
    NameTaken,
    NoReply,
    SpecRefused,
    StartFailed,
    Undelivered,
    UnknownMessage,
    WouldDeadlock,
)
from coworld_actors.actors.events import Event, Record
from coworld_actors.actors.mailbox import MailboxStatistics
from coworld_actors.actors.mailbox_policy import MailboxPolicy, Overflow
from coworld_actors.actors.monitors import Down, DownReason, Monitor
from coworld_actors.actors.ref import ActorRef, SupervisorRef, SupervisorStatistics
from coworld_actors.actors.registry import Registry
from coworld_actors.actors.restarts import AutoShutdown, Backoff, Restart, RestartPolicy, StopOrder, Strategy
from coworld_actors.actors.specs import ChildSpec, SupervisorSpec
from coworld_actors.actors.stream import EventStream, Subscription
from coworld_actors.actors.system import ActorSystem, open_system

__all__ = [
    "Actor",
    "ActorCrashed",
    "ActorError",
    "ActorRef",
    "ActorStopped",
    "ActorSystem",
    "AskFailed",
    "AskTimeout",
    "AutoShutdown",
    "Backoff",
    "ChildInfo",
    "ChildSpec",
    "Context",
    "DeadLetterReason",
    "DeadLetters",
    "Deferred",
    "Down",
    "DownReason",
    "Event",
    "EventStream",
    "MailboxFull",
    "MailboxPolicy",
    "MailboxStatistics",
    "Monitor",
    "NameTaken",
    "NoReply",
    "Overflow",
    "Place",
    "Record",
    "Registry",
    "Request",
    "Restart",
    "RestartPolicy",
    "SpecRefused",
    "StartFailed",
    "State",
    "StopOrder",
    "StopReason",
    "Strategy",
    "Subscription",
    "SupervisorRef",
    "SupervisorSpec",
    "SupervisorStatistics",
    "Undeliverable",
    "Undelivered",
    "UnknownMessage",
    "WouldDeadlock",
    "current_actor",
    "open_system",
]
