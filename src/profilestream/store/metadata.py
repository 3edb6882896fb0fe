"""What Redis says about generations: which one readers use, and what each is.

Topic `generations` is the truth; Redis holds this copy so that a reader needs nothing but Redis.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import NotFound, StoreRefused
from .connection import AsyncClient, SyncClient, reaching
from .keys import Keys, live_key


@dataclass(frozen=True, slots=True)
class Generation:
    """One complete set of profiles made with one set of definitions.

    `definitions` is the TOML text, `fingerprint` its compiled meaning's, `created_at` RFC 3339 UTC,
    `state` a word such as "live".
    """

    name: str
    shards: int
    definitions: str
    fingerprint: str
    created_at: str
    state: str


async def read_live(client: AsyncClient, namespace: str) -> str:
    """The name of the generation that readers use; raises NotFound before `profilestream init`."""
    with reaching(client):
        return parse_live(namespace, await client.get(live_key(namespace)))


async def read_generation(client: AsyncClient, namespace: str, name: str) -> Generation:
    """What a generation is; raises NotFound when Redis knows none of that name."""
    keys = Keys(namespace, name)
    with reaching(client):
        return parse_generation(keys, await client.hgetall(keys.meta))


async def write_generation(client: AsyncClient, namespace: str, generation: Generation) -> None:
    """Writes a generation's description, all fields at once."""
    with reaching(client):
        await client.hset(Keys(namespace, generation.name).meta, mapping=_fields(generation))


async def set_live(client: AsyncClient, namespace: str, name: str) -> None:
    """Makes readers use another generation, within the second for which they remember it."""
    with reaching(client):
        await client.set(Keys(namespace, name).live, name)


def read_live_sync(client: SyncClient, namespace: str) -> str:
    """As `read_live`, without an event loop."""
    with reaching(client):
        return parse_live(namespace, client.get(live_key(namespace)))


def read_generation_sync(client: SyncClient, namespace: str, name: str) -> Generation:
    """As `read_generation`, without an event loop."""
    keys = Keys(namespace, name)
    with reaching(client):
        return parse_generation(keys, client.hgetall(keys.meta))


def parse_live(namespace: str, reply: Any) -> str:
    """Reads the reply to GET of the live key."""
    if not reply:
        raise NotFound(f"namespace `{namespace}` has no live generation; run `profilestream init` first")
    return text_of(reply)


def parse_generation(keys: Keys, reply: Mapping[Any, Any]) -> Generation:
    """Reads the reply to HGETALL of a meta key."""
    if not reply:
        raise NotFound(f"namespace `{keys.namespace}` has no generation `{keys.generation}`; run `profilestream init`")
    fields = {text_of(name): text_of(value) for name, value in reply.items()}
    try:
        return Generation(
            name=keys.generation,
            shards=int(fields["shards"]),
            definitions=fields["definitions"],
            fingerprint=fields["fingerprint"],
            created_at=fields["created_at"],
            state=fields["state"],
        )
    except (KeyError, ValueError):
        raise StoreRefused(
            f"{keys.meta} cannot be read; something other than profilestream writes these keys: use another namespace"
        ) from None


def segment_tables(generation: Generation) -> dict[str, Any]:
    """The `[segments]` of a generation by name, as the file has them: to list many, none need be understood.

    Raises StoreRefused for a text that is no TOML.
    """
    try:
        tables: dict[str, Any] = tomllib.loads(generation.definitions).get("segments", {})
    except tomllib.TOMLDecodeError:
        raise StoreRefused(
            f"the definitions of generation `{generation.name}` in Redis cannot be read; "
            "run `profilestream init` with its definitions file"
        ) from None
    return tables


def text_of(value: bytes | str) -> str:
    """A reply as text, whether or not the client decodes replies."""
    return value.decode() if isinstance(value, bytes) else value


def _fields(generation: Generation) -> dict[Any, Any]:
    return {
        "shards": generation.shards,
        "definitions": generation.definitions,
        "fingerprint": generation.fingerprint,
        "created_at": generation.created_at,
        "state": generation.state,
    }
