"""`profilestream changes`, and the reading beneath it, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from tests.conftest import Cli

from profilestream.core.errors import NotFound
from profilestream.operations.changes import newest_changes, read_changes
from profilestream.settings import Settings
from profilestream.store.metadata import Generation
from profilestream.stream import generations
from profilestream.stream.changes import ChangeFilter
from profilestream.stream.topics import Admin
from profilestream.wire.changes import SegmentChange, encode_change

T0_MS = 1_769_851_800_000


def change(customer: str, crossing: int, *, cause: str = "time", at: int = 0, **values: Any) -> bytes:
    return encode_change(
        SegmentChange(
            customer_id=customer,
            segment="big_spender" if customer != "c9" else "lapsing",
            change="entered" if crossing % 2 else "exited",
            crossing=crossing,
            cause=cause,  # type: ignore[arg-type]
            values=values,
            generation="g1",
            definitions="a1b2c3",
            time_ms=T0_MS + at,
            source="profilestream/ps",
        )
    )


async def send(settings: Settings, *records: tuple[int, bytes], abort: bool = False) -> None:
    """One transaction of (partition, value)."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, transactional_id=f"{settings.namespace}-test")
    await producer.start()
    await producer.begin_transaction()
    for partition, value in records:
        await producer.send_and_wait(settings.changes_topic, value, key=b"k", partition=partition)
    await (producer.abort_transaction() if abort else producer.commit_transaction())
    await producer.stop()


@pytest.fixture
async def settings(own_settings: Settings) -> Settings:
    """Six committed changes in two partitions, one aborted, and one record that is no change."""
    async with Admin(str(own_settings.kafka)) as admin:
        await admin.create(own_settings.changes_topic, 2, {})
    await send(own_settings, (0, change("aborted", 1)), abort=True)
    await send(
        own_settings,
        (0, change("c0", 1, at=0, spend_30d=51_200, orders=4)),
        (1, change("c2", 1, at=5, cause="event")),
        (0, change("c0", 2, at=10, spend_30d=100)),
        (1, b"{}"),
        (0, change("c9", 1, at=20, text="a [bold]b")),
        (1, change("c2", 2, at=15, cause="repair")),
        (1, change("c3", 1, at=30)),
    )
    return own_settings


@pytest.fixture
async def lines(settings: Settings, cli: Cli) -> AsyncIterator[Any]:
    async def run(*words: str) -> list[str]:
        return (await asyncio.to_thread(cli, "changes", *words)).stdout.splitlines()

    yield run


async def test_a_line_for_each_committed_change_in_order_of_time(lines: Any) -> None:
    shown = await lines()
    assert [line.split()[1] for line in shown] == ["c0", "c2", "c0", "c2", "c9", "c3"]
    assert shown[0] == "2026-01-31T09:30:00.000Z  c0  entered big_spender #1  time  spend_30d=51200 orders=4"
    assert shown[2] == "2026-01-31T09:30:00.010Z  c0  exited  big_spender #2  time  spend_30d=100"
    assert shown[4].endswith('lapsing #1  time  text="a [bold]b"')


async def test_json_is_what_stands_on_the_wire_one_object_a_line(lines: Any) -> None:
    shown = await lines("--json")
    assert sorted(json.loads(line)["id"] for line in shown) == [
        "big_spender/c0/1", "big_spender/c0/2", "big_spender/c2/1", "big_spender/c2/2", "big_spender/c3/1",
        "lapsing/c9/1",
    ]  # fmt: skip
    assert change("c0", 1, spend_30d=51_200, orders=4).decode() in shown


async def test_the_filters_and_the_count_choose(lines: Any) -> None:
    assert [line.split()[1] for line in await lines("--segment", "lapsing")] == ["c9"]
    assert [line.split()[4] for line in await lines("--customer", "c0")] == ["#1", "#2"]
    assert [line.split()[1] for line in await lines("--cause", "repair")] == ["c2"]
    assert [line.split()[1] for line in await lines("--count", "2")] == ["c9", "c3"]
    assert [json.loads(line)["subject"] for line in await lines("--count", "1", "--json")] == ["c3"]


async def test_filters_take_several_values_and_a_direction(lines: Any) -> None:
    def told(shown: list[str]) -> list[str]:
        return [" ".join(line.split()[n] for n in (1, 2, 4)) for line in shown]

    assert told(await lines("--customer", "c0", "--customer", "c9")) == [
        "c0 entered #1",
        "c0 exited #2",
        "c9 entered #1",
    ]
    assert told(await lines("--cause", "event", "--cause", "repair")) == ["c2 entered #1", "c2 exited #2"]
    assert told(await lines("--exited")) == ["c0 exited #2", "c2 exited #2"]
    assert told(await lines("--entered", "--cause", "time", "--segment", "big_spender")) == [
        "c0 entered #1",
        "c3 entered #1",
    ]
    assert len(await lines("--entered", "--exited", "--segment", "lapsing", "--segment", "big_spender")) == 6
    following = await lines("--follow", "--count", "2", "--customer", "c2", "--customer", "c0", "--exited")
    assert sorted(told(following)) == ["c0 exited #2", "c2 exited #2"]


async def test_of_a_customer_nothing_but_the_own_partition_is_read(settings: Settings, cli: Cli) -> None:
    # What stands in another partition than the customer's is no emitter's; the record that is no change is in 1.
    await send(settings, (1, change("c0", 3, at=50)))
    for words in (("--customer", "c0"), ("--customer", "c0", "--follow", "--count", "2")):
        done = await asyncio.to_thread(cli, "changes", *words)
        assert [line.split()[4] for line in done.stdout.splitlines()] == ["#1", "#2"]
        assert done.stderr == ""


async def test_a_segment_that_no_generation_has_fails_with_the_one_that_was_meant(settings: Settings, cli: Cli) -> None:
    kafka, topic, namespace = str(settings.kafka), settings.generations_topic, settings.namespace
    text = "[segments.big_spender]\nenter = 'count(purchase) > 1'\n"
    async with Admin(kafka) as admin:
        await admin.create(topic, 1, {})
    for name, definitions in (("g1", text), ("g2", text.replace("big_spender", "lapsing"))):
        generation = Generation(name, 2, definitions, "f", "2026-01-31T09:30:00.000Z", "live")
        await generations.publish(kafka, topic, namespace, generation)
    await generations.publish_live(kafka, topic, namespace, generations.Live("g2", 2))
    done = await asyncio.to_thread(lambda: cli("changes", "--segment", "big_spendr", expect=1))
    assert (done.stdout, done.stderr) == ("", "no segment `big_spendr` in generation g2; did you mean `big_spender`?\n")
    assert len((await asyncio.to_thread(cli, "changes", "--segment", "big_spender")).stdout.splitlines()) == 5
    done = await asyncio.to_thread(lambda: cli("changes", "--follow", "--segment", "x", "--count", "1", expect=1))
    assert done.stderr == "no segment `x` in generation g2; known: big_spender, lapsing\n"


async def test_a_record_that_is_no_change_is_passed_over_and_said(settings: Settings, cli: Cli) -> None:
    done = await asyncio.to_thread(cli, "changes", "--customer", "nobody")
    assert done.stdout == ""
    assert "partition 1, offset 1: not a segment change" in done.stderr


async def test_an_unknown_cause_is_wrong_use_and_a_missing_topic_names_init(own_settings: Settings, cli: Cli) -> None:
    await asyncio.to_thread(lambda: cli("changes", "--cause", "magic", expect=2))
    done = await asyncio.to_thread(lambda: cli("changes", expect=1))
    assert "profilestream init" in done.stderr


async def test_follow_goes_on_and_ctrl_c_ends_it_quietly(
    settings: Settings, cli_environment: Mapping[str, str]
) -> None:
    words = [sys.executable, "-m", "profilestream.cli.app", "changes", "--follow", "--json"]
    child = await asyncio.create_subprocess_exec(
        *words, env=dict(cli_environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    async with asyncio.timeout(30):
        first = {json.loads(await child.stdout.readline())["id"] for _ in range(6)}
        assert "big_spender/c3/1" in first
        await send(settings, (1, change("c3", 2, at=40)))
        assert json.loads(await child.stdout.readline())["id"] == "big_spender/c3/2"
        child.send_signal(signal.SIGINT)
        rest, complaints = await child.communicate()
    assert (child.returncode, rest) == (0, b"")
    assert complaints.decode().count("\n") == 1  # the record that is no change


async def test_follow_with_a_count_ends_after_so_many(lines: Any) -> None:
    assert len(await lines("--follow", "--count", "3")) == 3


async def test_reading_can_stop_midway_and_is_filtered(settings: Settings) -> None:
    only = ChangeFilter(customers=["c0"])
    got = [received async for received in read_changes(settings, only=only)]
    assert [(r.crossing, r.partition) for r in got] == [(1, 0), (2, 0)]
    assert got[0].value == change("c0", 1, spend_30d=51_200, orders=4)
    async with aclosing(read_changes(settings, follow=True)) as following:  # type: ignore[type-var]
        async for received in following:
            assert received.generation == "g1"
            break
    assert [r.customer_id for r in await newest_changes(settings, 2)] == ["c9", "c3"]


async def test_reading_a_topic_that_is_not_there_raises(own_settings: Settings) -> None:
    with pytest.raises(NotFound, match="profilestream init"):
        _ = [received async for received in read_changes(own_settings)]
