"""Which events were had before: an id counts for a while, and only among the last of the customer's."""

from __future__ import annotations

from collections import OrderedDict

from profilestream.oracle.definitions import DAY_MS

REMEMBERED_IDS = 256
REMEMBERED_MS = DAY_MS


class Remembered:
    """One customer's ids: the last `ids_max` of them, each for `ids_ms_max` after its arrival (ms)."""

    def __init__(self, ids_max: int = REMEMBERED_IDS, ids_ms_max: int = REMEMBERED_MS) -> None:
        self.ids_max = ids_max
        self.ids_ms_max = ids_ms_max
        self.forgotten = False
        """Whether an id came again within its time that was no longer among the last: of several topics, another order
        of arrival may have found it there."""
        self._arrived: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._pushed_out: dict[tuple[str, str], int] = {}

    def has(self, type_name: str, event_id: str, arrived_ms: int) -> bool:
        """Whether an id is among those remembered; if not, it is remembered from now on."""
        key = (type_name, event_id)
        if key in self._arrived and self._arrived[key] > arrived_ms - self.ids_ms_max:
            return True
        if self._pushed_out.get(key, arrived_ms - self.ids_ms_max) > arrived_ms - self.ids_ms_max:
            self.forgotten = True
        self._arrived.pop(key, None)
        self._arrived[key] = arrived_ms
        if len(self._arrived) > self.ids_max:
            oldest, at_ms = self._arrived.popitem(last=False)
            self._pushed_out[oldest] = at_ms
        return False
