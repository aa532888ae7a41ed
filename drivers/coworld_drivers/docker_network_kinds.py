"""The kinds of networks that containers of ours are in: how each is made, and what it lets through.

On an engine for Linux:

- *Isolated seats*: `--internal`, with no address of this machine. Its members reach each other, and nobody else reaches them or is
  reached. Two limits are the engine's: the players of one episode can reach each other too; and where the kernel's `rp_filter` is 0,
  a player that asks for a device and for no routing, which needs no privilege, can send single datagrams to any address of this
  machine. No answer gets back, so there is no connection. With 1 or 2 they are dropped: the bridge has no address.
- *Seats with a doorway*: `--internal`, and this machine has the gateway's address. What listens there, or on every address of
  this machine, can be reached at that address; with the same trick what listens on any of its addresses, those of loopback
  excepted. Nothing beyond this machine can.
- *Seats outside*: an ordinary network.
- *Front*: games only, which cannot reach each other there. Without masquerade, and with a default gateway that nobody is, so that
  nothing leads on. A game can reach this machine as through a doorway: the port that we publish needs an address there.
- *Front outside*: the same, with masquerade and a real gateway.

What depends on the engine's version, looked up from 20.10 to 29:

- In an isolated network before 28 an address is reserved for a gateway, and members have a default route to it which leads
  nowhere; from 28 on there is neither. `gateway_mode_ipv4=isolated` is the newer word for the same and unknown before 28. The first
  address of a subnet is therefore never given to a role.
- `enable_icc=false` works through the kernel's bridge netfilter. Where that is missing the network is refused, but not by an engine
  that was started with DOCKER_IGNORE_BR_NETFILTER_ERROR (28 and later) or `iptables: false` (any): there games reach each other.
- Of several networks with a gateway the first by name has a container's default route and published ports (from 28 on a
  priority can be given as well): "front" is before "seats".
- The engine's name server asks a resolver on this machine's loopback address on behalf of internal networks, until it was mended for
  CVE-2024-29018 (release notes of 25.0.5 and 26.0; 23.0.11). A container's `--dns` prevents that, a network cannot.
"""

from __future__ import annotations

import enum
import socket
from ipaddress import IPv4Address, IPv4Network

import msgspec

from coworld_protocol.errors import InternalFault

__all__ = ["MOST_GAMES", "SPARE", "Kind", "Network", "here", "options_of", "prefix_for", "room_of"]

MOST_GAMES = 1_000
"""Games of one front network at a time: a bridge of the kernel has 1023 ports, and a /22 has 1022 addresses."""

SPARE = 4
"""Addresses of a seats network that no player can have: its own, the gateway's, the game's and the broadcast address."""

_SMALLEST = 28
_OPTION = "com.docker.network.bridge."


class Kind(enum.StrEnum):
    """What a network is for, and what may be reached from it."""

    ISOLATED = "isolated"
    DOORWAY = "doorway"
    OUTSIDE = "outside"
    FRONT = "front"
    FRONT_OUTSIDE = "front_outside"

    @property
    def word(self) -> str:
        """What is in its name: a front's is before any seats', see above."""
        return {Kind.FRONT: "front", Kind.FRONT_OUTSIDE: "front-outside"}.get(self, "seats")


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A network of ours.

    Attributes:
        name: by which the engine knows it.
        subnet: its addresses.
        gateway: where this machine is in it; None when it is not.
    """

    name: str
    subnet: IPv4Network
    gateway: IPv4Address | None = None

    def address(self, number: int) -> str:
        """The address of a role in a seats network.

        Args:
            number: 0 is the game, 1 + slot a player.

        Raises:
            InternalFault: the network is too small.
        """
        if not 0 <= number <= self.subnet.num_addresses - SPARE:
            raise InternalFault(f"{self.name} ({self.subnet}) has no address for role {number}")
        return str(self.subnet.network_address + 2 + number)


def _taken(kind: Kind) -> int:
    # The address of the gateway that nobody is.
    return SPARE + (kind is Kind.DOORWAY)


def prefix_for(kind: Kind, seats: int) -> int:
    """The prefix length of a seats network for so many players."""
    return min(_SMALLEST, 32 - (seats + _taken(kind) - 1).bit_length())


def room_of(kind: Kind, subnet: IPv4Network) -> int:
    """How many players a seats network with that subnet has addresses for."""
    return subnet.num_addresses - _taken(kind)


def options_of(kind: Kind, subnet: IPv4Network) -> tuple[str, ...]:
    """The words after `docker network create`, but for name and labels.

    Much of it is the default of an engine, and said all the same: an engine may be configured to have others.
    """
    between = kind not in {Kind.FRONT, Kind.FRONT_OUTSIDE}
    internal = kind in {Kind.ISOLATED, Kind.DOORWAY}
    leads_on = kind in {Kind.OUTSIDE, Kind.FRONT_OUTSIDE}
    words = ["--driver", "bridge", "--ipv6=false", "--subnet", str(subnet)]
    words += [
        "--opt",
        f"{_OPTION}enable_icc={_word(between)}",
        "--opt",
        f"{_OPTION}enable_ip_masquerade={_word(leads_on)}",
    ]
    if internal:
        words.append("--internal")
    if kind is Kind.ISOLATED:
        words += ["--opt", f"{_OPTION}inhibit_ipv4=true"]
    else:
        words += ["--gateway", str(subnet.network_address + 1)]
        if not leads_on:
            # Where the default route leads to this machine, its other addresses can be reached through it.
            words += ["--aux-address", f"DefaultGatewayIPv4={subnet.broadcast_address - 1}"]
    return tuple(words)


def _word(value: bool) -> str:
    return "true" if value else "false"


def here(kind: Kind, subnet: IPv4Network) -> IPv4Address | None:
    """The address that this machine has in such a network, once it is made.

    None where it has none by the kind, or because the engine is another host's, a virtual machine's or rootless.
    """
    if kind is Kind.ISOLATED:
        return None
    address = subnet.network_address + 1
    with socket.socket() as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return None
    return address
