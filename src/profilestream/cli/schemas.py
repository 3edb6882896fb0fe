"""`profilestream schemas DIR`: the JSON Schemas of events and outputs, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from profilestream.core.errors import UsageError
from profilestream.wire import schemas as wire_schemas


def register(app: typer.Typer) -> None:
    """Adds the command `schemas`."""

    @app.command("schemas")
    def schemas(
        directory: Annotated[Path, typer.Argument(help="Where the files go; made if it is not there.")],
    ) -> None:
        """Write the JSON Schemas of all events and of what --json prints."""
        try:
            paths = wire_schemas.write(directory)
        except OSError as error:
            raise UsageError(
                f"{directory}: cannot write schemas there ({error.strerror}); name another folder"
            ) from None
        typer.echo(f"{len(paths)} schemas written to {directory}")
