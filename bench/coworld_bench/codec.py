"""`bench codec`: one message through the codec, in microseconds of processor time, without any socket.

`send` makes the frame that goes on the wire; `receive` makes a checked text out of a masked frame, as a server does. Every library
is used by the calls that its own connections make.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping

from coworld_bench.harness import interleave, spread
from coworld_bench.plan import Cell, Figure, Plan
from coworld_bench.scenarios.echo import size_name
from coworld_protocol.ws.frames import TEXT, Decoder, encode
from coworld_protocol.ws.masking import apply_mask, xor_mask

__all__ = ["CONTESTANTS", "SIZES", "measure"]

SIZES = (200, 2048, 32768)

CONTESTANTS = {
    "ours": "ours",
    "ours-python": "ours without the C helper",
    "websockets": "websockets",
    "wsproto": "wsproto",
}

_MASK = b"\x37\xfa\x21\x3d"
_LIMIT = 1 << 30
_BATCH_SECONDS = 0.002
"""Calls between two looks at the clock take about this long."""

Call = Callable[[], object]


def measure(plan: Plan) -> list[Cell]:
    """Measure every step for every size; what is not installed is left out."""
    cells = []
    steps: Mapping[str, Callable[[bytes], dict[str, Call]]] = {
        "server sends": _server_sends,
        "client sends": _client_sends,
        "server receives": _server_receives,
        "masking alone": _masking,
    }
    for step, make in steps.items():
        for size in SIZES:
            calls = make((b"abcdefghijklmnopqrstuvwxyz" * (size // 26 + 1))[:size])
            contestants = {
                name: functools.partial(_microseconds, call, plan.seconds / 8) for name, call in calls.items()
            }
            plan.progress(f"codec: {step} {size_name(size)}")
            found = interleave(contestants, plan.rounds)
            figures = {name: Figure(value=spread(values)) for name, values in found.items()}
            cells.append(
                Cell(scenario=step, title=size_name(size), connections=0, size=size, unit="us", figures=figures)
            )
    return cells


def _microseconds(call: Call, seconds: float) -> float:
    """Processor time of one call."""
    clock = time.process_time
    began = time.perf_counter()
    call()
    batch = max(1, int(_BATCH_SECONDS / max(time.perf_counter() - began, 1e-7)))
    count, start = 0, clock()
    while True:
        for _ in range(batch):
            call()
        count += batch
        took = clock() - start
        if took >= seconds:
            return took / count * 1e6


def _server_sends(payload: bytes) -> dict[str, Call]:
    calls: dict[str, Call] = {"ours": lambda: encode(TEXT, payload)}
    try:
        from websockets.frames import Frame, Opcode  # noqa: PLC0415 - optional

        calls["websockets"] = lambda: Frame(Opcode.TEXT, payload).serialize(mask=False)
    except ImportError:
        pass
    try:
        from wsproto.connection import Connection, ConnectionType  # noqa: PLC0415 - optional
        from wsproto.events import TextMessage  # noqa: PLC0415

        server, text = Connection(ConnectionType.SERVER), payload.decode()
        calls["wsproto"] = lambda: server.send(TextMessage(data=text))
    except ImportError:
        pass
    return calls


def _client_sends(payload: bytes) -> dict[str, Call]:
    calls: dict[str, Call] = {"ours": lambda: encode(TEXT, payload, mask=True)}
    try:
        from websockets.frames import Frame, Opcode  # noqa: PLC0415 - optional

        calls["websockets"] = lambda: Frame(Opcode.TEXT, payload).serialize(mask=True)
    except ImportError:
        pass
    try:
        from wsproto.connection import Connection, ConnectionType  # noqa: PLC0415 - optional
        from wsproto.events import TextMessage  # noqa: PLC0415

        client, text = Connection(ConnectionType.CLIENT), payload.decode()
        calls["wsproto"] = lambda: client.send(TextMessage(data=text))
    except ImportError:
        pass
    return calls


def _server_receives(payload: bytes) -> dict[str, Call]:
    frame = encode(TEXT, payload, mask=True)
    decoder = Decoder(masked=True, message_bytes=_LIMIT)
    calls: dict[str, Call] = {"ours": lambda: decoder.receive(frame)}
    try:
        from websockets.protocol import OPEN, Protocol, Side  # noqa: PLC0415 - optional

        protocol = Protocol(Side.SERVER, state=OPEN, max_size=None)

        def receive() -> object:
            protocol.receive_data(frame)
            # An event is a frame; its text is decoded by whoever takes it, which checks it.
            return [event.data.decode() for event in protocol.events_received()]  # type: ignore[union-attr]

        calls["websockets"] = receive
    except ImportError:
        pass
    try:
        from wsproto.connection import Connection, ConnectionType  # noqa: PLC0415 - optional

        server = Connection(ConnectionType.SERVER)

        def take() -> object:
            server.receive_data(frame)
            return list(server.events())

        calls["wsproto"] = take
    except ImportError:
        pass
    return calls


def _masking(payload: bytes) -> dict[str, Call]:
    calls: dict[str, Call] = {
        "ours": lambda: apply_mask(payload, _MASK),
        "ours-python": lambda: xor_mask(payload, _MASK),
    }
    try:
        from websockets.speedups import apply_mask as c_mask  # noqa: PLC0415 - optional

        calls["websockets"] = lambda: c_mask(payload, _MASK)
    except ImportError:
        pass
    try:
        from wsproto.frame_protocol import XorMaskerSimple  # noqa: PLC0415 - optional

        data = bytearray(payload)
        calls["wsproto"] = lambda: XorMaskerSimple(_MASK).process(data)
    except ImportError:
        pass
    return calls
