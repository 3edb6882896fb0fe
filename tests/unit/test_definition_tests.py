"""The `[[tests]]` of a definitions file."""

from __future__ import annotations

from pathlib import Path

import pytest

from profilestream.core.problems import DefinitionsError
from profilestream.operations.definition_tests import Outcome, run_tests
from profilestream.operations.definition_tests_reading import read_tests, read_with_tests
from profilestream.wire.definitions import parse_definitions

DEFINITIONS = """
[traits]
orders = "count(purchase)"
spend = "sum(purchase.amount_minor)"
mean = "spend / orders"
last_at = "last(purchase.occurred_at)"
top = "top(item.category, 2)"
age = "latest(attributes.age)"
[segments.regular]
enter = "orders >= 3"
[segments.lapsing]
enter = "since(last_at) > days(30)"
[sources.web]
topic = "web.orders"
type = "purchase"
map = { amount_minor = "cents" }
"""
ONE = '{ type = "purchase", occurred_at = 2026-01-01T10:00:00Z, amount_minor = 100 }'


def run(body: str) -> Outcome:
    definitions = parse_definitions(f'{DEFINITIONS}\n[[tests]]\nname = "t"\n{body}', "f.toml")
    return next(iter(run_tests(definitions, read_tests(definitions, "f.toml"))))


def differences(body: str) -> list[tuple[str, str, str]]:
    return [(d.what, d.expected, d.found) for d in run(body).differences]


@pytest.mark.parametrize(
    "body",
    [
        f"given = [{ONE}]\nexpect = {{ traits = {{ orders = 1, spend = 100, mean = 100 }}, segments = [] }}",
        f"given = [{ONE}]\nexpect = {{ traits = {{ last_at = 2026-01-01T11:00:00+01:00 }} }}",
        f'given = [{ONE}]\nexpect = {{ traits = {{ last_at = "2026-01-01T10:00:00Z" }}, absent = ["age"] }}',
        f'given = [{ONE}]\nat = "2026-02-01T00:00:00Z"\nexpect = {{ segments = ["lapsing"] }}',
        f'given = [{ONE}]\nat = "2026-02-01T00:00:00Z"\nexpect = {{ changes = ["entered lapsing"] }}',
        'given = []\nexpect = { segments = [], traits = {} }',
        f'given = [{ONE[:-1]}, repeat = {{ times = 3, every = "1d" }} }}]\nexpect = {{ segments = ["regular"], '
        'traits = { last_at = "2026-01-03T10:00:00Z" } }',
        'given = [{ type = "purchase", occurred_at = 0, amount_minor = 5, items = [{ category = "a" }] }]\n'
        'expect = { traits = { top = ["a"] } }',
        'given = [{ topic = "web.orders", value = { event_id = "e", customer_id = "customer", occurred_at = 0, '
        'cents = "7" } }]\nexpect = { traits = { spend = 7 } }',
        'customer = "b"\ngiven = [{ type = "purchase", customer_id = "a", occurred_at = 0, amount_minor = 5 }, '
        '{ type = "attributes", occurred_at = 1, set = { age = 5 } }]\nexpect = { traits = { age = 5, orders = 0 } }',
    ],
)  # fmt: skip
def test_a_test_passes_when_all_that_it_names_is_so(body: str) -> None:
    assert differences(body) == []


@pytest.mark.parametrize(
    ("expect", "difference"),
    [
        ("traits = { orders = 2 }", ("trait orders", "2", "1")),
        ("traits = { orders = 1.5 }", ("trait orders", "1.5", "1")),
        ("traits = { orders = true }", ("trait orders", "true", "1")),
        ("traits = { age = 3 }", ("trait age", "3", "absent")),
        ("traits = { mean = 99.999 }", ("trait mean", "99.999", "100.0")),
        ('absent = ["orders"]', ("trait orders", "absent", "1")),
        ('segments = ["regular"]', ("segment regular", "in", "not in")),
        ('changes = ["entered regular"]', ("changes", "entered regular", "none")),
    ],
)
def test_a_failure_says_what_was_expected_and_what_was_found(expect: str, difference: tuple[str, str, str]) -> None:
    assert differences(f"given = [{ONE}]\nexpect = {{ {expect} }}") == [difference]


def test_of_a_segment_that_differs_it_says_why() -> None:
    found = run(f'given = [{ONE}]\nexpect = {{ segments = ["regular"] }}').differences[0].why
    assert found is not None
    assert [(c.text, c.value) for c in found.enter] == [("orders >= 3", 1)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("expect = { segments = [] }", "a test needs `given"),
        (f"given = [{ONE}]", "a test needs `expect"),
        (f"given = [{ONE}]\nexpected = {{}}\nexpect = {{ absent = [] }}", "unknown key `expected`; did you mean"),
        (f"given = [{ONE}]\nexpect = {{ trait = {{}} }}", "unknown key `trait` in `expect`; did you mean `traits`"),
        (f"given = [{ONE}]\nexpect = {{ traits = {{ order = 1 }} }}", "no trait `order`; did you mean `orders`"),
        (f'given = [{ONE}]\nexpect = {{ segments = ["regulr"] }}', "no segment `regulr`; did you mean `regular`"),
        (f'given = [{ONE}]\nexpect = {{ changes = ["regular"] }}', 'a change is written "entered big_spender"'),
        (f'given = [{ONE}]\nat = "2025-01-01T00:00:00Z"\nexpect = {{ segments = [] }}', "before the last event"),
        (f'given = [{ONE}]\nat = "soon"\nexpect = {{ segments = [] }}', "`at` is a time with offset"),
        ('given = [{ type = "purchas" }]\nexpect = { segments = [] }', "did you mean `purchase`"),
        ('given = [{ type = "purchase" }]\nexpect = { segments = [] }', "given[0] needs its time"),
        ('given = [{ type = "purchase", occurred_at = 0 }]\nexpect = { segments = [] }', "missing_field: amount_minor"),
        ('given = [{ type = "purchase", occurred_at = 0, amount = 5 }]\nexpect = { segments = [] }',
         "no field `amount`; did you mean `amount_minor`"),
        (f'given = [{ONE[:-1]}, repeat = 3 }}]\nexpect = {{ segments = [] }}', "`repeat` is written"),
        ('given = [{ topic = "web", value = {} }]\nexpect = { segments = [] }', "a record is written"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_test_is_told_with_its_line(body: str, message: str) -> None:
    with pytest.raises(DefinitionsError) as found:
        run(body)
    assert message in str(found.value)
    assert str(found.value).startswith("f.toml:18:1: test `t`: ")


def test_all_mistakes_of_all_tests_are_told_at_once() -> None:
    text = DEFINITIONS + '[[tests]]\nname = "a"\ngiven = []\n[[tests]]\ngiven = []\nexpect = { absent = ["x"] }'
    with pytest.raises(DefinitionsError) as found:
        read_tests(parse_definitions(text), "f.toml")
    assert [p.message.split(":")[0] for p in found.value.problems] == ["test `a`", "test 2", "test 2"]


def test_mistakes_of_tests_are_told_beside_those_of_the_other_tables(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text(
        """\
[traits]
orders = "cout(purchase)"
[segments.regular]
enter = "orders >= 3"
[[tests]]
name = "t"
given = [ { type = "reviews", occurred_at = "2026-01-01T10:00:00Z" } ]
at = "soon"
expect = { traits = { orders = 1, order = 2 }, segments = ["regular"], change = [] }
"""
    )
    with pytest.raises(DefinitionsError) as found:
        read_with_tests(path)
    lines = [p.line for p in found.value.problems]
    assert lines == [2, 5, 5, 5]  # that the type is unknown is not said: it could be one that has a mistake
    for message in ("unknown function `cout`", "`at` is a time", "no trait `order`", "unknown key `change`"):
        assert message in str(found.value)
