"""The port, spoken to as scrapers and others do."""

from __future__ import annotations

import logging
import socket
import threading

import httpx
import pytest
import trio
from prometheus_client import CollectorRegistry, Counter

from coworld_actors.observe.scrape_port import MOST_SCRAPES, metrics_port
from coworld_actors.runtime.opening import open_runtime
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import PreconditionMissing, Refused


def our_threads() -> list[str]:
    """Names of threads of the port."""
    return [
        thread.name
        for thread in threading.enumerate()
        if thread.name in {"coworld-actors metrics", "coworld-actors scrape"}
    ]


async def get(port: int, path: str = "/metrics", host: str = "127.0.0.1") -> httpx.Response:
    """A scrape."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(f"http://{host}:{port}{path}")


async def test_the_runtimes_metrics_are_served_and_the_port_closes_with_it(driver: ProcessDriver) -> None:
    """Without a registry of the host's there is one for the runtime; nothing else is at the port."""
    with trio.fail_after(60):
        async with open_runtime(driver, name="r") as runtime:
            async with metrics_port(0)(runtime) as port:
                assert isinstance(port, int)
                answer = await get(port)
                assert answer.status_code == 200
                assert answer.headers["content-type"].startswith("text/plain")
                assert 'coworld_episodes_parallel{runtime="r"}' in answer.text
                assert (await get(port, "/secrets")).status_code == 404
                while our_threads() != ["coworld-actors metrics"]:
                    # The scrape's own thread ends a moment after its answer.
                    await trio.sleep(0.01)
            assert our_threads() == []
            with pytest.raises(httpx.ConnectError):
                await get(port)


async def test_a_hosts_registry_is_served_as_it_is(driver: ProcessDriver) -> None:
    """Nothing of ours is added."""
    registry = CollectorRegistry()
    Counter("hosts_own", "Text.", registry=registry).inc()
    with trio.fail_after(60):
        async with open_runtime(driver) as runtime:
            async with metrics_port(0, registry=registry)(runtime) as port:
                assert "hosts_own_total 1.0" in (text := (await get(port)).text)
                assert "coworld_" not in text


async def test_it_can_be_attached(driver: ProcessDriver) -> None:
    """The port is there with the runtime, and gone with it, also when the host is cancelled."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    with trio.fail_after(60):
        with trio.CancelScope() as scope:
            async with open_runtime(driver, attach=[metrics_port(number)]):
                assert (await get(number)).status_code == 200
                scope.cancel()
                await trio.sleep_forever()
        assert our_threads() == []
        with socket.create_server(("127.0.0.1", number)):
            pass


async def test_a_busy_port_is_a_clear_error(driver: ProcessDriver) -> None:
    """It names the port and says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        number = busy.getsockname()[1]
        with pytest.raises(PreconditionMissing, match=f"port {number}") as found:
            async with open_runtime(driver, attach=[metrics_port(number)]):
                raise AssertionError
    assert "in use" in found.value.evidence
    assert "another port" in found.value.todo
    assert our_threads() == []


@pytest.mark.parametrize("port", [-1, 65536, True])
def test_no_number_of_a_port_is_refused(port: int) -> None:
    """Before anything is opened."""
    with pytest.raises(Refused, match="no number of a port"):
        metrics_port(port)


async def test_silent_and_rude_clients_delay_neither_scrapes_nor_the_end(driver: ProcessDriver) -> None:
    """Whoever says nothing, or goes in the middle, is nobody's trouble; there are only so many of them at once."""
    with trio.fail_after(60):
        async with open_runtime(driver) as runtime:
            async with metrics_port(0)(runtime) as port:
                silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(MOST_SCRAPES - 1)]
                rude = socket.create_connection(("127.0.0.1", port))
                rude.sendall(b"GET /metr")
                rude.close()
                while True:
                    # Refused as long as the rude one is not noticed.
                    try:
                        assert (await get(port)).status_code == 200
                        break
                    except httpx.TransportError:
                        await trio.sleep(0.01)
                silent.append(socket.create_connection(("127.0.0.1", port)))
                one_more = socket.create_connection(("127.0.0.1", port))
                assert await trio.to_thread.run_sync(one_more.recv, 1) == b""
                one_more.close()
            assert our_threads() == []
            for each in silent:
                assert each.recv(1) == b""
                each.close()


async def test_a_collector_that_fails_is_an_error_for_the_scraper_and_a_line_in_the_log(
    driver: ProcessDriver, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is printed, and the next scrape is served."""
    registry = CollectorRegistry()

    class Broken:
        def collect(self):
            raise ValueError("my collector")

    registry.register(Broken())
    caplog.set_level(logging.WARNING, "coworld_actors.metrics")
    with trio.fail_after(60):
        async with open_runtime(driver) as runtime:
            async with metrics_port(0, registry=registry)(runtime) as port:
                assert (await get(port)).status_code == 500
                assert (await get(port)).status_code == 500
    assert [record.getMessage() for record in caplog.records] == ["the metrics could not be collected"] * 2
    assert capfd.readouterr() == ("", "")
