"""`coworld-actors bench`: how fast the transport is beside its rivals, what its parts cost, and what episodes cost."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from coworld_actors.cli.bench_players import players
from coworld_actors.cli.exits import Exit, Interrupted, Outcome, handling
from coworld_actors.cli.streams import Stream
from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.printable import printable

__all__ = ["bench"]

Command = TypeVar("Command", bound=Callable[..., Any])

_PORT = click.IntRange(0, 65535)
_WIDTH = 150
"""Columns of a table where no terminal has any."""

_MEASURING = (
    click.option("--quick", is_flag=True, help="Less of everything: a minute instead of ten. For a first look."),
    click.option(
        "--rounds", type=click.IntRange(1, 1000), metavar="N", help="Interleaved rounds.  [default: 5, quick 2]"
    ),
    click.option(
        "--seconds",
        type=click.FloatRange(0.01, 60),
        metavar="S",
        help="Measured per round, contestant and cell.  [default: 0.3, quick 0.2]",
    ),
)
_OUTPUT = (
    click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else there."),
    click.option(
        "--save", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write the document there, too."
    ),
    click.option(
        "--docs",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Write the tables into this Markdown file, between this benchmark's marks.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Do not say what is being measured."),
    click.option("--debug", is_flag=True, help="Show tracebacks."),
)


def _options(*groups: tuple[Callable[[Command], Command], ...]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return decorate


@click.group(invoke_without_command=True)
@click.pass_context
def bench(context: click.Context) -> int:
    """Measure: the transport beside its rivals, the tap, the codec, whole episodes, containers, the players of a Coworld.

    Figures compare within one run, on one machine. A rival that is not installed is skipped and named; `pip install
    'coworld-actors[bench]'` brings all of them.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
    return Exit.REFUSED


bench.add_command(players)


@bench.command()
@click.option(
    "--only",
    metavar="NAME",
    multiple=True,
    help="Only this scenario (echo, broadcast, lockstep, orchard) or contestant; may be given several times.",
)
@_options(_MEASURING, _OUTPUT)
def ws(only: tuple[str, ...], **options: Any) -> Callable[[], Outcome]:
    """Echo, broadcast, lockstep and Orchard: our server beside eight others, and the project's goals.

    Server and load generator have one core each. The load generator is a small C program, compiled when it is first needed.
    """
    return functools.partial(_measure, "ws", options, only=only)


@bench.command()
@_options(_MEASURING, _OUTPUT)
def tap(**options: Any) -> Callable[[], Outcome]:
    """The relay of the tap, against no relay and against one that passes raw bytes with trio's streams."""
    return functools.partial(_measure, "tap", options)


@bench.command()
@_options(_MEASURING, _OUTPUT)
def codec(**options: Any) -> Callable[[], Outcome]:
    """One message through the codec, and the ways to mask one, in microseconds of processor time."""
    return functools.partial(_measure, "codec", options)


@bench.command()
@click.option(
    "--only",
    metavar="PART",
    multiple=True,
    help="Only this part (phases, overhead, warm, inproc, alive, flat); may be given several times.",
)
@_options(_MEASURING[:2], _OUTPUT)
def episodes(only: tuple[str, ...], **options: Any) -> Callable[[], Outcome]:
    """Whole episodes: what the runtime adds to a game, warm starts, one process and workers, a thousand at once, ten thousand.

    Needs a checkout: it plays examples/orchard. Paint Arena of the public reference takes part if COWORLD_BENCH_REFERENCE names a
    virtual environment that has it, or the tests have installed it. Half an hour; --quick takes two minutes.
    """
    return functools.partial(_measure, "episodes", {**options, "seconds": None}, only=only)


@bench.command()
@click.option(
    "--only",
    metavar="NAME",
    multiple=True,
    help="Only this contestant (run-episode, run-docker, docker-run, run-docker-8, docker-run-8); may be given several times.",
)
@click.option(
    "--reference",
    type=click.Path(exists=True, path_type=Path),
    metavar="VENV",
    help="Virtual environment, or its Python, that has coworld 0.1.26 with its examples.  [default: COWORLD_BENCH_REFERENCE]",
)
@_options(_MEASURING[:2], _OUTPUT)
def containers(only: tuple[str, ...], reference: Path | None, **options: Any) -> Callable[[], Outcome]:
    """Episodes in containers: ours beside the public reference's, one and eight at once, and the same by hand.

    Plays Paint Arena from the image coworld-paintarena:0.1.26, which has to be on the engine. Four minutes; --quick takes two.
    """
    return functools.partial(_measure, "containers", {**options, "seconds": None}, only=only, reference=reference)


@bench.command()
@click.option("--port", type=_PORT, required=True, help="Where to listen; 0 picks a free port and says which.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--api",
    type=click.Choice(["pump", "connection"]),
    default="pump",
    show_default=True,
    help="Which side of the transport serves.",
)
@click.option("--deflate", is_flag=True, help="Agree to compression (permessage-deflate).")
@click.option(
    "--message-bytes",
    type=click.IntRange(1, 1 << 30),
    default=64 * 1024 * 1024,
    show_default=True,
    metavar="N",
    help="Longest message to accept.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def echo(port: int, host: str, api: str, deflate: bool, message_bytes: int, debug: bool) -> Callable[[], Outcome]:
    """The transport's websocket echo server alone, until Ctrl-C; text comes back as text, binary as binary."""
    del debug
    return functools.partial(_serve, host, port, api, deflate, message_bytes)


@bench.command()
@click.argument("url")
@click.option("--agent", default="coworld-actors", show_default=True, metavar="NAME", help="Our name in the report.")
@click.option("--deflate", is_flag=True, help="Offer compression (permessage-deflate).")
@click.option(
    "--case", "cases", type=click.IntRange(min=1), multiple=True, metavar="N", help="Only this case; may be repeated."
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def testee(url: str, agent: str, deflate: bool, cases: tuple[int, ...], debug: bool) -> Callable[[], Outcome]:
    """Play the client in every case of a conformance suite's fuzzing server at URL (Autobahn's protocol)."""
    del debug
    return functools.partial(_play, url, agent, deflate, cases)


def _measure(name: str, options: dict[str, Any], only: tuple[str, ...] = (), reference: Path | None = None) -> Outcome:
    from coworld_bench import documents, tables, worlds
    from coworld_bench.cores import plan_cores
    from coworld_bench.plan import Plan, quiet

    quick = options["quick"]
    plan = Plan(
        rounds=options["rounds"] or (2 if quick else 5),
        seconds=0.0 if name in {"episodes", "containers"} else options["seconds"] or (0.2 if quick else 0.3),
        warmup=0.1,
        quick=quick,
        cores=plan_cores(),
        names=frozenset(only),
        progress=quiet if options["quiet"] else _say,
    )
    for path in (options["save"], options["docs"]):
        if path is not None and not path.parent.is_dir():
            raise PreconditionMissing(f"{path} cannot be written: there is no such directory.", todo="make it first")
    with worlds.reference_at(reference):
        report = documents.measure(name, plan)
    if not options["as_json"]:
        from rich.console import Console

        stdout = Stream(sys.stdout)
        console = Console(file=stdout.file, highlight=False, width=None if stdout.isatty() else _WIDTH)
        for part in tables.tables(report):
            console.print(part, soft_wrap=isinstance(part, str), markup=False)
        stdout.flush()
    try:
        if options["save"] is not None:
            options["save"].write_bytes(documents.as_json(report))
        if options["docs"] is not None:
            documents.write_block(options["docs"], name, tables.markdown(report))
    except OSError as error:
        raise PreconditionMissing(
            f"{error.filename} cannot be written: {error.strerror}", todo="name a file that can be written"
        ) from error
    return Outcome(exit_code=Exit.GOOD, fields={"report": report})


def _serve(host: str, port: int, api: Any, deflate: bool, message_bytes: int) -> Outcome:
    import trio

    from coworld_bench.echo import serve_echo

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                start = functools.partial(
                    serve_echo, api, host=host, port=port, deflate=deflate, message_bytes=message_bytes
                )
                bound = await nursery.start(start)
                _say(f"echoing on ws://{host}:{bound} by {api}; Ctrl-C ends it")
                async for _ in signals:
                    nursery.cancel_scope.cancel()

    trio.run(serve)
    return Outcome(exit_code=Exit.GOOD)


def _play(url: str, agent: str, deflate: bool, cases: tuple[int, ...]) -> Outcome:
    import trio

    from coworld_bench.testee import run_cases

    def tell(case: int, count: int) -> None:
        _say(f"case {case} of {count}")

    async def play() -> int | None:
        token = trio.lowlevel.current_trio_token()

        def cancel(*_: object) -> None:
            token.run_sync_soon(scope.cancel, idempotent=True)

        # An exception out of a handler would tear trio's loop down instead of ending its tasks.
        with trio.CancelScope() as scope, handling(signal.SIGTERM, cancel):
            return await run_cases(url, agent=agent, deflate=deflate, cases=cases or None, progress=tell)
        return None

    count = trio.run(play)
    if count is None:
        return Outcome(exit_code=Exit.TERMINATED, error=Interrupted("stopped by SIGTERM before all cases were played"))
    return Outcome(exit_code=Exit.GOOD if count else Exit.NOTHING)


def _say(text: str) -> None:
    stderr = Stream(sys.stderr)
    stderr.write(f"{printable(text)}\n")
    stderr.flush()
