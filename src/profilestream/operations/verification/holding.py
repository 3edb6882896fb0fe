"""The records of the chosen customers, held while a shard's log is read; bounded, so that some may have to wait.

Where what is held weighs too much, the upper half of the hashes is let go and left for a pass of its own. A single
customer whose records alone weigh too much is left out.
"""

from __future__ import annotations

from typing import Final

from profilestream.operations.verification.choosing import Choice, Range
from profilestream.operations.verification.recomputing import Arrival

HELD_BYTES_MAX: Final = 192 * 1024 * 1024
CUSTOMERS_A_PASS: Final = 20_000
ARRIVAL_BYTES: Final = 250
"""What a record is taken to weigh besides its value."""


class Held:
    """One pass: `part` is what it serves in the end, `put_off` what it does not; `too_large` were left out."""

    def __init__(
        self,
        choice: Choice,
        part: Range,
        bytes_max: int = HELD_BYTES_MAX,
        customers_max: int = CUSTOMERS_A_PASS,
    ) -> None:
        self.part = part
        self.put_off: list[Range] = []
        self.too_large: set[str] = set()
        self.arrivals: dict[str, list[Arrival]] = {}
        self._choice = choice
        self._bytes_max = bytes_max
        self._customers_max = customers_max
        self._bytes = 0

    def wants(self, customer_id: str) -> bool:
        """Whether a customer is served by this pass."""
        return customer_id in self.arrivals or self._choice.has(customer_id, self.part)

    def meet(self, customer_id: str) -> None:
        """Takes a customer in whose profile is there, though no record of it was met yet."""
        self.arrivals.setdefault(customer_id, [])
        self._make_room()

    def add(self, customer_id: str, arrival: Arrival) -> None:
        """Takes in a record of a customer that is wanted, in order of arrival."""
        if customer_id in self.too_large:
            return
        self.arrivals.setdefault(customer_id, []).append(arrival)
        self._bytes += _weight(arrival)
        self._make_room()

    def _make_room(self) -> None:
        while self._bytes > self._bytes_max or len(self.arrivals) > self._customers_max:
            if len(self.arrivals) == 1:
                (customer_id,) = self.arrivals
                self._let_go(customer_id)
                self.too_large.add(customer_id)
                return
            self.part, upper = self.part.halves()
            self.put_off.append(upper)
            for customer_id in [c for c in self.arrivals if self._choice.hash_of(c) >= upper.low]:
                self._let_go(customer_id)

    def _let_go(self, customer_id: str) -> None:
        self._bytes -= sum(map(_weight, self.arrivals.pop(customer_id)))


def _weight(arrival: Arrival) -> int:
    return ARRIVAL_BYTES + len(arrival.value or b"")
