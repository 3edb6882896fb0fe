"""`simulate` to Kafka's topics: what is folded is what the generator knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.integration.isolation import fresh_sources

from profilestream.settings import Settings

DEFINITIONS = """
[types.workout]
topic = "{0}.workouts"
fields = {{ activity = "string", minutes = "int 1..1440", energy_kcal = "int 0..?" }}
[types.demo]
topic = "{0}.demos"
fields = {{ product = "string", watched_seconds = "int 0..", completed = "boolean?" }}
[traits]
events = "count(event) + count(attributes)"
orders = "count(purchase[kind == 'order'])"
spend = "sum(purchase[kind == 'order'].amount_minor)"
"""


def test_simulated_events_are_folded_once_whatever_comes_late_twice_or_wrong(
    cli: Any, workdir: Path, own_settings: Settings
) -> None:
    text = DEFINITIONS.format(own_settings.namespace) + fresh_sources(own_settings)
    (workdir / "d.toml").write_text(text)
    cli("init", "d.toml", "--shards", "2")
    same = ("--customers", "12", "--days", "60", "--until", "2026-01-01T00:00:00Z", "--seed", "3")
    odd = ("--late", "0.1", "--duplicates", "0.1", "--mistakes", "0.05")
    said = cli("simulate", *same, *odd, "--knowledge", "known.jsonl").stderr
    assert "events in" in said
    cli("worker", "--clock", "event", "--until-caught-up")
    wrong = len(json.loads(cli("dead-letters", "list", "--json").stdout))
    assert wrong > 10
    for line in (workdir / "known.jsonl").read_text().splitlines():
        known = json.loads(line)
        profile = json.loads(cli("profile", known["customer_id"], "--json").stdout)
        assert profile["traits"] == {
            "events": known["events"],
            "orders": known["orders"],
            "spend": known["spend_minor"],
        }


def test_nothing_is_sent_where_an_own_type_has_no_topic(cli: Any, workdir: Path, own_settings: Settings) -> None:
    (workdir / "d.toml").write_text('[traits]\norders = "count(purchase)"\n' + fresh_sources(own_settings))
    cli("init", "d.toml", "--shards", "2")
    said = cli("simulate", "--customers", "4", "--days", "30", "--persona", "fitness", expect=2).stderr
    assert "has no topic `workouts`" in said and "profilestream new DIR --example fitness" in said
    assert "done: 0 events" in cli("worker", "--clock", "event", "--until-caught-up").stdout
    assert "events in" in cli("simulate", "--customers", "4", "--days", "30", "--persona", "shop").stderr
