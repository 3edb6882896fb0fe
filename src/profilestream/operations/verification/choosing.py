"""Which customers are verified: all, those named, or a share of all by hash. Pure.

A hash of the customer's id decides, and a seed with it, so that the log and Redis are asked for the same customers: who
is in the log and not in Redis is chosen as well as who is in Redis. Another seed is another sample; the same one is the
same customers again. A range of hashes is what one pass over a shard's log serves.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NamedTuple

HASHES: Final = 1 << 64


class Range(NamedTuple):
    """Hashes from `low` to before `high`."""

    low: int
    high: int

    def halves(self) -> tuple[Range, Range]:
        """The lower half, and the upper one."""
        middle = (self.low + self.high) // 2
        return Range(self.low, middle), Range(middle, self.high)


@dataclass(frozen=True, slots=True)
class Choice:
    """Customers whose hash is below `below`; of `ids`, where they are given, only those."""

    seed: int = 0
    below: int = HASHES
    ids: frozenset[str] | None = None

    @classmethod
    def sample(cls, seed: int, wanted: int, total: int) -> Choice:
        """About `wanted` of `total` customers."""
        return cls(seed, HASHES if wanted >= total else max(1, HASHES * wanted // total))

    @property
    def range(self) -> Range:
        """The hashes of all of them."""
        return Range(0, self.below)

    def hash_of(self, customer_id: str) -> int:
        """The customer's place, from 0 to 2^64 - 1."""
        salt = self.seed.to_bytes(8, "big")
        return int.from_bytes(blake2b(customer_id.encode(), digest_size=8, salt=salt).digest(), "big")

    def has(self, customer_id: str, part: Range) -> bool:
        """Whether a customer is chosen, and in this part."""
        if self.ids is not None and customer_id not in self.ids:
            return False
        return part.low <= self.hash_of(customer_id) < min(part.high, self.below)
