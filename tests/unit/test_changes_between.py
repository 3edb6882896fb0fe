"""What differs between two definitions: by meaning, with what each difference needs."""

from __future__ import annotations

from typing import Any

import pytest
from tests.property.shard import definitions_text

from profilestream.core.changes_between import Changes, changes_between
from profilestream.wire.definitions import parse_definitions

FILE = """
[settings]
timezone = "Europe/Berlin"
currency = "EUR"
rates = { USD = "0.92" }

[streams]
order = "purchase[kind == 'order']"

[types.review]
fields = { stars = "int 1..5", text = "string?" }

[traits]
orders = "count(order)"
spend = "sum(order.amount_minor)"
average = "spend / orders"
views_7d = "count(browsing, over='7d')"
best_hour = "top(hour(order.occurred_at), 1)"
stars = "mean(review.stars)"
city = "latest(attributes.city)"

[segments.big]
description = "Spends a lot"
enter = "spend >= 50_000 and orders >= 2"
exit = "spend < 40_000"

[segments.browsing]
enter = "views_7d > 10"
dwell = "1h"

[segments.keen]
enter = "in_segment('big') and in_segment('browsing')"
"""


def changed(*edits: tuple[str, str], text: str = FILE) -> Changes:
    """What such edits of the file change; each must be found in it."""
    edited = text
    for old, new in edits:
        assert old in edited, old
        edited = edited.replace(old, new)
    return changes_between(parse_definitions(text), parse_definitions(edited))


def kinds(changes: Changes) -> dict[str, str]:
    return {c.name: c.kind for c in (*changes.traits, *changes.segments)}


def needy(changes: Changes) -> set[str]:
    return {c.name for c in (*changes.traits, *changes.segments) if c.needs}


def test_a_file_changes_nothing_in_itself() -> None:
    changes = changed()
    assert not changes.any
    assert not changes.needs_log
    assert (changes.traits, changes.segments, changes.missing, changes.dropped) == ((), (), (), ())
    assert changes.unchanged_segments == ("big", "browsing", "keen")


def test_other_words_with_the_same_meaning_are_told_as_such_and_change_nothing() -> None:
    changes = changed(
        ('orders = "count(order)"', "orders = \"count( purchase[ kind=='order' ] )\""),
        ("spend >= 50_000 and", "spend >= 50000 and"),
    )
    assert kinds(changes) == {"orders": "reworded", "big": "reworded"}
    assert not changes.any
    assert not changes.needs_log


def test_a_new_threshold_needs_no_log_and_moves_those_who_name_the_segment() -> None:
    changes = changed(("spend >= 50_000", "spend >= 60_000"))
    assert kinds(changes) == {"big": "changed", "keen": "changed"}
    assert changes.by_segment["big"].why == ("enter",)
    assert changes.by_segment["keen"].why == ("segment big",)
    assert not changes.needs_log
    assert changes.unchanged_segments == ("browsing",)


def test_a_new_trait_of_aggregates_that_are_there_needs_no_log() -> None:
    changes = changed(("[traits]", '[traits]\nrich = "score(spend, 10_000, 90_000)"'))
    assert kinds(changes) == {"rich": "added"}
    assert not changes.needs_log


def test_an_aggregate_that_only_a_segment_names_is_there_as_well() -> None:
    text = definitions_text({"n": "count(purchase)"}, {"often": "count(browsing, over='7d') > 3"})
    changes = changed(("[traits]", "[traits]\nviews = \"count(browsing, over='7d')\""), text=text)
    assert kinds(changes) == {"views": "added"}
    assert not changes.needs_log


def test_a_new_aggregate_needs_the_log_and_so_does_whoever_names_its_trait() -> None:
    changes = changed(
        ("[traits]", "[traits]\nviews_30d = \"count(browsing, over='30d')\""),
        ("views_7d > 10", "views_30d > 10"),
    )
    assert kinds(changes) == {"views_30d": "added", "browsing": "changed", "keen": "changed"}
    assert needy(changes) == {"views_30d", "browsing", "keen"}
    assert [a.over_ms for a in changes.missing] == [30 * 86_400_000]
    assert changes.needs_log


def test_a_trait_that_is_renamed_changes_itself_and_those_who_show_it() -> None:
    changes = changed(("spend", "total"))
    assert kinds(changes) == {"total": "added", "average": "reworded", "spend": "removed", "big": "told"}
    assert changes.traits[0].was == "spend"
    assert changes.by_segment["big"].why == ("values",)
    assert changes.unchanged_segments == ("big", "browsing", "keen")
    assert not changes.needs_log


def test_a_stream_that_means_something_else_changes_what_looks_at_it() -> None:
    changes = changed(("kind == 'order'", "kind != 'refund'"))
    assert set(kinds(changes)) == {"orders", "spend", "average", "best_hour", "big", "keen"}
    assert needy(changes) == set(kinds(changes))


@pytest.mark.parametrize(
    ("edit", "touched"),
    [
        (("Europe/Berlin", "Europe/Paris"), {"best_hour"}),
        (("USD = \"0.92\"", "USD = \"0.93\""), {"orders", "spend", "average", "best_hour", "big", "keen"}),
        (("USD = \"0.92\"", "USD = \"0.920\""), set()),
        (("stars = \"int 1..5\"", "stars = \"int 1..6\""), {"stars"}),
        (("text = \"string?\"", "text = \"string?\", sku = \"string\""), {"stars"}),
        (("stars = \"int 1..5\", text = \"string?\"", "text = \"string?\", stars = \"int 1..5\""), set()),
        (("[types.review]", "[types.review]\ntopic = \"product-reviews\""), {"stars"}),
        (("[streams]", "[attributes]\ncity = \"string\"\n[streams]"), {"city"}),
        (("[streams]", "[sources.web]\ntopic = \"clicks\"\ntype = \"browsing\"\n[streams]"),
         {"views_7d", "browsing", "keen"}),
    ],
)  # fmt: skip
def test_a_ground_that_moves_changes_what_stands_on_it(edit: tuple[str, str], touched: set[str]) -> None:
    changes = changed(edit)
    assert {c.name for c in (*changes.traits, *changes.segments)} == touched
    assert needy(changes) == touched
    assert bool(changes.grounds) == bool(touched)


def test_a_field_that_may_be_absent_and_is_new_is_told_and_touches_nothing() -> None:
    changes = changed(('text = "string?"', 'text = "string?", sku = "string?"'))
    assert (changes.traits, changes.segments, changes.missing) == ((), (), ())
    assert changes.grounds == ("fields of review",)
    assert changes.any  # other records are dead letters now


def test_an_event_type_of_its_own_is_seen_by_what_looks_at_every_event() -> None:
    text = definitions_text({"days": "distinct(date(event.occurred_at))", "orders": "count(purchase)"})
    changes = changed(("[traits]", '[types.visit]\nfields = { shop = "string" }\n[traits]'), text=text)
    assert kinds(changes) == {"days": "changed"}
    assert needy(changes) == {"days"}


def test_names_of_sources_and_streams_mean_nothing() -> None:
    text = FILE + '[sources.shop]\ntopic = "orders"\ntype = "purchase"\n'
    assert not changed(("[sources.shop]", "[sources.till]"), text=text).any
    renamed = changed(("order =", "bought ="), ("(order", "(bought"))
    assert set(kinds(renamed).values()) == {"reworded"}
    assert not renamed.any


def test_what_is_said_of_a_segment_moves_nobody() -> None:
    changes = changed(("Spends a lot", "Spends very much"))
    assert kinds(changes) == {"big": "told"}
    assert changes.any
    assert changes.by_segment["big"].why == ("description",)
    assert changes.unchanged_segments == ("big", "browsing", "keen")


@pytest.mark.parametrize(
    ("new", "why"),
    [
        ('dwell = "2h"', ("dwell",)),
        ('dwell = "60m"', None),
        ('dwell = "1h"\ncooldown = "1d"', ("cooldown",)),
        ('dwell = "1h"\nsample = 0.5', ("sample",)),
        ("", ("dwell",)),
    ],
)
def test_a_pace_is_part_of_what_a_segment_means(new: str, why: tuple[str, ...] | None) -> None:
    changes = changed(('dwell = "1h"', new))
    if why is None:
        assert not changes.any
        return
    assert changes.by_segment["browsing"].why == why
    assert not changes.needs_log


def test_how_many_values_a_list_shows_needs_no_log() -> None:
    changes = changed(("occurred_at), 1)", "occurred_at), 3)"))
    assert kinds(changes) == {"best_hour": "changed"}
    assert not changes.needs_log


def test_a_share_that_differs_in_its_tenth_digit_is_another() -> None:
    changes = changed(("0.5", "0.5000000001"), text=FILE.replace('dwell = "1h"', "sample = 0.5"))
    assert changes.by_segment["browsing"].why == ("sample",)


def test_an_exit_that_comes_or_goes_is_a_change() -> None:
    gone = changed(('exit = "spend < 40_000"', ""))
    assert gone.by_segment["big"].why == ("exit",)
    came = changed(('dwell = "1h"', 'exit = "views_7d < 5"'))
    assert came.by_segment["browsing"].why == ("exit", "dwell")


def test_what_is_removed_is_told_last_and_what_nothing_reads_any_more_is_dropped() -> None:
    changes = changed(
        ("views_7d = \"count(browsing, over='7d')\"\n", ""),
        ('[segments.browsing]\nenter = "views_7d > 10"\ndwell = "1h"\n', ""),
        (" and in_segment('browsing')", ""),
    )
    assert kinds(changes) == {"views_7d": "removed", "keen": "changed", "browsing": "removed"}
    assert [c.name for c in changes.segments] == ["keen", "browsing"]
    assert [a.function for a in changes.dropped] == ["count"]
    assert not changes.needs_log


def test_segments_in_another_order_are_told_in_it_and_have_the_same_members() -> None:
    parts: list[Any] = FILE.split("[segments.")
    head, big, browsing, keen = parts
    other = "[segments.".join((head, browsing, big, keen))
    changes = changes_between(parse_definitions(FILE), parse_definitions(other))
    assert (changes.traits, changes.segments) == ((), ())
    assert changes.reordered
    more = changed(("[segments.big]", '[segments.first]\nenter = "orders > 1"\n\n[segments.big]'))
    assert not more.reordered


def test_lists_of_two_sizes_are_two_states_of_which_either_serves_both() -> None:
    longer, shorter = 't = "top(browsing.sku, 2)"', 's = "top(browsing.sku, 1)"'
    both = f"[traits]\n{longer}\n{shorter}"
    assert not changes_between(parse_definitions(both), parse_definitions(both)).dropped
    changes = changes_between(parse_definitions(both), parse_definitions(f"[traits]\n{shorter}"))
    assert [(a.function, a.size) for a in changes.dropped] == [("top", 2)]
    changes = changes_between(parse_definitions(f"[traits]\n{longer}"), parse_definitions(both))
    assert not changes.dropped and not changes.missing
