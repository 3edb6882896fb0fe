"""The command line: one typer application, a module for each group of commands, wiring only."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from typing import Annotated

import typer

from profilestream.core.errors import ProfilestreamError, UsageError

app = typer.Typer(
    name="profilestream",
    help="Living customer profiles in Redis, folded from Kafka, with every segment change announced once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

# Each module has `register(app)`, which adds its commands in the order in which help shows them.
_MODULES = (
    "trying",
    "definitions",
    "local",
    "running",
    "replaying",
    "data",
    "archiving",
    "simulating",
    "reading",
    "history",
    "describing",
    "quantiles",
    "generations",
    "comparing",
    "verifying",
    "planning",
    "applying",
    "demo",
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"profilestream {importlib.metadata.version('profilestream')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    pass


def build() -> typer.Typer:
    """The application with every command registered."""
    if not app.registered_commands:
        for name in _MODULES:
            importlib.import_module(f"profilestream.cli.{name}").register(app)
    return app


def main() -> None:
    """Entry point: exit 0 done, 1 failed, 2 wrong use; an error is lines for a person, never a traceback."""
    try:
        build()()
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except ProfilestreamError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
