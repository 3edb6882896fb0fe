"""What holds a segment's crossings back: `dwell`, `exit_dwell`, `cooldown`, and the `sample` of customers.

The condition of a customer's next crossing (entering for one who is not in, else leaving) must have held since some
instant for as long as the dwell says; the crossing comes at exactly the end of it, unless time or an event ends the
condition before. A cooldown lets nobody in for so long after leaving; the condition may hold on meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from profilestream.core.profile import Membership
from profilestream.core.vocabulary import WINDOW_MS_MAX, span_ms, span_text

SPANS: Final = ("dwell", "exit_dwell", "cooldown")
_HASH_BYTES: Final = 8
_HASHES: Final = 2.0 ** (8 * _HASH_BYTES)


@dataclass(frozen=True, slots=True)
class Pacing:
    """Of one segment; lengths in ms, `sample` a share of all customers in (0, 1], None for everybody."""

    dwell_ms: int = 0
    exit_dwell_ms: int = 0
    cooldown_ms: int = 0
    sample: float | None = None

    def texts(self) -> list[tuple[str, str]]:
        """What the segment's table says of it: `("dwell", "10m")`, in the shortest form."""
        lengths = zip(SPANS, (self.dwell_ms, self.exit_dwell_ms, self.cooldown_ms), strict=True)
        found = [(key, span_text(length).strip("'")) for key, length in lengths if length]
        return found if self.sample is None else [*found, ("sample", f"{self.sample:g}")]

    def crosses_at(self, membership: Membership | None, held_since: int) -> int:
        """When a customer crosses if the crossing's condition, which holds since then (ms), holds on."""
        if membership is None:
            return held_since + self.dwell_ms
        crossing, since = membership
        if crossing % 2:
            return held_since + self.exit_dwell_ms
        return max(held_since + self.dwell_ms, since + self.cooldown_ms)

    def cools_until(self, membership: Membership | None) -> int | None:
        """The first instant (ms) at which one who has left may enter again; None without a leaving or a cooldown."""
        if not self.cooldown_ms or membership is None or membership[0] % 2:
            return None
        return membership[1] + self.cooldown_ms


def is_sampled(segment: str, customer_id: str, share: float) -> bool:
    """Whether a customer belongs to a share of all customers: always the same ones, others for another segment.

    A greater share has everybody whom a smaller one has. BLAKE2b with a digest of 8 bytes, over the segment's name, a
    zero byte and the customer's id, lies as a big-endian number below the share of 2^64.
    """
    digest = blake2b(f"{segment}\0{customer_id}".encode(), digest_size=_HASH_BYTES).digest()
    return int.from_bytes(digest, "big") < share * _HASHES


def read_pacing(table: Mapping[str, Any], problem: Callable[[str, str], None]) -> Pacing | None:
    """The pacing in a segment's table; None where it says nothing. Problems are told by key, and count as absent."""
    lengths = {}
    for key in SPANS:
        text = table.get(key)
        if text is None:
            continue
        length = span_ms(text)
        if length is None or length > WINDOW_MS_MAX:
            problem(key, f"`{key}` is a length of time such as \"10m\": a number and m, h, d or y, at most '10y'")
            continue
        lengths[f"{key}_ms"] = length
    sample = table.get("sample")
    if sample is not None and not 0 < sample <= 1:
        problem("sample", "`sample` is a share of all customers, above 0 and at most 1: 0.1 for a tenth")
        sample = None
    return Pacing(sample=sample, **lengths) if lengths or sample is not None else None
