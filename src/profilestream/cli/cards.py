"""What the reading commands show to a person: a profile, an explanation, how the installation stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.text import Text

from profilestream.cli import people
from profilestream.core.conditions import Condition
from profilestream.core.counting import counted
from profilestream.core.definitions import Definitions, Segment, kind_of_trait
from profilestream.core.explanation import Explanation
from profilestream.wire.times import parse_time

if TYPE_CHECKING:  # `try` shows cards too, and is to start without a client of Redis or Kafka
    from profilestream.operations.status import ShardStatus, Status
    from profilestream.store.reader import Profile

SHARDS_SHOWN: Final = 32
REASONS_SHOWN: Final = 3

_MARKS: Final = {True: ("✓", "yes", "green"), False: ("✗", "no", "red"), None: ("?", "unknown", "yellow")}


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


# An explanation


def show_explanation(out: Console, customer_id: str, definitions: Definitions, explanation: Explanation) -> None:
    """One segment of one customer: the answer, the conditions with their values, and what time alone will do."""
    zone = ZoneInfo(definitions.timezone)
    segment = definitions.by_segment[explanation.segment]
    out.print(_headline(customer_id, explanation, zone))
    if segment.description:
        out.print(people.one_line(segment.description))
    out.print()
    for word, text in zip(("enter", "exit"), segment.texts, strict=True):
        if text:
            out.print(Text.assemble((f"{word:<6}", "bold"), people.one_line(text)))
    out.print()
    rows = people.table("", "", "condition", "value", "threshold", "distance", right=("value", "threshold"))
    for word, conditions in (("enter", explanation.enter), ("exit", explanation.exit)):
        for condition in conditions:
            rows.add_row(
                word,
                _mark(out, condition.helps),
                _condition(condition),
                people.value(condition.value, condition.kind, zone),
                people.value(condition.threshold, condition.kind, zone) if condition.threshold is not None else "",
                _distance(condition),
            )
    people.show(out, rows)
    out.print()
    for line in (*_waits(explanation, zone), _time_alone(explanation, zone)):
        out.print(line)
    out.print(Text(f"at the shard's clock, {people.moment(explanation.at, zone)}", style="dim"))


def show_all(
    out: Console,
    customer_id: str,
    definitions: Definitions,
    clock: int,
    values: Mapping[str, Any],
    explanations: Sequence[Explanation],
) -> None:
    """Every trait with its value and its definition, then every segment with the answer and one line why."""
    zone = ZoneInfo(definitions.timezone)
    out.print(Text.assemble("customer ", (people.printable(customer_id), "bold")))
    out.print(Text(f"at the shard's clock, {people.moment(clock, zone)}\n", style="dim"))
    if definitions.traits:
        traits = people.table("trait", "value", "definition")
        for trait in definitions.traits:
            shown = people.value(values.get(trait.name), kind_of_trait(trait), zone, clock)
            traits.add_row(trait.name, shown, Text(people.one_line(trait.text), style="dim"))
        people.show(out, traits)
        out.print()
    if not explanations:
        out.print("the definitions have no segments")
        return
    segments = people.table("segment", "member", "why")
    for explanation in explanations:
        segment = definitions.by_segment[explanation.segment]
        segments.add_row(explanation.segment, _mark(out, explanation.member), why(explanation, segment, zone))
    people.show(out, segments)


def why(explanation: Explanation, segment: Segment, zone: ZoneInfo) -> str:
    """One line: the conditions that decide, with their values, or what the crossing waits for."""
    if waits := _waits(explanation, zone):
        return waits[0]
    if explanation.member and explanation.enters and not explanation.leaves:
        return f"enter holds: {_reasons(explanation.enter, True, zone)}"
    if explanation.member:
        return f"stays, as exit does not hold: {_reasons(explanation.exit, False, zone)}"
    if not explanation.enters:
        return f"enter does not hold: {_reasons(explanation.enter, False, zone)}"
    return f"stays out, as exit holds: {_reasons(explanation.exit, True, zone)}"


def _reasons(conditions: tuple[Condition, ...], helps: bool, zone: ZoneInfo) -> str:
    """The conditions that speak for the answer; unknown is as good as false."""
    found = [c for c in conditions if (c.helps is True) is helps]
    shown = [_reason(c, zone) for c in found[:REASONS_SHOWN]]
    more = len(found) - len(shown)
    return "; ".join([*shown, *([f"and {more} more"] if more else [])])


def _reason(condition: Condition, zone: ZoneInfo) -> str:
    """A condition with what it found: the values of those sides that are not written out."""
    sides = zip((condition.value, condition.threshold), condition.varies, strict=True)
    found = [value for value, varies in sides if varies]
    shown = ["absent" if value is None else people.value(value, condition.kind, zone) for value in found]
    return _condition(condition) + (f" (is {' against '.join(shown)})" if shown else "")


def _headline(customer_id: str, explanation: Explanation, zone: ZoneInfo) -> Text:
    line = Text.assemble("customer ", (people.printable(customer_id), "bold"))
    line.append(" is in " if explanation.member else " is not in ", style="green" if explanation.member else "red")
    line.append(explanation.segment, style="bold")
    if explanation.crossed_at is None:
        return line.append(" and never was")
    when = f"{people.moment(explanation.crossed_at, zone)} ({people.relative(explanation.crossed_at, explanation.at)})"
    line.append(f" since {when}" if explanation.member else f"; left at {when}")
    return line.append(f", crossing {explanation.crossing}")


def _mark(out: Console, answer: bool | None) -> Text:
    sign, word, style = _MARKS[answer]
    return Text(sign, style=style) if out.is_terminal else Text(word)


def _condition(condition: Condition) -> str:
    text = people.one_line(condition.text)
    return f"not {text}" if condition.negated else text


def _distance(condition: Condition) -> str:
    """How far the value is from the threshold, and on which side."""
    if condition.distance is None:
        return ""
    if not condition.distance:
        return "equal"
    size = abs(condition.distance)
    if condition.kind == "time":
        return f"{people.duration(size)} {'later' if condition.distance > 0 else 'earlier'}"
    shown = people.duration(size) if condition.kind == "duration" else people.number(size)
    return f"{shown} {'above' if condition.distance > 0 else 'below'}"


def _waits(explanation: Explanation, zone: ZoneInfo) -> list[str]:
    """What holds the next crossing back: the sample, a dwell that is not over, a cooldown."""
    found = []
    if explanation.sampled is False and not explanation.member:
        assert explanation.pacing is not None
        found.append(f"is not in the sample, which is {explanation.pacing.sample} of all customers")
    if explanation.held_since is not None and explanation.crosses_at is not None:
        condition, will = ("leaving", "leaves") if explanation.member else ("entering", "enters")
        since = f"{people.moment(explanation.held_since, zone)}"
        at = people.moment(explanation.crosses_at, zone)
        found.append(f"the condition for {condition} holds since {since}; {will} at {at} if it holds on")
    if explanation.cools_until is not None:
        found.append(f"cannot enter again before {people.moment(explanation.cools_until, zone)}: cooldown")
    return found


def _time_alone(explanation: Explanation, zone: ZoneInfo) -> str:
    will = "leave" if explanation.member else "enter"
    if explanation.changes_at is not None:
        when = people.relative(explanation.changes_at, explanation.at)
        return f"with no event will {will} at {people.moment(explanation.changes_at, zone)} ({when})"
    if explanation.looked_until is not None:
        return f"with no event will not {will} before {people.moment(explanation.looked_until, zone)} at least"
    return f"with no event will not {will}"


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
