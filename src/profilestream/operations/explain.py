"""`explain`: reads a customer's stored state and says why each segment has the customer, or has not.

Only Redis is asked. The answer is for the shard's clock: what is due by then has happened in it, even where the
worker has not come to write it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from profilestream.core.definitions import Definitions
from profilestream.core.engine import Engine
from profilestream.core.errors import NotFound, UsageError
from profilestream.core.explanation import Explanation, at_clock, explain_segments
from profilestream.core.problems import suggestion
from profilestream.store.commits import read_head
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

    `traits` are the values then, as readers see them; `explanations` those asked for, in the file's order.
    """

    customer_id: str
    generation: Generation
    definitions: Definitions
    clock: int
    traits: Mapping[str, Any]
    explanations: list[Explanation]


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


def explain(redis: str, namespace: str, customer_id: str, segment: str | None = None) -> Explained:
    """Explains one segment of a customer, or all of them.

    Raises NotFound for an unknown customer or segment, StateMismatch where the state was written under other
    definitions, ServerUnavailable without Redis.
    """
    client = connect_sync(redis)
    try:
        generation, _, keys = _place(client, namespace, customer_id)
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
    engine = Engine(definitions)
    head = read_head(list(chain.from_iterable(fields.items())))
    profile = decode_state(state, customer_id, engine)
    clock = profile.as_of if head.clock is None else max(head.clock, profile.as_of)
    return Explained(
        customer_id=customer_id,
        generation=generation,
        definitions=definitions,
        clock=clock,
        traits=engine.values(at_clock(engine, profile, clock)),
        explanations=explain_segments(engine, profile, clock, None if segment is None else [segment]),
    )


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
