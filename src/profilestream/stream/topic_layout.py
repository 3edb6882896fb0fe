"""Which topics an installation has, and how each is made. Pure: names and numbers in, plans out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from profilestream.core.definitions import Definitions
from profilestream.core.errors import ProfilestreamError, UsageError
from profilestream.settings import Settings
from profilestream.stream.topics import TopicInfo

SHARDS_DEFAULT: Final = 16
SHARDS_MAX: Final = 4_096
DEAD_LETTER_BYTES_MAX: Final = 8 * 1024 * 1024
REKEYED_BYTES_MAX: Final = 2 * 1024 * 1024

_FOREVER: Final = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
_ARRIVAL: Final = {**_FOREVER, "message.timestamp.type": "LogAppendTime"}
_GIVEN_TIME: Final = {**_FOREVER, "message.timestamp.type": "CreateTime"}
_COMPACTED: Final = {"cleanup.policy": "compact", "message.timestamp.type": "CreateTime"}

# A forwarded record keeps its timestamp, however far ahead its producer's clock was. Kafka from 3.6 on
# knows this bound, and from 4.0 on sets it to one hour.
_ANY_TIMESTAMP: Final = {"message.timestamp.after.max.ms": str(2**63 - 1)}


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic to make where it is not there: settings that must be, and `wishes` that older brokers lack.

    `partitions_must_match` says that a topic that exists with another number of partitions cannot be used.
    """

    name: str
    partitions: int
    config: Mapping[str, str]
    wishes: Mapping[str, str] = field(default_factory=dict)
    partitions_must_match: bool = False


@dataclass(frozen=True, slots=True)
class Shards:
    """The number of shards, the topics with other numbers of partitions, and a line that says why, if any."""

    count: int
    forwarded: tuple[str, ...]
    reason: str | None


def event_topics(definitions: Definitions) -> tuple[str, ...]:
    """The topics that events arrive on, each once, in order of declaration; that of commands is the last."""
    return tuple(dict.fromkeys(source.topic for source in definitions.sources))


def plan_topics(settings: Settings, events: Sequence[str], shards: int) -> tuple[TopicPlan, ...]:
    """Every topic of an installation with `shards` shards: the event topics `events` first, then its own.

    Raises UsageError where an event topic is one that profilestream itself writes.
    """
    plans = _own_plans(settings, shards)
    own = {plan.name for plan in plans} & set(events)
    if own:
        raise UsageError(
            f"profilestream itself writes to {', '.join(sorted(own))}, so no events can be read from there; "
            "take another topic in [sources] or [types], or rename ours (PROFILESTREAM_*_TOPIC)"
        )
    return (*(TopicPlan(name, shards, _ARRIVAL) for name in events), *plans)


def _own_plans(settings: Settings, shards: int) -> tuple[TopicPlan, ...]:
    return (
        TopicPlan(
            settings.rekeyed_topic,
            shards,
            _GIVEN_TIME,
            {**_ANY_TIMESTAMP, "max.message.bytes": str(REKEYED_BYTES_MAX)},
            partitions_must_match=True,
        ),
        TopicPlan(
            settings.dead_letters_topic,
            shards,
            _GIVEN_TIME,
            {**_ANY_TIMESTAMP, "max.message.bytes": str(DEAD_LETTER_BYTES_MAX)},
        ),
        TopicPlan(settings.changes_topic, shards, _GIVEN_TIME, partitions_must_match=True),
        TopicPlan(settings.announced_topic, shards, _COMPACTED, partitions_must_match=True),
        TopicPlan(settings.generations_topic, 1, _COMPACTED, partitions_must_match=True),
        redriven_plan(settings),
    )


def redriven_plan(settings: Settings) -> TopicPlan:
    """The topic that says which dead letters were sent again. It is never emptied: their records stay too."""
    return TopicPlan(settings.redriven_topic, 1, _COMPACTED)


def decide_shards(existing: Iterable[TopicInfo], asked: int | None) -> Shards:
    """How many shards: what was asked for, else what the existing event topics have, else 16.

    Where the topics disagree the most common number wins, then the greater. Records of topics with
    another number of partitions go through the topic of forwarded records. Raises UsageError for a
    number out of range.
    """
    if asked is not None and not 1 <= asked <= SHARDS_MAX:
        raise UsageError(f"--shards {asked} is out of range; give a number from 1 to {SHARDS_MAX}")
    topics = list(existing)
    counts = Counter(topic.partitions for topic in topics)
    count = asked or (max(counts, key=lambda n: (counts[n], n)) if counts else SHARDS_DEFAULT)
    others = tuple(sorted(topic.name for topic in topics if topic.partitions != count))
    reason = None
    if others:
        why = "as asked for" if asked else "the most common number of partitions"
        reason = (
            f"{count} shards ({why}); the partitions of {', '.join(others)} are other in number, so "
            "the records there are forwarded to their shards on the way"
        )
    elif counts and asked is None:
        reason = f"{count} shards, the number of partitions of the event topics that were there"
    return Shards(count, others, reason)


def check_existing(plans: Iterable[TopicPlan], found: Mapping[str, TopicInfo | None], changes_topic: str) -> None:
    """Raises ProfilestreamError, all problems at once, where a topic that exists cannot serve as planned."""
    problems = []
    for plan in plans:
        info = found.get(plan.name)
        if info is None:
            continue
        if plan.partitions_must_match and info.partitions != plan.partitions:
            problems.append(
                f"topic `{plan.name}` has {info.partitions} partitions and needs {plan.partitions}; "
                "delete it if unused, or give this installation topics of its own (PROFILESTREAM_*_TOPIC)"
            )
        if plan.name == changes_topic and info.is_compacted:
            problems.append(
                f"topic `{plan.name}` is compacted, which loses segment changes; "
                "set its cleanup.policy to delete and run the command again"
            )
    if problems:
        raise ProfilestreamError("\n".join(problems))
