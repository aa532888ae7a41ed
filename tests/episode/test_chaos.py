"""Trouble on purpose: what can be asked for, and that the same seed makes the same trouble however the bytes are cut."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coworld_actors.episode.chaos import Chaos, ChaosLine, Cut, Direction, Fault, FrameCounter, parse_chaos
from coworld_protocol.errors import Refused

HEAD = b"GET /player?slot=0 HTTP/1.1\r\nHost: x\r\n\r\n"


def frame(size: int, *, masked: bool = False, kind: int = 0x82) -> bytes:
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes([kind, bit | size])
    elif size < 65536:
        head = bytes([kind, bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([kind, bit | 127]) + size.to_bytes(8, "big")
    return head + (b"mask" if masked else b"") + bytes(size)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in places} | {len(data)})
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def test_everything_can_be_asked_for_at_once() -> None:
    """In any order, with units."""
    chaos = parse_chaos("seed=7 delay=20ms seats=2,0 jitter=500us stall=0.01:1.5s drop=0.001 halfclose=0.002")
    assert chaos == Chaos(
        delay=0.02, jitter=0.0005, stall_rate=0.01, stall=1.5, drop=0.001, half_close=0.002, seed=7, seats=(0, 2)
    )
    assert [slot for slot in range(4) if chaos.on(slot)] == [0, 2]


@pytest.mark.parametrize(
    "text", ["delay=20ms", "drop=0.00001 seed=-3", "stall=1:10us seats=1", "delay=3s jitter=2.5s halfclose=1"]
)
def test_what_is_asked_for_can_be_written_down_and_read_back(text: str) -> None:
    """The report's line repeats the run."""
    assert parse_chaos(str(parse_chaos(text))) == parse_chaos(text)


@pytest.mark.parametrize(
    ("text", "what", "todo"),
    [
        ("", "nothing would happen", "delay=20ms"),
        ("seed=7", "nothing would happen", "delay=20ms"),
        ("explode=1", "'explode' is nothing it can do", "delay, jitter, stall"),
        ("delay", "delay has no value", "delay=20ms"),
        ("delay=", "delay has no value", "delay=20ms"),
        ("delay=20", "'20' is no time", "500us, 20ms or 1.5s"),
        ("delay=-1ms", "'-1ms' is no time", "20ms"),
        ("delay=1h", "'1h' is no time", "20ms"),
        ("delay=5000s", "delay is 5000 s", "0 s to 600 s"),
        ("delay=1ms delay=2ms", "delay is given twice", "once"),
        ("jitter=5ms", "jitter is 0.005 s and delay 0 s", "a delay of at least the jitter"),
        ("stall=0.1", "'0.1' has no time", "stall=0.01:500ms"),
        ("stall=0.1:0", "a stall needs", "stall=0.01:500ms"),
        ("stall=2:5ms", "'2' is no share", "0 to 1"),
        ("drop=often", "'often' is no share", "0.001"),
        ("drop=nan", "'nan' is no share", "0.001"),
        ("halfclose=1.5", "'1.5' is no share", "0 to 1"),
        ("drop=1 seed=x", "'x' is no seed", "whole number"),
        ("drop=1 seats=a", "'a' is no list of seats", "seats=0,2"),
        ("drop=1 seats=0,,2", "'0,,2' is no list of seats", "seats=0,2"),
    ],
)
def test_a_wrong_one_is_refused_with_what_would_be_right(text: str, what: str, todo: str) -> None:
    """The sentence names the culprit."""
    with pytest.raises(Refused) as caught:
        parse_chaos(text)
    assert what in caught.value.what
    assert todo in caught.value.todo


def test_values_that_mean_nothing_are_refused_in_a_program_too() -> None:
    """`Chaos` itself is as strict as the option."""
    for wrong in ({"drop": 2.0}, {"delay": math.nan}, {"delay": -1.0}, {"stall": 1.0}, {}):
        with pytest.raises(Refused):
            Chaos(**wrong)


def test_the_plan_follows_from_seed_seat_connection_direction_and_frame() -> None:
    """Each of them changes it; the same ones never do."""
    chaos = parse_chaos("delay=20ms jitter=10ms stall=0.5:1s drop=0.3 halfclose=0.3 seed=7")

    def plan(chaos: Chaos, slot: int, connection: int, direction: Direction) -> list[object]:
        return [chaos.trouble(slot, connection, direction, number) for number in range(50)]

    base = plan(chaos, 0, 0, Direction.TO_GAME)
    assert base == plan(chaos, 0, 0, Direction.TO_GAME)
    others = [
        plan(chaos, 1, 0, Direction.TO_GAME),
        plan(chaos, 0, 1, Direction.TO_GAME),
        plan(chaos, 0, 0, Direction.TO_PLAYER),
        plan(parse_chaos("delay=20ms jitter=10ms stall=0.5:1s drop=0.3 halfclose=0.3 seed=8"), 0, 0, Direction.TO_GAME),
    ]
    assert all(base != other for other in others)


def test_the_plan_does_not_change_between_versions() -> None:
    """A seed in somebody's bug report still makes the same trouble: these figures were written down once."""
    chaos = parse_chaos("delay=20ms jitter=10ms drop=0.1 seed=7")
    assert [round(chaos.trouble(2, 1, Direction.TO_PLAYER, n).delay, 6) for n in (1, 2)] == [0.027619, 0.026191]
    assert [n for n in range(40) if chaos.trouble(2, 1, Direction.TO_PLAYER, n).end] == [10, 29, 35, 36]


def test_shares_are_what_was_asked_for() -> None:
    """Over many frames, to a few standard deviations; jitter stays within its bounds."""
    chaos = parse_chaos("delay=20ms jitter=10ms stall=0.1:1s drop=0.05 halfclose=0.02 seed=1")
    plans = [chaos.trouble(0, 0, Direction.TO_GAME, number) for number in range(20_000)]
    assert 0.09 < sum(plan.stall > 0 for plan in plans) / len(plans) < 0.11
    assert 0.043 < sum(plan.end is Fault.DROP for plan in plans) / len(plans) < 0.057
    assert 0.015 < sum(plan.end is Fault.HALF_CLOSE for plan in plans) / len(plans) < 0.025
    assert all(0.01 <= plan.delay <= 0.03 for plan in plans)
    assert max(plan.delay for plan in plans) > 0.029


@given(
    sizes=st.lists(st.sampled_from([0, 1, 125, 126, 300, 65535, 65536]), max_size=6),
    masked=st.booleans(),
    places=st.lists(st.integers(0, 2000), max_size=40),
)
def test_frames_are_counted_alike_however_the_stream_is_cut(sizes: list[int], masked: bool, places: list[int]) -> None:
    """Every byte belongs to the frame in which it was sent, the handshake being frame 0."""
    pieces = [HEAD, *(frame(size, masked=masked) for size in sizes)]
    counter = FrameCounter()
    found = [b""] * len(pieces)
    for piece in cut(b"".join(pieces), places):
        for number, part in counter.split(piece):
            found[number] += part
    assert found == pieces


@given(data=st.binary(max_size=400), places=st.lists(st.integers(0, 400), max_size=20))
def test_garbage_is_counted_without_a_word(data: bytes, places: list[int]) -> None:
    """Whatever the bytes are, none is lost, and cutting them makes no difference."""

    def numbers(pieces: list[bytes]) -> list[int]:
        counter = FrameCounter()
        return [number for piece in pieces for number, part in counter.split(piece) for _ in part]

    whole = numbers([HEAD + data])
    assert len(whole) == len(HEAD + data)
    assert numbers(cut(HEAD + data, places)) == whole
    assert set(numbers([data.replace(b"\n", b"")])) <= {0}


def test_single_bytes_are_counted_like_one_piece() -> None:
    """The worst way to cut."""
    data = HEAD + frame(300, masked=True) + frame(0) + frame(5)
    single, whole = FrameCounter(), FrameCounter()
    one = [number for byte in data for number, _ in single.split(bytes([byte]))]
    assert one == [number for number, part in whole.split(data) for _ in part]
    assert one[-1] == 3


class Faults:
    """Takes what a line tells."""

    def __init__(self) -> None:
        self.told: list[tuple[Fault, int, float]] = []

    def __call__(self, fault: Fault, frame: int, seconds: float) -> None:
        self.told.append((fault, frame, seconds))


def line(text: str) -> tuple[ChaosLine, Faults]:
    faults = Faults()
    return ChaosLine(parse_chaos(text), 0, 0, Direction.TO_PLAYER, faults), faults


def test_a_delayed_byte_comes_out_unchanged_and_later() -> None:
    """After the delay and not before; in between it counts as held."""
    made, _ = line("delay=20ms")
    made.put(10.0, HEAD)
    assert made.held == len(HEAD)
    assert made.due == pytest.approx(10.02)
    assert made.take(10.019) == []
    assert made.take(10.021) == [HEAD]
    assert (made.held, made.due) == (0, math.inf)


def test_jitter_never_changes_the_order() -> None:
    """A frame with a short delay waits for the one before it."""
    made, _ = line("delay=20ms jitter=20ms seed=3")
    data = HEAD + b"".join(frame(size) for size in range(30))
    made.put(0.0, data)
    times: list[float] = []
    out = b""
    while made.due < math.inf:
        times.append(made.due)
        out += b"".join(item for item in made.take(made.due) if isinstance(item, bytes))
    assert out == data
    assert times == sorted(times)
    assert len(set(times)) > 2


def test_a_stall_holds_everything_behind_it() -> None:
    """And is told once for its frame."""
    made, faults = line("stall=1:500ms")
    made.put(0.0, HEAD[:10])
    made.put(0.1, HEAD[10:])
    assert made.due == 0.5
    assert b"".join(item for item in made.take(0.5) if isinstance(item, bytes)) == HEAD
    assert faults.told == [(Fault.STALL, 0, 0.5)]


def test_a_drop_comes_in_place_of_its_frame() -> None:
    """What came before arrives; what comes behind goes nowhere; it is told when it happens."""
    made, faults = line("delay=1ms drop=0.4 seed=5")
    at = next(
        n for n in range(100) if parse_chaos("delay=1ms drop=0.4 seed=5").trouble(0, 0, Direction.TO_PLAYER, n).end
    )
    assert at > 0, "choose a seed that lets the handshake pass"
    pieces = [HEAD, *(frame(number) for number in range(1, 100))]
    for piece in pieces:
        made.put(0.0, piece)
    assert faults.told == []
    items = made.take(1.0)
    assert b"".join(item for item in items if isinstance(item, bytes)) == b"".join(pieces[:at])
    assert items[-1] is Cut.DROP
    assert faults.told == [(Fault.DROP, at, 0.0)]
    assert made.held == 0


def test_the_end_of_a_direction_is_as_late_as_its_bytes() -> None:
    """And comes behind them."""
    made, _ = line("delay=20ms")
    made.put(0.0, HEAD)
    made.end(0.005)
    made.end(0.006)
    assert made.take(0.02) == [HEAD]
    assert made.take(0.03) == [Cut.END]


def test_a_half_close_ends_one_direction_only() -> None:
    """Its line lets nothing more through, without an error."""
    made, faults = line("halfclose=1")
    made.put(0.0, HEAD)
    made.put(0.0, frame(3))
    made.end(0.0)
    assert made.take(0.0) == [Cut.HALF_CLOSE]
    assert faults.told == [(Fault.HALF_CLOSE, 0, 0.0)]
