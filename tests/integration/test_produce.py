"""`produce` on a real Kafka: what is sent, what is refused, and what is said."""

from __future__ import annotations

import asyncio
import io
import json
import os
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.integration.isolation import fresh_sources

from profilestream.core.errors import UsageError
from profilestream.operations.produce import BadLines, LineCheck, Produced, produce
from profilestream.settings import Settings
from profilestream.store.keys import shard_of
from profilestream.stream.reading import read_to_end
from profilestream.stream.topics import Admin
from profilestream.wire.definitions import parse_definitions


class Shop:
    """A topic of purchases of its own, and a file to send to it."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        assert settings.kafka is not None
        self.kafka = settings.kafka
        self.definitions = parse_definitions(fresh_sources(settings))
        self.topic = f"{settings.namespace}.purchases"
        self.file = directory / "purchases.jsonl"

    def check(self, validate: bool = True) -> LineCheck:
        return LineCheck(self.topic, self.definitions, 300_000, validate)

    async def send(self, validate: bool = True, **options) -> Produced:
        with self.file.open("rb") as source:
            return await produce(self.kafka, self.topic, source, self.file.name, self.check(validate), **options)

    async def records(self) -> list:
        return [record async for record in read_to_end(self.kafka, self.topic)]


@pytest.fixture
async def shop(tmp_path: Path, own_settings: Settings) -> Shop:
    shop = Shop(tmp_path, own_settings)
    async with Admin(shop.kafka) as admin:
        await admin.create(shop.topic, 4, {"message.timestamp.type": "LogAppendTime"})
    return shop


def event(n: int, **fields) -> bytes:
    return json.dumps(
        {
            "event_id": f"e{n}",
            "customer_id": f"c{n % 97}",
            "occurred_at": "2026-01-31T09:30:00Z",
            "amount_minor": n,
            **fields,
        }
    ).encode()


async def test_every_line_is_sent_as_it_is_keyed_by_customer_in_order(shop: Shop) -> None:
    lines = [event(n) for n in range(5_000)]
    shop.file.write_bytes(b"\r\n".join(lines[:100]) + b"\n\n  \n" + b"\n".join(lines[100:]))
    result = await shop.send()
    assert result.events == 5_000 and result.seconds > 0
    got = await shop.records()
    assert Counter(record.value for record in got) == Counter(lines)
    for record in got:
        assert record.key == json.loads(record.value)["customer_id"].encode()
        assert record.partition == shard_of(record.key.decode(), 4)
    for partition in range(4):
        amounts = [json.loads(r.value)["amount_minor"] for r in got if r.partition == partition]
        assert amounts == sorted(amounts)


async def test_an_empty_file_is_no_events_and_no_error(shop: Shop) -> None:
    shop.file.write_bytes(b"")
    assert (await shop.send()).events == 0


async def test_one_bad_line_keeps_the_whole_file_from_being_sent(shop: Shop) -> None:
    lines = [event(n) for n in range(3_000)]
    lines[1_999] = b'{"event_id": "secret-value"}'
    shop.file.write_bytes(b"\n".join(lines))
    with pytest.raises(BadLines) as caught:
        await shop.send()
    assert "purchases.jsonl:2000: missing_field: " in str(caught.value)
    assert "nothing was sent" in str(caught.value)
    assert "secret-value" not in str(caught.value)
    assert await shop.records() == []


async def test_of_many_bad_lines_twenty_are_shown_and_all_are_counted(shop: Shop) -> None:
    shop.file.write_bytes(b"nonsense\n" * 1_000)
    with pytest.raises(BadLines) as caught:
        await shop.send()
    assert caught.value.count == 1_000
    assert len(str(caught.value).splitlines()) == 22
    assert "and 980 more" in str(caught.value)


async def test_an_event_ahead_of_time_is_refused_like_the_dead_letter_it_would_be(shop: Shop) -> None:
    shop.file.write_bytes(event(1, occurred_at=(time.time_ns() // 1_000_000) + 600_000))
    with pytest.raises(BadLines, match="future_time"):
        await shop.send()


async def test_without_validation_every_line_is_sent(shop: Shop) -> None:
    lines = [b"not json", event(1), b'{"customer_id": 5}', b'{"customer_id": "c9"}', b'{"customer_id": ""}']
    shop.file.write_bytes(b"\n".join(lines))
    assert (await shop.send(validate=False)).events == 5
    keys = {record.value: record.key for record in await shop.records()}
    assert [keys[line] for line in lines] == [None, b"c1", None, b"c9", None]


async def test_a_topic_that_no_event_type_has_is_wrong_use_and_the_known_ones_are_named() -> None:
    with pytest.raises(UsageError, match="attributes, browsing, engagement, purchases, support"):
        LineCheck("purchase", parse_definitions(""), 300_000)


async def test_a_topic_that_does_not_exist_is_wrong_use_even_without_validation(
    tmp_path: Path, own_settings: Settings
) -> None:
    shop = Shop(tmp_path, own_settings)
    shop.file.write_bytes(event(1))
    for validate in (True, False):
        with pytest.raises(UsageError, match="init"):
            await shop.send(validate=validate)


async def test_a_rate_is_kept(shop: Shop) -> None:
    shop.file.write_bytes(b"\n".join(event(n) for n in range(50)))
    result = await shop.send(rate=100)
    assert 0.4 < result.seconds < 10


async def test_a_pipe_is_sent_as_it_comes_up_to_its_first_bad_line(shop: Shop) -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as source:
        os.write(write_end, b"\n".join([event(1), event(2), b"nonsense", event(3)]))
        os.close(write_end)
        with pytest.raises(BadLines, match="standard input:3: not_json") as caught:
            await produce(shop.kafka, shop.topic, source, "standard input", shop.check())
    assert "2 events before it were sent" in str(caught.value)
    assert len(await shop.records()) == 2


async def test_what_was_sent_before_a_stop_is_known_and_acknowledged(shop: Shop) -> None:
    shop.file.write_bytes(b"\n".join(event(n) for n in range(10_000)))
    done = Produced(shop.topic)
    task = asyncio.create_task(shop.send(rate=500, produced=done))
    await asyncio.sleep(0.6)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 0 < done.events < 10_000
    assert len(await shop.records()) == done.events


async def test_a_large_file_goes_fast(shop: Shop) -> None:
    buffer = io.BytesIO()
    for n in range(100_000):
        buffer.write(event(n) + b"\n")
    shop.file.write_bytes(buffer.getvalue())
    began = time.monotonic()
    assert (await shop.send()).events == 100_000
    assert 100_000 / (time.monotonic() - began) > 10_000
