"""Whatever stands in a definitions file, reading it ends soon, by definitions or by DefinitionsError; and what is
accepted compiles and folds.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.generated import conditions, definition_texts, event_lists, number_texts, time_texts
from tests.property.shard import DAY, T0, Shard, decoded, definitions_text

from profilestream.core.engine import Engine
from profilestream.core.problems import DefinitionsError
from profilestream.store.profile_writes import ProfileWriter
from profilestream.wire.definitions import parse_definitions

READ_MAX_S = 2.0

EVENTS: list[dict[str, Any]] = [
    {"type": kind, "event_id": f"e{n}", "customer_id": "c", "occurred_at": T0 + n * DAY, **fields}
    for n, (kind, fields) in enumerate(
        [
            ("purchase", {"amount_minor": 2**62, "items": [{"category": "shoes", "unit_price_minor": 2**62}]}),
            ("browsing", {"kind": "search", "sku": "a"}),
            ("support", {"kind": "rated", "sentiment": -0.25}),
            ("attributes", {"set": {"x": 10**30, "n": "text", "w": [1, {"a": None}], "j": True}}),
            ("attributes", {"set": {"x": 1e300, "n": {"a": 1}, "w": 10**17}, "unset": ["j"]}),
            ("purchase", {"amount_minor": 0}),
        ]
    )
]
# The calendar's first and last hours, which other time zones put outside of it.
EDGES = [
    {"type": "purchase", "event_id": f"edge{n}", "customer_id": "c", "occurred_at": at, "amount_minor": 1}
    for n, at in enumerate(("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"))
]


def read(text: str) -> Engine | None:
    """The engine of a text, or None where it does not stand; fails for any other outcome."""
    begun = time.perf_counter()
    try:
        definitions = parse_definitions(text)
    except DefinitionsError as error:
        assert error.problems and str(error)
        definitions = None
    assert time.perf_counter() - begun < READ_MAX_S
    return None if definitions is None else Engine(definitions)


def play(engine: Engine | None) -> None:
    """Folds, waits, writes and reads back."""
    if engine is None:
        return
    shard, writer = Shard(engine), ProfileWriter(engine)
    for event in (EDGES[0], *EVENTS, EDGES[1]):
        shard.take(event)
        writer.write(shard.profiles["c"], True)
        shard.values()
        json.dumps([c.values for c in shard.changes["c"]])
    shard.crash().values()


def play_expression(text: str) -> None:
    for zone in ("UTC", "America/New_York", "Pacific/Kiritimati"):
        play(read(definitions_text({"t": text}, timezone=zone)))
    play(read(definitions_text({"n": "count(purchase)"}, {"s": text, "h": ("n > 0", text)})))


PARTS = (
    "purchase order item event attributes support browsing count( sum( last( top( latest( since( days( days_since( "
    "has( default( score( after( hour( date( len( lower( ( ) [ ] ' \" , . + - * / ** // % @ < <= > >= == != = := in "
    "not and or if else for lambda x: is None True false over= ago= by= '30d' '1m' .amount_minor .occurred_at .x "
    "['k'] 0 1 -1 1e999 1_000 0.1 0x1f 1j 9**9**9 f'{x}' b'x' ... ~ * ** \n \t \\ # ; n t é \u2028 \x00"
)
ALPHABET = st.sampled_from(PARTS.split(" "))


@given(st.lists(ALPHABET, max_size=25).map(" ".join))
def test_any_heap_of_words_is_read_or_refused(text: str) -> None:
    play_expression(text)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    play_expression(text.encode(errors="ignore").decode())
    read(text)


@given(conditions(("n",)) | number_texts(depth=2) | time_texts(), st.data())
def test_a_valid_expression_with_something_wrong_in_it_is_read_or_refused(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 6)))
        text = text[:start] + data.draw(ALPHABET | st.characters(codec="utf-8")) + text[end:]
    play_expression(text)


@given(definition_texts(), event_lists(max_size=4), st.data())
def test_a_file_with_something_wrong_in_it_is_read_or_refused(
    text: str, events: list[dict[str, Any]], data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = min(len(text), start + data.draw(st.integers(0, 12)))
    read(text[:start] + data.draw(st.text(max_size=3) | ALPHABET) + text[end:])
    engine = read(text)
    assert engine is not None
    Shard(engine).take_all(events)


HOSTILE = {
    "parentheses": "(" * 9_000 + "1" + ")" * 900,
    "minus signs": "-" * 9_900 + "1",
    "nots": "not " * 2_400 + "True",
    "attributes": "purchase" + ".a" * 4_900,
    "conditions on conditions": "count(purchase" + "[kind == 'a']" * 700 + ")",
    "brackets": "[" * 5_000,
    "subscripts": "latest(attributes.x)" + "['a']" * 1_900,
    "calls": "len(" * 2_000 + "'a'" + ")" * 2_000,
    "five thousand ands": "n > 1 and " * 5_000 + "n > 1",
    "ands to the limit": "n > 1 and " * 990 + "n > 1",
    "ors of names": "n or " * 1_990 + "n",
    "a chain of comparisons": "n < " * 2_400 + "n",
    "a long sum": "count(purchase) + " * 550 + "1",
    "nested default": "default(count(purchase), " * 380 + "1" + ")" * 380,
    "a huge decimal": "count(purchase) > " + "9" * 5_000,
    "a large decimal": "count(purchase) * " + "9" * 300,
    "a huge hexadecimal": "count(purchase) > 0x" + "f" * 9_000,
    "a product of large numbers": "count(purchase) > " + "*".join(["9" * 280] * 30),
    "a huge duration": "since(last(purchase.occurred_at)) > days(1) * 0x" + "f" * 9_000,
    "a far instant": "since(last(purchase.occurred_at)) > days(365000) * 30",
    "a far time": "last(purchase.occurred_at) + days(365000) * 9",
    "a long past time": "first(purchase.occurred_at) - days(365000) * 9",
    "the hour of a far time": "hour(last(purchase.occurred_at) + days(365000) * 9)",
    "the hour of a fact": "hour(latest(attributes.x))",
    "the date of rows": "distinct(date(event.occurred_at))",
    "far times of rows": "top(purchase.occurred_at + days(365000) * 9, 3)",
    "a time that is no whole millisecond": "last(purchase.occurred_at) + mean_gap(purchase) / 7",
    "days since a fact": "days_since(latest(attributes.n)) > 1",
    "days since a time that is no whole millisecond": "days_since(last(event.occurred_at) + mean_gap(event)) > 1",
    "since a fact": "since(latest(attributes.w)) > days(1)",
    "after of facts": "after(latest(attributes.n), latest(attributes.x))",
    "order of facts": "latest(attributes.n) < latest(attributes.x)",
    "facts in facts": "latest(attributes.n) in latest(attributes.w)",
    "facts as rows": "count(attributes, by=w)",
    "sums of facts": "sum(attributes.x) + mean(attributes.x)",
    "top of facts": "top(attributes.w, 3)",
    "beyond floats": "sum(purchase.amount_minor) * 1e308 * 1e308 > 0",
    "infinity": "count(purchase) > 1e999",
    "a tower of powers": "0**9**9",
    "a real tower of powers": "count(purchase) > 9**9**9**9",
    "a shift": "1 << 99999999999",
    "a string of strings": "'a' * 10**10",
    "an f-string": "f'{count(purchase)}'",
    "a lambda": "(lambda: 1)()",
    "a walrus": "(x := count(purchase)) > 1",
    "a comprehension": "[x for x in purchase]",
    "a generator": "count(x for x in purchase)",
    "a star": "count(*purchase)",
    "two stars": "count(**purchase)",
    "an import": "__import__('os').system('true')",
    "a dunder": "purchase.__class__.__mro__",
    "a dunder of a fact": "latest(attributes.__class__)",
    "await": "await purchase",
    "yield": "(yield 1)",
    "a complex number": "1j",
    "bytes": "b'x' == b'y'",
    "an ellipsis": "...",
    "a null byte": "count(purchase)\0",
    "half a surrogate pair": "last(browsing.sku) == '\\ud800'",
    "a name in other letters": "ｃｏｕｎｔ(purchase)",
    "a line continued": "count(purchase) \\\n > 1",
    "a statement": "import os",
    "two expressions": "1; 2",
    "nothing": "   ",
    "a comment": "# count(purchase)",
    "a window in other digits": "count(purchase, over='٣d')",
    "a window of zero": "count(purchase, over='0d')",
    "a long window": "count(purchase, over='9999999y')",
    "the same clause twice": "count(purchase, over='1d', over='2d')",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_expression_is_read_or_refused_and_quickly(text: str) -> None:
    play_expression(text)


def test_traits_that_double_are_refused_before_they_fill_the_memory() -> None:
    traits = {"t0": "count(purchase)"} | {f"t{n}": f"t{n - 1} + t{n - 1}" for n in range(1, 61)}
    assert read(definitions_text(traits)) is None
    assert read(definitions_text(dict(reversed(traits.items())))) is None


@pytest.mark.parametrize("length", [10, 59, 60, 80, 118, 200, 1_500])
def test_a_long_chain_of_traits_is_read_or_refused_whatever_its_order(length: int) -> None:
    traits = {"t0": "count(purchase)"} | {f"t{n}": f"t{n - 1} + 1" for n in range(1, length)}
    for order in (traits, dict(reversed(traits.items()))):
        play(read(definitions_text(order)))


def test_a_long_circle_of_traits_is_refused() -> None:
    assert read(definitions_text({f"t{n}": f"t{(n + 1) % 400} + 1" for n in range(400)})) is None


HOSTILE_FILES = {
    "nothing": "",
    "a number of too many digits": "a = " + "1" * 5_000,
    "deep arrays": "a = " + "[" * 3_000,
    "deep tables": "[a" + ".a" * 3_000 + "]",
    "a header's beginning inside a text": 'x = """\n[' + " " * 3_000 + '\n"""',
    "keys with many dots inside a text": 'x = """\n' + "a." * 5_000 + '\n"""',
    "wrong shapes": "settings = 1\nstreams = []\ntraits = 'x'\nsegments = [1]\ntests = {}\n",
    "dates": "settings.timezone = 1979-05-27\ntraits.a = 07:32:00\n[segments]\ns = 1979-05-27T07:32:00Z",
    "a zone that is a folder": "[settings]\ntimezone = 'Europe'",
    "a zone that is a path": "[settings]\ntimezone = '../../../etc/passwd'",
    "a zone with a null": '[settings]\ntimezone = "\\u0000"',
    "a zone of some length": f"[settings]\ntimezone = '{'a' * 9_000}'",
    "later tables": "[sources.a]\ntopic = 'x'\n[types.b]\n[attributes]\nage = 'int'",
    "names that are words": "[traits]\nclass = 'count(purchase)'\n\"\" = 'count(purchase)'\n\"a b\" = '1'",
}


@pytest.mark.parametrize("text", HOSTILE_FILES.values(), ids=HOSTILE_FILES)
def test_a_hostile_file_is_read_or_refused_and_quickly(text: str) -> None:
    play(read(text))


def test_many_large_traits_are_read_in_time() -> None:
    large = " + ".join(["count(purchase)"] * 500)
    read(definitions_text({f"t{n}": large for n in range(20)} | {f"u{n}": f"t{n} / t0" for n in range(20)}))


def test_the_events_of_these_tests_are_valid() -> None:
    assert all(decoded(event) for event in (*EVENTS, *EDGES))
