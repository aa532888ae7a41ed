"""The benchmarks that ship with the package: what `coworld-actors bench` runs.

coworld_bench.ws         the websocket suite: echo, broadcast, lockstep, Orchard, beside the rivals
coworld_bench.tap        the tap's relay against none and against a relay of raw bytes
coworld_bench.codec      one frame, encoded and decoded
coworld_bench.echo       the transport's echo server alone
coworld_bench.testee     the client side of a conformance suite
"""

from __future__ import annotations

__all__: list[str] = []
