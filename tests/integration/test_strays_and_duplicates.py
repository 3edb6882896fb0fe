"""Records in wrong partitions, under wrong keys, twice, among rubbish: profiles come out the same."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import cdnow
from tests.comparison import compare, expect, read_profiles
from tests.kafka_records import (
    Arrival,
    Sending,
    event_bytes,
    read_topic,
    remove_topics,
    send,
)

SHARDS = 4
SEED = int(os.environ.get("TEST_SEED", "0")) or time.time_ns() % 1_000_000
BYTES_MAX = 900 * 1024


def valid(**fields: Any) -> dict[str, Any]:
    """A purchase that would be accepted, changed in one respect."""
    event = {
        "event_id": "letter",
        "customer_id": "nobody",
        "occurred_at": "1997-05-05T12:00:00Z",
        "amount_minor": 731_731,
    }
    return {name: value for name, value in {**event, **fields}.items() if value is not None}


def rubbish() -> list[tuple[str, Sending]]:
    """(reason, record) for every reason."""

    def purchase(reason: str, value: bytes | None) -> tuple[str, Sending]:
        return reason, Sending("purchases", value, b"some key", 1)

    soon_ms = time.time_ns() // 1_000_000 + 3_600_000
    return [
        purchase("not_json", b'{"event_id": '),
        purchase("wrong_type", event_bytes(valid(amount_minor="731731"))),
        purchase("missing_field", event_bytes(valid(amount_minor=None))),
        purchase("empty_id", event_bytes(valid(customer_id=""))),
        purchase("empty_id", event_bytes(valid(event_id=""))),
        purchase("bad_time", event_bytes(valid(occurred_at="yesterday 731731"))),
        purchase("future_time", event_bytes(valid(occurred_at=soon_ms))),
        purchase("too_large", event_bytes(valid(note="x" * BYTES_MAX))),
        purchase("empty_value", None),
        purchase("out_of_range", event_bytes(valid(amount_minor=-731_731))),
        purchase("currency", event_bytes(valid(currency="731731"))),
        ("unknown_command", Sending("commands", json.dumps(valid(kind="731731")).encode(), None, 0)),
    ]


def astray(events: list[dict[str, Any]], chance: random.Random) -> list[Sending]:
    """Every event twice, each time under a wrong key and in any partition."""
    copies = [
        Sending("purchases", event_bytes(event), f"wrong-{chance.random()}".encode(), chance.randrange(SHARDS))
        for event in events * 2
    ]
    chance.shuffle(copies)
    return copies


def test_strays_duplicates_and_dead_letters_leave_the_same_profiles(
    servers: Any, cli: Any, namespace: str, topic_name: Callable[[str], str], workdir: Path
) -> None:
    print(f"TEST_SEED={SEED}")
    chance = random.Random(SEED)
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(cdnow.DEFINITIONS)
    cli("init", "--definitions", "definitions.toml", "--shards", str(SHARDS))

    events = cdnow.purchases()
    letters = rubbish()
    sendings = astray(events, chance)
    places = sorted(chance.sample(range(len(sendings)), len(letters)), reverse=True)
    for place, (_, letter) in zip(places, letters, strict=True):
        sendings.insert(place, letter)
    sent = asyncio.run(send(servers.kafka, sendings))
    cli("worker", "--clock", "event", "--until-caught-up", timeout_s=300)

    expected = expect(cdnow.DEFINITIONS, [Arrival("purchases", 0, 0, event) for event in events], SHARDS)
    stored = read_profiles(servers.redis, namespace)
    compare(expected, stored, None, namespace, order_matters=False)
    assert sum(int(p.fields["total_spend"]) for p in stored.profiles.values()) == cdnow.TOTAL_CENTS

    reasons = {id(letter): reason for reason, letter in letters}
    written = {
        (where.topic, where.partition, where.offset): (reasons[id(one)], one, where.timestamp)
        for one, where in zip(sendings, sent, strict=True)
        if id(one) in reasons
    }
    found: dict[tuple[str, int, int], Any] = {}
    for record in asyncio.run(read_topic(servers.kafka, topic_name("dead-letters"))):
        headers = {name: value.decode() for name, value in record.headers}
        found[headers["topic"], int(headers["partition"]), int(headers["offset"])] = (record, headers)
    assert found.keys() == written.keys()
    for origin, (reason, sending, timestamp_ms) in written.items():
        record, headers = found[origin]
        assert headers["reason"] == reason, (origin, reason, headers)
        assert (record.key, record.value) == (sending.key, sending.value), reason
        assert headers["detail"] and "731731" not in headers["detail"], (reason, headers["detail"])
        assert int(headers["timestamp"]) == timestamp_ms, reason
