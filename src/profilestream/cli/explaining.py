"""What `explain`, `try` and the demo show of why a customer is in a segment, or is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.text import Text

from profilestream.cli import people
from profilestream.cli.describing import amount
from profilestream.core.conditions import Condition
from profilestream.core.counting import counted
from profilestream.core.definitions import Definitions, Segment, kind_of_trait
from profilestream.core.explanation import Explanation

REASONS_SHOWN: Final = 3

_MARKS: Final = {True: ("✓", "yes", "green"), False: ("✗", "no", "red"), None: ("?", "unknown", "yellow")}
_UTC: Final = ZoneInfo("UTC")


# One segment


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
    if segment.pacing is not None:
        out.print(", ".join(f"{key} {text}" for key, text in segment.pacing.texts()))
    out.print()
    _show_conditions(out, explanation, zone)
    out.print()
    for line in (
        *_notes(explanation),
        *_hangs_on(explanation, zone),
        *_waits(explanation, zone),
        _time_alone(explanation, zone),
    ):
        out.print(line)
    out.print(Text(f"at the shard's clock, {people.moment(explanation.at, zone)}", style="dim"))


def _show_conditions(out: Console, explanation: Explanation, zone: ZoneInfo) -> None:
    """The conditions with their values; a column for when time turns them only where it turns one."""
    turning = any(c.turns_at is not None for c in explanation.conditions)
    titles = ["", "", "condition", "value", "threshold", "distance", *(["turns with no event"] if turning else [])]
    rows = people.table(*titles, right=("value", "threshold"))
    for condition in explanation.conditions:
        row = [
            condition.part,
            _mark(out, condition.helps),
            _condition(condition),
            people.value(condition.value, condition.kind, zone),
            people.value(condition.threshold, condition.kind, zone) if condition.threshold is not None else "",
            distance(condition),
        ]
        if turning:
            row.append("" if condition.turns_at is None else people.relative(condition.turns_at, explanation.at))
        rows.add_row(*row)
    people.show(out, rows)


def distance(condition: Condition) -> str:
    """How far the customer's value is from the threshold: what is missing or too much where the condition speaks
    against being in, else on which side it is."""
    if condition.bars:
        return "no value yet" if condition.given_by else _to_turn(condition)
    if condition.distance is None:
        return ""
    ahead = condition.distance if condition.varies[0] or not condition.varies[1] else -condition.distance
    if not ahead:
        return "equal"
    words = ("later", "earlier") if condition.kind == "time" else ("above", "below")
    return f"{_size(condition, ahead)} {words[0] if ahead > 0 else words[1]}"


def _to_turn(condition: Condition) -> str:
    """`needs 1 more`, `12,300 too much`, `needs 3 d more`, `2 h too late`."""
    step = condition.step
    if step is None:
        return ""
    if not step.by:
        return "equal"  # any change turns it, of which none is the least
    size = ("more than " if step.beyond else "") + _size(condition, step.by)
    if condition.kind == "time":
        return f"needs {size} later" if step.by > 0 else f"{size} too late"
    if condition.kind == "duration":
        return f"needs {size} more" if step.by > 0 else f"{size} too long"
    return f"needs {size} more" if step.by > 0 else f"{size} too much"


def _to_lose(condition: Condition) -> str:
    """`1 less would do`: what would turn a condition that speaks for being in."""
    step = condition.step
    if step is None or not step.by:
        return "any change would do" if step is not None else ""
    beyond = "more than " if step.beyond else ""
    words = ("later", "earlier") if condition.kind == "time" else ("more", "less")
    return f"{beyond}{_size(condition, step.by)} {words[0] if step.by > 0 else words[1]} would do"


def _size(condition: Condition, length: int | float) -> str:
    size = abs(length)
    if condition.currency is not None:
        return amount(size, condition.currency)
    return people.duration(size) if condition.kind in ("time", "duration") else people.number(size)


def _hangs_on(explanation: Explanation, zone: ZoneInfo) -> Iterable[str]:
    """The fewest conditions that would have to turn, and how far each is; nothing where the crossing only waits."""
    deciding = [c for c in explanation.conditions if c.decides]
    others = "; or in other ways" if explanation.one_of_several else ""
    if not deciding:
        return
    reasons = [_reason(c, zone) for c in deciding]
    if explanation.member:
        yield f"nearest way out: {'; '.join(reasons)}{others}"
        return
    parts = zip(deciding, reasons, strict=True)
    found = "; ".join(reason if c.part == "enter" else f"exit, which holds: {reason}" for c, reason in parts)
    yield f"{'nearest way in' if explanation.one_of_several else 'fails on'}: {found}{others}"


def _notes(explanation: Explanation) -> Iterable[str]:
    """Which events would give values that are absent, and where other segments are explained."""
    for giver in dict.fromkeys(giver for c in explanation.conditions if c.bars for giver in c.given_by):
        names = [_condition(c) for c in explanation.conditions if giver in c.given_by]
        yield f"no value yet for {', '.join(dict.fromkeys(names))}: it comes with {people.one_line(giver)}"
    for name in dict.fromkeys(c.segment for c in explanation.conditions if c.segment is not None):
        yield f"for in_segment('{name}') ask `profilestream explain CUSTOMER {name}`"


def _waits(explanation: Explanation, zone: ZoneInfo) -> list[str]:
    """What holds the next crossing back: the sample, a dwell that is not over, a cooldown."""
    found = []
    if explanation.sampled is False and not explanation.member:
        assert explanation.pacing is not None
        found.append(f"is not in the sample, which is {explanation.pacing.sample:g} of all customers")
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
        because = [c for c in explanation.conditions if c.text in explanation.because]
        turned = ", ".join(_turned(c) for c in because)
        line = f"with no event will {will} at {people.moment(explanation.changes_at, zone)} ({when})"
        return f"{line}: {turned}" if turned else line
    if explanation.looked_until is not None:
        return f"with no event will not {will} before {people.moment(explanation.looked_until, zone)} at least"
    return f"with no event will not {will}"


def _turned(condition: Condition) -> str:
    return f"{people.one_line(condition.text)} {'holds no longer' if condition.holds is True else 'holds then'}"


# All segments


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
    show_customer(out, customer_id, clock, zone)
    if definitions.traits:
        traits = people.table("trait", "value", "definition")
        for trait in definitions.traits:
            shown = people.value(values.get(trait.name), kind_of_trait(trait), zone, clock)
            traits.add_row(trait.name, shown, Text(people.one_line(trait.text), style="dim"))
        people.show(out, traits)
        out.print()
    show_segments(out, definitions, explanations)


def show_customer(out: Console, customer_id: str, clock: int, zone: ZoneInfo) -> None:
    """The customer's id, and for when all that follows is said."""
    out.print(Text.assemble("customer ", (people.printable(customer_id), "bold")))
    out.print(Text(f"at the shard's clock, {people.moment(clock, zone)}\n", style="dim"))


def show_segments(
    out: Console, definitions: Definitions, explanations: Sequence[Explanation], left_out: int = 0
) -> None:
    """Every segment with the answer and one line why; `left_out` are not among them."""
    zone = ZoneInfo(definitions.timezone)
    if not explanations:
        out.print("the definitions have no segments")
        return
    segments = people.table("segment", "member", "why")
    for explanation in explanations:
        segment = definitions.by_segment[explanation.segment]
        segments.add_row(explanation.segment, _mark(out, explanation.member), why(explanation, segment, zone))
    people.show(out, segments)
    if left_out:
        out.print(f"and {counted(left_out, 'more segment')} in which the customer is not; --json has all")


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
    """A condition with what it found: the values of those sides that are not written out, and how far off they are."""
    sides = zip((condition.value, condition.threshold), condition.varies, strict=True)
    found = [value for value, varies in sides if varies]
    shown = ["absent" if value is None else people.value(value, condition.kind, zone) for value in found]
    parts = [f"is {' against '.join(shown)}"] if shown else []
    if condition.step is not None and (condition.bars or condition.decides):
        parts.append(_to_turn(condition) if condition.bars else _to_lose(condition))
    return _condition(condition) + (f" ({', '.join(parts)})" if parts else "")


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
