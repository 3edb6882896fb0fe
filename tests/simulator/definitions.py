"""The definitions files of the simulator; each is compiled once a process."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

from profilestream.core.carrying import Carrier
from profilestream.core.engine import IDS_MAX, Engine
from profilestream.settings import Settings
from profilestream.store.metadata import Generation
from profilestream.stream.sources import Sources
from profilestream.wire.definitions import parse_definitions
from tests.oracle import Oracle

# Segments over two topics, whose refold interleaves differently; hysteresis; windows; `since`; maps.
SHOP = """
[traits]
orders = "count(purchase)"
spend = "sum(purchase.amount_minor)"
spend_2d = "sum(purchase.amount_minor, over='2d')"
open_tickets = "count(support[kind == 'opened']) - count(support[kind == 'closed'])"
last_order_at = "last(purchase.occurred_at)"
views_1d = "count(browsing, over='1d')"
spend_by_channel = "sum(purchase.amount_minor, by=channel)"
[segments.calm_buyer]
enter = "orders >= 2 and open_tickets == 0"
[segments.big_spender]
enter = "spend_2d >= 100"
exit = "spend_2d < 40"
[segments.lapsing]
enter = "orders >= 1 and since(last_order_at) > hours(30)"
[segments.busy]
enter = "views_1d >= 2"
exit = "views_1d == 0 and open_tickets == 0"
"""

# Much by time: short windows, two conditions that time alone flips.
TIMES = """
[traits]
orders_6h = "count(purchase, over='6h')"
orders_before = "count(purchase, over='6h', ago='6h')"
tickets_1d = "count(support, over='1d')"
orders = "count(purchase)"
last_view_at = "last(browsing.occurred_at)"
last_order_at = "last(purchase.occurred_at)"
top_categories = "top(browsing.category, 2, over='1d')"
streak_days = "streak(date(purchase.occurred_at))"
small_only = "unmatched(purchase.channel, purchase[amount_minor >= 60].channel, within='2h', over='24h')"
[segments.growing]
enter = "orders_6h > orders_before"
[segments.troubled]
enter = "tickets_1d >= 2"
exit = "tickets_1d == 0"
[segments.gone_quiet]
enter = "since(last_view_at) > hours(3) and since(last_order_at) > hours(5)"
[segments.again]
enter = "streak_days >= 2"
[segments.undecided]
enter = "len(small_only) >= 1 and 'web' not in small_only"
[segments.looking]
enter = "after(last_view_at, last_order_at) and since(last_view_at) <= hours(8)"
"""

# Crossings that wait, segments that name others, one before it is declared; what waits is refolded in a repair.
PACED = """
[traits]
orders = "count(purchase)"
spend_6h = "sum(purchase.amount_minor, over='6h')"
open_tickets = "count(support[kind == 'opened']) - count(support[kind == 'closed'])"
last_order_at = "last(purchase.occurred_at)"
views_1d = "count(browsing, over='1d')"
[segments.invited]
enter = "in_segment('warm') and not in_segment('tried')"
exit = "not in_segment('warm')"
dwell = "30m"
[segments.warm]
enter = "spend_6h >= 30"
dwell = "20m"
exit_dwell = "2h"
cooldown = "9h"
[segments.rested]
enter = "since(last_order_at) <= hours(1) or open_tickets == 1"
cooldown = "1d"
[segments.tried]
enter = "open_tickets > 0 or views_1d >= 3"
exit_dwell = "1h"
[segments.half]
enter = "orders >= 2 and in_segment('rested')"
sample = 0.5
"""

FILES = (SHOP, TIMES, PACED)

# What each becomes: thresholds, a segment more, one less, another trait, other pacing.
NEXT = {
    SHOP: SHOP.replace("spend_2d >= 100", "spend_2d >= 60")
    .replace('exit = "spend_2d < 40"', 'exit = "spend_2d < 20"')
    .replace("busy", "browser")
    .replace("views_1d >= 2", "views_1d >= 1"),
    TIMES: TIMES.replace("over='6h'", "over='12h'")
    .replace("tickets_1d >= 2", "tickets_1d >= 1")
    .replace("again", "often"),
    PACED: PACED.replace("spend_6h >= 30", "spend_6h >= 60")
    .replace('"20m"', '"50m"')
    .replace("orders >= 2", "orders >= 1"),
}


class _Engine(Engine):
    """An engine that compiles once for all worlds what a real one compiles once for all its shards."""

    _compiled: dict[int, Any]

    def difference(self, changed: int, encode: Any) -> Any:
        found = self._compiled.get(changed)
        if found is None:
            found = self._compiled[changed] = super().difference(changed, encode)
        return found


@lru_cache(maxsize=16)
def _engine(text: str, ids_max: int = IDS_MAX) -> Engine:
    engine = _Engine(parse_definitions(text, "the simulator's definitions"), ids_max=ids_max)
    engine._compiled = {}
    return engine


@lru_cache(maxsize=16)
def sources(text: str, ids_max: int) -> Sources:
    """How records are read; without state, so one for all."""
    return Sources(_engine(text, ids_max), settings())


def engine(text: str, ids_max: int = IDS_MAX) -> Engine:
    """An engine of a process of its own; what is compiled is shared."""
    return copy.copy(_engine(text, ids_max))


@lru_cache(maxsize=16)
def oracle(text: str) -> Oracle:
    return Oracle(text)


def generation(text: str, shards: int, name: str = "g1", state: str = "live", **more: Any) -> Generation:
    fingerprint = _engine(text).definitions.fingerprint
    return Generation(name, shards, text, fingerprint, "2026-01-01T00:00:00.000Z", state, **more)


@lru_cache(maxsize=16)
def carrier(former: str, new: str, ids_max: int = IDS_MAX) -> Carrier:
    """The way from one file's profiles into another's."""
    return Carrier(_engine(former, ids_max), _engine(new, ids_max))


def settings(**limits: Any) -> Settings:
    """Settings with limits below what a real installation may have; nothing of them is from the environment."""
    return Settings.model_construct(kafka="simulated:9092", redis="redis://simulated:6379", **limits)
