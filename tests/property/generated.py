"""Strategies for events and definitions: arbitrary ones, that stand."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from tests.property.shard import DAY, HOUR, MINUTE, T0, definitions_text

WINDOWS = ("15m", "1h", "24h", "7d", "30d", "90d", "1y")
AGO = {"15m": "15m", "1h": "1h", "24h": "48h", "7d": "7d", "30d": "30d", "90d": "90d", "1y": "70d"}
WORDS = ("a", "b", "shoes", "")
FACTS = ("n", "w", "j")

words = st.sampled_from(WORDS)
offsets = st.one_of(
    st.integers(0, 5),
    st.builds(
        lambda n, unit, d: n * unit + d, st.integers(0, 40), st.sampled_from((MINUTE, HOUR, DAY)), st.integers(-1, 1)
    ),
    st.integers(0, 500 * DAY),
)
"""Milliseconds after T0: near another, on the edges of tiles and durations, anywhere."""

times = offsets.map(lambda ms: T0 + ms)

facts = st.one_of(
    st.integers(-3, 12),
    st.sampled_from((0.5, 2.0, -1.25, 10**20)),
    st.booleans(),
    words,
    st.lists(st.integers(0, 2) | words, max_size=3),
    st.dictionaries(words, st.integers(0, 2), max_size=2),
    st.none(),
)
"""JSON of any kind."""


def _fields(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    if kind == "purchase":
        item = st.fixed_dictionaries(
            {},
            optional={"category": words, "quantity": st.integers(1, 3), "unit_price_minor": st.integers(0, 50)},
        )
        return draw(
            st.fixed_dictionaries(
                {"amount_minor": st.integers(0, 120) | st.just(2**62)},
                optional={
                    "kind": st.sampled_from(("order", "refund")), "channel": words, "items": st.lists(item, max_size=3),
                },
            )
        )  # fmt: skip
    if kind == "browsing":
        return draw(st.fixed_dictionaries({"kind": st.sampled_from(("page_view", "search"))}, optional={"sku": words}))
    if kind == "support":
        moods = st.sampled_from((0.1, -0.3, 0.25, 1, 0))
        return draw(st.fixed_dictionaries({"kind": st.just("rated")}, optional={"sentiment": moods}))
    return draw(
        st.fixed_dictionaries(
            {},
            optional={
                "set": st.dictionaries(st.sampled_from(FACTS), facts, max_size=3),
                "unset": st.lists(st.sampled_from(FACTS), max_size=1),
            },
        )
    )


@st.composite
def event_lists(draw: st.DrawFn, max_size: int = 12, customers: int = 1) -> list[dict[str, Any]]:
    """Events of several types, in any order of time, each with an id of its own."""
    events = []
    for n in range(draw(st.integers(1, max_size))):
        kind = draw(st.sampled_from(("purchase", "purchase", "browsing", "support", "attributes")))
        customer = "c" if customers == 1 else f"c{draw(st.integers(1, customers))}"
        # Ids against the order of arrival, so that they decide ties.
        events.append(
            {"type": kind, "event_id": f"e{97 * n % 100:02d}", "customer_id": customer, "occurred_at": draw(times)}
            | _fields(draw, kind)
        )
    return events


# Definitions

ROWS = ("purchase", "order", "browsing", "support", "event", "purchase[channel == 'a']", "item[category != 'b']")
NUMBERS = (
    "order.amount_minor", "purchase.amount_minor", "item.amount_minor", "item.quantity", "support.sentiment",
)  # fmt: skip
STRINGS = ("browsing.sku", "item.category", "purchase.channel")
TIMES = ("purchase.occurred_at", "browsing.occurred_at", "event.occurred_at")


@st.composite
def windows(draw: st.DrawFn) -> str:
    """`, over=...`, with or without `ago=`, or nothing."""
    if draw(st.booleans()):
        return ""
    over = draw(st.sampled_from(WINDOWS))
    return f", over='{over}'" + (f", ago='{AGO[over]}'" if draw(st.integers(0, 3)) == 0 else "")


@st.composite
def time_texts(draw: st.DrawFn) -> str:
    """An expression for a time."""
    verb = draw(st.sampled_from(("last", "last", "first", "max", "min")))
    text = f"{verb}({draw(st.sampled_from(TIMES))}{draw(windows())})"
    return text + draw(st.sampled_from(("", "", "", " + days(2)", " - hours(1)", " + mean_gap(purchase)")))


@st.composite
def unmatched_texts(draw: st.DrawFn) -> str:
    """What was seen in one stream and not in another."""
    seen, answer = draw(st.sampled_from(STRINGS)), draw(st.sampled_from((*STRINGS, "order.channel")))
    within, over = draw(st.sampled_from((("1m", "24h"), ("2h", "24h"), ("23h", "24h"), ("2d", "30d"), ("3d", "90d"))))
    return f"unmatched({seen}, {answer}, within='{within}', over='{over}')"


@st.composite
def number_texts(draw: st.DrawFn, depth: int = 1) -> str:
    """An expression for a number."""
    kinds = ["count", "sum", "mean", "distinct", "by", "first", "hour", "streak", "unmatched"]
    kind = draw(st.sampled_from(kinds + (["of_two", "of_two", "default", "score", "minus"] if depth else [])))
    window = draw(windows())
    below = number_texts(depth=depth - 1)
    match kind:
        case "count":
            return f"count({draw(st.sampled_from(ROWS))}{window})"
        case "sum" | "mean" | "first":
            verb = draw(st.sampled_from(("min", "max", "first", "last"))) if kind == "first" else kind
            return f"{verb}({draw(st.sampled_from(NUMBERS))}{window})"
        case "distinct":
            return f"distinct({draw(st.sampled_from(STRINGS))}{window})"
        case "by":
            return f"sum(item.amount_minor, by=category{window})['shoes']"
        case "hour":
            return f"{draw(st.sampled_from(('hour', 'weekday')))}({draw(time_texts())})"
        case "streak":
            return f"streak(date({draw(st.sampled_from((*TIMES, 'order.occurred_at')))}))"
        case "unmatched":
            return f"len({draw(unmatched_texts())})"
        case "of_two":
            return f"({draw(below)} {draw(st.sampled_from('+-*/'))} {draw(below)})"
        case "default":
            return f"default({draw(below)}, {draw(st.integers(0, 9))})"
        case "score":
            return f"score({draw(below)}, 1, 2, 50)"
        case _:
            return f"-{draw(below)}"


CONSTANTS = ("0", "1", "2", "3", "10", "0.5", "100", "2.0")
OPERATORS = ("<", "<=", ">", ">=", "==", "!=")
operators = st.sampled_from(OPERATORS)
durations = st.builds(
    lambda word, n: f"{word}({n})", st.sampled_from(("minutes", "hours", "days")), st.integers(-1, 30)
)


inside = st.sampled_from(("in", "not in"))

MAPS = (
    "sum(item.amount_minor, by=category{w})", "count(item, by=category{w})", "count(browsing, by=sku{w})",
    "mean(purchase.amount_minor, by=channel{w})", "max(item.quantity, by=category{w})",
    "sum(support.sentiment, by=kind{w})",
)  # fmt: skip


@st.composite
def maps_of_numbers(draw: st.DrawFn) -> str:
    """An object from a string to a number."""
    return draw(st.sampled_from(MAPS)).format(w=draw(windows()))


@st.composite
def comparisons(draw: st.DrawFn, traits: tuple[str, ...], json_kinds: bool) -> str:
    """One condition without and, or, not. `json_kinds` adds what the contract leaves open for facts of any kind."""
    kinds = [
        "constant", "constant", "two", "chain", "since", "since", "since_more", "days_since", "string", "word", "has",
        "after", "fact", "fact", "flag", "facts", "default_fact", "in_fact", "in_unmatched",
        "key", "key", "key_time", "key_word", "in_map", "in_top", "words",
    ]  # fmt: skip
    kind = draw(
        st.sampled_from(
            kinds + (["fact_in", "in_list", "since_fact", "after_facts", "fact_time"] if json_kinds else [])
        )
    )
    number = number_texts() | st.sampled_from(traits)
    op, time, fact = draw(operators), draw(time_texts()), f"latest(attributes.{draw(st.sampled_from(FACTS))})"
    match kind:
        case "constant":
            sides = [draw(number), draw(st.sampled_from(CONSTANTS))]
            return f" {op} ".join(draw(st.permutations(sides)))
        case "two":
            return f"{draw(number)} {op} {draw(number)}"
        case "chain":
            return f"1 {op} {draw(number)} {draw(operators)} 5"
        case "since":
            return f"since({time}) {op} {draw(durations)}"
        case "since_more":
            more = draw(
                st.sampled_from(("mean_gap(purchase)", "mean_gap(purchase) * 1.5", "days(1) - hours(30)", "since(T)"))
            )
            if more == "since(T)":
                return f"since({time}) * 2 - since({draw(time_texts())}) / 2 {op} {draw(durations)}"
            return f"since({time}) + {more} {op} {draw(durations)}"
        case "days_since":
            return f"days_since({time}) {op} {draw(st.sampled_from(('0', '1', '2.5', '30', '-1')))}"
        case "string":
            string = f"last({draw(st.sampled_from(STRINGS))}{draw(windows())})"
            return f"{string} {op} '{draw(words)}'"
        case "word":
            return f"lower(first({draw(st.sampled_from(STRINGS))})) {draw(st.sampled_from(('in', 'not in')))} ['a', '']"
        case "has":
            return f"has({draw(st.sampled_from((fact, time)))})"
        case "after":
            return f"after({time}, {draw(time_texts())})"
        case "fact":
            constant = draw(st.sampled_from(("1", "0.5", "'a'", "True", "False", *CONSTANTS)))
            equality = draw(st.sampled_from(("==", "!=")))
            return f"{fact} {equality if constant in ('True', 'False') else op} {constant}"
        case "facts":
            return f"{fact} {op} latest(attributes.n)"
        case "flag":
            return fact
        case "default_fact":
            return f"default({fact}, {draw(st.sampled_from(('3', 'True', repr('a'))))}) {op} 3"
        case "in_fact":
            return f"'a' in {fact}['shoes']"
        case "in_unmatched":
            return f"'a' {draw(st.sampled_from(('in', 'not in')))} {draw(unmatched_texts())}"
        case "key":
            part = f"{draw(maps_of_numbers())}['{draw(words)}']"
            forms = ("{p}", "default({p}, 2)", "{p} * 2 - 1", "{p} / count(event)", "default({p}, count(event))")
            text = draw(st.sampled_from(forms)).format(p=part)
            return f"{text} {op} {draw(st.sampled_from(CONSTANTS) | number)}"
        case "key_time":
            part = f"max(item.occurred_at, by=category{draw(windows())})['{draw(words)}']"
            forms = (f"since({part}) {op} {draw(durations)}", f"has({part})", f"after({part}, {time})")
            return draw(st.sampled_from(forms))
        case "key_word":
            return f"min(browsing.sku, by=kind{draw(windows())})['search'] {op} '{draw(words)}'"
        case "in_map":
            return f"'{draw(words)}' {draw(inside)} {draw(maps_of_numbers())}"
        case "in_top":
            value = draw(st.sampled_from((*STRINGS, "order.amount_minor")))
            element = draw(st.sampled_from(("1", "100"))) if value.endswith("minor") else f"'{draw(words)}'"
            return f"{element} {draw(inside)} top({value}, {draw(st.integers(1, 3))}{draw(windows())})"
        case "in_list":
            return f"{draw(st.sampled_from(('1', '2.0', 'True', repr('a'), repr('shoes'))))} {draw(inside)} {fact}"
        case "words":
            several = draw(st.lists(words, min_size=1, max_size=3))
            string, equality = f"last({draw(st.sampled_from(STRINGS))})", draw(st.sampled_from(("==", "!=")))
            return draw(st.sampled_from((" or ", " and "))).join(f"{string} {equality} '{word}'" for word in several)
        case "fact_in":
            return (
                f"{fact} {draw(st.sampled_from(('in', 'not in')))} {draw(st.sampled_from(('[1]', '[True]', '[0, 2]')))}"
            )
        case "since_fact":
            function = draw(st.sampled_from(("since({}) > days(1)", "days_since({}) >= 2", "has({})")))
            return function.format(draw(st.sampled_from((fact, f"default({fact}, 0)"))))
        case "after_facts":
            return f"after({fact}, latest(attributes.n))"
        case _:
            return f"{fact} {op} last(purchase.occurred_at)"


@st.composite
def conditions(draw: st.DrawFn, traits: tuple[str, ...], json_kinds: bool = True, depth: int = 2) -> str:
    """A condition of and, or and not."""
    if depth == 0 or draw(st.integers(0, 2)) == 0:
        return draw(comparisons(traits, json_kinds))
    below = conditions(traits, json_kinds, depth - 1)
    if draw(st.integers(0, 3)) == 0:
        return f"not ({draw(below)})"
    return f"({draw(below)}) {draw(st.sampled_from(('and', 'or')))} ({draw(below)})"


SHOWN = (
    "top(browsing.sku, 2{w})", "count(event, by=kind{w})", "mean_gap(purchase{w})", "latest(attributes.j{w})",
    "sum(purchase.amount_minor, by=channel{w})", "last(item.category{w})", "distinct(date(event.occurred_at){w})",
    "max(item.amount_minor, by=category{w})", "last(purchase.occurred_at{w}) - first(purchase.occurred_at)",
    "date(last(event.occurred_at{w}))", "min(browsing.occurred_at, by=sku{w})", "len(top(item.category, 3{w}))",
    "mean(support.sentiment{w})", "sum(support.sentiment{w})", "first(purchase.channel{w})",
    "unmatched(browsing.sku, item.category, within='2h', over='7d')",
    "unmatched(event.occurred_at, browsing.occurred_at, within='1h', over='24h')", "streak(date(event.occurred_at))",
)  # fmt: skip


SPANS = ("1m", "5m", "10m", "1h", "3h", "24h", "2d", "30d", "1y")
PACES = ("dwell", "exit_dwell", "cooldown")
spans = st.sampled_from(SPANS)


@st.composite
def segment_tables(
    draw: st.DrawFn, names: tuple[str, ...], json_kinds: bool, segments_max: int
) -> dict[str, dict[str, Any]]:
    """Segments, some of which name others, before or behind them, wait, or take a sample."""
    count = draw(st.integers(1, segments_max))
    rank = draw(st.permutations(range(count)))
    tables = {}
    for i in range(count):
        nameable = [f"g{n}" for n in range(count) if rank[n] < rank[i]]

        def condition(nameable: list[str] = nameable) -> str:
            text = draw(conditions(names, json_kinds))
            if not nameable or draw(st.integers(0, 2)):
                return text
            named = f"{draw(st.sampled_from(('', 'not ')))}in_segment('{draw(st.sampled_from(nameable))}')"
            return draw(st.sampled_from((named, f"{named} and ({text})", f"not ({text} or {named})")))

        table: dict[str, Any] = {"enter": condition()}
        if draw(st.integers(0, 2)) == 0:
            table["exit"] = condition()
        if draw(st.integers(0, 2)) == 0:
            table |= draw(st.dictionaries(st.sampled_from(PACES), spans, min_size=1))
        if draw(st.integers(0, 9)) == 0:
            table["sample"] = draw(st.sampled_from((0.001, 0.5, 1)))
        tables[f"g{i}"] = table
    return tables


@st.composite
def definition_texts(draw: st.DrawFn, json_kinds: bool = True, segments_max: int = 4) -> str:
    """A definitions file."""
    numbers = {f"n{i}": draw(number_texts()) for i in range(draw(st.integers(1, 3)))}
    numbers["built"] = f"n0 {draw(st.sampled_from('+-/'))} 2"
    shown = {f"s{i}": draw(st.sampled_from(SHOWN)).format(w=draw(windows())) for i in range(draw(st.integers(0, 3)))}
    names = tuple(numbers)
    segments = draw(segment_tables(names, json_kinds, segments_max))
    zone = draw(st.sampled_from(("", "Europe/Berlin", "America/New_York")))
    return definitions_text(numbers | shown, segments, {"order": "purchase[kind == 'order']"}, zone)


# Many segments over few expressions: what stands beside what decides which of them are looked at.
PARTS = (
    "count(purchase) >= {n}", "count(purchase) == {n}", "not (sum(item.amount_minor) > {n})",
    "last(item.category) == {w}",
    "last(item.category) != {w}", "last(item.category) in [{w}, {v}]", "last(item.category) not in [{w}, {v}]",
    "latest(attributes.w) == {w}", "latest(attributes.w) != {w}", "latest(attributes.j) in [{w}, {n}, True]",
    "{w} in top(item.category, 2)", "{w} not in top(item.category, 2)", "{w} in latest(attributes.j)",
    "{w} not in latest(attributes.j)", "count(item, by=category)[{w}] >= {n}", "count(item, by=category)[{w}] != {n}",
    "default(count(item, by=category, over='24h')[{w}], 0) < {n}", "{w} in count(item, by=category, over='24h')",
    "{w} not in count(item, by=category)", "sum(item.amount_minor, by=category)[{w}] / count(item) > {n}",
    "since(last(purchase.occurred_at)) > hours({n})", "since(max(item.occurred_at, by=category)[{w}]) >= days({n})",
    "latest(attributes.n) > {n}", "latest(attributes.n)", "not latest(attributes.n)",
    "after({t}, last(browsing.occurred_at))",
    "count(purchase, over='24h') > count(browsing)", "last(item.category) < {w}",
    "first(browsing.sku) == last(browsing.sku)",
    "in_segment('g0')",
)  # fmt: skip


@st.composite
def crowded_texts(draw: st.DrawFn) -> str:
    """A definitions file with dozens of segments, each a few comparisons joined by and, or and not."""

    def part(named: bool) -> str:
        form = draw(st.sampled_from(PARTS if named else PARTS[:-1]))
        word, other = (f"'{draw(words)}'" for _ in range(2))
        return form.format(n=draw(st.integers(0, 4)), w=word, v=other, t="last(purchase.occurred_at)")

    def condition(named: bool) -> str:
        parts = [part(named) for _ in range(draw(st.integers(1, 3)))]
        text = draw(st.sampled_from((" and ", " and ", " or "))).join(parts)
        if draw(st.integers(0, 3)) == 0:
            text = f"({text}) {draw(st.sampled_from(('and', 'or')))} {part(named)}"
        return f"not ({text})" if draw(st.integers(0, 5)) == 0 else text

    segments: dict[str, str | tuple[str, str]] = {}
    for i in range(draw(st.integers(20, 120))):
        enter = condition(i > 0)
        segments[f"g{i}"] = (enter, condition(i > 0)) if draw(st.integers(0, 3)) == 0 else enter
    return definitions_text({"n0": "count(purchase)"}, segments)
