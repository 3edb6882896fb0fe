"""Events of one customer, and what the core makes of them."""

from __future__ import annotations

from itertools import count
from typing import Any

from tests.property.shard import T0, Shard, engine_of

_ids = count()


def event(type_name: str, at: Any, /, **fields: Any) -> dict[str, Any]:
    """An event of customer c with an id of its own."""
    return {"type": type_name, "event_id": f"e{next(_ids):06d}", "customer_id": "c", "occurred_at": at} | fields


def order(at: Any, amount: int = 100, **fields: Any) -> dict[str, Any]:
    return event("purchase", at, amount_minor=amount, **fields)


def facts(at: int = T0, unset: list[str] | None = None, **said: Any) -> dict[str, Any]:
    return event("attributes", at, set=said, unset=unset or [])


def trait(text: str, *events: dict[str, Any], until: int = T0, timezone: str = "") -> Any:
    """The value of one expression for customer c; None when it is absent."""
    shard = Shard(engine_of({"t": text}, timezone=timezone)).take_all(events).pass_time(until)
    return shard.values().get("t")


def crossings(
    segments: dict[str, Any], *events: dict[str, Any], until: int = T0, traits: dict[str, str] | None = None
) -> list[tuple[str, int, int]]:
    """(segment, crossing, ms after T0) of every change."""
    shard = Shard(engine_of(traits, segments)).take_all(events).pass_time(until)
    return [(name, crossing, at - T0) for name, crossing, at in shard.crossings()]
