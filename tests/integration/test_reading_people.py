"""The reading commands on a real Redis, read as a person."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.conftest import Cli
from tests.integration.stored import order, store

from profilestream.settings import Settings

EMPTY = "[traits]\norders = 'count(purchase)'\n"


def read(cli: Cli, *words: str) -> Any:
    return json.loads(cli(*words, "--json").stdout)


def test_a_person_sees_a_card_in_the_shops_own_time(cli: Cli, berlin: Settings) -> None:
    lines = [" ".join(line.split()) for line in cli("profile", "zoë 1").stdout.splitlines()]
    assert lines[0] == "customer zoë 1"
    assert "valid until 2026-01-21 07:00:00 CET (in 18 d 18 h), or the next event" in lines
    assert "spend 14,345" in lines
    assert "gap 1 d 2 h" in lines
    assert r'channels "store\u001b[31m", web' in lines
    assert "regular since 2026-01-02 13:00:00 CET (now), crossing 1" in lines


def test_a_person_sees_what_did_not_fit_and_a_program_the_contracts_keys(cli: Cli, own_settings: Settings) -> None:
    text = '[traits]\norders = "count(purchase)"\nby_order = "count(purchase, by=order_id)"\n'
    events = [order("c", n, "2026-01-01T10:00:00Z", order_id=f"o{n}") for n in range(1_002)]
    asyncio.run(store(own_settings, text, events))
    lines = [" ".join(line.split()) for line in cli("profile", "c").stdout.splitlines()]
    (place,) = [n for n, line in enumerate(lines) if line.startswith("by_order ")]
    assert lines[place + 1] == "full; 2 values did not fit"
    assert sum("did not fit" in line for line in lines) == 1
    assert set(read(cli, "profile", "c")["traits"]) == {"orders", "by_order"}
    assert read(cli, "profile", "c").keys() == {
        "customer_id", "generation", "shard", "revision", "as_of", "traits", "segments",
    }  # fmt: skip


def test_a_person_sees_why(cli: Cli, berlin: Settings) -> None:
    one = cli("explain", "zoë 1", "regular").stdout
    assert one.startswith("customer zoë 1 is in regular since 2026-01-02 13:00:00 CET (17 d 12 h ago), crossing 1\n")
    assert "\nCame back\n" in one
    assert "will leave at 2026-02-01 13:00:00.001 CET (in 12 d 12 h)" in one
    both = [" ".join(line.split()) for line in cli("explain", "zoë 1").stdout.splitlines()]
    assert "spend 14,345 always sum of amount_minor of purchase events" in both
    assert "big no enter does not hold: spend >= 1_000_000 (is 14,345, needs 985,655 more)" in both
    (week,) = [line for line in both if line.startswith("week ")]
    said = "number of purchase events where channel is web, in the last 20 days; of orders from the web"
    assert week == f"week 1 in 1 d 6 h always {said}"


def test_a_person_sees_fifty_members_and_how_many_more(cli: Cli, shop: Settings) -> None:
    total = next(s["members"] for s in read(cli, "segments") if s["name"] == "growing")
    some = cli("members", "growing")
    assert len(some.stdout.splitlines()) == 50
    assert some.stderr.startswith(f"50 of {total:,} members; --after ")
    assert len(cli("members", "growing", "--count", "7").stdout.splitlines()) == 7
    rows = [line.split() for line in cli("segments").stdout.splitlines()]
    assert " ".join(rows[0]) == "segment members entered 1h left 1h entered 1d left 1d description"
    assert ["growing", f"{total:,}"] in [row[:2] for row in rows]
    assert cli("members", "lapsing").stderr == "lapsing has no members\n"


@pytest.mark.parametrize("order", [(), ("--newest",)])
def test_pages_go_on_where_the_last_one_said_and_come_to_all_members(
    cli: Cli, shop: Settings, order: tuple[str, ...]
) -> None:
    everyone = cli("members", "growing", "--all", *order).stdout.splitlines()
    seen: list[str] = []
    more: tuple[str, ...] = ()
    while True:
        some = cli("members", "growing", "--count", "150", *order, *more)
        seen += some.stdout.splitlines()
        if not some.stderr:
            break
        more = ("--after", some.stderr.split("--after ")[1].split()[0])
    assert seen == everyone and len(set(seen)) == len(seen) > 450
    page = read(cli, "members", "growing", "--count", "150", *order, *more)
    assert [f"{m['since']}  {m['customer_id']}" for m in page] == everyone[-len(page) :]


def test_members_are_chosen_by_when_they_entered(cli: Cli, shop: Settings) -> None:
    everyone = read(cli, "members", "growing")
    newest = max(m["since"] for m in everyone)
    chosen = [m for m in everyone if "1997-05-01T00:00:00.000Z" <= m["since"] < "1998-01-01T00:00:00.000Z"]
    bounds = ("--since", "1997-05-01T00:00:00Z", "--until", "1998-01-01T00:00:00Z")
    assert 0 < len(chosen) < len(everyone)
    assert read(cli, "members", "growing", *bounds) == chosen
    assert read(cli, "members", "growing", *bounds, "--newest", "--count", "5") == chosen[:-6:-1]
    assert cli("members", "growing", *bounds, "--total").stdout == f"{len(chosen)}\n"
    assert cli("members", "growing", "--total").stdout == f"{len(everyone)}\n"
    # How long ago is meant by the shards' clocks, as the last hour of `segments` is.
    assert newest in [m["since"] for m in read(cli, "members", "growing", "--since", "30d")]
    assert cli("members", "growing", "--until", "1990-01-01T00:00:00Z").stderr.endswith(
        "has no members who entered then\n"
    )


def test_what_cannot_be_meant_of_members_is_wrong_use(cli: Cli, berlin: Settings) -> None:
    for words in (("--after", "nonsense"), ("--all", "--count", "3"), ("--since", "yesterday")):
        done = cli("members", "regular", *words, expect=2)
        assert done.stdout == "" and done.stderr.count("\n") == 1


def test_definitions_without_segments_are_said_to_have_none(cli: Cli, own_settings: Settings) -> None:
    asyncio.run(store(own_settings, EMPTY, [order("c", 1, "2026-01-01T00:00:00Z")]))
    assert cli("segments").stdout == "generation g1 has no segments\n"
    assert read(cli, "segments") == [] == read(cli, "explain", "c")["segments"]
    assert "the definitions have no segments" in cli("explain", "c").stdout
    assert "in none" in cli("profile", "c").stdout
