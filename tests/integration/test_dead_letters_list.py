"""`dead-letters list` on a real Kafka."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from profilestream.operations.dead_letters import list_dead_letters
from profilestream.operations.letter_selection import parse_selection
from profilestream.settings import Settings
from profilestream.stream.producers import ForwardingProducer
from profilestream.stream.topics import Admin
from profilestream.wire.dead_letters import Rejection, headers

T0_MS = 1_769_851_800_000


def letter(offset: int, reason: str = "not_json", topic: str = "purchases", partition: int = 0):
    rejection = Rejection(reason, "the value: expected a JSON object")  # type: ignore[arg-type]
    return headers(rejection, topic, partition, offset, T0_MS + offset)


@pytest.fixture
async def settings(own_settings: Settings) -> Settings:
    """Settings whose topic of dead letters has five records, of which one is there twice."""
    settings = own_settings
    async with Admin(str(settings.kafka)) as admin:
        await admin.create(settings.dead_letters_topic, 2, {})
    async with ForwardingProducer(str(settings.kafka)) as producer:
        for given in (
            letter(5),
            letter(3),
            letter(5),  # the same record again, after a crash
            letter(4, "bad_time"),
            letter(9, "bad_time", "browsing", 1),
        ):
            key = b"k%d" % (len(given) + int(given[4][1]))
            await producer.send_dead_letter(settings.dead_letters_topic, key, b"secret-payload", given, T0_MS)
        await producer.flush()
    return settings


async def test_each_record_is_listed_once_oldest_first_and_counted_by_reason(settings: Settings) -> None:
    found = await list_dead_letters(str(settings.kafka), settings.dead_letters_topic)
    assert [x.offset for x in found.letters] == [3, 4, 5, 9]
    assert found.by_reason == {"not_json": 2, "bad_time": 2}
    assert (found.total, found.repeats, found.exact) == (4, 1, True)
    assert msgspec.to_builtins(found.letters[0]) == {
        "time": "2026-01-31T09:30:00.003Z",
        "reason": "not_json",
        "detail": "the value: expected a JSON object",
        "topic": "purchases",
        "partition": 0,
        "offset": 3,
    }


async def test_reason_topic_time_position_and_count_select(settings: Settings) -> None:
    kafka, topic = str(settings.kafka), settings.dead_letters_topic

    async def offsets(**options: Any) -> list[int]:
        return [x.offset for x in (await list_dead_letters(kafka, topic, parse_selection(**options))).letters]

    assert await offsets(reasons=["bad_time"]) == [4, 9]
    assert await offsets(topics=["browsing"]) == [9]
    assert await offsets(since=str(T0_MS + 4), until=str(T0_MS + 9)) == [4, 5]
    assert await offsets(positions=["purchases:0:3-4", "browsing:1"]) == [3, 4, 9]
    newest = await list_dead_letters(kafka, topic, count=2)
    assert [x.offset for x in newest.letters] == [5, 9]
    assert newest.total == 4
    assert (await list_dead_letters(kafka, topic, count=0)).letters == []


async def test_a_record_that_is_no_dead_letter_is_counted_apart(settings: Settings) -> None:
    async with ForwardingProducer(str(settings.kafka)) as producer:
        await producer.send(settings.dead_letters_topic, b"k", b"v", [("reason", b"not_json")])
        await producer.flush()
    found = await list_dead_letters(str(settings.kafka), settings.dead_letters_topic)
    assert (found.total, found.unreadable) == (4, 1)


async def test_no_topic_is_no_dead_letters(own_settings: Settings) -> None:
    assert (await list_dead_letters(str(own_settings.kafka), own_settings.dead_letters_topic)).total == 0


def run(settings: Settings, *arguments: str) -> str:
    from profilestream.cli import data

    app = typer.Typer()
    data.register(app)
    environment = {"PROFILESTREAM_DEAD_LETTERS_TOPIC": settings.dead_letters_topic, "COLUMNS": "60"}
    result = CliRunner().invoke(
        app,
        ["dead-letters", "list", "--kafka", str(settings.kafka), *arguments],
        env=environment,
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    return result.stdout


async def in_thread(settings: Settings, *arguments: str) -> str:
    import asyncio

    return await asyncio.to_thread(run, settings, *arguments)


async def test_the_table_names_places_and_sums_up_without_any_payload(settings: Settings) -> None:
    text = await in_thread(settings, "--count", "3")
    assert "secret" not in text
    assert "4 dead letters: 2 not_json, 2 bad_time" in text
    assert "the newest 3 are shown" in text
    assert "2026-01-31T09:30:00.009Z" in text


async def test_without_a_terminal_each_dead_letter_is_one_line(settings: Settings) -> None:
    lines = (await in_thread(settings)).splitlines()
    assert lines[0].split() == ["time", "reason", "topic", "partition", "offset", "detail"]
    assert [line.split()[1:5] for line in lines[1:5]] == [
        ["not_json", "purchases", "0", "3"],
        ["bad_time", "purchases", "0", "4"],
        ["not_json", "purchases", "0", "5"],
        ["bad_time", "browsing", "1", "9"],
    ]
    assert all(line.endswith("the value: expected a JSON object") for line in lines[1:5])


async def test_json_is_a_list_of_objects(settings: Settings) -> None:
    listed = msgspec.json.decode(await in_thread(settings, "--json"))
    assert [x["offset"] for x in listed] == [3, 4, 5, 9]
    assert set(listed[0]) == {"time", "reason", "detail", "topic", "partition", "offset"}
