"""What the reading commands show to a person: a profile, how the installation stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.text import Text

from profilestream.cli import people
from profilestream.core.counting import counted
from profilestream.core.definitions import Definitions, kind_of_trait
from profilestream.wire.times import parse_time

if TYPE_CHECKING:  # `try` shows cards too, and is to start without a client of Redis or Kafka
    from profilestream.operations.status import ShardStatus, Status
    from profilestream.store.reader import Profile

SHARDS_SHOWN: Final = 32


# A profile


def show_profile(out: Console, profile: Profile, definitions: Definitions) -> None:
    """The card of one customer; times in the definitions' time zone, seen from the profile's own clock."""
    zone = ZoneInfo(definitions.timezone)
    clock = None if profile.as_of is None else parse_time(profile.as_of)
    out.print(Text.assemble("customer ", (people.printable(profile.customer_id), "bold")))
    facts = people.table("", "")
    facts.add_row("generation", f"{profile.generation}, shard {profile.shard}")
    facts.add_row("events", f"{profile.revision:,}")
    facts.add_row("as of", people.value(profile.as_of, "time", zone))
    facts.add_row("newest event", people.value(profile.event_time, "time", zone, clock))
    until = people.value(profile.valid_until, "time", zone, clock)
    facts.add_row("valid until", "the next event" if profile.valid_until is None else f"{until}, or the next event")
    people.show(out, facts)
    out.print(Text("\ntraits", style="bold"))
    traits = people.table("", "")
    for trait in definitions.traits:
        found = profile.traits.get(trait.name)
        shown = people.value(found, kind_of_trait(trait), zone, clock)
        traits.add_row(f"  {trait.name}", Text(shown, style="dim" if found is None else ""))
        if trait.name in profile.missed:
            traits.add_row("", Text(did_not_fit(profile.missed[trait.name]), style="yellow"))
    people.show(out, traits)
    out.print(Text("\nsegments", style="bold"))
    segments = people.table("", "")
    for name, membership in profile.segments.items():
        since = people.value(membership["since"], "time", zone, clock)
        segments.add_row(f"  {name}", f"since {since}, crossing {membership['crossing']}")
    if not profile.segments:
        segments.add_row("  in none", "")
    people.show(out, segments)


def did_not_fit(count: int) -> str:
    """What is said of a trait whose `by=` or `top` met more values than it keeps."""
    return f"full; {counted(count, 'value')} did not fit"


# How the installation stands


def show_status(out: Console, status: Status) -> None:
    """Servers, generation, clocks, what waits; then the shards, those with most waiting where there are many."""
    generation = status.generation
    rows = people.table("", "")
    memory = None if status.redis_bytes is None else f"{status.redis_bytes / 1024**2:,.1f} MiB used"
    rows.add_row("redis", ", ".join(filter(None, (status.redis, status.redis_version, memory))))
    rows.add_row("kafka", Text(status.kafka_problem or status.kafka or "", style="red" if status.kafka_problem else ""))
    made = f"definitions {generation.fingerprint}, made {generation.created_at}"
    rows.add_row("generation", f"{generation.name} ({generation.state}), {generation.shards} shards, {made}")
    rows.add_row("clock", _clocks(status))
    rows.add_row("lag", _lag(status))
    rows.add_row("outbox", f"{counted(status.outbox, 'change')} to announce")
    rows.add_row("timers", f"{counted(status.timers, 'customer')} for whom time alone changes something")
    rows.add_row("dead letters", "unknown" if status.dead_letters is None else f"{status.dead_letters:,}")
    if status.missing_topics:
        rows.add_row("no topic", Text(f"{', '.join(status.missing_topics)}; run `profilestream init`", style="red"))
    for former in status.over:
        rows.add_row("past", Text(former.question, style="yellow"))
    people.show(out, rows)
    shown = status.shards
    if len(shown) > SHARDS_SHOWN:
        shown = sorted(sorted(shown, key=_waiting, reverse=True)[:SHARDS_SHOWN], key=lambda shard: shard.number)
    shards = people.table(
        "shard", "clock", "lag", "outbox", "timers", "next due", right=("shard", "lag", "outbox", "timers")
    )
    utc = ZoneInfo("UTC")
    for shard in shown:
        clock, due = shard.head.clock, shard.next_due
        shards.add_row(
            str(shard.number),
            "no event yet" if clock is None else people.moment(clock, utc),
            "unknown" if status.kafka_problem else f"{sum((shard.lag or {}).values()):,}",
            f"{shard.outbox:,}",
            f"{shard.timers:,}",
            ("" if due is None else people.moment(due, utc)) + (" (under repair)" if shard.head.repair else ""),
        )
    out.print()
    people.show(out, shards)
    if len(shown) < len(status.shards):
        out.print(f"the {len(shown)} shards with most waiting of {len(status.shards):,}; --json has all")


def _clocks(status: Status) -> str:
    clocks, utc = status.clocks, ZoneInfo("UTC")
    if not clocks:
        return "no shard has had an event"
    latest = people.moment(clocks[-1], utc)
    if clocks[0] == clocks[-1]:
        return latest
    return f"{latest}; the shard furthest behind by {people.duration(clocks[-1] - clocks[0])}"


def _lag(status: Status) -> str:
    lag = status.lag_by_topic
    if lag is None:
        return "unknown while Kafka does not answer" if status.kafka else "unknown without Kafka"
    behind = ", ".join(f"{topic} {records:,}" for topic, records in lag.items() if records)
    return counted(sum(lag.values()), "record") + (f" ({behind})" if behind else "")


def _waiting(shard: ShardStatus) -> int:
    return sum((shard.lag or {}).values()) + shard.outbox
