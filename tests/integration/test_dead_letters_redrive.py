"""`dead-letters show` and `redrive` on real servers: what is sent, where to, and that it is sent once."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Cli
from tests.integration.isolation import fresh_sources
from tests.integration.test_worker import profiles, total
from tests.kafka_records import Sending, read_topic, send
from tests.oracle import shard_of

from profilestream.core.errors import ProfilestreamError
from profilestream.operations.letter_selection import EVERY_LETTER, Selection, parse_selection
from profilestream.operations.redrive import GONE, NO_ORIGIN, TOO_LARGE, UNREAD, Redriven, redrive
from profilestream.settings import Settings
from profilestream.stream.producers import ForwardingProducer
from profilestream.stream.redriven import Outgoing, Redriver, read_marks
from profilestream.stream.strays import stray_headers
from profilestream.wire.dead_letters import Rejection, headers

SHARDS = 4
T0_MS = 1_769_851_800_000


def event(number: int, **fields: Any) -> bytes:
    """A purchase of one of 20 customers."""
    common = {"event_id": f"e{number}", "customer_id": f"c{number % 20}", "occurred_at": T0_MS, "amount_minor": 100}
    return json.dumps({**common, **fields}).encode()


class Letters:
    """A namespace with a live generation and a topic of dead letters to fill."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.kafka = str(settings.kafka)
        self.purchases = f"{settings.namespace}.purchases"

    async def put(self, *letters: Mapping[str, Any]) -> None:
        """Letters: value, and where given key, reason, topic, partition, offset, at, more (headers)."""
        async with ForwardingProducer(self.kafka) as producer:
            for one in letters:
                said = headers(
                    Rejection(one.get("reason", "not_json"), "the value: expected JSON"),
                    one.get("topic", self.purchases),
                    one.get("partition", 1),
                    one["offset"],
                    one.get("at", T0_MS),
                )
                more = [*said, *one.get("more", [])]
                key = one.get("key", b"k")
                await producer.send_dead_letter(self.settings.dead_letters_topic, key, one["value"], more, T0_MS)
            await producer.flush()

    async def sent(self) -> list[Any]:
        return await read_topic(self.kafka, self.purchases)

    async def redrive(self, selection: Selection = EVERY_LETTER, **options: Any) -> Redriven:
        return await redrive(self.settings, selection, **options)


@pytest.fixture
def begun(cli: Cli, own_settings: Settings, workdir: Path) -> Settings:
    definitions = f"""[traits]
orders = "count(purchase)"
{fresh_sources(own_settings)}"""
    (workdir / "definitions.toml").write_text(definitions)
    cli("init", "definitions.toml", "--shards", str(SHARDS))
    return own_settings


@pytest.fixture
def letters(begun: Settings) -> Letters:
    return Letters(begun)


async def test_an_event_goes_to_its_customer_and_anything_else_to_where_it_was(letters: Letters) -> None:
    good, bad = event(7), b'{"no": "event"}'
    await letters.put({"value": good, "offset": 5, "key": b"crc32"}, {"value": bad, "offset": 6, "partition": 2})
    done = await letters.redrive()
    assert (done.sent, done.still_bad) == ({letters.purchases: 2}, {"missing_field": 1})
    found = {r.value: r for r in await letters.sent()}
    assert (found[good].partition, found[good].key) == (shard_of("c7", SHARDS), b"crc32")
    assert (found[bad].partition, found[bad].key) == (2, b"k")
    assert dict(found[good].headers) == {"redriven": f"{letters.purchases}:1:5".encode()}


async def test_a_letter_that_came_twice_or_was_sent_before_is_not_sent_again(letters: Letters) -> None:
    await letters.put(*({"value": event(n), "offset": n} for n in (1, 2, 1, 3, 2)))
    first = await letters.redrive(parse_selection(positions=[f"{letters.purchases}:1:1-2"]))
    assert (first.sent.total(), first.repeats, first.sent_before) == (2, 2, 0)
    second = await letters.redrive()
    assert (second.sent.total(), second.repeats, second.sent_before) == (1, 2, 2)
    assert (await letters.redrive()).sent.total() == 0
    assert sorted(json.loads(r.value)["event_id"] for r in await letters.sent()) == ["e1", "e2", "e3"]


async def test_each_part_of_a_selection_chooses(letters: Letters) -> None:
    await letters.put(
        {"value": event(1), "offset": 1, "reason": "bad_time", "at": T0_MS},
        {"value": event(2), "offset": 2, "reason": "currency", "at": T0_MS + 1_000},
        {"value": event(3), "offset": 3, "partition": 3, "at": T0_MS + 2_000},
        {"value": event(4), "offset": 4, "topic": f"{letters.settings.namespace}.browsing"},
    )

    async def chosen(**options: Any) -> int:
        return (await letters.redrive(parse_selection(**options), dry_run=True)).selected

    assert await chosen() == 4
    assert await chosen(reasons=["bad_time", "currency"]) == 2
    assert await chosen(topics=[letters.purchases]) == 3
    assert await chosen(since=str(T0_MS + 1_000)) == 2
    assert await chosen(until=str(T0_MS + 1_000), topics=[letters.purchases]) == 1
    assert await chosen(positions=[f"{letters.purchases}:3"]) == 1
    assert await letters.sent() == []


async def test_a_dry_run_tells_the_same_numbers_and_writes_nothing(letters: Letters) -> None:
    await letters.put({"value": event(1), "offset": 1}, {"value": b"{", "offset": 2})
    dry = await letters.redrive(dry_run=True)
    assert await letters.sent() == [] and len((await read_marks(letters.settings))[0]) == 0
    wet = await letters.redrive()
    assert (dry.sent, dry.still_bad, dry.selected) == (wet.sent, wet.still_bad, wet.selected)


async def test_only_valid_leaves_what_would_be_a_dead_letter_again(letters: Letters) -> None:
    await letters.put({"value": event(1), "offset": 1}, {"value": b"{", "offset": 2})
    done = await letters.redrive(only_valid=True)
    assert (done.sent.total(), done.left, done.still_bad) == (1, 1, {"not_json": 1})
    assert (await letters.redrive()).sent.total() == 1  # it was left, not forgotten


async def test_what_was_too_large_for_the_letter_is_fetched_from_where_it_stood(letters: Letters) -> None:
    value = event(3, channel="x" * 100_000)
    (placed,) = await send(letters.kafka, [Sending(letters.purchases, value, b"key", 2)])
    for offset in (placed.offset, placed.offset + 7):
        await letters.put(
            {"value": None, "offset": offset, "partition": 2, "more": [("value_bytes", b"%d" % len(value))]}
        )
    done = await letters.redrive()
    assert (done.fetched, done.sent.total(), done.not_sent) == (1, 1, {GONE: 1})
    again = [r for r in await letters.sent() if r.headers]
    assert [(r.value, r.key, r.partition) for r in again] == [(value, b"key", shard_of("c3", SHARDS))]
    assert (await letters.redrive()).not_sent == {GONE: 1}  # told again: nobody has dealt with it


async def test_a_tombstone_is_a_value_and_not_one_left_out(letters: Letters) -> None:
    await letters.put({"value": None, "offset": 1, "reason": "empty_value"})
    assert (await letters.redrive()).still_bad == {"empty_value": 1}
    assert [r.value for r in await letters.sent()] == [None]


async def test_a_forwarded_record_goes_to_where_it_came_from(letters: Letters) -> None:
    rekeyed = letters.settings.rekeyed_topic
    async with ForwardingProducer(letters.kafka) as producer:
        said = stray_headers("purchase", letters.purchases, 0, 9, T0_MS)
        await producer.send(rekeyed, b"c4", event(4), said, T0_MS, 2)
        await producer.send(rekeyed, b"c5", event(5), [], T0_MS, 2)
        await producer.flush()
    await letters.put(*({"value": event(4 + n), "topic": rekeyed, "partition": 2, "offset": n} for n in (0, 1)))
    done = await letters.redrive()
    assert (done.sent, done.not_sent) == ({letters.purchases: 1}, {NO_ORIGIN: 1})
    assert [(r.value, r.partition) for r in await letters.sent()] == [(event(4), shard_of("c4", SHARDS))]


async def test_what_cannot_be_sent_is_named_by_cause(letters: Letters) -> None:
    await letters.put(
        {"value": event(1), "offset": 1, "topic": "nobody-reads-this"},
        {"value": event(2, channel="x" * 3_000_000), "offset": 2},
        {"value": event(3), "offset": 3},
    )
    done = await letters.redrive()
    assert (done.not_sent, done.sent.total()) == ({UNREAD: 1, TOO_LARGE: 1}, 1)


async def test_a_rebuild_forgets_no_letter_that_was_sent(letters: Letters, cli: Cli, workdir: Path) -> None:
    """Its record stands in the event topic for good, and the rebuild makes the same dead letter anew."""
    await letters.put({"value": event(1), "offset": 1})
    await letters.redrive()
    text = (workdir / "definitions.toml").read_text()
    (workdir / "definitions.toml").write_text(text.replace("orders =", "purchases ="))
    await asyncio.to_thread(cli, "init", "definitions.toml", "--rebuild", "--yes")
    await letters.put({"value": event(1), "offset": 1}, {"value": event(2), "offset": 2})
    done = await letters.redrive()
    assert (done.sent_before, done.sent.total(), len(await letters.sent())) == (1, 1, 2)


async def test_a_second_run_fences_the_first(letters: Letters) -> None:
    outgoing = Outgoing((letters.purchases, 1, 5), letters.purchases, 1, b"k", event(5))
    await letters.redrive(EVERY_LETTER)  # makes the topic of marks
    first, second = Redriver(letters.settings), Redriver(letters.settings)
    try:
        await first.open()
        await second.open()
        with pytest.raises(ProfilestreamError, match="another redrive"):
            await first.send([outgoing])
        await second.send([outgoing])
    finally:
        await first.close()
        await second.close()
    assert len(await letters.sent()) == 1


async def test_the_commands_ask_tell_and_exit_as_promised(letters: Letters, cli: Cli) -> None:
    await letters.put({"value": event(1), "offset": 1}, {"value": b"{", "offset": 2}, {"value": b"\xff", "offset": 3})

    async def run(*words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(lambda: cli("dead-letters", *words, expect=expect))

    assert "say --all" in (await run("redrive", expect=2)).stderr
    assert "give --yes" in (await run("redrive", "--all", expect=2)).stderr
    assert "no dead letter has this reason" in (await run("redrive", "--reason", "not_jsn", expect=2)).stderr
    dry = (await run("redrive", "--all", "--dry-run")).stdout
    assert f"3 dead letters would be sent again: 3 to {letters.purchases}" in dry
    assert "2 are no events by the live definitions (2 not_json)" in dry
    place = f"{letters.purchases}:1:1"
    assert "redriven  no" in (await run("show", place)).stdout
    done = json.loads((await run("redrive", "--position", place, "--yes", "--json")).stdout)
    assert (done["dry_run"], done["sent"], done["still_bad"]) == (False, {letters.purchases: 1}, {})
    assert "1 were sent again before" in (await run("redrive", "--all", "--yes")).stdout
    text = (await run("show", place)).stdout
    assert event(1).decode() in text and "reason    not_json\n" in text
    assert f", to {letters.purchases}:{shard_of('c1', SHARDS)}\n" in text
    shown = json.loads((await run("show", f"{letters.purchases}:1:3", "--json")).stdout)
    assert (shown["key"], shown["value"], shown["value_base64"], shown["offset"]) == ("k", None, "/w==", 3)
    assert shown["headers"]["topic"] == letters.purchases and shown["redriven"]["partition"] == 1
    assert "no dead letter" in (await run("show", f"{letters.purchases}:1:99", expect=1)).stderr
    await run("show", f"{letters.purchases}:1", expect=2)
    await letters.put({"value": None, "offset": 9, "more": [("value_bytes", b"5")]})
    gone = await run("redrive", "--all", "--yes", expect=1)
    assert f"1 not sent: {GONE}" in gone.stdout
    assert "no longer where the record stood" in (await run("show", f"{letters.purchases}:1:9")).stdout


async def test_killed_at_any_moment_and_run_again_each_letter_is_folded_once(
    letters: Letters, cli: Cli, cli_environment: Mapping[str, str], workdir: Path
) -> None:
    """Ids are as good as forgotten (one a customer), so a letter that was sent twice would be counted twice."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    count = 4_000
    ahead_ms = time.time_ns() // 1_000_000 + 200_000
    await send(
        letters.kafka,
        (
            Sending(letters.purchases, event(n, occurred_at=ahead_ms + n), b"%d" % n, rng.randrange(SHARDS))
            for n in range(count)
        ),
    )
    strict = {**cli_environment, "PROFILESTREAM_FUTURE_MS_MAX": "0", "PROFILESTREAM_REMEMBERED_IDS_MAX": "1"}
    await asyncio.to_thread(run_worker, strict, workdir)
    assert len(await read_topic(letters.kafka, letters.settings.dead_letters_topic)) == count

    in_the_middle, sent, status = 0, 0, None
    while status is None:
        lines = rng.randint(1, 60) if in_the_middle < 6 else count
        status = await asyncio.to_thread(run_until_killed, cli_environment, lines, rng.random() * 0.02)
        before, sent = sent, len((await read_marks(letters.settings))[0])
        in_the_middle += before < sent < count
    assert status == 0
    assert in_the_middle >= 3
    assert sent == count
    values = Counter(json.loads(r.value)["event_id"] for r in await letters.sent() if r.headers)
    assert values == Counter(f"e{n}" for n in range(count))

    lenient = {**cli_environment, "PROFILESTREAM_REMEMBERED_IDS_MAX": "1"}
    await asyncio.to_thread(run_worker, lenient, workdir)
    found = profiles(str(letters.settings.redis), letters.settings.namespace)
    assert (len(found), total(found, "orders")) == (20, count)
    assert {p["orders"] for p in found} == {str(count // 20)}


def run_until_killed(environment: Mapping[str, str], lines: int, pause_s: float) -> int | None:
    """A redrive that is killed a moment after so many lines; its exit status where it ended before."""
    words = [sys.executable, str(Path(__file__).parent / "redriving.py")]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(words, env=dict(environment), stdout=subprocess.PIPE, stderr=said, text=True) as child,
    ):
        assert child.stdout is not None
        for _ in range(lines):
            if not child.stdout.readline():
                if child.wait():
                    print(said.seek(0) or said.read().decode())
                return child.returncode
        time.sleep(pause_s)
        child.kill()
    return None


async def test_a_record_that_is_still_bad_is_a_new_dead_letter_and_is_not_sent_in_the_same_run(
    letters: Letters, cli_environment: Mapping[str, str], workdir: Path
) -> None:
    await send(
        letters.kafka, [Sending(letters.purchases, b"{", b"k", 1), Sending(letters.purchases, event(1), b"k", 1)]
    )
    await asyncio.to_thread(run_worker, cli_environment, workdir)
    assert (await letters.redrive()).still_bad == {"not_json": 1}
    await asyncio.to_thread(run_worker, cli_environment, workdir)
    places = [dict(r.headers)["offset"] for r in await read_topic(letters.kafka, letters.settings.dead_letters_topic)]
    assert sorted(places)[0] == b"0" and len(places) == 2
    done = await letters.redrive()
    assert (done.sent_before, done.sent.total()) == (1, 1)  # the first letter's record was sent, the new one's was not


def run_worker(environment: Mapping[str, str], workdir: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "profilestream.cli.app", "worker", "--clock", "event", "--until-caught-up"],
        env=dict(environment),
        cwd=workdir,
        check=True,
        capture_output=True,
        timeout=180,
    )
