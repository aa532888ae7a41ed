"""A driver without processes: whole episodes on it, and each of its promises."""

from __future__ import annotations

import json
import signal
import socket
from contextlib import nullcontext

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from coworld_actors.actors import open_system
from coworld_actors.episode.conductor import run_episode
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.episode.verdict import EndReason, SeatEnd
from coworld_actors.testing import (
    EventLog,
    FakeDriver,
    What,
    exits,
    hangs,
    ignores_stop,
    in_turn,
    killed_by,
    lost,
    out_of_memory,
    refuses_to_start,
)
from coworld_drivers.driver import ExitKind, Launch, MachineFault, StartFailed, Wanted
from coworld_protocol.errors import PreconditionMissing
from tests.counting import counting_game, counting_player, counting_spec


@pytest.fixture
def launch(tmp_path):
    """Makes a launch with a log of its own."""

    def make(name="game", role="game", **fields) -> Launch:
        return Launch(name=name, role=role, image="any:1", stdout=tmp_path / f"{name}.log", **fields)

    return make


async def test_a_whole_episode_without_a_process(tmp_path):
    """Real sockets, real files, a good verdict; what was started is written down in order."""
    driver = FakeDriver(
        {"game": counting_game(tmp_path / "pages"), "player": counting_player(1), "player-1": counting_player(2)},
        sees_connections=True,
    )
    with trio.fail_after(60):
        async with open_system() as system:
            record = await run_episode(system, driver, counting_spec(tmp_path))
    assert record.verdict.good, record.verdict
    assert [(seat.end, seat.score) for seat in record.seats] == [(SeatEnd.FINISHED, 3.0), (SeatEnd.FINISHED, 6.0)]
    assert json.loads((tmp_path / "run-e-1/results.json").read_text()) == {"scores": [3, 6]}
    assert record.driver == "fake"
    assert driver.handles[0].name == "game"
    assert {handle.name for handle in driver.handles} == {"game", "player-0", "player-1"}
    ends = {step.name: str(step.status) for step in driver.steps if step.what is What.END}
    assert ends == dict.fromkeys(("game", "player-0", "player-1"), "exit code 0")


@pytest.mark.parametrize(
    ("role", "end", "reason"),
    [
        (exits(3, after=0.05, complains="no weights"), SeatEnd.CRASHED, EndReason.COMPLETED),
        (killed_by(signal.SIGSEGV, after=0.05), SeatEnd.CRASHED, EndReason.COMPLETED),
        (out_of_memory(after=0.05), SeatEnd.OUT_OF_MEMORY, EndReason.COMPLETED),
        (refuses_to_start(), SeatEnd.START_FAILED, EndReason.COMPLETED),
        (hangs(), SeatEnd.OVERSTAYED, EndReason.COMPLETED),
        (ignores_stop(), SeatEnd.OVERSTAYED, EndReason.COMPLETED),
        (refuses_to_start(MachineFault("no room")), None, EndReason.INFRASTRUCTURE),
        (lost(after=0.05), None, EndReason.INFRASTRUCTURE),
    ],
    ids=["exits", "killed", "oom", "refused", "hangs", "ignores", "machine", "lost"],
)
async def test_a_bad_player_is_judged_as_its_script_says(tmp_path, role, end, reason):
    """One role's script is all that it takes to see what the runtime makes of it."""
    driver = FakeDriver(
        {"game": counting_game(tmp_path / "pages"), "player": counting_player(), "player-1": role},
        sees_connections=True,
    )
    spec = counting_spec(tmp_path, player_connect_timeout_seconds=0.5)
    with trio.fail_after(60):
        async with open_system() as system:
            record = await run_episode(system, driver, spec)
    assert record.verdict.reason is reason
    if end is not None:
        assert record.seats[1].end is end
        assert record.seats[0].end is SeatEnd.FINISHED


@pytest.mark.parametrize(
    ("role", "reason"),
    [
        (exits(3), EndReason.GAME_START_FAILED),
        (in_turn(exits(3)), EndReason.GAME_START_FAILED),
        (out_of_memory(after=0.01), EndReason.GAME_OUT_OF_MEMORY),
        (refuses_to_start(), EndReason.GAME_START_FAILED),
        (lost(), EndReason.INFRASTRUCTURE),
    ],
    ids=["exits", "in turn", "oom", "refused", "lost"],
)
async def test_a_game_that_never_serves_is_judged_as_its_script_says(tmp_path, role, reason):
    """No player is started then."""
    driver = FakeDriver({"game": role, "player": counting_player()})
    with trio.fail_after(60):
        async with open_system() as system:
            record = await run_episode(system, driver, counting_spec(tmp_path))
    assert record.verdict.reason is reason
    assert {handle.name for handle in driver.handles} <= {"game"}


async def test_an_interrupted_episode_stops_its_roles_with_their_grace(tmp_path):
    """The driver wrote down which grace each of them was given."""
    driver = FakeDriver({"game": counting_game(tmp_path / "pages"), "player": hangs()})
    interrupt = Interrupt()
    with trio.fail_after(60):
        async with open_system() as system, trio.open_nursery() as nursery:

            async def call_off() -> None:
                with EventLog(system.events) as log:
                    await log.wait_for(lambda record: "playing" in repr(record.event), within=30)
                interrupt.throw("enough")

            nursery.start_soon(call_off)
            record = await run_episode(system, driver, counting_spec(tmp_path, ticks=1000), interrupt=interrupt)
    assert record.verdict.reason is EndReason.CANCELLED
    assert driver.handle("game").stops == [5.0]
    assert driver.handle("player-0").status.stopped


async def test_ends_are_told_as_the_driver_protocol_has_them(launch, autojump_clock):
    """Kind, code, signal and whether we asked for it."""
    driver = FakeDriver(
        {
            "exits": exits(300),
            "dies": killed_by(signal.SIGBUS, after=2),
            "oom": out_of_memory(after=1),
            "lost": lost(),
            "hangs": hangs(),
            "ignores": ignores_stop(),
        }
    )
    async with driver, driver.open_site("e-1") as site:
        handles = {name: await site.start(launch(name, "player")) for name in driver._roles}
        await wait_all_tasks_blocked()
        assert str(handles["exits"].status) == "exit code 44"
        assert handles["lost"].status.kind is ExitKind.LOST
        assert str(await handles["oom"].wait()) == "out of memory, SIGKILL (out of memory)"
        assert (await handles["dies"].wait()).signal == signal.SIGBUS
        assert trio.current_time() == 2.0
        stopped = await handles["hangs"].stop(5)
        assert (stopped.signal, stopped.stopped, trio.current_time()) == (signal.SIGTERM, True, 2.0)
        killed = await handles["ignores"].stop(5)
        assert (killed.signal, killed.stopped, trio.current_time()) == (signal.SIGKILL, True, 7.0)
        assert await handles["ignores"].stop(1) == killed
        assert handles["ignores"].stops == [5]
    whats = [(step.what, step.name) for step in driver.steps if step.name == "ignores"]
    assert whats == [(What.START, "ignores"), (What.STOP, "ignores"), (What.KILL, "ignores"), (What.END, "ignores")]


async def test_a_script_of_ones_own_reads_its_environment_and_catches_a_stop(launch, autojump_clock):
    """Like a process: variables, a log on disk, a signal handler, an exit code."""

    async def script(run) -> int:
        run.print(f"hello from {run.launch.name}, start {run.number}, {run.env['WHO']}")
        stop = run.catch_stop()
        await stop.wait()
        await trio.sleep(1)
        run.complain("going")
        return 7

    driver = FakeDriver({"game": script})
    async with driver.open_site("e-1") as site:
        handle = await site.start(launch(env={"WHO": "you"}, secret_env={"TOKEN": "s"}))
        assert handle.env["TOKEN"] == "s"
        await wait_all_tasks_blocked()
        status = await handle.stop(5)
    assert (status.code, status.stopped, trio.current_time()) == (7, True, 1.0)
    assert handle.tail() == "hello from game, start 1, you\ngoing\n"
    assert handle.launch.stdout.read_text() == handle.tail()
    assert handle.log_error is None


async def test_a_script_that_raises_ends_with_1_and_its_traceback(launch):
    """In its log, and harms nobody else; groups too."""

    async def script(run) -> int:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise ValueError("a defect of the role")

    driver = FakeDriver({"game": script, "player": hangs()})
    async with driver.open_site("e-1") as site:
        player = await site.start(launch("player-0", "player"))
        game = await site.start(launch())
        assert (await game.wait()).code == 1
        assert "ValueError: a defect of the role" in game.tail()
        assert "Traceback" in game.launch.stdout.read_text()
        assert player.status is None


async def test_names_come_before_roles_and_later_starts_take_their_turn(launch):
    """`player-3` is looked up as itself, then as a player."""
    driver = FakeDriver({"player": exits(1), "player-3": in_turn(exits(2), refuses_to_start(), exits(4))})
    async with driver.open_site("e-1") as site:
        assert (await (await site.start(launch("player-0", "player"))).wait()).code == 1
        third = launch("player-3", "player")
        assert (await (await site.start(third)).wait()).code == 2
        with pytest.raises(StartFailed, match="no such program"):
            await site.start(third)
        for _ in range(2):
            assert (await (await site.start(third)).wait()).code == 4
    assert driver.handle("player-3").number == 4
    with pytest.raises(KeyError, match="player-9 was never started"):
        driver.handle("player-9")
    with pytest.raises(ValueError, match="at least one role"):
        in_turn()


async def test_a_role_without_a_script_is_refused_by_name(launch):
    """With the names that there are."""
    async with FakeDriver({"player": hangs()}).open_site("e-1") as site:
        with pytest.raises(StartFailed, match="no script for game") as caught:
            await site.start(launch())
    assert "player" in caught.value.todo


async def test_a_log_that_cannot_be_written_is_the_machines_fault(tmp_path):
    """As with any driver; nothing is left of the attempt."""
    driver = FakeDriver({"game": hangs()})
    async with driver.open_site("e-1") as site:
        missing = tmp_path / "nowhere" / "game.log"
        with pytest.raises(MachineFault, match="log of game cannot be written"):
            await site.start(Launch(name="game", role="game", image="i", serves=True, stdout=missing))
        (tmp_path / "game.log").write_text("somebody else's")
        with pytest.raises(MachineFault):
            await site.start(Launch(name="game", role="game", image="i", stdout=tmp_path / "game.log"))
    assert driver.handles == []


async def test_a_serving_role_owns_its_address_while_it_listens(launch):
    """Not before, and not when it is gone."""
    gate = trio.Event()

    async def script(run) -> int:
        await gate.wait()
        with socket.create_server((run.env["COGAME_HOST"], int(run.env["COGAME_PORT"]))):
            await trio.sleep_forever()
        return 0

    async with FakeDriver({"game": script}).open_site("e-1") as site:
        game = await site.start(launch(serves=True))
        assert game.address == game.peer_address
        assert not await game.owns_address()
        gate.set()
        await wait_all_tasks_blocked()
        assert await game.owns_address()
        assert not await game.port_taken()
        await game.stop(1)
        assert not await game.owns_address()
        player = await site.start(launch("other", "game"))
        assert player.address is None
        assert not await player.owns_address()


@pytest.mark.parametrize("how", ["return", "raise", "cancel"])
async def test_nothing_outlives_its_site(launch, how, autojump_clock):
    """However the site is left; an exception of the body leaves as it is."""
    driver = FakeDriver({"player": ignores_stop()})
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.move_on_after(5) as scope:
        with pytest.raises(KeyError, match="mine") if how == "raise" else nullcontext():
            async with driver.open_site("e-1") as site:
                for number in range(3):
                    await site.start(launch(f"player-{number}", "player"))
                await wait_all_tasks_blocked()
                if how == "raise":
                    {}["mine"]
                if how == "cancel":
                    await trio.sleep_forever()
    assert scope.cancelled_caught is (how == "cancel")
    assert [handle.status.signal for handle in driver.handles] == [signal.SIGKILL] * 3
    assert trio.lowlevel.current_statistics().tasks_living == before
    with pytest.raises(StartFailed, match="its episode is ending"):
        await site.start(launch("late", "player"))


async def test_a_role_goes_on_while_its_caller_is_cancelled(launch, autojump_clock):
    """A stop in a shield gets its grace although everything around is cancelled, as with a process."""

    async def script(run) -> int:
        await run.catch_stop().wait()
        await trio.sleep(2)
        return 5

    driver = FakeDriver({"game": script})
    with trio.move_on_after(1):
        async with driver.open_site("e-1") as site:
            game = await site.start(launch())
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(10, shield=True):
                    await game.stop(5)
    assert (game.status.code, trio.current_time()) == (5, 3.0)


async def test_a_cancelled_stop_kills_at_once(launch, autojump_clock):
    """The grace is not waited for."""
    async with FakeDriver({"game": ignores_stop()}).open_site("e-1") as site:
        game = await site.start(launch())
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await game.stop(100)
        assert (await game.wait()).signal == signal.SIGKILL
        assert trio.current_time() == 1.0


async def test_kill_all_ends_every_role_of_every_site(launch):
    """Without waiting; leaving the driver does the same."""
    async with FakeDriver({"player": ignores_stop()}) as driver:
        async with driver.open_site("e-1") as one, driver.open_site("e-2") as two:
            handles = [await site.start(launch(name, "player")) for site, name in ((one, "a"), (two, "b"))]
            await wait_all_tasks_blocked()
            driver.kill_all()
            for handle in handles:
                assert (await handle.wait()).signal == signal.SIGKILL
        assert driver.handle("a", episode="e-1") is handles[0]
        with pytest.raises(KeyError):
            driver.handle("a", episode="e-2")


async def test_check_remembers_what_was_wanted_and_says_what_is_missing():
    """What is missing is the test's to say."""
    wanted = [Wanted("game:1", (), "game")]
    driver = FakeDriver({})
    await driver.check(wanted)
    assert driver.checked == wanted
    with pytest.raises(PreconditionMissing, match="no such image"):
        await FakeDriver({}, missing=PreconditionMissing("no such image")).check(wanted)


async def test_connections_are_what_scripts_say(launch):
    """Only while they run; a driver that is not told so sees none."""

    async def script(run) -> int:
        run.connected = True
        await trio.sleep_forever()
        return 0

    driver = FakeDriver({"player": script, "game": hangs()}, sees_connections=True)
    async with driver.open_site("e-1") as site:
        assert site.sees_connections
        game = await site.start(launch(serves=True))
        player = await site.start(launch("player-0", "player"))
        await wait_all_tasks_blocked()
        assert (await site.connected(game.address)).names == {"player-0"}
        await player.stop(1)
        assert (await site.connected(game.address)).names == frozenset()
    async with FakeDriver({}).open_site("e-2") as site:
        assert not site.sees_connections


@pytest.mark.parametrize("role", [3, "exits", None])
def test_what_cannot_be_run_is_no_role(role):
    """The test's author is told where it is written, and not by a role that ends with a traceback."""
    with pytest.raises(TypeError, match=r"the fake driver's role 'game' is .*; use exits"):
        FakeDriver({"game": role})


async def test_a_script_without_an_exit_code_says_so_in_its_log(launch):
    """As a role that fails, with a sentence for its author."""

    async def script(run) -> None:
        run.print("done")

    async with FakeDriver({"game": script}).open_site("e-1") as site:
        game = await site.start(launch(stderr=None))
        assert (await game.wait()).code == 1
        assert "the script of game returned None; return its exit code" in game.tail()
