"""Which topics there are, how many shards, and what a stray says about its origin."""

from __future__ import annotations

import pytest

from profilestream.core.errors import ProfilestreamError, UsageError
from profilestream.settings import Settings
from profilestream.stream.strays import Origin, parse_stray_headers, stray_headers
from profilestream.stream.topic_layout import check_existing, decide_shards, event_topics, plan_topics
from profilestream.stream.topics import TopicInfo
from profilestream.wire.definitions import parse_definitions

SETTINGS = Settings(kafka="k:9092", redis="redis://r:6379")
EVENT_TOPICS = ("purchases", "browsing", "support", "engagement", "attributes", "commands")


def plans(shards: int = 4):
    return {plan.name: plan for plan in plan_topics(SETTINGS, EVENT_TOPICS, shards)}


def test_there_is_a_topic_for_each_event_type_and_one_for_each_thing_written() -> None:
    assert event_topics(parse_definitions("")) == EVENT_TOPICS
    assert set(plans()) == {
        *EVENT_TOPICS,
        "rekeyed",
        "dead-letters",
        "segment-changes",
        "announced",
        "generations",
        "redriven",
    }


@pytest.mark.parametrize("topic", EVENT_TOPICS)
def test_event_topics_are_kept_for_ever_and_stamped_on_arrival(topic: str) -> None:
    config = plans()[topic].config
    assert config["message.timestamp.type"] == "LogAppendTime"
    assert config["retention.ms"] == config["retention.bytes"] == "-1"


def test_strays_keep_their_timestamp_and_live_as_long_as_events() -> None:
    config = plans()["rekeyed"].config
    assert config["message.timestamp.type"] == "CreateTime"
    assert config["retention.ms"] == "-1"


def test_segment_changes_are_never_compacted_and_what_was_announced_is() -> None:
    assert plans()["segment-changes"].config["cleanup.policy"] == "delete"
    assert plans()["announced"].config["cleanup.policy"] == "compact"
    assert plans()["generations"].config["cleanup.policy"] == "compact"


def test_every_topic_of_a_shard_has_a_partition_for_each_shard() -> None:
    assert {plan.partitions for name, plan in plans(7).items() if name not in ("generations", "redriven")} == {7}
    assert plans(7)["generations"].partitions == 1


def test_without_topics_there_are_as_many_shards_as_asked_for_else_sixteen() -> None:
    assert decide_shards([], None).count == 16
    assert decide_shards([], 3).count == 3


def test_existing_event_topics_that_agree_decide_the_number_of_shards() -> None:
    decided = decide_shards([TopicInfo("purchases", 6), TopicInfo("browsing", 6)], None)
    assert (decided.count, decided.forwarded) == (6, ())


def test_where_event_topics_disagree_the_most_common_number_wins_and_the_others_are_named() -> None:
    topics = [TopicInfo("a", 3), TopicInfo("b", 8), TopicInfo("c", 8), TopicInfo("d", 12)]
    decided = decide_shards(topics, None)
    assert (decided.count, decided.forwarded) == (8, ("a", "d"))
    assert decided.reason is not None and "a, d" in decided.reason
    assert decide_shards(topics, 3).forwarded == ("b", "c", "d")


def test_a_tie_between_numbers_of_partitions_goes_to_the_greater() -> None:
    assert decide_shards([TopicInfo("a", 3), TopicInfo("b", 5)], None).count == 5


@pytest.mark.parametrize("shards", [0, -1, 5_000])
def test_a_number_of_shards_out_of_range_is_wrong_use(shards: int) -> None:
    with pytest.raises(UsageError, match="1 to 4096"):
        decide_shards([], shards)


def test_own_topics_that_cannot_serve_are_all_named_at_once() -> None:
    found = {
        "segment-changes": TopicInfo("segment-changes", 4, {"cleanup.policy": "compact"}),
        "rekeyed": TopicInfo("rekeyed", 9),
        "dead-letters": TopicInfo("dead-letters", 1),
    }
    with pytest.raises(ProfilestreamError) as caught:
        check_existing(plans(4).values(), found, "segment-changes")
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "`rekeyed` has 9 partitions and needs 4" in lines[0]
    assert "compacted" in lines[1]


@pytest.mark.parametrize(
    "config", [{"retention.ms": "604800000"}, {"retention.bytes": "1"}, {"cleanup.policy": "compact,delete"}]
)
def test_a_topic_from_which_records_vanish_counts_as_limited(config: dict[str, str]) -> None:
    forever = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
    assert not TopicInfo("t", 1, forever).retention_is_limited
    assert TopicInfo("t", 1, {**forever, **config}).retention_is_limited


def test_the_headers_of_a_stray_are_read_back() -> None:
    origin = Origin("purchase", "purchases", 3, 1881, 1_769_851_800_000)
    assert parse_stray_headers(stray_headers(*origin)) == origin
    assert origin.name == "purchase:purchases:3"


@pytest.mark.parametrize("broken", range(5))
def test_headers_that_lack_one_or_carry_nonsense_are_no_origin(broken: int) -> None:
    headers = stray_headers("purchase", "purchases", 3, 1881, 5)
    assert parse_stray_headers(headers[:broken] + headers[broken + 1 :]) is None
    headers[broken] = (headers[broken][0], b"" if broken < 2 else b"x")
    assert parse_stray_headers(headers) is None
