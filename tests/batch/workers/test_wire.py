"""What travels between a batch and its workers arrives as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from coworld_actors.batch.workers.wire import (
    FRAME_LIMIT,
    Beat,
    Broken,
    Failure,
    Hello,
    NotPlayed,
    Play,
    Played,
    Ready,
    World,
    frame,
    from_parent,
    from_worker,
    play_of,
    spec_of,
)
from coworld_actors.episode.chaos import Chaos
from coworld_actors.episode.spec import EpisodeSpec, Limits, TapSpec
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import EpisodePlan, build_plan
from coworld_actors.runtime.runtime import RuntimeClosed
from coworld_drivers.driver import MachineFault
from coworld_drivers.images import Image, ImageMap
from coworld_protocol.errors import InternalFault, ManifestRefused, PreconditionMissing, Problem, Refused
from tests.records import record

ORCHARD = Path(__file__).parents[3] / "examples/orchard"


def plan() -> EpisodePlan:
    return build_plan(load_manifest(ORCHARD), variant="duel", people={1})


def whole_spec() -> EpisodeSpec:
    return EpisodeSpec(
        plan=plan(),
        directory=Path("/somewhere/new"),
        id="e-1",
        limits=Limits(timeout=5.5),
        verify_replay=True,
        reports=False,
        probe=False,
        role_env={"A": "b"},
        tap=TapSpec(recording=Path("/somewhere/traffic"), chaos=Chaos(delay=0.25, seed=3)),
        secret_env={"KEY": "hush"},
    )


async def test_a_spec_arrives_as_it_was() -> None:
    """Everything but the manifest travels with the episode; the manifest has travelled before."""
    ours, theirs = trio.testing.memory_stream_pair()
    spec = whole_spec()
    await ours.send_all(frame(World(number=4, manifest=spec.plan.manifest)) + frame(play_of(spec, 4)))
    world, play = await from_parent(theirs).batch()
    assert isinstance(world, World)
    assert isinstance(play, Play)
    assert play.world == world.number == 4
    assert spec_of(play, world.manifest) == spec
    assert spec.plan.origin is not None
    assert spec.plan.people == {1}
    assert "hush" not in repr(play)


async def test_a_relative_directory_is_made_absolute() -> None:
    """A worker need not have our working directory."""
    spec = EpisodeSpec(plan=plan(), directory=Path("runs/new"))
    assert play_of(spec, 0).directory == Path.cwd() / "runs/new"


async def test_an_image_map_arrives_as_it_was(tmp_path) -> None:
    """Names, places and variables."""
    images = {
        "a:1": Image(root=tmp_path, run=("python", "x.py"), python=tmp_path / "python", env={"X": "y"}, source="s")
    }
    hello = Hello(
        name="w", driver="process", images=images, local_file=tmp_path / "l", path=("/p",), beat=0.5, stop_deadline=1.0
    )
    ours, theirs = trio.testing.memory_stream_pair()
    await ours.send_all(frame(hello))
    (found,) = await from_parent(theirs).batch()
    assert found == hello
    assert isinstance(found, Hello)
    assert ImageMap(found.images, found.local_file).resolve("a:1", ("/bin/true",)).root == tmp_path


async def test_messages_arrive_however_they_are_cut() -> None:
    """Byte by byte, or several in one piece; the end is an empty list."""
    messages = [Ready(pid=7), Beat(lag=0.25, episodes=3), Played(id="e-1", record=record())]
    data = b"".join(map(frame, messages))
    ours, theirs = trio.testing.memory_stream_pair()
    found = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            for byte in data:
                await ours.send_all(bytes([byte]))
            await ours.send_all(data)
            await ours.aclose()

        line = from_worker(theirs)
        while batch := await line.batch():
            found += batch
    assert found == messages * 2


@pytest.mark.parametrize("data", [(FRAME_LIMIT + 1).to_bytes(4), b"\0\0\0\1\xc1", b"\0\0\0\1\x80"])
async def test_what_is_no_message_is_broken(data) -> None:
    """Too long, no msgpack, no message of ours: never waited for, never guessed."""
    ours, theirs = trio.testing.memory_stream_pair()
    await ours.send_all(data)
    with pytest.raises(Broken):
        await from_worker(theirs).batch()


def test_what_cannot_travel_is_refused() -> None:
    """An integer beyond 64 bits is valid JSON and no msgpack: said in a sentence, before anything is sent."""
    spec = whole_spec()
    config = {**spec.plan.game_config, "seed": 1 << 70}
    with pytest.raises(Refused, match="cannot be handed to a worker"):
        frame(
            play_of(
                EpisodeSpec(
                    plan=EpisodePlan(manifest=spec.plan.manifest, variant_id="v", game_config=config, seats=()),
                    directory=Path("x"),
                ),
                0,
            )
        )


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Refused("what", evidence="e", todo="t", where="w"), Refused),
        (PreconditionMissing("what", evidence="e", todo="t", where="w"), PreconditionMissing),
        (MachineFault("what", evidence="e", todo="t", where="w"), MachineFault),
        (RuntimeClosed("what", evidence="e", todo="t", where="w"), RuntimeClosed),
        (InternalFault("what", evidence="e", todo="t", where="w"), InternalFault),
    ],
)
def test_an_error_arrives_with_its_type_and_lines(error, kind) -> None:
    """Type, four lines and exit code are the same on the other side."""
    found = Failure.of(error).error()
    assert type(found) is kind
    assert found.lines() == error.lines()
    assert found.exit_code == error.exit_code


def test_an_unknown_type_becomes_the_nearest_known_one() -> None:
    """A subclass arrives as what it is a kind of, with everything that it would have said."""
    problems = [Problem(path=f"$.x{number}", found="1", allowed="2") for number in range(2)]
    found = Failure.of(ManifestRefused("a manifest", problems)).error()
    assert type(found) is Refused
    assert "$.x0: found 1; allowed: 2; $.x1" in found.evidence


@pytest.mark.parametrize("error", [Refused("no file a\ud800", evidence="b\ud800"), OSError("a\ud800")], ids=ascii)
def test_a_failure_always_travels(error) -> None:
    """Half a surrogate pair, as names of files may have, is escaped; the worker lives on."""
    failure = Failure.of(error)
    assert frame(NotPlayed(id="e", failure=failure))
    assert "a\\ud800" in failure.what


def test_a_stranger_becomes_a_defect() -> None:
    """What is no error of ours is a defect, and names its type."""
    found = Failure.of(ZeroDivisionError("by zero")).error()
    assert type(found) is InternalFault
    assert "ZeroDivisionError: by zero" in found.what
