"""The event ids that a profile remembers, by which duplicates are known. Pure.

16 bytes each, in order of arrival: BLAKE2b, of 8 bytes, over type, zero byte and id; then the arrival in ms. An id
counts while it is among the last `ids_max` and no more than `ids_ms_max` from the arrival at hand.
"""

from __future__ import annotations

from typing import Final

from profilestream.core.profile import Profile

IDS_MAX: Final = 256
IDS_MS_MAX: Final = 24 * 3_600_000
_ID_BYTES: Final = 16
_SCANNED_BYTES_MAX: Final = 16 * _ID_BYTES
_TRIM_BYTES: Final = 64 * _ID_BYTES


class Remembered:
    """What is remembered under two limits."""

    def __init__(self, ids_max: int = IDS_MAX, ids_ms_max: int = IDS_MS_MAX) -> None:
        self._ids_bytes_max = ids_max * _ID_BYTES
        self._ids_ms_max = ids_ms_max

    def had(self, profile: Profile, hashed: bytes, arrival: int) -> bool:
        """Whether the event was had before; if not, it is remembered from now on.

        A few more ids are kept than count, so that not every event copies all of them to let one go.
        """
        known, ids = profile.known, profile.ids
        if known is None and len(ids) > _SCANNED_BYTES_MAX:
            known = profile.known = {ids[n : n + 8] for n in range(0, len(ids), _ID_BYTES)}
        if (known is None or hashed in known) and self.counts(ids, hashed, arrival):
            return True
        if known is not None:
            known.add(hashed)
        ids += hashed + arrival.to_bytes(8, "big", signed=True)
        if len(ids) % _TRIM_BYTES == 0:
            kept = ids[-self._ids_bytes_max :]
            oldest = arrival - self._ids_ms_max
            while int.from_bytes(kept[8:16], "big", signed=True) < oldest:
                kept = kept[_ID_BYTES:]
            if len(kept) < len(ids):
                ids, profile.known = kept, None
        profile.ids = ids
        return False

    def counts(self, ids: bytes, hashed: bytes, arrival: int) -> bool:
        """Whether one of the remembered ids is among the last ones and young enough."""
        place = ids.find(hashed)
        while place != -1:
            if place % _ID_BYTES == 0 and place >= len(ids) - self._ids_bytes_max:
                had = int.from_bytes(ids[place + 8 : place + 16], "big", signed=True)
                if abs(arrival - had) <= self._ids_ms_max:
                    return True
            place = ids.find(hashed, place + 1)
        return False

    def joined(self, ids: bytes, others: bytes) -> bytes:
        """Ids with those of `others` that are not among them; as they are if there are none."""
        entries = [ids[n : n + _ID_BYTES] for n in range(0, len(ids), _ID_BYTES)]
        known = {entry[:8] for entry in entries}
        more = [e for n in range(0, len(others), _ID_BYTES) if (e := others[n : n + _ID_BYTES])[:8] not in known]
        if not more:
            return ids
        arrived = sorted(entries + more, key=lambda entry: int.from_bytes(entry[8:], "big", signed=True))
        return b"".join(arrived)[-self._ids_bytes_max :]
