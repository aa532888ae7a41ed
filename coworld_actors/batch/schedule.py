"""The whole list of episodes, made before the first one starts, so that results do not depend on how many are played at once.

An episode's place in the list follows from the arguments of `make_schedule` alone:

    for round: for variant: for lineup: for arrangement

A lineup is a base: one entrant per seat, before anybody has taken a seat. An arrangement of it puts them on seats.
"""

from __future__ import annotations

import enum
import functools
import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence

import msgspec

from coworld_actors.manifest.rules import CHECK_SEATS_LIMIT
from coworld_actors.manifest.shares import largest_remainder
from coworld_protocol.errors import Refused

__all__ = [
    "EPISODE_LIMIT",
    "Lineups",
    "Schedule",
    "Scheduled",
    "Seating",
    "VariantSeats",
    "largest_remainder",
    "make_schedule",
    "pickup_lineups",
    "rotations",
    "round_robin",
    "seated_in_turn",
    "shared_lineup",
]

EPISODE_LIMIT = 1_000_000
"""Episodes of one schedule. A million take 0.3 GB and, at a thousand a minute, most of a day."""

Lineups = Callable[[int, int], Sequence[tuple[int, ...]]]
"""From a number of seats and a round to the bases that play: tuples of entrant indexes, one per seat."""


class Seating(enum.StrEnum):
    """Who sits where in the episodes of one lineup."""

    SHUFFLE = "shuffle"
    """By lot, anew for every round."""
    ROTATE = "rotate"
    """One seat further every round: exactly balanced when the rounds are a multiple of the seats."""
    FIXED = "fixed"
    """As given."""


class VariantSeats(msgspec.Struct, frozen=True, kw_only=True):
    """A variant that is played.

    Attributes:
        id: of the variant, or `certification`.
        seats: how many it has.
    """

    id: str
    seats: int


class Scheduled(msgspec.Struct, frozen=True, kw_only=True):
    """One episode of a schedule.

    Attributes:
        index: its place in the schedule, from 0.
        variant: id of the variant.
        lineup: index of the lineup; 0 unless several are compared.
        block: episodes with the same number are analysed together.
        seed: of the episode.
        seats: per slot the index of the entrant who sits there.
    """

    index: int
    variant: str
    lineup: int
    block: int
    seed: int
    seats: tuple[int, ...]


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is going to be played, in this order.

    Attributes:
        seed: the first round's.
        seating: who sits where.
        entrants: names of the players, unique.
        variants: what is played.
        episodes: the list.
    """

    seed: int
    seating: Seating
    entrants: tuple[str, ...]
    variants: tuple[VariantSeats, ...]
    episodes: tuple[Scheduled, ...]


def shared_lineup(shares: Sequence[float], names: Sequence[str] = ()) -> Lineups:
    """One lineup: the seats shared out by largest remainder, entrants in their order.

    Args:
        shares: per entrant, above 0.
        names: of the entrants, for the refusal.

    Returns:
        Lineups that raise Refused for a number of seats at which an entrant would get none.
    """

    @functools.cache
    def only(seats: int) -> Sequence[tuple[int, ...]]:
        counts = largest_remainder(seats, shares)
        if 0 in counts:
            raise _seatless(seats, shares, counts, names)
        return [_base(counts, range(len(counts)))]

    return lambda seats, _: only(seats)


def seated_in_turn(pattern: Sequence[int]) -> Lineups:
    """One lineup: the pattern from the first seat on, repeated until every seat has somebody.

    Args:
        pattern: indexes of entrants.
    """
    return lambda seats, _: [tuple(pattern[slot % len(pattern)] for slot in range(seats))]


def round_robin(entrants: int) -> Lineups:
    """Every choice of as many entrants as there are seats is a lineup, in lexical order.

    Where there are seats for all, one lineup with equal shares is left of it.
    """

    @functools.cache
    def groups(seats: int) -> Sequence[tuple[int, ...]]:
        if entrants <= seats:
            return [_base(largest_remainder(seats, [1.0] * entrants), range(entrants))]
        if math.comb(entrants, seats) > EPISODE_LIMIT:
            raise _too_many(math.comb(entrants, seats), f"{entrants} players meet in all groups of {seats}")
        return list(itertools.combinations(range(entrants), seats))

    return lambda seats, _: groups(seats)


def pickup_lineups(candidate: int, pool: Sequence[int]) -> Lineups:
    """The candidate on k seats, k = all seats down to 0; the pool shares the rest equally. Lineup 0 is all candidate.

    The pool's order turns by one every round, so that whoever gets no seat beside the candidate in one round gets one in another.

    Args:
        candidate: index of the entrant that is looked at.
        pool: indexes of those who could play in its place.

    Raises:
        Refused: the pool is empty.
    """
    if not pool:
        raise Refused("the pool is empty", todo="name at least one player with --pool")

    @functools.cache
    def descending(seats: int, turn: int) -> Sequence[tuple[int, ...]]:
        order = [*pool[turn:], *pool[:turn]]
        return [
            (candidate,) * held + _base(largest_remainder(seats - held, [1.0] * len(order)), order)
            for held in range(seats, -1, -1)
        ]

    return lambda seats, round_: descending(seats, round_ % len(pool))


def rotations(base: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The different turns of a base, the base first: seat s of turn i takes `base[(s + i) % seats]`.

    A base that repeats itself after p seats has p turns; taken together, they put everybody on every seat equally often.
    """
    return list(dict.fromkeys(base[turn:] + base[:turn] for turn in range(len(base))))


def make_schedule(
    *,
    seed: int,
    variants: Sequence[VariantSeats],
    entrants: Sequence[str],
    lineups: Lineups,
    seating: Seating,
    rounds: int,
    blocks: bool,
) -> Schedule:
    """The list of all episodes: a pure function of its arguments.

    The episodes of a round have the seed `seed + round`, in every variant and lineup. A block is what a round makes of one
    lineup in one variant.

    Args:
        seed: of the first round.
        variants: at least one.
        entrants: names, unique.
        lineups: who plays, by seats and round.
        seating: how they are put on seats.
        rounds: episodes per variant and lineup, or with `blocks` blocks of them.
        blocks: whether a round plays all the turns of its lineup, so that every entrant sits on every seat with the same seed.

    Raises:
        Refused: nobody plays or nothing is played, a name comes twice, the schedule is too long, or what `lineups` raises.
    """
    if rounds < 1:
        raise Refused(f"{rounds} rounds are no schedule", todo="ask for 1 or more")
    if not entrants or not variants:
        raise Refused("a schedule needs a player and a variant", todo="name at least one of each")
    _refuse_twice("player", entrants)
    _refuse_twice("variant", [variant.id for variant in variants])
    episodes: list[Scheduled] = []
    block = 0
    for round_ in range(rounds):
        for variant in variants:
            bases = lineups(variant.seats, round_)
            for lineup, seats in enumerate(_seated(bases, seating, round_, f"{seed}/{variant.id}/{round_}", blocks)):
                for arrangement in seats:
                    episodes.append(
                        Scheduled(
                            index=len(episodes),
                            variant=variant.id,
                            lineup=lineup,
                            block=block,
                            seed=seed + round_,
                            seats=arrangement,
                        )
                    )
                block += 1
            if len(episodes) * rounds > EPISODE_LIMIT * (round_ + 1):
                raise _too_many(len(episodes) * rounds // (round_ + 1), f"{rounds} rounds")
    return Schedule(
        seed=seed, seating=seating, entrants=tuple(entrants), variants=tuple(variants), episodes=tuple(episodes)
    )


def _seated(
    bases: Sequence[tuple[int, ...]], seating: Seating, round_: int, lot: str, blocks: bool
) -> Iterator[list[tuple[int, ...]]]:
    """Per base the arrangements that the round plays. All bases of a round are shuffled the same way."""
    for base in bases:
        match seating:
            case Seating.FIXED:
                yield [base]
            case Seating.ROTATE:
                turn = round_ % len(base)
                yield rotations(base) if blocks else [base[turn:] + base[:turn]]
            case Seating.SHUFFLE:
                drawn = list(base)
                random.Random(lot).shuffle(drawn)  # noqa: S311 - has to be repeatable, not secret
                yield rotations(tuple(drawn)) if blocks else [tuple(drawn)]


def _base(counts: Sequence[int], entrants: Sequence[int]) -> tuple[int, ...]:
    return tuple(entrant for entrant, count in zip(entrants, counts, strict=True) for _ in range(count))


def _refuse_twice(what: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise Refused(f"{what} {name!r} comes twice", todo="name it once")
        seen.add(name)


def _seatless(seats: int, shares: Sequence[float], counts: Sequence[int], names: Sequence[str]) -> Refused:
    called = [names[index] if index < len(names) else f"player {index + 1}" for index in range(len(shares))]
    left_out = [name for name, count in zip(called, counts, strict=True) if count == 0]
    enough = next(
        (total for total in range(len(shares), CHECK_SEATS_LIMIT + 1) if 0 not in largest_remainder(total, shares)),
        None,
    )
    listing = ", ".join(f"{name} {share:g}" for name, share in zip(called, shares, strict=True))
    equal = len(set(shares)) == 1
    ways = [f"play a variant with at least {enough} seats"] if enough else []
    if len(shares) <= seats:
        ways.append("give shares that lie closer together")
    elif equal:
        ways.append("let all groups of players meet with --round-robin")
    number = "1 seat" if seats == 1 else f"{seats} seats"
    return Refused(
        f"{number} cannot be shared like this: {', '.join(left_out)} would get none",
        evidence=f"shares: {listing}",
        todo=", or ".join(ways) or "name fewer players",
    )


def _too_many(episodes: int, why: str) -> Refused:
    return Refused(
        f"the schedule would have {episodes} episodes",
        evidence=f"{why}; the limit is {EPISODE_LIMIT}",
        todo="ask for fewer rounds, players or variants",
    )
