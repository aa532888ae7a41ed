"""A role's actor with real processes: it reports one end, has patience, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from coworld_actors.actors import ActorRef, ActorSystem, ChildSpec, Record, Restart, SupervisorRef
from coworld_actors.episode import role as role_module
from coworld_actors.episode.events import RoleEnded, RoleStarted
from coworld_actors.episode.role import Role, in_a_sentence, last_line
from coworld_drivers.driver import ExitKind, ExitStatus, Handle, Launch, Mount
from coworld_drivers.process import ProcessSite
from coworld_protocol.errors import PreconditionMissing
from tests.coworlds import IMAGE


class Watched(Role[None]):
    """A role that notes its ends; `patient` seconds are its patience."""

    def __init__(self, site: ProcessSite, launch: Launch, *, patient: float | None = None) -> None:
        super().__init__(site, launch, slot=3)
        self.patient = patient
        self.ends: list[tuple[ExitStatus, bool, str]] = []

    async def on_start(self) -> None:
        await self.start()
        self.context.spawn(self.watch)

    async def patience(self) -> bool:
        if self.patient is None:
            return False
        await trio.sleep(self.patient)
        return True

    async def ended(self, handle: Handle, status: ExitStatus, *, overstayed: bool) -> None:
        self.ends.append((status, overstayed, last_line(handle)))


def shell(tmp_path: Path, script: str, **more: object) -> Launch:
    fields = {"stdout": tmp_path / "role.log", "mounts": (Mount(path=tmp_path, at="/own", writable=True),), **more}
    return Launch(name="role", role="player", image=IMAGE, run=("sh", "-c", script), **fields)  # type: ignore[arg-type]


async def run(house: SupervisorRef, role: Watched) -> ActorRef[None]:
    spec = ChildSpec(name="role", start=lambda: role, restart=Restart.TEMPORARY, shutdown=30)
    return await house.start_actor(spec)


async def test_an_end_by_itself_is_reported_once_and_ends_the_actor(
    system: ActorSystem, house: SupervisorRef, site: ProcessSite, tmp_path: Path
) -> None:
    """Exit code and last line; a start and an end on the stream, with the slot."""
    events: list[Record] = []
    system.events.subscribe(events.append)
    role = Watched(site, shell(tmp_path, "echo first; echo last; exit 4"))
    with trio.fail_after(60):
        await (await run(house, role)).wait()
    assert role.ends == [(ExitStatus(kind=ExitKind.EXITED, code=4), False, "last")]
    assert role.process is not None
    assert role.process.usage.cpu_seconds is not None
    published = [r.event for r in events if isinstance(r.event, RoleStarted | RoleEnded)]
    assert published == [
        RoleStarted(role="player", name="role", slot=3),
        RoleEnded(role="player", name="role", slot=3, end="exit code 4", ok=False, usage=role.process.usage),
    ]


async def test_a_stop_without_patience_ends_the_process_and_is_reported_once(
    house: SupervisorRef, site: ProcessSite, tmp_path: Path
) -> None:
    """Ended by SIGTERM because we asked: stopped, not overstayed."""
    role = Watched(site, shell(tmp_path, "sleep 600"))
    ref = await run(house, role)
    with trio.fail_after(60):
        await ref.stop()
    ((status, overstayed, _),) = role.ends
    assert (status.signal, status.stopped, overstayed) == (15, True, False)


async def test_a_process_that_ends_within_its_patience_has_not_overstayed(
    house: SupervisorRef, site: ProcessSite, tmp_path: Path
) -> None:
    """Its own end counts, however long it could have stayed."""
    role = Watched(site, shell(tmp_path, "sleep 0.5; exit 0"), patient=300)
    ref = await run(house, role)
    with trio.fail_after(60):
        await ref.stop()
    assert [(status.ok, overstayed) for status, overstayed, _ in role.ends] == [(True, False)]


async def test_a_process_that_uses_up_its_patience_has_overstayed(
    house: SupervisorRef, site: ProcessSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that ignores SIGTERM: then SIGKILL ends it."""
    monkeypatch.setattr(role_module, "STOP_GRACE", 0.3)
    role = Watched(site, shell(tmp_path, "trap '' TERM; echo ready; while :; do sleep 1; done"), patient=0.1)
    ref = await run(house, role)
    with trio.fail_after(60):
        while role.process is None or "ready" not in role.process.tail():
            await trio.sleep(0.01)
        await ref.stop()
    ((status, overstayed, _),) = role.ends
    assert (status.signal, status.stopped, overstayed) == (9, True, True)


class Said:
    """A handle of which only the output matters."""

    def __init__(self, text: str) -> None:
        self.text = text

    def tail(self, limit: int = 4000) -> str:
        return self.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("\n \n", ""),
        ("one\ntwo\n\n", "two"),
        ("no newline", "no newline"),
        ("\x1b[31mred\x1b[0m\x07 \N{BULLET}", "[31mred [0m  \N{BULLET}"),
        ("x" * 500, "x" * 200),
        ("broken \ud800\ufffd", "broken  \ufffd"),
    ],
)
def test_the_last_line_is_fit_for_a_terminal(text: str, expected: str) -> None:
    """Printable characters only, at most 200, the last line that says anything."""
    assert last_line(Said(text)) == expected  # type: ignore[arg-type]


def test_an_error_in_a_sentence_has_no_advice() -> None:
    """What it is and what it rests on; the next step is the verdict's."""
    assert in_a_sentence(PreconditionMissing("it is so", evidence="seen", todo="do", where="there")) == "it is so: seen"
    assert in_a_sentence(PreconditionMissing("it is so", todo="do")) == "it is so"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("cannot read it\nevidence: JSON is malformed\ntry: another one\n", "JSON is malformed"),
        ("cannot read it\n  try: another one\n  files: /a\n\n", "cannot read it"),
        ("try: another one\n", "try: another one"),
        ("trying: hard\n", "trying: hard"),
    ],
)
def test_advice_is_no_last_word(said: str, shown: str) -> None:
    """It follows what happened, and means nothing without it."""
    assert last_line(Said(said)) == shown  # type: ignore[arg-type]
