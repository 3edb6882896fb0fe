"""Mistakes in a definitions file: each is named with its line and column, and with what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from profilestream.core.problems import DefinitionsError
from profilestream.wire.definitions import parse_definitions, read_definitions

HEAD = """\
[streams]
order = "purchase[kind == 'order']"
[traits]
orders = "count(order)"
total_spend = "sum(order.amount_minor)"
last_order_at = "last(order.occurred_at)"
sku = "last(browsing.sku)"
"""
LINEAR = "a condition must be linear in time"
ARITHMETIC = "arithmetic is on numbers, times and durations, but `sku` is a string"
SPAN = "over= takes a number and a unit in quotes: '15m', '24h', '30d', '1y'"


def problems(text: str) -> list[str]:
    """The lines that a person reads."""
    with pytest.raises(DefinitionsError) as caught:
        parse_definitions(text, "d.toml")
    assert str(caught.value) == "\n".join(p.text("d.toml") for p in caught.value.problems)
    return str(caught.value).splitlines()


def test_a_definitions_file_without_mistakes_stands() -> None:
    assert [t.name for t in parse_definitions(HEAD).traits] == ["orders", "total_spend", "last_order_at", "sku"]


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("total_spent / 2", 0, "unknown trait `total_spent`; did you mean `total_spend`?"),
        ("cout(order)", 0, "unknown function `cout`; did you mean `count`?"),
        ("count(ordr)", 6, "unknown stream `ordr`; did you mean `order`?"),
        ("sum(order.amount_minr)", 4, "`purchase` has no field `amount_minr`; did you mean `amount_minor`?"),
        ("orders(1)", 0, "`orders` is a trait, not a function: write it without brackets"),
        ("order", 0, "`order` is a stream: put it into an aggregate, such as count(order)"),
        ("orders.x", 0, "`orders` is a trait and has no fields; for an object write orders['x']"),
        ("sum(order)", 4, "sum() takes a value: sum(order.field)"),
        ("count(order.amount_minor)", 6, "count() looks at rows, not at a field: count(order)"),
        ("sum('order')", 4, "sum() takes a stream's value, such as sum(purchase.amount_minor)"),
        ("top(browsing.sku)", 0, "top() is written top(stream.field, 3)"),
        ("top(browsing.sku, 0)", 18, "top() gives 1 to 100 values: top(stream.field, 3)"),
        ("streak(order)", 7, "streak() counts days: streak(date(order.occurred_at))"),
        ("streak(order.occurred_at)", 7, "streak() counts days: streak(date(order.occurred_at))"),
        ("streak(hour(order.occurred_at))", 7, "streak() counts the days of a stream's time: streak(date(str"),
        ("streak(lower(date(order.occurred_at)))", 7, "streak() counts the days of a stream's time: streak(d"),
        ("streak(date(order.occurred_at), over='7d')", 37, "streak() has no over=: it counts the days in a r"),
        ("streak(date(order.channel))", 12, "date() takes a time, but `channel` is a string"),
        ("streak()", 0, "streak() is written streak(date(stream.occurred_at))"),
        ("strek(date(order.occurred_at))", 0, "unknown function `strek`; did you mean `streak`?"),
        ("unmatched(browsing.sku, over='30d', within='2d')", 0, "unmatched() is written unmatched(view.sku,"),
        ("unmatched(browsing.sku, item.sku)", 0, "unmatched() needs within=, how soon the same value must follow: "),
        ("unmatched(browsing.sku, item.sku, within='2d')", 0, "unmatched() needs over=, how far back it looks: "),
        ("unmatched(browsing.sku, item.sku, within='2d', ago='1d')", 51, "unmatched() has no ago=; it has within= and"),
        ("unmatched(browsing.sku, item.sku, within=2, over='30d')", 41, "within= takes a number and a unit i"),
        (
            "unmatched(browsing.sku, item.sku, within='30d', over='30d')", 41,
            "within= is at most over= less a tile of it ('1d'): what leaves the window sooner never shows",
        ),
        (
            "unmatched(browsing.sku, item.quantity, within='2d', over='30d')", 0,
            "unmatched() looks for the same value, but `browsing.sku` is a string and `item.quantity` a number",
        ),
        ("unmatched(browsing, item.sku, within='2d', over='30d')", 10, "unmatched() takes a value: unmatched"),
        ("count(order, within='2d')", 20, "count() has no within=; only unmatched() has"),
        ("latest(order.amount_minor)", 7, "latest() takes a fact: latest(attributes.name)"),
        ("max(attributes.age)", 4, "max() needs one kind of value: give the fact a type under [attributes]"),
        ("sum(browsing.sku)", 4, "sum() adds numbers, but `browsing.sku` is a string"),
        ("sku + 'x'", 0, ARITHMETIC),
        ("2 * sku", 4, ARITHMETIC),
        ("last_order_at + 5", 0, "a time + a number has no meaning; write the number as a duration, such as days(30)"),
        ("total_spend ** 2", 0, "arithmetic is + - * / only"),
        (
            "last_order_at > 5", 0,
            "`last_order_at` is a time and `5` a number; compare since(last_order_at) with days(n)",
        ),
        ("sku > 3", 0, "a string is never compared with a number: `sku` > `3`"),
        ("orders is 1", 0, "write == or !=, and has(x) to test for absence"),
        ("default(orders, 'x')", 0, "default() takes two of one kind, but `orders` is a number and `'x'` a string"),
        ("score(orders, 5, 1)", 0, "the breaks of score() go from the lowest to the highest"),
        ("days(orders)", 5, "days() takes a number that is written out, such as days(30)"),
        ("has(orders, 1)", 0, "has() is written has(x)"),
        ("since(last_order_at)", 0, "`since` and `days_since` stand only in conditions (enter and exit)"),
        ("count(purchase[orders > 1])", 15, "`orders` is a trait; a stream's condition sees the event's own fields"),
        ("count(purchase[channel])", 15, "a condition is true or false, but `channel` is a string"),
        ("sum(order.amount_minor, over='30 days')", 29, SPAN),
        ("sum(order.amount_minor, over=30)", 29, SPAN),
        ("sum(order.amount_minor, over='11y')", 29, "over= is at most '10y'"),
        ("sum(order.amount_minor, ago='30d')", 28, "ago= says how far back a window ends: it needs over= too"),
        ("sum(order.amount_minor, over='30d', ago='1h')", 40, "ago= must be a multiple of the window's tile, '1d'"),
        ("sum(order.amount_minor, by='channel')", 27, "by= takes a field's name without quotes: by=category"),
        ("last(order.occurred_at, by=channel)", 27, "last() has no by=; count, sum, mean, min, max have"),
        ("sum(order.amount_minor, of='30d')", 27, "`of=` is unknown; an aggregate has over=, ago= and by="),
        ("count(order", 5, "not an expression: '(' was never closed"),
        ("count(order[kind = 'a'])", 12, "not an expression: `=` gives a value, `==` compares"),
        ("orders if orders else 1", 0, "`orders if orders else 1` is not part of the language"),
        ("42", 0, "a trait is computed from events; this is a constant"),
        ("t + 1", 0, "traits go round in a circle: t -> t"),
    ],
)  # fmt: skip
def test_a_traits_mistake_is_named_where_it_stands(text: str, column: int, message: str) -> None:
    (line,) = problems(HEAD + f't = "{text}"\n')
    assert line.startswith(f"d.toml:8:{column + 6}: {message}")


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("orders == 2 and total_spent > 1", 16, "unknown trait `total_spent`; did you mean `total_spend`?"),
        ("orders = 2", 7, "not an expression: `=` gives a value, `==` compares"),
        ("orders > 1 &&", 12, "not an expression: write `and`, `or`, `not` for `&&`"),
        ("'x", 0, "not an expression: unterminated string literal"),
        ("orders", 0, "a condition is true or false, but `orders` is a number"),
        ("sku and orders > 1", 0, "`and` joins conditions, but `sku` is a string"),
        ("last_order_at > 30", 0, "`last_order_at` is a time and `30` a number"),
        ("since(last_order_at) * orders > days(1)", 0, LINEAR),
        ("since(last_order_at) * since(last_order_at) > days(1)", 0, ""),
        ("since(last_order_at) in [1]", 0, LINEAR),
        ("has(since(last_order_at))", 4, LINEAR),
        ("since(orders) > days(1)", 6, "since() takes a time, but `orders` is a number"),
        ("since(last_order_at) > last_order_at", 0, "a duration is never compared with a time"),
        ("since(last_order_at) > since(last_order_at)", 0, "the clock cancels out on both sides"),
        ("days_since(last_order_at) > orders", 0, "days_since(t) is compared with a number that is written out"),
    ],
)
def test_a_conditions_mistake_is_named_where_it_stands(text: str, column: int, message: str) -> None:
    for key in ("enter", "exit"):
        good = 'enter = "orders > 1"\n' if key == "exit" else ""
        (line,) = problems(HEAD + f'[segments.s]\n{good}{key} = "{text}"\n')
        assert line.startswith(f"d.toml:{10 if good else 9}:{column + len(key) + 5}: {message}")


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ('[traits]\na = "count(purchase)\nb = "x"\n', ":2:21", "not TOML: Illegal character"),
        ("[traits\n", ":1:8", "not TOML: Expected ']' at the end of a table declaration"),
        ('[trait]\na = "count(purchase)"\n', ":1:1", "unknown key `trait`; did you mean `traits`?"),
        ('traits = "x"\n', ":1:11", "`traits` must be a table"),
        ('[segments.s]\ndescription = "x"\n', ":1:1", '[segments.s] needs `enter = "..."`'),
        ("[segments.s]\nenter = 5\n", ":2:9", "`enter` must be a text in quotes"),
        ('[settings]\ntimezone = "Berlin"\n', ":2:13", "unknown time zone `Berlin`; write one such as"),
        ('[settings]\ntimzone = "UTC"\n', ":2:12", "unknown key `timzone`; did you mean `timezone`?"),
        ('[streams]\npurchase = "browsing"\n', ":2:13", "`purchase` is there already"),
        ('[traits]\nOrders = "count(purchase)"\n', ":2:11", "`Orders`: a name is lower-case letters"),
        ('[traits]\nclass = "count(purchase)"\n', ":2:10", "`class` is a word of the language"),
        ('[streams]\ns = "browsing[kid == 1]"\n[traits]\na = "count(s)"\n', ":2:15", "`browsing` has no field `kid`"),
        ('[traits]\na = "b + 1"\nb = "c + 1"\nc = "a + 1"\n', ":4:6", "traits go round in a circle: a -> b -> c -> a"),
    ],
)
def test_a_files_mistake_is_named_where_it_stands(text: str, place: str, message: str) -> None:
    (line,) = problems(text)
    assert line.startswith(f"d.toml{place}: {message}")


def test_all_mistakes_are_named_at_once_in_the_files_order_and_none_through_another() -> None:
    found = problems(
        """\
[settings]
zone = "UTC"
[streams]
order = "purchase[knd == 'order']"
[traits]
a = 5
b = "coun(purchase)"
c = "b + last(order.occurred_at) + 1"
d = "b * 2"
[segments.s]
enter = "d > 1 and e > 1"
[segments.t]
entr = "b > 1"
"""
    )
    assert [line.split(": ")[0] for line in found] == [
        f"d.toml:{place}" for place in ("2:9", "4:19", "6:5", "7:6", "8:6", "11:20", "12:1", "13:9")
    ]


def test_a_mistake_behind_spaces_or_letters_of_two_bytes_is_found_at_its_character() -> None:
    assert problems('[traits]\na = "   unknown"\n')[0].startswith("d.toml:2:9: unknown trait")
    assert problems("[traits]\na = \"has('é') and unknown\"\n")[0].startswith("d.toml:2:19: unknown trait")


def test_each_part_of_an_expression_tells_its_own_mistake() -> None:
    found = problems(
        """\
[traits]
a = "foo + bar * count(purch) - hour(zog)"
[segments.s]
enter = "a > 1 and count(purchase) and (b or count(browsing[kid == 1 and cat == 2]) > 5)"
"""
    )
    assert [line.split(";")[0] for line in found] == [
        "d.toml:2:6: unknown trait `foo`",
        "d.toml:2:12: unknown trait `bar`",
        "d.toml:2:24: unknown stream `purch`",
        "d.toml:2:38: unknown trait `zog`",
        "d.toml:4:20: `and` joins conditions, but `count(purchase)` is a number",
        "d.toml:4:41: unknown trait `b`",
        "d.toml:4:61: `browsing` has no field `kid`",
        "d.toml:4:74: `browsing` has no field `cat`",
    ]


def test_what_is_too_large_is_said_once() -> None:
    many, more = " + ".join(["count(purchase)"] * 40), " and ".join(["x > 1"] * 500)
    (line,) = problems(f'[traits]\nx = "{many}"\n[segments.s]\nenter = "{more}"\n')
    assert "has more than 5,000 parts" in line


def test_an_expression_of_several_lines_is_told_to_stand_in_brackets() -> None:
    text = '[segments.s]\nenter = """{}count(purchase) > 1\n  and count(browsing) > 2{}"""\n'
    (line,) = problems(text.format("", ""))
    assert line.startswith("d.toml:3:2: not an expression: on several lines it stands in brackets")
    assert parse_definitions(text.format("(", ")")).segments[0].name == "s"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("tests = 1\n", "d.toml:1:9: `tests` must be a list of tables, each begun with [[tests]]"),
        ("[traits]\na = " + "[" * 5_000, "d.toml: not TOML: lists or tables are nested too deeply"),
        ('[traits]\na = "count(purchase) + 1e999"\n', "d.toml:2:24: a number beyond what a float holds"),
    ],
)
def test_odd_shapes_are_told_in_words_of_the_file(text: str, line: str) -> None:
    assert problems(text)[0].startswith(line)


def test_a_file_that_begins_with_a_mark_of_its_encoding_is_read(tmp_path: Path) -> None:
    path = tmp_path / "d.toml"
    path.write_text("[traits]\na = 'count(purchase)'\n", encoding="utf-8-sig")
    assert [t.name for t in read_definitions(path).traits] == ["a"]
