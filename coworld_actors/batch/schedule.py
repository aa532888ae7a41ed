"""The whole list of episodes, made before the first one starts, so that results do not depend on how many are played at once."""

from __future__ import annotations

import enum

import msgspec

__all__ = ["Schedule", "Scheduled", "Seating", "VariantSeats"]


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
