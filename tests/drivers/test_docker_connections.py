"""Who is connected to a game in another network."""

import os
import socket
import subprocess
from pathlib import Path

from coworld_drivers.docker_connections import look, visible


def test_peers_are_found_by_their_address():
    """Of this process's own network: established connections to that port, by who is at their other end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert look(os.getpid(), port, {"127.0.0.5": "player-0"}).names == frozenset()
        with socket.socket() as client:
            client.bind(("127.0.0.5", 0))
            client.connect(("127.0.0.1", port))
            found = look(os.getpid(), port, {"127.0.0.5": "player-0", "127.0.0.6": "player-1"})
            assert found.names == {"player-0"}
            assert found.complete
    elsewhere = look(os.getpid(), port, {"127.0.0.5": "player-0"})
    assert (elsewhere.names, elsewhere.complete) == (frozenset(), False), "nobody listens there any more"


def test_a_server_for_both_families_is_no_hiding_place():
    """Its IPv4 peers are in the table of the other family."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        with socket.socket() as client:
            client.bind(("127.0.0.7", 0))
            client.connect(("127.0.0.1", port))
            assert look(os.getpid(), port, {"127.0.0.7": "player-2"}).names == {"player-2"}


def test_what_cannot_be_looked_at_is_incomplete():
    """A process that has gone, or is not on this machine, raises nothing."""
    nobody = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    assert not look(nobody, 8080, {}).complete
    assert not visible(nobody)
    assert not visible(0)


def test_only_a_network_apart_is_a_containers():
    """The number of a process that an engine in a virtual machine says is somebody else's here."""
    assert not visible(os.getpid())
    user = () if os.geteuid() == 0 else ("--map-root-user",)
    with subprocess.Popen(
        ["unshare", *user, "--net", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE
    ) as process:
        try:
            process.stdout.readline()
            assert visible(process.pid)
        finally:
            process.kill()
