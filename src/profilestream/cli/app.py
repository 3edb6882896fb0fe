"""The command line: one typer application, a module for each group of commands, wiring only."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from typing import Annotated, Final

import typer

from profilestream.core.errors import ProfilestreamError, UsageError

COMMANDS: Final = {
    "trying": ("new", "try", "test"),
    "definitions": ("check", "init", "schemas"),
    "local": ("local",),
    "running": ("worker", "emitter"),
    "replaying": ("replay", "promote", "rollback"),
    "data": ("produce", "changes", "dead-letters"),
    "archiving": ("export-log",),
    "simulating": ("simulate",),
    "reading": ("status", "profile", "explain", "segments", "members", "key"),
    "history": ("history",),
    "describing": ("describe",),
    "quantiles": ("quantiles",),
    "generations": ("generations", "drop"),
    "comparing": ("compare",),
    "verifying": ("verify",),
    "planning": ("plan",),
    "applying": ("apply",),
    "demo": ("demo",),
}
"""The commands of each module, in the order in which help shows them. A module's `register(app)` adds its own."""


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"profilestream {importlib.metadata.version('profilestream')}")
        raise typer.Exit


def _common(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    pass


def build(command: str = "") -> typer.Typer:
    """The application; only with the commands of its module where a command is named that there is.

    To load all of them takes longer than many a command, and a rollback should not wait for `demo`.
    """
    app = typer.Typer(
        name="profilestream",
        help="Living customer profiles in Redis, folded from Kafka, with every segment change announced once.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.callback()(_common)
    for name in [module for module, names in COMMANDS.items() if command in names] or COMMANDS:
        importlib.import_module(f"profilestream.cli.{name}").register(app)
    return app


def main() -> None:
    """Entry point: exit 0 done, 1 failed, 2 wrong use; an error is lines for a person, never a traceback."""
    try:
        build("".join(sys.argv[1:2]))()
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
