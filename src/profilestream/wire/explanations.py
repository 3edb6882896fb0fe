"""Explanations in the public form, as `--json` prints them."""

from __future__ import annotations

from typing import Any

from profilestream.core.explanation import Explanation
from profilestream.wire.times import format_time


def explanation_object(customer_id: str, explanation: Explanation) -> dict[str, Any]:
    """The explanation in the public form, ready for JSON; `pacing` is there only where the segment has one."""
    found = {
        "customer_id": customer_id,
        "segment": explanation.segment,
        "member": explanation.member,
        "crossing": explanation.crossing,
        "since": time_text(explanation.since),
        "conditions": [
            {"text": c.text, "holds": c.holds, "value": c.value, "threshold": c.threshold}
            for c in explanation.conditions
        ],
        "changes_at": time_text(explanation.changes_at),
    }
    if explanation.pacing is not None:
        found["pacing"] = {
            "held_since": time_text(explanation.held_since),
            "crosses_at": time_text(explanation.crosses_at),
            "cools_until": time_text(explanation.cools_until),
            "sampled": explanation.sampled,
        }
    return found


def time_text(at_ms: int | None) -> str | None:
    """RFC 3339; None for no time."""
    return None if at_ms is None else format_time(at_ms)
