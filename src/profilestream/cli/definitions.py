"""`check`, `init` and `schemas`: what is done with a definitions file before anything runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from profilestream.cli import schemas
from profilestream.cli.connection import KafkaOption, NamespaceOption, RedisOption, settings
from profilestream.core.counting import counted
from profilestream.core.definitions import Definitions
from profilestream.core.errors import UsageError
from profilestream.operations.definition_tests_reading import read_with_tests
from profilestream.operations.initialise import initialise
from profilestream.operations.rebuild import rebuild
from profilestream.settings import Settings
from profilestream.stream.topic_layout import event_topics
from profilestream.wire.definitions import read_definitions

FileArgument = Annotated[
    Path | None, typer.Argument(metavar="DEFINITIONS", help="The definitions file [PROFILESTREAM_DEFINITIONS].")
]
FileOption = Annotated[Path | None, typer.Option("--definitions", metavar="FILE", help="The same, as a flag.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(check)
    app.command()(init)
    schemas.register(app)


def check(definitions: FileArgument = None, flag: FileOption = None) -> None:
    """Check a definitions file and its tests; every mistake is named with its place."""
    path = definitions_path(definitions, flag)
    found, _ = read_with_tests(path)
    typer.echo(f"{path}: {_counted(found)}; definitions {found.fingerprint}")


def init(
    definitions: FileArgument = None,
    flag: FileOption = None,
    shards: Annotated[
        int | None, typer.Option("--shards", metavar="N", help="How many shards (default: 16, or as topics have).")
    ] = None,
    again: Annotated[
        bool, typer.Option("--rebuild", help="On local servers: fold everything again under these definitions.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before what was announced is deleted.")] = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Make the topics and the first generation of profiles. Repeatable."""
    found = read_definitions(definitions_path(definitions, flag))
    where = settings(kafka, redis, namespace)
    if again:
        if shards is not None:
            raise UsageError("--rebuild keeps the number of shards; leave out --shards")
        if not yes:
            typer.confirm("This deletes all profiles and announced changes, and folds anew. Go on?", abort=True)
        asyncio.run(rebuild(where, found, typer.echo))
        typer.echo("now fold: profilestream worker, and announce: profilestream emitter")
        return
    asyncio.run(initialise(where, found.text, found.fingerprint, event_topics(found), shards, typer.echo))


def definitions_path(argument: Path | None, flag: Path | None) -> Path:
    """The file that was named, or the environment's. Raises UsageError without either."""
    named = Settings().definitions
    path = argument or flag or (Path(named) if named else None)
    if path is None:
        raise UsageError("which definitions file? Give it as an argument, or set PROFILESTREAM_DEFINITIONS")
    return path


def _counted(found: Definitions) -> str:
    traits, segments = counted(len(found.traits), "trait"), counted(len(found.segments), "segment")
    return f"{traits}, {segments}, no mistakes"
