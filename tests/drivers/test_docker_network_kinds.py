"""Names, sizes and addresses of the networks; what each kind lets through is shown on an engine, in `test_docker_networks.py`."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network

import pytest

from coworld_drivers.docker_network_kinds import Kind, Network, here, options_of, prefix_for, room_of
from coworld_protocol.errors import InternalFault

SEATS = (Kind.ISOLATED, Kind.DOORWAY, Kind.OUTSIDE)


@pytest.mark.parametrize("kind", SEATS)
@pytest.mark.parametrize("seats", [0, 1, 11, 12, 59, 60, 61, 64, 123, 124, 1000])
def test_a_network_has_an_address_for_every_seat(kind, seats):
    """As small as a power of two allows, every role at its own address, none at the gateway's or one that a gateway hides at."""
    prefix = prefix_for(kind, seats)
    subnet = IPv4Network(("10.9.0.0", prefix))
    assert room_of(kind, subnet) >= seats
    assert prefix == 28 or room_of(kind, IPv4Network(("10.9.0.0", prefix + 1))) < seats
    network = Network(name="n", subnet=subnet)
    addresses = [IPv4Address(network.address(number)) for number in range(1 + seats)]
    assert len(set(addresses)) == 1 + seats
    reserved = {subnet.network_address, subnet.network_address + 1, subnet.broadcast_address}
    if kind is Kind.DOORWAY:
        reserved.add(subnet.broadcast_address - 1)
        assert f"DefaultGatewayIPv4={subnet.broadcast_address - 1}" in options_of(kind, subnet)
    assert not reserved.intersection(addresses)
    assert all(address in subnet for address in addresses)


def test_sixty_four_seats_have_a_network_of_128():
    """The sizes that are written about: 60 seats in 64 addresses, 64 seats in 128."""
    assert prefix_for(Kind.ISOLATED, 60) == 26
    assert prefix_for(Kind.ISOLATED, 64) == 25


def test_an_address_beyond_the_network_is_a_defect():
    """The last number that fits is the last address before the broadcast's; further ones and negative ones raise."""
    network = Network(name="n", subnet=IPv4Network("10.9.0.0/28"))
    assert network.address(12) == "10.9.0.14"
    for number in (13, -1):
        with pytest.raises(InternalFault, match="no address for role"):
            network.address(number)


def test_a_front_comes_before_seats_by_name():
    """An engine publishes ports from the first network by name that has a gateway."""
    assert all(front.word < seats.word for front in (Kind.FRONT, Kind.FRONT_OUTSIDE) for seats in SEATS)


def test_where_this_machine_is():
    """The gateway's address where it is this machine's; none where an engine elsewhere has it, and none in isolation."""
    local = IPv4Network("127.9.9.0/28")
    assert here(Kind.DOORWAY, local) == IPv4Address("127.9.9.1")
    assert here(Kind.ISOLATED, local) is None
    with socket.socket() as probe, pytest.raises(OSError):
        probe.bind(("203.0.113.1", 0))
    assert here(Kind.DOORWAY, IPv4Network("203.0.113.0/28")) is None
