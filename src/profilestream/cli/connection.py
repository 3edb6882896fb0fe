"""Where a command's Kafka and Redis are: flags, then the environment, then the servers of this folder.

The option types here are shared by every module of the command line, so that a flag is called and
explained the same everywhere.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from profilestream import local
from profilestream.core.errors import UsageError
from profilestream.settings import Settings

KafkaOption = Annotated[
    str | None,
    typer.Option("--kafka", metavar="HOST:PORT,...", help="Kafka's addresses [PROFILESTREAM_KAFKA]."),
]
RedisOption = Annotated[
    str | None,
    typer.Option("--redis", metavar="URL", help="Redis as redis://host:port [PROFILESTREAM_REDIS]."),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", metavar="NAME", help="Prefix of keys, default ps [PROFILESTREAM_NAMESPACE]."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
ArchiveOption = Annotated[
    Path | None,
    typer.Option("--archive", metavar="DIR", help="What the log no longer has, as `export-log` wrote it."),
]

BOTH = ("kafka", "redis")


def settings(
    kafka: str | None,
    redis: str | None,
    namespace: str | None,
    directory: Path | None = None,
    *,
    needs: Collection[str] = BOTH,
) -> Settings:
    """The settings of a command; those of its servers that it `needs` (of "kafka", "redis") have an address.

    Flags beat the environment. Where neither names any address, the servers of `directory` (default
    `./.profilestream`) are taken, if they run. They are never mixed with addresses that were given: half an
    installation and half a local one would be neither. Raises UsageError, which says what to give.
    """
    given = {"kafka": kafka, "redis": redis, "namespace": namespace}
    found = _read({name: value for name, value in given.items() if value is not None})
    folder = directory or local.DEFAULT_DIRECTORY
    if not found.kafka and not found.redis and (servers := local.status(folder)) is not None:
        return found.model_copy(update={"kafka": servers.kafka, "redis": servers.redis})
    missing = [name for name in BOTH if name in needs and not getattr(found, name)]
    if missing:
        raise UsageError(_advice(missing, folder, none_given=not found.kafka and not found.redis))
    return found


def redis_address(kafka: str | None, redis: str | None, namespace: str | None) -> tuple[str, str]:
    """Address and namespace for the commands that need nothing but Redis."""
    found = settings(kafka, redis, namespace, needs=("redis",))
    if found.redis is None:
        raise UsageError("No address of Redis: give --redis, or set PROFILESTREAM_REDIS.")
    return found.redis, found.namespace


def _read(flags: dict[str, Any]) -> Settings:
    try:
        return Settings(**flags)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name = str(problem["loc"][0])
            where = f"--{name}" if name in flags else f"PROFILESTREAM_{name.upper()}"
            lines.append(f"{where}: {problem['msg'][0].lower()}{problem['msg'][1:]}")
        raise UsageError("\n".join(lines)) from None


def _advice(missing: list[str], folder: Path, *, none_given: bool) -> str:
    names = " and ".join(name.capitalize() for name in missing)
    flags = " and ".join(f"--{name}" for name in missing)
    variables = " and ".join(f"PROFILESTREAM_{name.upper()}" for name in missing)
    lines = [f"No address of {names}: give {flags}, or set {variables}"]
    if none_given:
        lines[0] += f", or start servers of your own with `profilestream local up` (none run in {folder})"
    return lines[0] + "."
