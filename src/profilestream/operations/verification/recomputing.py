"""One customer's records folded the naive way: all events in a list, duplicates told by their ids. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from profilestream.oracle.duplicates import Remembered
from profilestream.oracle.history import History
from profilestream.oracle.records import Records, is_ahead
from profilestream.oracle.sources import RefusedError


class Arrival(NamedTuple):
    """A record as the shard met it: in `log` at `offset`; `topic` is where it was read first, which may be another."""

    log: str
    offset: int
    topic: str
    arrived_at: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings that decide what counts."""

    ids_max: int
    ids_ms_max: int
    keys_max: int
    future_ms_max: int


@dataclass(frozen=True, slots=True)
class Recomputed:
    """One customer's events. With `order_decides` an id came again that was forgotten meanwhile, and topics which came
    together otherwise may have had it remembered still."""

    customer_id: str
    history: History
    duplicates: int
    order_decides: bool

    @property
    def events(self) -> int:
        """How many different events there are."""
        return len(self.history.events)


def recompute(
    records: Records, customer_id: str, arrivals: Iterable[Arrival], limits: Limits, now_ms: int
) -> Recomputed:
    """Folds a customer's records in their order; dead letters, and what turns out to be somebody else's, are none."""
    history, remembered = History(records.definitions), Remembered(limits.ids_max, limits.ids_ms_max)
    duplicates, logs = 0, set()
    for index, arrival in enumerate(arrivals):
        try:
            event = records.event(arrival.topic, arrival.value, index)
        except RefusedError:
            continue
        if event.customer_id != customer_id or is_ahead(event, arrival.arrived_at, now_ms, limits.future_ms_max):
            continue
        logs.add(arrival.log)
        if remembered.has(event.type, event.event_id, arrival.arrived_at):
            duplicates += 1
        else:
            history.add(event)
    return Recomputed(customer_id, history, duplicates, remembered.forgotten and len(logs) > 1)
