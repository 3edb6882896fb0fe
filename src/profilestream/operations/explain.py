"""`explain`: reads a customer's stored state and says why each segment has the customer, or has not.

Redis is asked, and Kafka only for when a topic was first read, where that was not from its beginning. The answer is for
the shard's clock: what is due by then has happened in it, even where the worker has not come to write it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from profilestream.core.aggregates import KEYS_MAX
from profilestream.core.definitions import Definitions
from profilestream.core.engine import Engine
from profilestream.core.errors import NotFound, UsageError
from profilestream.core.explanation import Explanation, at_clock, explain_segments
from profilestream.core.problems import suggestion
from profilestream.core.profile import Profile
from profilestream.operations.explain_traits import ExplainedTrait, FirstReads, read_first_reads
from profilestream.operations.explain_traits import explain_traits as explained_traits
from profilestream.settings import Settings
from profilestream.store.commits import Head, read_head
from profilestream.store.connection import SyncClient, connect_sync, reaching
from profilestream.store.keys import Keys, ShardKeys, shard_of
from profilestream.store.metadata import Generation, read_generation_sync, read_live_sync
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.states import decode_state


@dataclass(frozen=True, slots=True)
class CustomerKeys:
    """Where a customer is: the live generation, the shard, and the key of the readable profile."""

    customer_id: str
    generation: Generation
    shard: int
    profile: str


@dataclass(frozen=True, slots=True)
class Explained:
    """What was found out about a customer at `clock` (ms).

    `explanations` are those asked for, in the file's order; of all segments, `segments_left_out` are not among them.
    """

    customer_id: str
    generation: Generation
    definitions: Definitions
    shard: int
    clock: int
    explanations: list[Explanation]
    segments_left_out: int
    profile: Profile
    head: Head


def find_customer(redis: str, namespace: str, customer_id: str) -> CustomerKeys:
    """The keys of a customer who has a profile.

    Raises NotFound for an unknown customer or before `init`, ServerUnavailable without Redis.
    """
    client = connect_sync(redis)
    try:
        generation, shard, keys = _place(client, namespace, customer_id)
        with reaching(client):
            if not client.exists(keys.profile(customer_id)):
                raise no_customer(customer_id, generation)
    finally:
        client.close()
    return CustomerKeys(customer_id, generation, shard, keys.profile(customer_id))


def explain(
    redis: str,
    namespace: str,
    customer_id: str,
    segment: str | None = None,
    segments_max: int | None = None,
    keys_max: int = KEYS_MAX,
) -> Explained:
    """Explains one segment of a customer, or all of them, or `segments_max` of all.

    Those that the customer is in come before those that the customer was in, and these before all others. `keys_max` is
    how many keys of a map the worker keeps. Raises NotFound for an unknown customer or segment, StateMismatch where the
    state was written under other definitions, ServerUnavailable without Redis.
    """
    client = connect_sync(redis)
    try:
        generation, shard, keys = _place(client, namespace, customer_id)
        with reaching(client):
            # The head first: a commit in between then gives a state whose own clock is the later one.
            fields: Any = client.hgetall(keys.head)
            state: Any = client.get(keys.state(customer_id))
    finally:
        client.close()
    if state is None:
        raise no_customer(customer_id, generation)
    definitions = parse_definitions(generation.definitions, f"generation {generation.name}")
    if segment is not None and segment not in definitions.by_segment:
        raise no_segment(segment, generation, definitions.by_segment)
    engine = Engine(definitions, keys_max=keys_max, watched=None if segment is None else [segment])
    head = read_head(list(chain.from_iterable(fields.items())))
    profile = decode_state(state, customer_id, engine)
    clock = profile.as_of if head.clock is None else max(head.clock, profile.as_of)
    names = [segment] if segment is not None else _chosen(engine, profile, clock, segments_max)
    return Explained(
        customer_id=customer_id,
        generation=generation,
        definitions=definitions,
        shard=shard,
        clock=clock,
        explanations=explain_segments(engine, profile, clock, names),
        segments_left_out=0 if segment is not None else len(definitions.segments) - len(names),
        profile=profile,
        head=head,
    )


def _chosen(engine: Engine, profile: Profile, clock: int, segments_max: int | None) -> list[str]:
    """The segments that are explained, in the file's order."""
    names = [s.name for s in engine.definitions.segments]
    if segments_max is None or len(names) <= segments_max:
        return names
    kept = at_clock(engine, profile, clock).members
    order = sorted(names, key=lambda name: 2 if name not in kept else 1 - kept[name][0] % 2)
    chosen = set(order[:segments_max])
    return [name for name in names if name in chosen]


def explain_traits(explained: Explained, settings: Settings) -> list[ExplainedTrait]:
    """Every trait of a customer who was explained.

    Kafka is asked only where a topic was not read from its beginning.
    """
    found, head = explained, explained.head
    first_reads: FirstReads = dict.fromkeys(head.starts)
    if head.starts and settings.kafka is not None:
        first_reads = asyncio.run(read_first_reads(settings, found.shard, head.starts))
    bare = Engine(found.definitions, keys_max=settings.map_keys_max, watched=())
    return explained_traits(bare, bare.revive(found.profile), found.clock, first_reads, settings.rekeyed_topic)


def check_customer(customer_id: str) -> None:
    """Raises UsageError for an id of which no key can be made: bytes of a command line that are not UTF-8."""
    try:
        customer_id.encode()
    except UnicodeEncodeError:
        raise UsageError("a customer id is Unicode text; this one holds bytes that are not UTF-8") from None


def no_customer(customer_id: str, generation: Generation) -> NotFound:
    """The error for a customer without a profile; it echoes what was typed."""
    return NotFound(f"no customer `{customer_id}` in generation {generation.name}")


def no_segment(name: str, generation: Generation, known: Mapping[str, Any]) -> NotFound:
    """The error for a segment that the definitions lack, with the one that may have been meant."""
    return NotFound(f"no segment `{name}` in generation {generation.name}{suggestion(name, known)}")


def _place(client: SyncClient, namespace: str, customer_id: str) -> tuple[Generation, int, ShardKeys]:
    check_customer(customer_id)
    generation = read_generation_sync(client, namespace, read_live_sync(client, namespace))
    shard = shard_of(customer_id, generation.shards)
    return generation, shard, Keys(namespace, generation.name).shard(shard)
