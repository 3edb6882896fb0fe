"""The commands that read: `status`, `profile`, `key`; others that read have files of their own."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from profilestream.cli import cards, listing, people
from profilestream.cli.connection import (
    JsonOption,
    KafkaOption,
    NamespaceOption,
    RedisOption,
    redis_address,
    settings,
)
from profilestream.cli.explain import explain
from profilestream.operations import explain as explaining
from profilestream.operations.status import ShardStatus, Status, read_status
from profilestream.store.reader import ProfileReader
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.explanations import time_text
from profilestream.wire.values import encode_value

CustomerArgument = Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id.")]


def register(app: typer.Typer) -> None:
    """Adds the commands in the order in which help shows them."""
    for command in (status, profile, explain, listing.segments, listing.members, key):
        app.command()(command)


def status(
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Show how everything stands: servers, generation, clocks, what is not folded or announced yet."""
    found = asyncio.run(read_status(settings(kafka, redis, namespace, needs=("redis",))))
    if as_json:
        _print_json(_status_object(found))
    else:
        cards.show_status(people.console(), found)


def profile(
    customer: CustomerArgument,
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Show a customer's profile as readers see it: traits and segments."""
    address, name = redis_address(kafka, redis, namespace)
    explaining.check_customer(customer)
    with ProfileReader(address, name) as reader:
        found = reader.get(customer)
        generation = reader.generation()
    if found is None:
        raise explaining.no_customer(customer, generation)
    if not as_json:
        definitions = parse_definitions(generation.definitions, f"generation {generation.name}")
        cards.show_profile(people.console(), found, definitions)
        return
    _print_json(
        {
            "customer_id": found.customer_id,
            "generation": found.generation,
            "shard": found.shard,
            "revision": found.revision,
            "as_of": found.as_of,
            "traits": found.traits,
            "segments": found.segments,
        }
    )


def key(
    customer: CustomerArgument,
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Print the Redis key of a customer's profile: `redis-cli hgetall "$(profilestream key 42)"`."""
    found = explaining.find_customer(*redis_address(kafka, redis, namespace), customer)
    if not as_json:
        print(found.profile)
        return
    _print_json(
        {
            "customer_id": found.customer_id,
            "generation": found.generation.name,
            "shard": found.shard,
            "profile": found.profile,
        }
    )


def _status_object(found: Status) -> dict[str, Any]:
    clocks, lag = found.clocks, found.lag_by_topic
    return {
        "namespace": found.namespace,
        "generation": found.generation.name,
        "definitions": found.generation.fingerprint,
        "created_at": found.generation.created_at,
        "shards": found.generation.shards,
        "clock": time_text(clocks[-1] if clocks else None),
        "clock_earliest": time_text(clocks[0] if clocks else None),
        "lag": None if lag is None else sum(lag.values()),
        "lag_by_topic": lag,
        "outbox": found.outbox,
        "timers": found.timers,
        "dead_letters": found.dead_letters,
        "redis": {"address": found.redis, "version": found.redis_version, "memory_bytes": found.redis_bytes},
        "kafka": {"address": found.kafka, "problem": found.kafka_problem},
        "missing_topics": list(found.missing_topics),
        "by_shard": [_shard_object(shard, found) for shard in found.shards],
    }


def _shard_object(shard: ShardStatus, found: Status) -> dict[str, Any]:
    return {
        "shard": shard.number,
        "clock": time_text(shard.head.clock),
        "lag": None if found.kafka_problem else sum((shard.lag or {}).values()),
        "outbox": shard.outbox,
        "timers": shard.timers,
        "next_due": time_text(shard.next_due),
        "repair": shard.head.repair,
    }


def _print_json(value: Any) -> None:
    print(encode_value(value).decode())
