"""Topics are copied into an archive on a real Kafka: everything once, across runs, holes and a log that is cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiokafka import AIOKafkaProducer
from tests.integration.test_worker import make_topics
from tests.kafka_records import cut_log

from profilestream.core.errors import LogMismatch, NotFound
from profilestream.operations import export_log as exporting
from profilestream.operations.export_log import export_log
from profilestream.settings import Settings
from profilestream.stream.archive import Archive
from profilestream.wire.schemas.archives import EXPORT_LOG
from profilestream.wire.schemas.parts import DRAFT


async def send(kafka: str, topic: str, values: list[bytes], transactional: bool = False) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic if transactional else None)
    await producer.start()
    try:
        if transactional:
            await producer.begin_transaction()
        for n, value in enumerate(values):
            await producer.send_and_wait(topic, value, key=b"\xff\x00", partition=n % 2, headers=[("h", b"\xfe")])
        if transactional:
            await producer.commit_transaction()
    finally:
        await producer.stop()


def archived(directory: Path, topic: str) -> list[bytes | None]:
    archive = Archive.open(directory)
    return [r.value for p in range(archive.partitions[topic]) for r in archive.records(topic, p)]


async def test_what_is_copied_is_whole_goes_on_where_it_ended_and_joins_the_log(
    own_settings: Settings, topic_name: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka, topic = str(own_settings.kafka), topic_name("archived")
    await make_topics(kafka, {topic: 2})
    monkeypatch.setattr(exporting, "PART_RECORDS_MAX", 4)
    values = [b'{"n": %d}' % n for n in range(18)] + [b"\xff\xfe no text"]
    await send(kafka, topic, values[:10])
    seen: list[tuple[int, int]] = []
    first = await export_log(own_settings, tmp_path, [topic], progress=lambda done, total: seen.append((done, total)))
    assert (first.records, seen[0], seen[-1]) == (10, (0, 10), (10, 10))
    assert [len(parts) for parts in Archive.open(tmp_path).parts.values()] == [2, 2]
    # Markers of transactions are holes, at the end too.
    await send(kafka, topic, values[10:], transactional=True)
    for partition in range(2):
        await cut_log(kafka, topic, partition, 5)
    assert (await export_log(own_settings, tmp_path, [topic])).records == 9
    assert (await export_log(own_settings, tmp_path, [topic])).records == 0
    assert archived(tmp_path, topic) == values[0:10:2] + values[10::2] + values[1:10:2] + values[11::2]
    found: Any = next(Archive.open(tmp_path).records(topic, 0))
    assert (found.key, found.headers) == (b"\xff\x00", (("h", b"\xfe"),))
    await send(kafka, topic, values[:4])
    await cut_log(kafka, topic, 0, 13)
    with pytest.raises(LogMismatch, match="in neither"):
        await export_log(own_settings, tmp_path, [topic])


def test_the_command_tells_what_it_copied(
    cli: Any, own_settings: Settings, topic_name: Callable[[str], str], workdir: Path
) -> None:
    kafka, topic = str(own_settings.kafka), topic_name("archived")
    asyncio.run(make_topics(kafka, {topic: 2}))
    asyncio.run(send(kafka, topic, [b"1", b"2", b"3"]))
    told = json.loads(cli("export-log", "archive", "--topic", topic, "--plain", "--json").stdout)
    jsonschema.validate(told, {**EXPORT_LOG, "$schema": DRAFT})
    assert told == {
        "directory": "archive",
        "records": 3,
        "partitions": [
            {"topic": topic, "partition": 0, "begin": 0, "end": 2},
            {"topic": topic, "partition": 1, "begin": 0, "end": 1},
        ],
    }
    assert cli("export-log", "archive", "--topic", topic).stdout == "0 records of 1 topic to archive\n"
    assert "is no time" in cli("export-log", "archive", "--topic", topic, "--since", "soon", expect=2).stderr
    assert "no topic nowhere" in cli("export-log", "archive", "--topic", "nowhere", expect=1).stderr


async def test_a_run_that_breaks_off_is_taken_up_again(
    own_settings: Settings, topic_name: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka, topic = str(own_settings.kafka), topic_name("archived")
    await make_topics(kafka, {topic: 2})
    monkeypatch.setattr(exporting, "PART_RECORDS_MAX", 3)
    values = [b"%d" % n for n in range(20)]
    await send(kafka, topic, values)
    parts = 0

    def progress(done: int, total: int) -> None:
        nonlocal parts
        parts += 1
        if parts == 4:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await export_log(own_settings, tmp_path, [topic], progress=progress)
    assert 0 < len(archived(tmp_path, topic)) < 20
    await export_log(own_settings, tmp_path, [topic])
    assert archived(tmp_path, topic) == values[::2] + values[1::2]
    with pytest.raises(NotFound):
        await export_log(own_settings, tmp_path, ["no-such-topic"])
