"""The stream: order, slow readers, raising subscribers."""

from __future__ import annotations

import msgspec
import pytest
import trio

from coworld_actors.actors import Actor, ChildSpec, SpecRefused, SupervisorSpec, open_system
from coworld_actors.actors.events import ActorStarted, Event, Record, SystemStarted
from coworld_actors.actors.stream import EventStream


class Told(Event, frozen=True):
    number: int


async def test_a_record_tells_place_time_and_event():
    """Sequence numbers have no gaps, and the encoded record holds the tagged event."""
    stream = EventStream()
    records: list[Record] = []
    stream.subscribe(records.append)
    for number in range(3):
        stream.publish(Told(number=number), actor="a/b", incarnation=2, scope="e-1")
    assert [record.seq for record in records] == [1, 2, 3]
    document = msgspec.json.decode(msgspec.json.encode(records[1]))
    assert document["event"] == {"type": "told", "number": 1}
    assert (document["actor"], document["incarnation"], document["scope"]) == ("a/b", 2, "e-1")


async def test_at_is_the_trio_clock_since_the_opening(autojump_clock):
    """Virtual time makes it exact."""
    stream = EventStream()
    records: list[Record] = []
    stream.subscribe(records.append)
    await trio.sleep(1.5)
    assert stream.now() == 1.5
    stream.publish(Told(number=1))
    assert records[0].at == 1.5


async def test_nobody_listens_costs_no_record():
    """`publish` returns None, and the stream is false."""
    stream = EventStream()
    assert not stream
    assert stream.publish(Told(number=1)) is None
    assert stream.statistics().published == 1


async def test_a_raising_subscriber_is_unsubscribed_and_counted():
    """Publisher and other subscribers do not notice."""
    stream = EventStream()
    seen: list[int] = []

    def broken(record: Record) -> None:
        raise ValueError("no")

    stream.subscribe(broken)
    stream.subscribe(lambda record: seen.append(record.seq))
    stream.publish(Told(number=1))
    stream.publish(Told(number=2))
    assert seen == [1, 2]
    assert stream.statistics().failed == 1
    assert stream.statistics().subscribers == 1


async def test_what_a_subscriber_publishes_comes_after_what_it_looks_at():
    """Every subscriber sees records in the order of their numbers."""
    stream = EventStream()
    seen: list[int] = []

    def echo(record: Record) -> None:
        if record.seq == 1:
            stream.publish(Told(number=2))

    stream.subscribe(echo)
    stream.subscribe(lambda record: seen.append(record.seq))
    stream.publish(Told(number=1))
    assert seen == [1, 2]


async def test_unsubscribing_twice_is_harmless():
    """And nothing arrives afterwards."""
    stream = EventStream()
    seen: list[Record] = []
    unsubscribe = stream.subscribe(seen.append)
    unsubscribe()
    unsubscribe()
    stream.publish(Told(number=1))
    assert seen == []


async def test_a_slow_reader_loses_the_oldest_with_a_count():
    """The buffer never holds more than its capacity."""
    stream = EventStream()
    with stream.open(capacity=3) as subscription:
        for number in range(10):
            stream.publish(Told(number=number))
        stream.close()
        assert [record.event.number async for record in subscription] == [7, 8, 9]
        assert subscription.dropped == 7


async def test_a_reader_gets_what_comes_while_it_waits_and_ends_with_the_stream():
    """An async for over a subscription is woken by each record, and by the end."""
    stream = EventStream()
    seen: list[int] = []

    async def read() -> None:
        async for record in stream.open():
            seen.append(record.seq)  # noqa: PERF401 - the point is to see each as it comes

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for number in range(3):
            await trio.testing.wait_all_tasks_blocked()
            stream.publish(Told(number=number))
        stream.close()
    assert seen == [1, 2, 3]


async def test_a_subscription_to_a_closed_stream_is_empty():
    """It ends at once instead of waiting for ever."""
    stream = EventStream()
    stream.close()
    assert [record async for record in stream.open()] == []


async def test_actors_inherit_the_scope_of_the_supervisor_above():
    """The nearest supervisor with a scope gives it to everything below."""

    class Speaker(Actor[int]):
        async def on_start(self) -> None:
            self.context.publish(Told(number=7))

    async with open_system() as system:
        records: list[Record] = []
        system.events.subscribe(records.append)
        outer = await system.start_supervisor("outer", SupervisorSpec(scope="e-1"))
        inner = await outer.start_supervisor("inner")
        await inner.start_actor(ChildSpec(name="speaker", start=Speaker))
        told = next(record for record in records if isinstance(record.event, Told))
        assert (told.scope, told.actor) == ("e-1", "outer/inner/speaker")


async def test_a_subscription_takes_what_is_there_in_one_go() -> None:
    """A batch waits for the first record only, keeps to its limit, and is empty at the end; a capacity of nothing is refused."""
    stream = EventStream()
    reader = stream.open()
    for _ in range(5):
        stream.publish(SystemStarted(name="s"))
    assert [record.seq for record in await reader.batch(3)] == [1, 2, 3]
    stream.close()
    assert [record.seq for record in await reader.batch()] == [4, 5]
    assert await reader.batch() == []
    with pytest.raises(SpecRefused, match="at least 1"):
        stream.open(capacity=0)


async def test_what_closed_readers_lost_stays_counted() -> None:
    """The stream's own count of lost records never goes down."""
    stream = EventStream()
    reader = stream.open(capacity=1)
    for _ in range(4):
        stream.publish(SystemStarted(name="s"))
    assert stream.statistics().dropped == 3
    reader.close()
    reader.close()
    assert (stream.statistics().dropped, stream.statistics().subscribers) == (3, 0)


async def test_an_interrupt_in_a_callback_does_not_stop_the_stream() -> None:
    """It reaches whoever published, and later records are delivered as before."""
    stream = EventStream()
    seen: list[int] = []

    def interrupted(record: Record) -> None:
        seen.append(record.seq)
        if record.seq == 1:
            raise KeyboardInterrupt

    stream.subscribe(interrupted)
    with pytest.raises(KeyboardInterrupt):
        stream.publish(SystemStarted(name="s"))
    stream.publish(SystemStarted(name="s"))
    assert seen == [1, 2]


async def test_a_subscriber_of_one_scope_gets_nothing_else() -> None:
    """Nor is a record made for nobody; unsubscribing the last one leaves nothing of the scope."""
    stream = EventStream()
    mine: list[Record] = []
    unsubscribe = stream.subscribe(mine.append, scope="a")
    assert stream
    assert stream.publish(ActorStarted(), scope="b") is None
    assert stream.publish(ActorStarted()) is None
    assert stream.publish(ActorStarted(), scope="a") is not None
    assert [(record.seq, record.scope) for record in mine] == [(3, "a")]
    assert stream.statistics().subscribers == 1
    unsubscribe()
    unsubscribe()
    assert not stream
    assert stream.statistics().subscribers == 0


async def test_a_raising_subscriber_of_a_scope_is_dropped_alone() -> None:
    """The others of its scope, and those who get everything, go on."""
    stream = EventStream()
    everything: list[Record] = []
    mine: list[Record] = []

    def fail(_: Record) -> None:
        raise ValueError

    stream.subscribe(everything.append)
    stream.subscribe(fail, scope="a")
    stream.subscribe(mine.append, scope="a")
    for _ in range(2):
        stream.publish(ActorStarted(), scope="a")
    assert (len(everything), len(mine), stream.statistics().failed) == (2, 2, 1)
