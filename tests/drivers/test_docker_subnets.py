"""Which subnets are tried, and what the variable that names ranges may say."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import combinations

import pytest

from coworld_drivers.docker_subnets import DEFAULT_RANGES, VARIABLE, Range, Subnets, ranges_of, routes_in
from coworld_protocol.errors import Refused


def ranges(*texts: str, named: bool = False) -> list[Range]:
    return [Range(network=IPv4Network(text), named=named) for text in texts]


def drain(subnets: Subnets, *prefixes: int, share: int = 0) -> list[IPv4Network]:
    found = []
    while (subnet := subnets.take(prefixes, share=share)) is not None:
        found.append(subnet)
    return found


@pytest.mark.parametrize("environ", [{}, {VARIABLE: ""}, {VARIABLE: "  "}])
def test_without_the_variable_there_are_two_private_ranges(environ):
    """Nothing named, or nothing in it: the default ranges, which are private and apart from each other."""
    assert [each.network for each in ranges_of(environ)] == list(DEFAULT_RANGES)
    assert all(network.is_private for network in DEFAULT_RANGES)
    assert not DEFAULT_RANGES[0].overlaps(DEFAULT_RANGES[1])


def test_named_ranges_are_taken_as_they_are_named():
    """Ranges with commas between them, in their order, blanks around them or not."""
    found = ranges_of({VARIABLE: "192.168.96.0/20, 10.9.0.0/26,100.64.0.0/16"})
    assert found == tuple(ranges("192.168.96.0/20", "10.9.0.0/26", "100.64.0.0/16", named=True))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("10.0.0.0", "10.0.0.0/32"),
        ("10.0.0.1/16", "write 10.0.0.0/16"),
        ("nonsense", "no IPv4 range"),
        ("fd00::/64", "no IPv4 range"),
        ("10.0.0.0/16,", "''"),
        ("10.0.0.0/27", "too small"),
        ("10.0.0.0/33", "no IPv4 range"),
        ("0.0.0.0/0", "too large"),
        ("8.8.0.0/16", "not private"),
        ("127.0.0.0/16", "not private"),
        ("169.254.0.0/16", "not private"),
        ("224.0.0.0/16", "not private"),
        ("0.0.0.0/8", "not private"),
        ("10.0.0.0/16,10.0.128.0/20", "names 10.0.128.0/20 twice, or a part of it"),
        ("10.0.0.0/255.255.0.0", "write 10.0.0.0/16"),
    ],
)
def test_what_is_no_private_range_is_refused(text, says):
    """The refusal names the word that is wrong, and shows what would be right."""
    with pytest.raises(Refused) as caught:
        ranges_of({VARIABLE: text})
    told = "\n".join(caught.value.lines())
    assert says in told
    assert VARIABLE in told
    assert "10.213.0.0/16" in told


def test_routes_are_read_and_the_default_route_is_none():
    """Destinations and masks of the kernel's table are words in the order of a little-endian machine."""
    table = (
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        "tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n"
        "eth0\t0180A8C0\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n"
        "broken\tXX\n"
    )
    assert [str(each) for each in routes_in(table)] == ["172.17.0.0/16", "10.0.0.0/8", "192.168.128.1/32"]


@pytest.mark.parametrize("seed", [0.0, 0.37, 0.999])
def test_all_of_a_range_is_used_and_nothing_twice(seed):
    """From wherever it begins, every subnet of a range comes once, then there is none; a released one comes again."""
    subnets = Subnets(ranges("10.9.0.0/24"), seed=seed)
    found = drain(subnets, 28)
    assert sorted(found) == list(IPv4Network("10.9.0.0/24").subnets(new_prefix=28))
    subnets.release(found[5])
    assert drain(subnets, 28) == [found[5]]


def test_sizes_mix_without_overlap():
    """Large and small subnets of one range are apart from each other, and fill it."""
    subnets = Subnets(ranges("10.9.0.0/22"), seed=0.6)
    found = [subnet for prefix in (28, 24, 26, 28, 25) if (subnet := subnets.take((prefix,))) is not None]
    found += drain(subnets, 28)
    assert not any(one.overlaps(other) for one, other in combinations(found, 2))
    assert sum(each.num_addresses for each in found) == 1024


def test_what_others_have_is_left_alone():
    """Networks and routes, smaller and larger ones, are stepped over; what is behind them is used."""
    subnets = Subnets(ranges("10.9.0.0/24", "10.10.0.0/24"), seed=0.0)
    networks = [IPv4Network("10.9.0.40/30"), IPv4Network("10.9.0.128/25"), IPv4Network("192.168.0.0/16")]
    subnets.learn(networks, [IPv4Network("10.10.0.0/25"), IPv4Network("10.9.0.3/32")])
    assert [str(each) for each in drain(subnets, 27)] == [
        *("10.9.0.64/27", "10.9.0.96/27"),
        *("10.10.0.128/27", "10.10.0.160/27", "10.10.0.192/27", "10.10.0.224/27"),
    ]


def test_a_wider_route_blocks_a_range_unless_a_person_has_named_it():
    """A VPN's route to 10.0.0.0/8 moves us to the other default range, and is no obstacle to who names a part of it."""
    routes = [IPv4Network("10.0.0.0/8")]
    subnets = Subnets(ranges_of({}))
    subnets.learn([], routes)
    taken = subnets.take((26,))
    assert taken is not None
    assert taken.subnet_of(DEFAULT_RANGES[1])
    named = Subnets(ranges_of({VARIABLE: "10.213.0.0/16"}))
    named.learn([], routes)
    assert named.take((26,)) is not None
    named.learn([], [IPv4Network("10.213.0.0/16")])
    assert named.take((26,)) is None
    named.learn([IPv4Network("10.0.0.0/8")], [])
    assert named.take((26,)) is None


def test_what_is_refused_is_tried_again_after_a_new_look():
    """A subnet that turned out to be somebody else's is passed over until it is known anew what others have."""
    subnets = Subnets(ranges("10.9.0.0/26"), seed=0.0)
    first = subnets.take((27,))
    assert first is not None
    subnets.refuse(first)
    assert [str(each) for each in drain(subnets, 27)] == ["10.9.0.32/27"]
    subnets.learn([], [])
    assert drain(subnets, 27) == [first]


def test_a_front_takes_its_share_and_no_more():
    """The best size that is a quarter of a range at most; a small range gives a small one."""
    assert [
        str(Subnets(ranges(text), seed=0).take((22, 24, 26, 28), share=2)) for text in ("10.9.0.0/16", "10.9.0.0/22")
    ] == [
        "10.9.0.0/22",
        "10.9.0.0/24",
    ]
    assert str(Subnets(ranges("10.9.0.0/26"), seed=0).take((22, 24, 26, 28), share=2)) == "10.9.0.0/28"


def test_what_is_free_is_counted():
    """The count is what could be taken, and takes nothing."""
    subnets = Subnets(ranges("10.9.0.0/20"), seed=0.4)
    assert subnets.count(26) == 64
    subnets.take((24,))
    subnets.learn([IPv4Network("10.9.8.0/30")], [])
    assert subnets.count(26) == 64 - 4 - 1 == len(drain(subnets, 26))
