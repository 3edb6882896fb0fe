"""What Redis says about generations: which one readers use, and what each is.

Topic `generations` is the truth; Redis holds this copy so that a reader needs nothing but Redis.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

import orjson

from ..core.errors import NotFound, StoreRefused
from ..wire.times import parse_time
from .connection import AsyncClient, SyncClient, reaching
from .keys import Keys, live_key


@dataclass(frozen=True, slots=True)
class Generation:
    """One complete set of profiles made with one set of definitions.

    `definitions` is the TOML text, `fingerprint` its compiled meaning's, `created_at` RFC 3339 UTC. `state` is
    "building" (made beside the live one), "live", "kept" (a former live one, in step until `kept_until`), "dropping".

    `base` is the live generation that it was planned against, `method` "replay" (folded from the log) or "carry"
    (unchanged aggregates are copied from the live one). `start` says where a replay begins: {"from": "beginning"},
    {"from": time} or {"offsets": {topic: {partition: offset}}}; where a time is given the offsets stand beside it.
    `only` is {} or what a trial is limited to: {"customers": [...]}, {"shards": [...]}. `complete_since` has the traits
    that do not know all of the past, and from when on they do. `announce` is "net" or "none". `turn` is the one with
    which it was last made live, of the whole installation; 0 for never.
    """

    name: str
    shards: int
    definitions: str
    fingerprint: str
    created_at: str
    state: str
    base: str = ""
    method: str = "replay"
    start: Mapping[str, Any] = field(default_factory=lambda: {"from": "beginning"})
    only: Mapping[str, Any] = field(default_factory=dict)
    complete_since: Mapping[str, str] = field(default_factory=dict)
    announce: str = "net"
    kept_until: str = ""
    turn: int = 0

    def is_over(self, now_ms: int) -> bool:
        """Whether it is a former live one, and the time up to which it was to be kept in step is past."""
        return self.state == "kept" and bool(self.kept_until) and parse_time(self.kept_until) <= now_ms

    @property
    def question(self) -> str:
        """What is asked about one whose time is over: it takes room, and nobody folds it any more."""
        return (
            f"generation {self.name} was kept in step until {self.kept_until}: `profilestream drop {self.name}` frees "
            f"it, `profilestream replay {self.name}` brings it into step again"
        )


_JSON_FIELDS: Final = ("start", "only", "complete_since")
_LATER_FIELDS: Final = ("base", "method", "announce", "kept_until")

CLAIM: Final = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
"""Names the live generation, provided that the key still says what was read."""


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


async def claim_live(client: AsyncClient, namespace: str, name: str, former: str) -> bool:
    """As `set_live`, but only while Redis still names `former` ("" for none); False when it does not."""
    with reaching(client):
        return bool(await client.eval(CLAIM, 1, Keys(namespace, name).live, former, name))


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
    known = {text_of(name): text_of(value) for name, value in reply.items()}
    try:
        later: dict[str, Any] = {name: known[name] for name in _LATER_FIELDS if name in known}
        later |= {name: orjson.loads(known[name]) for name in _JSON_FIELDS if name in known}
        return Generation(
            name=keys.generation,
            shards=int(known["shards"]),
            definitions=known["definitions"],
            fingerprint=known["fingerprint"],
            created_at=known["created_at"],
            state=known["state"],
            turn=int(known.get("turn", 0)),
            **later,
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
    found = {f.name: getattr(generation, f.name) for f in fields(generation) if f.name != "name"}
    return found | {name: orjson.dumps(found[name], option=orjson.OPT_SORT_KEYS) for name in _JSON_FIELDS}
