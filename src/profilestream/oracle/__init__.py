"""A second, naive reading of the public contract, to hold the engine against: in tests, and by `verify`.

It imports nothing of the engine, nor of anything else of the library. Every answer is computed from all of a customer's
events, by brute force, with exact numbers: no slots, no tiles, no segment index. Slow, and simple enough to be checked
by eye.
"""

from profilestream.oracle.definitions import Definitions, UnsupportedError
from profilestream.oracle.history import Event, History
from profilestream.oracle.shards import murmur2, shard_of
from profilestream.oracle.sources import RefusedError
from profilestream.oracle.values import Duration, Time, format_time, parse_time, readable

__all__ = [
    "Definitions",
    "Duration",
    "Event",
    "History",
    "RefusedError",
    "Time",
    "UnsupportedError",
    "format_time",
    "murmur2",
    "parse_time",
    "readable",
    "shard_of",
]
