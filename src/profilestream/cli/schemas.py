"""`profilestream schemas DIR`: the JSON Schemas of events and outputs, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from profilestream.core.counting import counted
from profilestream.core.errors import UsageError
from profilestream.core.events import BUILT_IN
from profilestream.wire import schemas as wire_schemas
from profilestream.wire.definitions import read_definitions


def register(app: typer.Typer) -> None:
    """Adds the command `schemas`."""

    @app.command("schemas")
    def schemas(
        directory: Annotated[Path, typer.Argument(help="Where the files go; made if it is not there.")],
        definitions: Annotated[
            Path | None, typer.Option("--definitions", metavar="FILE", help="With the types of this file.")
        ] = None,
    ) -> None:
        """Write the JSON Schemas of all events and of what --json prints."""
        types = BUILT_IN if definitions is None else read_definitions(definitions).types
        try:
            paths = wire_schemas.write(directory, types)
        except OSError as error:
            raise UsageError(
                f"{directory}: cannot write schemas there ({error.strerror}); name another folder"
            ) from None
        typer.echo(f"{counted(len(paths), 'schema')} written to {directory}")
