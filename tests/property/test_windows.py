"""Windows against the contract's rule of tiles, by brute force, at every clock."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.shard import DAY, HOUR, MINUTE, T0, Shard, engine_of

from profilestream.core import slots

TILES = [n * MINUTE for n in (1, 5, 15, 60, 360, 1_440, 10_080)]
UNITS = {"m": MINUTE, "h": HOUR, "d": DAY, "y": 365 * DAY}


def length_of(span: str) -> int:
    return int(span[:-1]) * UNITS[span[-1]]


def tile_of(span: int) -> int:
    """The largest that is no longer than W / 24, one minute at least."""
    return max([tile for tile in TILES if tile * 24 <= span], default=MINUTE)


def counts(at: int, clock: int, span: int, ago: int) -> bool:
    tile, seen_from = tile_of(span), clock - ago
    return at <= seen_from and at - at % tile > seen_from - span


spans = st.sampled_from(("15m", "37m", "2h", "24h", "5d", "7d", "30d", "90d", "1y", "1m")) | st.builds(
    lambda n, unit: f"{n}{unit}", st.integers(1, 400), st.sampled_from("mhd")
)


@st.composite
def plans(draw: st.DrawFn) -> tuple[str, str, list[tuple[str, int]]]:
    """A window, and events and clocks in any order, near its edges and far from them."""
    over = draw(spans)
    span = length_of(over)
    tile = tile_of(span)
    ago = draw(st.sampled_from((0, 0, 1, 2, 24, 40))) * tile
    edges = st.builds(
        lambda base, n, d: base + n * tile + d,
        st.sampled_from((0, span, ago, span + ago)), st.integers(0, 3), st.integers(-1, 1),
    )  # fmt: skip
    moments = edges | st.integers(0, 2 * span + ago)
    start = T0 - T0 % tile + draw(st.integers(0, 1)) * draw(st.integers(0, tile))
    steps = draw(
        st.lists(st.tuples(st.sampled_from(("event", "event", "clock", "crash")), moments), min_size=1, max_size=14)
    )
    return over, f"{ago // MINUTE}m" if ago else "", [(what, start + ms) for what, ms in steps]


@given(plans())
def test_a_window_counts_what_the_rule_of_tiles_says_at_every_clock(
    plan: tuple[str, str, list[tuple[str, int]]],
) -> None:
    over, ago, steps = plan
    w = f", over='{over}'" + (f", ago='{ago}'" if ago else "")
    shard = Shard(
        engine_of(
            {
                "n": f"count(purchase{w})",
                "total": f"sum(purchase.amount_minor{w})",
                "least": f"min(purchase.amount_minor{w})",
                "newest": f"last(purchase.amount_minor{w})",
                "different": f"distinct(purchase.channel{w})",
                "by": f"sum(purchase.amount_minor, by=channel{w})",
                "often": f"top(purchase.channel, 2{w})",
                "gap": f"mean_gap(purchase{w})",
            },
            {"some": f"count(purchase{w}) >= 2"},
        )
    )
    events: list[dict[str, Any]] = []
    for n, (what, at) in enumerate(steps):
        if what == "event":
            channel = "abc"[n % 3]
            events.append(
                {
                    "type": "purchase", "event_id": f"e{n:02d}", "customer_id": "c", "occurred_at": at,
                    "amount_minor": n, "channel": channel,
                }
            )  # fmt: skip
            shard.take(events[-1])
        elif shard.clock is None:
            continue
        else:
            shard.pass_time(at)
        if what == "crash":
            shard.crash()
        clock = shard.clock or 0
        seen = [e for e in events if counts(e["occurred_at"], clock, length_of(over), length_of(ago) if ago else 0)]
        assert_values(shard.values(), seen)
        assert shard.members() == (["some"] if len(seen) >= 2 else [])


def assert_values(values: dict[str, Any], seen: list[dict[str, Any]]) -> None:
    amounts = [e["amount_minor"] for e in seen]
    times = [e["occurred_at"] for e in seen]
    channels = [e["channel"] for e in seen]
    expected = {
        "n": len(seen),
        "total": sum(amounts),
        "different": len(set(channels)),
        "by": {c: sum(e["amount_minor"] for e in seen if e["channel"] == c) for c in sorted(set(channels))},
        "often": sorted(set(channels), key=lambda c: (-channels.count(c), c))[:2],
    }
    if seen:
        expected["least"] = min(amounts)
        expected["newest"] = max(seen, key=lambda e: (e["occurred_at"], e["event_id"]))["amount_minor"]
    if len(seen) > 1:
        expected["gap"] = (max(times) - min(times)) / (len(seen) - 1)
    assert values == expected


@pytest.mark.parametrize("crashes", [False, True])
def test_of_very_many_events_that_are_to_come_in_the_last_ones_come_with_the_end_of_their_tile(
    crashes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "PENDING_MAX", 4)
    shard = Shard(engine_of({"n": "count(browsing, over='2h', ago='1h')"}))
    moments = [n * MINUTE // 2 for n in range(40)]
    for at in moments:
        view = {"type": "browsing", "kind": "search", "event_id": str(at), "customer_id": "c", "occurred_at": T0 + at}
        shard.take(view)
    profile = shard.profiles["c"]
    assert len(profile.pending[0]) == 4 + 4, "four instants, and the ends of four tiles of five minutes"
    for clock in range(HOUR, 2 * HOUR, MINUTE // 2):
        if crashes:
            shard.crash()
        seen = shard.pass_time(T0 + clock).values()["n"]
        exact = sum(at <= clock - HOUR for at in moments)
        whole_tiles = sum(at < (clock - HOUR) // (5 * MINUTE) * 5 * MINUTE for at in moments)
        assert max(whole_tiles, min(exact, 4)) <= seen <= exact
    assert shard.pass_time(T0 + 3 * HOUR + 30 * MINUTE).values()["n"] == 0
