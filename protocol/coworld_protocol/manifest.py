"""The Coworld manifest and the episode request, as Structs.

Shapes only: a Struct says which fields exist, their types, and bounds that one value shows. What one field means for another
(unique ids, tokens in the schema, known players) is in `coworld_actors.manifest.rules`.

Two versions are read by one set of Structs:

* baseline, 0.1.26: closed. An unknown key anywhere is refused.
* later, 0.1.64: a document is a later one when it has `apiVersion`, or any field that 0.1.26 did not know
  (`LATER_KEYS`) in its place. Unknown keys are then ignored, at every depth, and named in a warning: a field that came
  after 0.1.64 must not keep a world from being played.

msgspec ignores unknown keys when it decodes these Structs; refusing them is the loader's part, because only there can all of
them be named at once.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from coworld_protocol.contract import API_VERSION_V1, Role

__all__ = [
    "LATER_KEYS",
    "ROLE_SECTIONS",
    "Certification",
    "CertificationPlayer",
    "Doc",
    "DocPage",
    "Docs",
    "EpisodeRequest",
    "Game",
    "Manifest",
    "Protocols",
    "RegisteredReporter",
    "ResourceLimits",
    "ResourceRequests",
    "Resources",
    "RoleEntry",
    "Runnable",
    "Startup",
    "TextDoc",
    "UriDoc",
    "Variant",
    "WasmReporter",
]

ROLE_SECTIONS: Final = (
    Role.PLAYER,
    Role.REPORTER,
    Role.COMMISSIONER,
    Role.GRADER,
    Role.DIAGNOSER,
    Role.OPTIMIZER,
)
"""Sections of the manifest that list roles, in the order they are checked."""

LATER_KEYS: Final[dict[str, frozenset[str]]] = {
    "$": frozenset({"apiVersion", "tags", "episode_timeout_minutes"}),
    "$.game": frozenset(
        {"player_runtime", "memory", "promo", "replay_viewer", "achievements", "log", "task_environments"}
    ),
    "$.game.protocols": frozenset({"engine_runtime"}),
    "$.player[]": frozenset({"startup", "file"}),
    "$.reporter[]": frozenset({"reporter", "wasm"}),
    "resources": frozenset({"limits"}),
    "resources.requests": frozenset({"gpu", "instance-type"}),
}
"""Keys that 0.1.64 added, by the object they sit in; `resources` may sit in any runnable."""

Text = Annotated[str, Meta(min_length=1)]


class TextDoc(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """A document given in full, usually Markdown."""

    value: Text


class UriDoc(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="uri"):
    """A document behind a public address."""

    value: Annotated[str, Meta(min_length=1, pattern="^https?://")]


Doc = TextDoc | UriDoc


class DocPage(msgspec.Struct, frozen=True, kw_only=True):
    """A further page. Line ends behind the `id` do not count (the reference strips them)."""

    id: Text
    title: Text
    content: Doc


class Docs(msgspec.Struct, frozen=True, kw_only=True):
    """What people read about the game."""

    readme: Doc
    pages: tuple[DocPage, ...] = ()


class Protocols(msgspec.Struct, frozen=True, kw_only=True, rename={"global_": "global"}):
    """Descriptions of the two channels.

    Attributes:
        player: messages of `/player`.
        global_: messages of `/global`.
    """

    player: Doc
    global_: Doc


class ResourceRequests(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """What a scheduler reserves, as Kubernetes quantities (`500m`, `4Gi`). None: the place's default.

    Attributes:
        gpu: 0.1.64; only 1.
        instance_type: 0.1.64; only on the hosted platform.
    """

    cpu: str | None = None
    memory: str | None = None
    ephemeral_storage: str | None = None
    gpu: Literal[1] | None = None
    instance_type: str | None = None


class ResourceLimits(msgspec.Struct, frozen=True, kw_only=True):
    """0.1.64: what a role may not exceed, as Kubernetes quantities."""

    cpu: str | None = None
    memory: str | None = None


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """Compute of one role. 0.1.26 demands `requests`; the loader checks that."""

    requests: ResourceRequests = ResourceRequests()
    limits: ResourceLimits | None = None


class Startup(msgspec.Struct, frozen=True, kw_only=True):
    """0.1.64: a player that is warmed up before it connects.

    Attributes:
        port: where the player serves its own health check.
        path: its route.
        timeout_seconds: how long warming up may take.
    """

    port: Annotated[int, Meta(ge=1024, le=65535)]
    path: Annotated[str, Meta(pattern="^/")] = "/healthz"
    timeout_seconds: Annotated[int, Meta(ge=1, le=1200)] = 1200


class Runnable(msgspec.Struct, frozen=True, kw_only=True):
    """What to start: an image, optionally another command.

    Attributes:
        type: the role it plays.
        image: image reference; what it means is the driver's business.
        run: element 0 the executable, the rest its arguments; empty for the image's own.
        env: public variables; never secrets.
        source_url: where its source is.
        resources: compute it asks for.
    """

    type: Role
    image: str
    run: tuple[str, ...] = ()
    env: dict[str, str] = {}
    source_url: str | None = None
    resources: Resources | None = None


class RoleEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A runnable with an identity: one element of a role section.

    Attributes:
        id: names it in commands, directories and results; unique in its section.
        name: for people.
        description: for people.
        type: equals the section's name.
        image: as in `Runnable`; None only for a later player that is a `file`.
        run: as in `Runnable`.
        env: as in `Runnable`.
        source_url: as in `Runnable`.
        resources: as in `Runnable`.
        repository_url: a repository that optimizers clone.
        file: 0.1.64, players of a game-hosted world: a file of the package, or its `sha256:`.
        startup: 0.1.64, players only.
    """

    id: Text
    name: Text
    description: Text
    type: Role
    image: str | None = None
    run: tuple[str, ...] = ()
    env: dict[str, str] = {}
    source_url: str | None = None
    resources: Resources | None = None
    repository_url: str | None = None
    file: str | None = None
    startup: Startup | None = None

    def runnable(self) -> Runnable:
        """Its runnable part alone, as an episode request wants it.

        Raises:
            ValueError: it is a player file, which has no image; `image` tells beforehand.
        """
        if self.image is None:
            raise ValueError(f"{self.type} {self.id!r} has no image")
        return Runnable(
            type=self.type,
            image=self.image,
            run=self.run,
            env=self.env,
            source_url=self.source_url,
            resources=self.resources,
        )


class RegisteredReporter(msgspec.Struct, frozen=True, kw_only=True):
    """0.1.64: a reporter of the hosted platform's register, `owner/name@version`. It cannot run here."""

    reporter: Annotated[str, Meta(pattern=r"^[a-z0-9]+/[a-z0-9][a-z0-9_.-]*@[1-9][0-9]*$")]


class WasmReporter(msgspec.Struct, frozen=True, kw_only=True):
    """0.1.64: a reporter that is a WebAssembly component of the package. It cannot run here.

    Attributes:
        wasm: path in the package.
        id: unique in its section.
        display_name: for people.
        description: for people.
        attributes: purpose, world, outputs and limits, as the platform reads them.
    """

    wasm: Text
    id: Text
    display_name: Annotated[str, Meta(max_length=200)] | None = None
    description: Annotated[str, Meta(max_length=2000)] | None = None
    attributes: dict[str, Any] = {}


class Game(msgspec.Struct, frozen=True, kw_only=True):
    """The game and everything said about it.

    Attributes:
        name: short name of the world.
        version: PEP 440.
        description: for people.
        owner: mail address or handle.
        config_schema: JSON Schema of a game configuration, tokens included.
        results_schema: JSON Schema of `results.json`.
        runnable: how to start it.
        protocols: its two channels, described.
        docs: further reading.
        player_runtime: 0.1.64: who starts the players, the platform or the game.
        memory: 0.1.64; like the rest below carried for those who ask, without a meaning here.
        promo: 0.1.64.
        replay_viewer: 0.1.64.
        achievements: 0.1.64.
        log: 0.1.64.
        task_environments: 0.1.64.
    """

    name: Text
    version: Text
    description: Text
    owner: Text
    config_schema: dict[str, Any]
    results_schema: dict[str, Any]
    runnable: Runnable
    protocols: Protocols
    docs: Docs
    player_runtime: Literal["platform-hosted", "game-hosted"] = "platform-hosted"
    memory: Any = None
    promo: Any = None
    replay_viewer: Any = None
    achievements: Any = None
    log: Any = None
    task_environments: Any = None


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """A named configuration that people and leagues may ask for; `game_config` without tokens."""

    id: Text
    name: str
    description: Text
    game_config: dict[str, Any]


class CertificationPlayer(msgspec.Struct, frozen=True, kw_only=True):
    """One seat of the certification fixture."""

    player_id: Text


class Certification(msgspec.Struct, frozen=True, kw_only=True):
    """The fixture: the configuration and the seats of an episode that has to work."""

    game_config: dict[str, Any]
    players: Annotated[tuple[CertificationPlayer, ...], Meta(min_length=1)]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename={"schema_": "$schema", "api_version": "apiVersion"}):
    """A whole world.

    Attributes:
        schema_: an editor's hint.
        api_version: 0.1.64; None means the older shape, which differs in nothing else.
        game: exactly one.
        player: the declared players, at least one.
        reporter: those that can be started here. The loader keeps 0.1.64's references apart.
        commissioner: league drivers.
        grader: one-shot roles that score an episode.
        diagnoser: one-shot roles that explain a player's weakness.
        optimizer: workbenches.
        variants: at least one.
        certification: the fixture.
        players_per_user: hosted only.
        tags: 0.1.64.
        episode_timeout_minutes: 0.1.64, 1..1440.
    """

    schema_: str | None = None
    api_version: Literal["coworld.softmax.com/v1"] | None = None
    game: Game
    player: Annotated[tuple[RoleEntry, ...], Meta(min_length=1)]
    reporter: tuple[RoleEntry, ...] = ()
    commissioner: tuple[RoleEntry, ...] = ()
    grader: tuple[RoleEntry, ...] = ()
    diagnoser: tuple[RoleEntry, ...] = ()
    optimizer: tuple[RoleEntry, ...] = ()
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1)]
    certification: Certification
    players_per_user: Annotated[int, Meta(ge=1)] | None = None
    tags: Annotated[tuple[Text, ...], Meta(min_length=3)] | None = None
    episode_timeout_minutes: Annotated[int, Meta(ge=1, le=1440)] | None = None

    def roles(self, section: Role) -> tuple[RoleEntry, ...]:
        """The entries of one role section.

        Raises:
            KeyError: `section` is `game`, which is no section.
        """
        if section not in ROLE_SECTIONS:
            raise KeyError(section)
        entries: tuple[RoleEntry, ...] = getattr(self, section.value)
        return entries

    def find_player(self, player_id: str) -> RoleEntry | None:
        """The declared player of that id."""
        return next((entry for entry in self.player if entry.id == player_id), None)

    def find_variant(self, variant_id: str) -> Variant | None:
        """The variant of that id."""
        return next((variant for variant in self.variants if variant.id == variant_id), None)


class EpisodeRequest(msgspec.Struct, frozen=True, kw_only=True, rename={"schema_": "$schema"}):
    """One episode to be played, complete in itself: what the reference calls a job spec.

    Attributes:
        schema_: an editor's hint.
        manifest: the whole manifest.
        game_config: the configuration, without tokens.
        players: one runnable per seat, each of type `player` and without identity.
        episode_tags: free labels.
    """

    schema_: str | None = None
    manifest: Manifest
    game_config: dict[str, Any]
    players: tuple[Runnable, ...]
    episode_tags: dict[str, str] = {}


assert API_VERSION_V1 == "coworld.softmax.com/v1", "the Literal above has to spell it out"
