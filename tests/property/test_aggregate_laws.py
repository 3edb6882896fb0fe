"""The algebra of every aggregate of the language: a new one is tested as it is."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.aggregates import VARIANTS, Variant, a_few, draw_items, lists_of
from tests.property.shard import HOUR, T0

from profilestream.core.aggregates import Clocked
from profilestream.wire.states import decode_state, encode_state

each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.text)


def same(variant: Variant, a: Any, b: Any) -> bool:
    canonical, value = variant.aggregate.canonical, variant.aggregate.value
    if isinstance(variant.aggregate, Clocked):
        value = partial(variant.aggregate.value_at, now=T0 + 5 * HOUR)
    return bool(canonical(a) == canonical(b)) and value(a) == value(b)


@each_variant
@a_few
@given(lists_of)
def test_merge_is_associative_and_commutative_with_zero_as_neutral(variant: Variant, data: st.DataObject) -> None:
    merge, zero = variant.aggregate.merge, variant.aggregate.zero
    a, b, c = (variant.of(draw_items(data, variant)) for _ in range(3))
    assert same(variant, merge(merge(a, b), c), merge(a, merge(b, c)))
    assert same(variant, merge(a, b), merge(b, a))
    assert same(variant, merge(a, zero()), a)
    assert same(variant, merge(zero(), a), a)
    assert same(variant, variant.aggregate.merge_all([a, b, c]), merge(merge(a, b), c))


@each_variant
@a_few
@given(lists_of)
def test_adding_an_item_is_merging_the_state_of_it_alone(variant: Variant, data: st.DataObject) -> None:
    items, one = draw_items(data, variant), data.draw(variant.items)
    add, merge, zero = variant.aggregate.add, variant.aggregate.merge, variant.aggregate.zero
    alone = add(zero(), copy.deepcopy(one))
    assert same(variant, add(variant.of(items), one), merge(variant.of(items), alone))
    assert same(variant, variant.of([*items, one]), variant.of([one, *reversed(items)]))


@each_variant
@a_few
@given(lists_of)
def test_merge_leaves_its_arguments_alone_and_shares_nothing_with_them(variant: Variant, data: st.DataObject) -> None:
    a, b = (variant.of(draw_items(data, variant)) for _ in range(2))
    before = copy.deepcopy((a, b))
    merged = variant.aggregate.merge(a, b)
    assert (a, b) == before
    for item in draw_items(data, variant):
        merged = variant.aggregate.add(merged, item)
    assert (a, b) == before


@each_variant
@a_few
@given(lists_of)
def test_a_state_survives_the_wire_and_goes_on_as_before(variant: Variant, data: st.DataObject) -> None:
    items, more = draw_items(data, variant), draw_items(data, variant)
    read = through_the_wire(variant, variant.of(items))
    assert same(variant, read, variant.of(items))
    assert encoded(variant, read) == encoded(variant, variant.of(items))
    for item in more:
        read = variant.aggregate.add(read, copy.deepcopy(item))
    assert same(variant, read, variant.of([*items, *more]))
    assert same(variant, variant.aggregate.merge(through_the_wire(variant, variant.of(items)), variant.of(more)), read)


def encoded(variant: Variant, state: Any) -> bytes:
    profile = variant.engine.new_profile("c")
    profile.slots[0] = state
    profile.revision = 1  # of a state without an event only the crossings' numbers are read
    return encode_state(profile, variant.engine)


def through_the_wire(variant: Variant, state: Any) -> Any:
    return decode_state(encoded(variant, state), "c", variant.engine).slots[0]
