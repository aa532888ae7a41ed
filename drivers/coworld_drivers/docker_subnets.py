"""Which IPv4 subnets the networks of a run get: small ones, carved out of private ranges, beside what others have.

A stock engine hands out some thirty networks from its own address pools, a /16 or a /20 each, and is then at its end. Networks
that come with their subnet need no pool: a range of 65 536 addresses holds more than a thousand of 60 seats.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError, collapse_addresses
from pathlib import Path

import msgspec

from coworld_protocol.errors import Refused

__all__ = [
    "DEFAULT_RANGES",
    "FRONT_PREFIXES",
    "FRONT_SHARE",
    "VARIABLE",
    "Range",
    "Subnets",
    "host_routes",
    "ranges_of",
    "routes_in",
]

VARIABLE = "COWORLD_ACTORS_SUBNETS"
"""Names the ranges instead of the default ones: CIDRs with commas between them."""

DEFAULT_RANGES = (IPv4Network("10.213.0.0/16"), IPv4Network("172.29.0.0/16"))
"""The first is in nobody's defaults that we know of; the second is for machines on which all of 10.0.0.0/8 leads somewhere, and
among the last that an engine takes for networks of its own."""

FRONT_PREFIXES = (22, 24, 26, 28)
"""Prefix lengths of the games' network, best first: a /22 has as many addresses as a bridge of the kernel has ports."""

FRONT_SHARE = 2
"""It takes a quarter of a range at most: two bits."""

_LARGEST = 8
_SMALLEST = 26
"""Prefix lengths of a range: one of 64 addresses holds the games' network and three of a dozen seats."""

_SHARED = IPv4Network("100.64.0.0/10")
_RIGHT = (
    f'set {VARIABLE} to private IPv4 ranges of /{_LARGEST} to /{_SMALLEST}, such as "10.213.0.0/16,192.168.96.0/20"'
)

_ROUTES = Path("/proc/net/route")


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses of which we may take.

    Attributes:
        network: all of them.
        named: a person has named it. It may then lie within a wider route of this machine, say a VPN's to 10.0.0.0/8.
    """

    network: IPv4Network
    named: bool = False

    def blocked_by(self, other: IPv4Network, *, route: bool) -> bool:
        """Whether what others have keeps us from some of these addresses."""
        if not self.network.overlaps(other):
            return False
        return not (route and self.named and other.prefixlen < self.network.prefixlen)


def ranges_of(environ: Mapping[str, str]) -> tuple[Range, ...]:
    """The ranges to take subnets from, in this order.

    Raises:
        Refused: `COWORLD_ACTORS_SUBNETS` is not what it should be.
    """
    text = environ.get(VARIABLE, "")
    if not text.strip():
        return tuple(Range(network=network) for network in DEFAULT_RANGES)
    named: list[IPv4Network] = []
    for word in (part.strip() for part in text.split(",")):
        network = _range(word)
        if any(network.overlaps(other) for other in named):
            raise Refused(f"{VARIABLE} names {word} twice, or a part of it", todo=_RIGHT)
        named.append(network)
    return tuple(Range(network=network, named=True) for network in named)


def _range(word: str) -> IPv4Network:
    try:
        network = IPv4Network(word, strict=False)
    except (AddressValueError, NetmaskValueError, ValueError):
        raise Refused(f"{VARIABLE} has {word!r} in it, which is no IPv4 range", todo=_RIGHT) from None
    if str(network) != word:
        raise Refused(
            f"{VARIABLE} has {word!r} in it", todo=f"write {network} if that is the range you mean, or {_RIGHT}"
        )
    if not _LARGEST <= network.prefixlen <= _SMALLEST:
        raise Refused(f"{VARIABLE} has {word} in it, which is too {_size(network)}", todo=_RIGHT)
    if not _private(network):
        raise Refused(
            f"{VARIABLE} has {word} in it, which is not private: hosts of others would be hidden", todo=_RIGHT
        )
    return network


def _size(network: IPv4Network) -> str:
    return "large" if network.prefixlen < _LARGEST else "small"


def _private(network: IPv4Network) -> bool:
    if network.is_loopback or network.is_link_local or network.is_multicast or network.is_reserved:
        return False
    return (network.is_private and network.network_address not in IPv4Network("0.0.0.0/8")) or network.subnet_of(
        _SHARED
    )


def host_routes() -> tuple[IPv4Network, ...]:
    """Where this machine's main routing table leads, its default route aside; nothing where that cannot be read."""
    try:
        return routes_in(_ROUTES.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError):
        return ()


def routes_in(table: str) -> tuple[IPv4Network, ...]:
    """The destinations in the text of `/proc/net/route`; lines that are none are passed over."""
    found: list[IPv4Network] = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        try:
            # Addresses are printed as words of this machine, which is little-endian wherever an engine runs but on s390x.
            address, mask = (int.from_bytes(bytes.fromhex(fields[at])[::-1], "big") for at in (1, 7))
            if mask:
                found.append(IPv4Network((address, str(IPv4Address(mask))), strict=False))
        except (IndexError, ValueError):
            continue
    return tuple(found)


class Subnets:
    """Which subnets are ours, and which can be next.

    Args:
        ranges: where they are from.
        seed: where in a range the first one is, 0 up to but not including 1: runs that begin at different places do not ask the
            engine for the same subnets.
    """

    def __init__(self, ranges: Sequence[Range], *, seed: float | None = None) -> None:
        self.ranges = tuple(ranges)
        self._seed = random.random() if seed is None else seed  # noqa: S311 - no secret
        self._held: set[IPv4Network] = set()
        self._refused: set[IPv4Network] = set()
        self._networks: tuple[IPv4Network, ...] = ()
        self._routes: tuple[IPv4Network, ...] = ()

    @property
    def held(self) -> int:
        """How many are ours."""
        return len(self._held)

    def learn(self, networks: Iterable[IPv4Network], routes: Iterable[IPv4Network]) -> None:
        """Know anew what others have; what was refused before is worth another try."""
        self._networks = tuple(networks)
        self._routes = tuple(routes)
        self._refused.clear()

    def take(self, prefixes: Sequence[int], *, share: int = 0) -> IPv4Network | None:
        """The next free subnet, ours from now on; None when there is none.

        Args:
            prefixes: prefix lengths, the best first.
            share: how many bits longer they must be than that of the range.
        """
        for prefix in prefixes:
            for room in self.ranges:
                if room.network.prefixlen + share > prefix:
                    continue
                subnet = next(_free(room.network, prefix, self._busy(room), self._seed), None)
                if subnet is not None:
                    self._held.add(subnet)
                    return subnet
        return None

    def refuse(self, subnet: IPv4Network) -> None:
        """It is somebody else's after all."""
        self._held.discard(subnet)
        self._refused.add(subnet)

    def release(self, subnet: IPv4Network) -> None:
        """It is free again."""
        self._held.discard(subnet)

    def count(self, prefix: int) -> int:
        """How many of that prefix length are free."""
        return sum(
            sum(1 for _ in _free(room.network, prefix, self._busy(room), 0.0))
            for room in self.ranges
            if room.network.prefixlen <= prefix
        )

    def _busy(self, room: Range) -> list[IPv4Network]:
        busy = [other for other in self._routes if room.blocked_by(other, route=True)]
        others = (*self._networks, *self._refused, *self._held)
        busy += [other for other in others if room.blocked_by(other, route=False)]
        return list(collapse_addresses(busy))


def _free(room: IPv4Network, prefix: int, busy: Sequence[IPv4Network], seed: float) -> Iterator[IPv4Network]:
    # Neighbours of one another from the seed on, so that small subnets do not use up the room for large ones.
    first, size = int(room.network_address), 1 << (32 - prefix)
    end = first + room.num_addresses
    middle = first + int(seed * (room.num_addresses // size)) * size
    for start, stop in ((middle, end), (first, middle)):
        at = start
        while at + size <= stop:
            blocker = _blocker(busy, at, at + size)
            if blocker is None:
                yield IPv4Network((at, prefix))
                at += size
            else:
                # The first aligned place behind what is in the way.
                behind = int(blocker.broadcast_address) + 1 - first
                at = first + -(-behind // size) * size


def _blocker(busy: Sequence[IPv4Network], start: int, stop: int) -> IPv4Network | None:
    # Sorted and without overlaps: only the last one that begins before the end can reach in.
    at = bisect.bisect_left(busy, stop, key=lambda each: int(each.network_address))
    if at and int(busy[at - 1].broadcast_address) >= start:
        return busy[at - 1]
    return None
