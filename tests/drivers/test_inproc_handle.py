"""How a role that is a task can end, and what is recorded of it."""

from __future__ import annotations

import pytest
import trio

from coworld_drivers.driver import Address, ExitKind
from coworld_drivers.inproc_handle import InprocHandle
from coworld_drivers.inproc_output import RoleOutput, routed
from coworld_drivers.logfiles import LogFiles
from coworld_drivers.output import OutputLog
from coworld_protocol.errors import Refused
from coworld_protocol.sdk.memory import House, Residence
from coworld_protocol.sdk.turns import Turns


@pytest.fixture
def handle(tmp_path) -> InprocHandle:
    """A role that is about to live."""
    log = OutputLog(tmp_path / "log", limit=10**6, who="role", files=LogFiles(), held=False)
    residence = Residence(House(Turns()), "role")
    return InprocHandle("role", [RoleOutput(log, lambda _: None)], Address(host="memory.invalid", port=1), residence)


def raises(error: BaseException, *, inside: bool = False):
    """A main that raises, perhaps out of a nursery."""

    async def main() -> None:
        print("so far")
        if inside:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                raise error
        raise error

    return main


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("error", "code", "last"),
    [
        (ValueError("cannot think"), 1, "ValueError: cannot think"),
        (SystemExit(5), 5, "so far"),
        (SystemExit(None), 0, "so far"),
        (SystemExit(-1), 255, "so far"),
        (SystemExit("no more ideas"), 1, "no more ideas"),
        (Refused("This cannot be.", todo="do that"), 2, "try: do that"),
    ],
)
async def test_an_end_is_what_a_process_would_have_ended_with(tmp_path, handle, error, code, last, inside):
    """Exit status and last words, whether or not a nursery wrapped the error."""
    with routed():
        await handle.live(raises(error, inside=inside), {})
    status = await handle.wait()
    assert (status.kind, status.code, status.stopped) == (ExitKind.EXITED, code, False)
    assert last in handle.tail().splitlines()[-1]
    assert (tmp_path / "log").read_text().startswith("so far\n")
    assert handle.log_error is None


async def test_a_role_that_returns_has_ended_well(handle):
    """Whoever waits hears of it, and nobody waits for its doors any more."""

    async def main() -> None:
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(handle.wait)
        nursery.start_soon(handle.live, main, {})
    assert handle.status.ok
    assert not await handle.serving()
    assert (await handle.stop(1)).ok


async def test_a_role_that_is_stopped_is_recorded_as_stopped(handle):
    """As a process that was killed by SIGTERM; stopping it again changes nothing."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(handle.live, trio.sleep_forever, {})
        await trio.testing.wait_all_tasks_blocked()
        status = await handle.stop(5)
    assert (status.kind, status.signal, status.stopped) == (ExitKind.SIGNALLED, 15, True)
    assert str(status).startswith("killed by SIGTERM")
    assert await handle.stop(5) is status


async def test_a_role_that_fails_while_it_is_stopped_has_its_own_code(handle):
    """What it raises on its way out is its end, and was asked for."""

    async def main() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("while leaving")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(handle.live, main, {})
        await trio.testing.wait_all_tasks_blocked()
        status = await handle.stop(5)
    assert (status.kind, status.code, status.stopped) == (ExitKind.EXITED, 1, True)
    assert "while leaving" in handle.tail()


async def test_a_task_that_does_not_end_is_lost(handle):
    """A task cannot be killed; nobody waits for it longer than the grace."""
    release = trio.Event()

    async def main() -> None:
        with trio.CancelScope(shield=True):
            await release.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(handle.live, main, {})
        await trio.testing.wait_all_tasks_blocked()
        status = await handle.stop(0.05)
        assert (status.kind, status.stopped) == (ExitKind.LOST, True)
        assert "shielded" in status.detail
        release.set()
    assert handle.status is status


async def test_when_everything_is_cancelled_the_end_is_not_the_roles(handle):
    """The cancellation passes through and the end is recorded as asked for."""
    with trio.move_on_after(0.05) as scope:
        await handle.live(trio.sleep_forever, {})
    assert scope.cancelled_caught
    assert handle.status.stopped


async def test_an_interrupt_is_the_users_and_goes_through(handle):
    """Ctrl-C that strikes in a role's code ends the program, not the role."""
    with pytest.raises(KeyboardInterrupt):
        await handle.live(raises(KeyboardInterrupt()), {})
    assert handle.status.stopped


async def test_doors_that_opened_are_told(handle):
    """Also to who asks later."""
    handle.opened()
    assert await handle.serving()
    assert await handle.owns_address()
    assert not await handle.port_taken()
    assert handle.peer_address == handle.address
