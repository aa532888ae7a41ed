"""When a child comes back, and when its supervisor gives up. Values and arithmetic only; nothing here waits.

The words and rules are those of OTP's supervisor (`sup_princ`, `supervisor.erl`) with three additions: a back-off between
restarts, restart limits that a parent sees as a crash (OTP reports them as `shutdown`, which a transient parent would take
for an orderly end), and a child that has ended for good stays gone: its `Down` has been delivered, so a sibling's
`one_for_all` does not bring it back.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable

import msgspec

from coworld_actors.actors.monitors import DownReason
from coworld_actors.actors.refusals import refuse_other_kind, refuse_other_number

__all__ = [
    "AutoShutdown",
    "Backoff",
    "Restart",
    "RestartPolicy",
    "RestartWindow",
    "StopOrder",
    "Strategy",
]


class Restart(enum.StrEnum):
    """Which ends of a child make its supervisor start it again."""

    PERMANENT = "permanent"
    """Every end."""
    TRANSIENT = "transient"
    """Abnormal ends: a crash, a kill by its grace, a restart limit below it."""
    TEMPORARY = "temporary"
    """None; and it does not come back when a sibling's strategy took it down."""

    def brings_back(self, reason: DownReason) -> bool:
        """Whether a child that ended so by itself is started again."""
        return self is Restart.PERMANENT or (self is Restart.TRANSIENT and not reason.orderly)


class Strategy(enum.StrEnum):
    """Who else is taken down and started again with a child that is restarted."""

    ONE_FOR_ONE = "one_for_one"
    """Nobody."""
    ONE_FOR_ALL = "one_for_all"
    """All siblings."""
    REST_FOR_ONE = "rest_for_one"
    """The siblings that were started after it."""


class AutoShutdown(enum.StrEnum):
    """Whether a supervisor ends when its significant children have ended by themselves."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    """With the first of them."""
    ALL_SIGNIFICANT = "all_significant"
    """With the last of them."""


class StopOrder(enum.StrEnum):
    """How a supervisor stops several children."""

    REVERSE = "reverse"
    """Last started first, one after the other; graces add up."""
    TOGETHER = "together"
    """All at once; they take as long as the longest grace."""


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait before a restart: `first`, then `factor` times longer for each restart in a row.

    The default does not wait, as OTP does not.

    Attributes:
        first: seconds before the first restart in a row.
        factor: growth per further restart.
        maximum: seconds that growth stops at.
        jitter: a random fraction of the delay, 0 to this, is added on top, so that many do not come back at once.
        reset_after: a life of at least so many seconds ends a row.

    Raises:
        SpecRefused: something that is no finite number of at least 0, or a factor below 1; `reset_after` may be `math.inf`.
    """

    first: float = 0.0
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.1
    reset_after: float = 10.0

    def __post_init__(self) -> None:
        for field in ("first", "maximum", "jitter"):
            refuse_other_number("a back-off", field, getattr(self, field))
        refuse_other_number("a back-off", "reset_after", self.reset_after, endless=True)
        refuse_other_number("a back-off", "factor", self.factor, least=1.0)

    def delay(self, attempt: int, random: Callable[[], float]) -> float:
        """Seconds to wait before restart number `attempt` (from 1) of a row; `random` draws from [0, 1)."""
        try:
            grown = self.first * self.factor ** (attempt - 1)
        except OverflowError:
            grown = self.maximum if self.first else 0.0
        return min(grown, self.maximum) * (1.0 + self.jitter * random())


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How many restarts a supervisor makes before it gives up, over all its children.

    Attributes:
        max_restarts: restarts allowed within the window; the next one ends the supervisor. 0 restarts nothing.
        within: seconds of the window; a restart exactly so old still counts.
        backoff: the wait before each of them.

    Raises:
        SpecRefused: `max_restarts` is no whole number of at least 0, `within` no finite number of at least 0, or `backoff` is no
            `Backoff`.
    """

    max_restarts: int = 3
    within: float = 5.0
    backoff: Backoff = Backoff()

    def __post_init__(self) -> None:
        refuse_other_number("a restart policy", "max_restarts", self.max_restarts)
        refuse_other_kind("a restart policy", "max_restarts", self.max_restarts, int)
        refuse_other_number("a restart policy", "within", self.within)
        refuse_other_kind("a restart policy", "backoff", self.backoff, Backoff)


class RestartWindow:
    """The restarts of the recent past. A failed attempt to restart is one of them."""

    __slots__ = ("_policy", "_times")

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._times: deque[float] = deque()

    def admit(self, now: float) -> bool:
        """Count a restart at `now`, unless that would be one too many. `now` never goes back."""
        while self._times and now - self._times[0] > self._policy.within:
            self._times.popleft()
        if len(self._times) >= self._policy.max_restarts:
            return False
        self._times.append(now)
        return True
