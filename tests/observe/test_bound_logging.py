"""Log lines know whose they are."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog
import trio

from coworld_actors.actors import Actor, ChildSpec, Restart, SupervisorSpec, open_system
from coworld_actors.observe.bound_logging import ActorFilter, bind_actor, bound_logger


class Lines(logging.Handler):
    """Keeps records."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What is logged to `test.lines`."""
    handler = Lines()
    logger = logging.getLogger("test.lines")
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)


class Writer(Actor[str]):
    """Writes a line wherever authors' code can be."""

    def __init__(self, write, failing: list[int]) -> None:
        self.write = write
        self.failing = failing

    async def on_start(self) -> None:
        self.write("start")

    async def handle(self, message: str) -> None:
        if self.failing:
            self.failing.pop()
            raise ValueError(message)
        self.write("handle")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.soon, "nursery")
        await trio.to_thread.run_sync(self.write, "thread")
        self.context.spawn(self.soon, "spawned")

    async def soon(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        self.write(text)
        if text == "spawned":
            self.context.stop()


async def write_everywhere(write) -> None:
    """One actor that crashes once and then writes, in the scope of an episode."""
    failing = [1]
    async with open_system("test") as system:
        house = await system.start_supervisor("episode-e", SupervisorSpec(scope="e"))
        ref = await house.start_actor(
            ChildSpec(name="writer", start=lambda: Writer(write, failing), restart=Restart.TRANSIENT)
        )
        await ref.tell("crash")
        await ref.tell("write")
        await ref.wait()
    write("outside")


EXPECTED = [
    ("start", "e", "episode-e/writer", 0),
    ("start", "e", "episode-e/writer", 1),
    *((text, "e", "episode-e/writer", 1) for text in ("handle", "nursery", "thread", "spawned")),
]


async def test_the_filter_names_the_actor_of_every_line(lines: Lines) -> None:
    """In a handler, its nurseries, its threads and its background tasks; outside the attributes are there and empty."""
    lines.addFilter(ActorFilter())
    with trio.fail_after(60):
        await write_everywhere(logging.getLogger("test.lines").info)
    found = [(r.getMessage(), r.episode, r.actor, r.incarnation) for r in lines.records]  # type: ignore[attr-defined]
    assert found == [*EXPECTED, ("outside", "", "", "")]
    assert (
        logging.Formatter("%(episode)s %(actor)s#%(incarnation)s").format(lines.records[-2]) == "e episode-e/writer#1"
    )


async def test_the_processor_names_the_actor_of_every_line() -> None:
    """The same for a host that logs with structlog; outside nothing is added."""
    capture = structlog.testing.LogCapture()
    log = structlog.wrap_logger(None, processors=[bind_actor, capture])
    with trio.fail_after(60):
        await write_everywhere(log.info)
    found = [(e["event"], e["episode"], e["actor"], e["incarnation"]) for e in capture.entries[:-1]]
    assert found == EXPECTED
    assert capture.entries[-1] == {"event": "outside", "log_level": "info"}


async def test_what_is_bound_already_stays(lines: Lines) -> None:
    """A line about another actor is about that one."""
    lines.addFilter(ActorFilter())
    capture = structlog.testing.LogCapture()
    log = structlog.wrap_logger(None, processors=[bind_actor, capture])

    def write(text: str) -> None:
        log.info(text, actor="other")
        logging.getLogger("test.lines").info(text, extra={"actor": "other"})

    with trio.fail_after(60):
        await write_everywhere(write)
    assert {entry["actor"] for entry in capture.entries} == {"other"}
    assert {record.actor for record in lines.records} == {"other"}  # type: ignore[attr-defined]
    assert lines.records[0].episode == "e"  # type: ignore[attr-defined]


def test_a_line_has_a_text_and_fields(lines: Lines) -> None:
    """Quoted where needed, blocks below; a field that a record needs for itself has a prefix."""
    log = bound_logger(logging.getLogger("test.lines")).bind(episode="e")
    log.warning("crash", name='a "b"\n', seconds=1.23456, empty="", traceback="one\ntwo\x1b")
    (record,) = lines.records
    assert record.getMessage() == (
        'crash episode=e name="a \\"b\\"\\\\u000a" seconds=1.235 empty=""\n  one\n  two\x1b'.replace("\x1b", "\\u001b")
    )
    assert record.levelno == logging.WARNING
    assert record.module == "test_bound_logging"
    assert (record.episode, record.event_name, record.seconds) == ("e", 'a "b"\n', 1.23456)  # type: ignore[attr-defined]


def test_nothing_is_rendered_for_nobody(lines: Lines) -> None:
    """The logger's level decides, as everywhere."""
    logging.getLogger("test.lines").setLevel(logging.WARNING)
    bound_logger(logging.getLogger("test.lines")).info("unheard")
    assert lines.records == []


def test_a_host_that_configures_nothing_sees_warnings_and_no_more(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The standard library's own last resort shows them on stderr; stdout, where structlog prints unless told, stays empty."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    bound_logger(logging.getLogger("coworld_actors.test")).info("unheard")
    bound_logger(logging.getLogger("coworld_actors.test")).warning("heard")
    out, err = capfd.readouterr()
    assert (out, err.splitlines()[0]) == ("", "heard")
    assert not structlog.is_configured()
    assert logging.getLogger("coworld_actors").handlers == []
