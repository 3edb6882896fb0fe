"""The administrative connection, the producer and reading to the end, on a real Kafka."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer

from profilestream.core.errors import ProfilestreamError, ServerUnavailable, UsageError
from profilestream.local import Servers
from profilestream.store.keys import shard_of
from profilestream.stream import producers
from profilestream.stream.producers import ForwardingProducer
from profilestream.stream.reading import read_to_end
from profilestream.stream.topics import Admin, wait_for_kafka

NOWHERE = "127.0.0.1:1"


@pytest.fixture
async def topic(servers: Servers, namespace: str) -> str:
    async with Admin(servers.kafka) as admin:
        await admin.create(namespace, 3, {"retention.ms": "-1"})
    return namespace


async def records(servers: Servers, topic: str) -> list:
    return [record async for record in read_to_end(servers.kafka, topic)]


async def test_a_topic_is_made_once_and_described_as_the_broker_has_it(servers: Servers, namespace: str) -> None:
    async with Admin(servers.kafka) as admin:
        assert await admin.describe([namespace]) == {namespace: None}
        assert await admin.create(namespace, 3, {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"})
        assert not await admin.create(namespace, 5, {})
        info = (await admin.describe([namespace]))[namespace]
    assert info is not None
    assert info.partitions == 3
    assert info.config["message.timestamp.type"] == "LogAppendTime"
    assert not info.retention_is_limited


async def test_asking_for_a_topic_does_not_make_it(servers: Servers, namespace: str) -> None:
    async with Admin(servers.kafka) as admin:
        await admin.describe([namespace])
        assert await admin.end_offsets(namespace) == {}
        assert await admin.describe([namespace]) == {namespace: None}


async def test_a_wish_that_the_broker_does_not_know_is_dropped_and_a_demand_is_not(
    servers: Servers, namespace: str
) -> None:
    async with Admin(servers.kafka) as admin:
        assert await admin.create(namespace, 1, {}, {"no.such.setting": "1"})
        with pytest.raises(ProfilestreamError, match=f"{namespace}2"):
            await admin.create(namespace + "2", 1, {"no.such.setting": "1"})


async def test_offsets_are_told_by_partition_and_an_unknown_group_has_none(topic: str, servers: Servers) -> None:
    async with ForwardingProducer(servers.kafka) as producer:
        for partition in (0, 0, 2):
            await producer.send(topic, b"k", b"v", partition=partition)
        await producer.flush()
    async with Admin(servers.kafka) as admin:
        assert await admin.begin_offsets(topic) == {0: 0, 1: 0, 2: 0}
        assert await admin.end_offsets(topic) == {0: 2, 1: 0, 2: 1}
        assert await admin.committed(topic) == {}


async def test_the_newest_record_is_found_to_the_second(topic: str, servers: Servers) -> None:
    async with Admin(servers.kafka) as admin:
        assert await admin.last_timestamp(topic) is None
        producer = AIOKafkaProducer(bootstrap_servers=servers.kafka)
        await producer.start()
        try:
            for partition, at_ms in ((0, 1_600_000_000_000), (2, 1_700_000_123_456), (1, 1_500_000_000_000)):
                await producer.send_and_wait(topic, b"", partition=partition, timestamp_ms=at_ms)
        finally:
            await producer.stop()
        found = await admin.last_timestamp(topic)
        assert found is not None and 1_700_000_123_456 < found <= 1_700_000_124_456
        assert await admin.last_timestamp("nowhere") is None


async def test_a_lost_kafka_is_named_with_its_address_and_what_to_do() -> None:
    for connection in (Admin(NOWHERE), ForwardingProducer(NOWHERE)):
        with pytest.raises(ServerUnavailable, match=f"{NOWHERE}.*local up"):
            async with connection:
                pass


async def test_waiting_for_kafka_says_one_line_however_long_it_takes(servers: Servers) -> None:
    said: list[str] = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await wait_for_kafka(NOWHERE, said.append)
    assert len(said) == 1
    await wait_for_kafka(servers.kafka, said.append)
    assert len(said) == 1


async def test_records_of_a_partition_are_written_in_the_order_of_sending(topic: str, servers: Servers) -> None:
    async with ForwardingProducer(servers.kafka) as producer:
        for n in range(20_000):
            future = await producer.send(topic, b"k", b"%d" % n, [("h", b"x")], 1_000 + n, partition=n % 2)
            if n % 5_000 == 0:
                await asyncio.sleep(0.01)
        await producer.flush()
        assert future.done()
        assert producer.acknowledged_records == 20_000
    got = await records(servers, topic)
    for partition in (0, 1):
        mine = [record for record in got if record.partition == partition]
        assert [int(record.value) for record in mine] == list(range(partition, 20_000, 2))
    assert got[0].headers == (("h", b"x"),)
    assert {record.timestamp - 1_000 - int(record.value) for record in got} == {0}


async def test_without_a_partition_the_key_decides_as_in_kafkas_own_producer(topic: str, servers: Servers) -> None:
    async with ForwardingProducer(servers.kafka) as producer:
        for n in range(50):
            await producer.send(topic, f"c{n}".encode(), b"v")
        await producer.flush()
    assert all(record.partition == shard_of(record.key.decode(), 3) for record in await records(servers, topic))


async def test_what_is_sent_is_written_without_waiting_for_a_flush(topic: str, servers: Servers) -> None:
    async with ForwardingProducer(servers.kafka) as producer:
        future = await producer.send(topic, b"k", b"v")
        await asyncio.wait_for(future, 5)


async def test_a_record_without_key_and_value_is_written_as_it_is(topic: str, servers: Servers) -> None:
    async with ForwardingProducer(servers.kafka) as producer:
        await producer.send_dead_letter(topic, None, None, [("reason", b"empty_value")])
        await producer.flush()
    (record,) = await records(servers, topic)
    assert (record.key, record.value) == (None, None)


async def test_a_dead_letter_too_large_for_its_topic_goes_without_its_value(topic: str, servers: Servers) -> None:
    async with ForwardingProducer(servers.kafka) as producer:
        bytes_max = 3 * 1024 * 1024
        await producer.send_dead_letter(topic, b"k", b"v" * bytes_max, [("reason", b"too_large")])
        await producer.send_dead_letter(topic, b"k" * bytes_max, b"v" * bytes_max, [("reason", b"too_large")])
        await producer.flush()
    first, second = sorted(await records(servers, topic), key=lambda record: record.key is None)
    assert (first.key, first.value) == (b"k", None)
    assert first.headers == (("reason", b"too_large"), ("value_bytes", b"%d" % bytes_max))
    assert (second.key, second.value) == (None, None)
    assert dict(second.headers)["key_bytes"] == b"%d" % bytes_max


async def test_a_record_greater_than_its_topic_takes_is_refused_before_anything_is_sent(
    topic: str, servers: Servers
) -> None:
    async with ForwardingProducer(servers.kafka) as producer:
        with pytest.raises(ProfilestreamError, match=r"max\.message\.bytes"):
            await producer.send(topic, b"k", b"v" * 3 * 1024 * 1024)
        await producer.send(topic, b"k", b"still well")
        await producer.flush()
    assert len(await records(servers, topic)) == 1


async def test_a_topic_that_takes_only_small_batches_gets_small_batches(servers: Servers, namespace: str) -> None:
    topic = namespace
    async with Admin(servers.kafka) as admin:
        await admin.create(topic, 1, {"max.message.bytes": "5000"})
    async with ForwardingProducer(servers.kafka) as producer:
        for _ in range(500):
            await producer.send(topic, b"k", b"v" * 1_000)
        await producer.flush()
    assert len(await records(servers, topic)) == 500


async def test_after_a_refusal_nothing_more_is_written_until_restart(servers: Servers, namespace: str) -> None:
    topic = namespace
    async with Admin(servers.kafka) as admin:
        await admin.create(topic, 1, {"max.message.bytes": "100000"})
    async with ForwardingProducer(servers.kafka) as producer:
        producer._topics[topic] = (1, 10_000_000)  # the topic's limit was lowered after it was read
        await producer.send(topic, b"k", b"first")
        await producer.flush()
        refused = await producer.send(topic, b"k", b"v" * 400_000)
        overtaking = await producer.send(topic, b"k", b"later")
        with pytest.raises(ProfilestreamError, match=topic):
            await producer.flush()
        assert refused.exception() is not None and overtaking.exception() is not None
        with pytest.raises(ProfilestreamError):
            await producer.send(topic, b"k", b"later still")
        await producer.restart()
        await producer.send(topic, b"k", b"again")
        await producer.flush()
    assert [record.value for record in await records(servers, topic)] == [b"first", b"again"]


async def test_sending_pauses_while_too_much_is_unacknowledged(topic: str, monkeypatch, servers: Servers) -> None:
    monkeypatch.setattr(producers, "UNACKNOWLEDGED_BYTES_MAX", 1024 * 1024)
    async with ForwardingProducer(servers.kafka) as producer:
        most = 0
        for _ in range(5_000):
            await producer.send(topic, b"k", b"v" * 1_000)
            most = max(most, producer._waiting_bytes)
        await producer.flush()
        assert producer._waiting_bytes == 0
    assert most < 1024 * 1024 + 2_000


async def test_sending_to_a_topic_that_does_not_exist_is_wrong_use_and_does_not_make_it(
    servers: Servers, namespace: str
) -> None:
    async with ForwardingProducer(servers.kafka) as producer:
        with pytest.raises(UsageError, match="init"):
            await producer.send(namespace, b"k", b"v")
    async with Admin(servers.kafka) as admin:
        assert await admin.describe([namespace]) == {namespace: None}


async def test_reading_ends_at_the_end_through_holes_of_transactions(topic: str, servers: Servers) -> None:
    async with AIOKafkaProducer(bootstrap_servers=servers.kafka, transactional_id=topic) as producer:
        for n in range(6):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"%d" % n, partition=0)
            if n % 2:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()
    assert [record.value for record in await records(servers, topic)] == [b"0", b"2", b"4"]


async def test_a_topic_that_is_empty_or_not_there_reads_as_nothing(topic: str, servers: Servers) -> None:
    assert await records(servers, topic) == []
    assert await records(servers, topic + "-missing") == []
