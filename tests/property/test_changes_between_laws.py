"""What two definitions are said to share they do share: the same events give the same values and crossings, whichever
of the two folds them."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.property.generated import definition_texts, event_lists
from tests.property.shard import Shard, definitions_text

from profilestream.core.changes_between import Changes, changes_between
from profilestream.core.engine import Engine
from profilestream.core.problems import DefinitionsError
from profilestream.wire.definitions import parse_definitions

Tables = dict[str, Any]


def written(tables: Tables, order: st.DataObject | None = None) -> str:
    """The tables as a file again; with `order` the traits come in another one."""
    traits = tables.get("traits", {})
    if order is not None:
        traits = dict(order.draw(st.permutations(list(traits.items()))))
    zone = tables.get("settings", {}).get("timezone", "")
    return definitions_text(traits, tables.get("segments"), tables.get("streams"), zone)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, str]:
    """Two files that have parts in common: the second has each trait and segment from the first or from a third."""
    first = draw(definition_texts(json_kinds=False))
    one, other = tomllib.loads(first), tomllib.loads(draw(definition_texts(json_kinds=False)))

    def mixed(table: str, droppable: bool) -> dict[str, Any]:
        found = {}
        for name in (*one.get(table, {}), *(n for n in other.get(table, {}) if n not in one.get(table, {}))):
            choices = [tables[table][name] for tables in (one, one, other) if name in tables.get(table, {})]
            if not droppable or draw(st.integers(0, 5)):
                found[name] = draw(st.sampled_from(choices))
        return found

    settings = draw(st.sampled_from((one, one, one, other))).get("settings", {})
    second = {"settings": settings, "streams": one["streams"], "traits": mixed("traits", False)}
    return first, written(second | {"segments": mixed("segments", True)})


def _changes(texts: tuple[str, str]) -> Changes:
    try:
        return changes_between(parse_definitions(texts[0]), parse_definitions(texts[1]))
    except DefinitionsError:
        assume(False)
        raise


@given(definition_texts(), st.data())
def test_a_file_in_another_order_with_comments_and_blanks_changes_nothing(text: str, data: st.DataObject) -> None:
    tables = tomllib.loads(text)
    other = written(tables, order=data)
    blank = "\n# a comment\n\n".join(line.replace(" = ", "   =  ", 1) for line in other.splitlines())
    for same in (text, other, blank):
        changes = changes_between(parse_definitions(text), parse_definitions(same))
        assert not changes.any
        assert not changes.needs_log
        assert (changes.traits, changes.segments, changes.missing, changes.dropped) == ((), (), (), ())


@given(definition_texts(), st.data())
def test_renaming_a_trait_changes_it_and_those_who_name_it(text: str, data: st.DataObject) -> None:
    tables = tomllib.loads(text)
    old = data.draw(st.sampled_from(sorted(tables["traits"])))
    # No other name has this one in it, and no word of the language.
    renamed = parse_definitions(text.replace(f"{old} ", "fresh ").replace(old, "fresh"))
    changes = changes_between(parse_definitions(text), renamed)
    naming = {n for n, other in tables["traits"].items() if n != old and old in other}
    assert not changes.needs_log
    assert not any(c.moves for c in changes.segments)
    assert {(c.name, c.kind) for c in changes.traits} == {
        ("fresh", "added"), (old, "removed"), *((n, "reworded") for n in naming)
    }  # fmt: skip
    assert next(c.was for c in changes.traits if c.kind == "added") is not None
    showing = {s.name for s in changes.before.segments if old in s.named_traits}
    assert {c.name for c in changes.segments} == showing
    assert {c.kind for c in changes.segments} <= {"told"}


@given(pairs(), event_lists(customers=2))
def test_what_is_unchanged_has_the_same_values_and_crossings_under_both(
    texts: tuple[str, str], events: list[dict[str, Any]]
) -> None:
    changes = _changes(texts)
    one, other = (Shard(Engine(d)).take_all(events) for d in (changes.before, changes.after))
    touched = {c.name for c in changes.traits if c.kind != "reworded"}
    for customer in one.profiles:
        before, after = one.values(customer), other.values(customer)
        for trait in changes.after.traits:
            if trait.name not in touched:
                assert before.get(trait.name) == after.get(trait.name)
        for name in changes.unchanged_segments:
            told = [[c for c in shard.crossings(customer) if c[0] == name] for shard in (one, other)]
            assert told[0] == told[1]
