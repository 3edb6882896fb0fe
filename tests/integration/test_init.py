"""`init` on real servers: topics, the first generation, and every way to run it twice."""

from __future__ import annotations

import dataclasses

import pytest
from tests.integration.isolation import KAFKA, REDIS, fresh_settings, fresh_types, needs_servers

from profilestream.core.errors import ProfilestreamError, ServerUnavailable, UsageError
from profilestream.operations.initialise import InitResult, initialise
from profilestream.settings import Settings
from profilestream.store.connection import connect
from profilestream.store.metadata import read_generation, read_live
from profilestream.stream import generations
from profilestream.stream.topics import Admin

pytestmark = needs_servers

TEXT = '[traits]\norders = "count(purchase)"\n'


@pytest.fixture
def settings() -> Settings:
    return fresh_settings()


class Run:
    """Runs `init` and keeps what it said."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lines: list[str] = []

    async def __call__(self, shards: int | None = 2, fingerprint: str = "f1", text: str = TEXT) -> InitResult:
        self.lines.clear()
        types = fresh_types(self.settings)
        return await initialise(self.settings, text, fingerprint, types, shards, self.lines.append)


@pytest.fixture
def init(settings: Settings) -> Run:
    return Run(settings)


async def known(settings: Settings) -> generations.Generations:
    return await generations.read_all(KAFKA, settings.generations_topic, settings.namespace)


async def test_init_makes_topics_and_a_live_first_generation(init: Run, settings: Settings) -> None:
    result = await init(shards=3)
    assert result.made
    assert len(result.created_topics) >= 10
    async with Admin(KAFKA) as admin:
        found = await admin.describe(result.created_topics)
        purchases = found[f"{settings.namespace}.purchases"]
        assert found[settings.changes_topic].partitions == 3
    assert purchases.partitions == 3
    assert purchases.config["message.timestamp.type"] == "LogAppendTime"
    assert not purchases.retention_is_limited

    live = (await known(settings)).live
    assert live == result.generation
    assert (live.name, live.shards, live.definitions, live.fingerprint) == ("g1", 3, TEXT, "f1")
    assert live.created_at.endswith("Z") and len(live.created_at) == 24
    client = connect(REDIS)
    try:
        assert await read_live(client, settings.namespace) == "g1"
        assert await read_generation(client, settings.namespace, "g1") == live
    finally:
        await client.aclose()


async def test_a_second_init_has_nothing_to_do(init: Run) -> None:
    first = await init()
    second = await init()
    assert not second.made and second.created_topics == ()
    assert second.generation == first.generation
    assert init.lines == ["nothing to do: generation g1 is live with these definitions"]
    assert not (await init(shards=None)).made


async def test_a_changed_comment_is_the_same_file(init: Run) -> None:
    first = await init()
    second = await init(text="# a comment\n" + TEXT)
    assert second.generation == first.generation


async def test_another_file_is_refused_and_plan_is_named(init: Run, settings: Settings) -> None:
    await init()
    with pytest.raises(ProfilestreamError, match="profilestream plan"):
        await init(fingerprint="f2")
    assert (await known(settings)).live.fingerprint == "f1"


async def test_another_number_of_shards_is_refused(init: Run) -> None:
    await init(shards=2)
    with pytest.raises(ProfilestreamError, match="has 2 shards"):
        await init(shards=4)


async def test_an_emptied_redis_gets_its_copy_again(init: Run, settings: Settings) -> None:
    first = await init()
    client = connect(REDIS)
    try:
        await client.delete(f"{settings.namespace}:live", f"{settings.namespace}:g1:meta")
        again = await init()
        assert not again.made
        assert init.lines == ["wrote generation g1 to Redis again"]
        assert await read_generation(client, settings.namespace, "g1") == first.generation
        assert await read_live(client, settings.namespace) == "g1"
    finally:
        await client.aclose()


async def test_a_crash_before_the_generation_was_live_is_made_good(init: Run, settings: Settings) -> None:
    first = await init()
    generation = dataclasses.replace(first.generation, definitions="half done", fingerprint="f0")
    await generations.publish(KAFKA, settings.generations_topic, settings.namespace, generation)
    await generations.remove(KAFKA, settings.generations_topic, settings.namespace, "live")
    again = await init(shards=None)
    assert again.made
    assert (await known(settings)).live.fingerprint == "f1"


async def test_a_redis_of_another_kafka_is_refused(init: Run, settings: Settings) -> None:
    await init()
    init.settings = settings.model_copy(update={"generations_topic": settings.generations_topic + "2"})
    with pytest.raises(ProfilestreamError, match="belong together"):
        await init()


async def test_existing_event_topics_decide_the_shards_and_are_kept(init: Run, settings: Settings) -> None:
    async with Admin(KAFKA) as admin:
        await admin.create(f"{settings.namespace}.purchases", 5, {"retention.ms": "604800000"})
        await admin.create(f"{settings.namespace}.support", 5, {"retention.ms": "-1"})
    result = await init(shards=None)
    assert result.generation.shards == 5
    assert set(result.kept_topics) >= {f"{settings.namespace}.purchases", f"{settings.namespace}.support"}
    assert result.limited_topics == (f"{settings.namespace}.purchases",)
    warnings = [line for line in init.lines if line.startswith("warning")]
    assert len(warnings) == 1
    assert "purchases" in warnings[0] and "support" not in warnings[0]


async def test_event_topics_that_disagree_are_forwarded_and_named(init: Run, settings: Settings) -> None:
    async with Admin(KAFKA) as admin:
        await admin.create(f"{settings.namespace}.purchases", 5, {"retention.ms": "-1"})
    result = await init(shards=2)
    assert result.generation.shards == 2
    assert f"{settings.namespace}.purchases" in result.forwarded_topics
    assert any("forwarded" in line and "purchases" in line for line in init.lines)


async def test_an_own_topic_with_other_partitions_is_refused_before_anything_is_made(
    init: Run, settings: Settings
) -> None:
    async with Admin(KAFKA) as admin:
        await admin.create(settings.changes_topic, 7, {})
        with pytest.raises(ProfilestreamError, match="has 7 partitions and needs 2"):
            await init(shards=2)
        assert (await admin.describe([settings.rekeyed_topic]))[settings.rekeyed_topic] is None


async def test_servers_that_are_away_or_unnamed_are_said_plainly(init: Run, settings: Settings) -> None:
    for change, error in (
        ({"kafka": "127.0.0.1:1"}, ServerUnavailable),
        ({"redis": "redis://127.0.0.1:1"}, ServerUnavailable),
        ({"kafka": None}, UsageError),
        ({"redis": None}, UsageError),
    ):
        init.settings = settings.model_copy(update=change)
        with pytest.raises(error):
            await init()
