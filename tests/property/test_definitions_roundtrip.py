"""A definitions file read again is the same: nodes, layout of states, fingerprint."""

from __future__ import annotations

import random
import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.property.generated import definition_texts, event_lists
from tests.property.shard import Shard

from profilestream.core.definitions import fingerprint
from profilestream.core.engine import Engine
from profilestream.wire.definitions import parse_definitions


@given(definition_texts())
def test_reading_a_text_twice_gives_equal_definitions_and_the_same_layout_of_states(text: str) -> None:
    one, other = parse_definitions(text), parse_definitions(text)
    assert one == other
    assert one.fingerprint == other.fingerprint
    assert Engine(one).slots.layout == Engine(other).slots.layout


@given(definition_texts())
def test_comments_and_blank_lines_change_no_fingerprint(text: str) -> None:
    spaced = "# a comment\n\n" + text.replace("\n", "   # more\n\n")
    assert parse_definitions(spaced).fingerprint == parse_definitions(text).fingerprint


@given(definition_texts(), st.randoms(use_true_random=False))
def test_the_order_of_traits_changes_no_fingerprint_but_any_other_text_does(text: str, rng: random.Random) -> None:
    tables: dict[str, Any] = tomllib.loads(text)
    shuffled = list(tables["traits"].items())
    rng.shuffle(shuffled)
    assert fingerprint(tables | {"traits": dict(shuffled)}) == fingerprint(tables)
    changed = dict(tables["traits"]) | {"n0": "count(engagement)"}
    assert fingerprint(tables | {"traits": changed}) != fingerprint(tables)


@given(definition_texts(), event_lists())
def test_traits_in_another_order_have_the_same_values_and_changes(text: str, events: list[dict[str, Any]]) -> None:
    lines = text.splitlines()
    start = lines.index("[traits]") + 1
    end = next(n for n in range(start, len(lines)) if lines[n].startswith("["))
    turned = "\n".join([*lines[:start], *reversed(lines[start:end]), *lines[end:]])
    one, other = (Shard(Engine(parse_definitions(t))).take_all(events) for t in (text, turned))
    assert one.values() == other.values()
    assert one.changes == other.changes
