"""Which shard a customer belongs to, and the names of all keys in Redis.

    ps:live                                     the generation that readers use
    ps:<gen>:meta                               what a generation is
    ps:<gen>:rate                               records a second that a replay may read; absent: as it can
    ps:<gen>:{<shard>}:profile:<customer_id>    what readers see; the braces are the hash tag, so that
    ps:<gen>:{<shard>}:segment:<name>           every key of a shard lies in one slot of a cluster
    ps:<gen>:{<shard>}:head|state:*|timers|urgent|outbox|repairs|crossings|customers

Never does any I/O.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import Final

from ..core.errors import UsageError

NAME: Final = re.compile(r"[a-z0-9-]+\Z")
HASHES_CACHED_MAX: Final = 65_536

_MASK: Final = 0xFFFFFFFF
_SEED: Final = 0x9747B28C
_FACTOR: Final = 0x5BD1E995


def murmur2(data: bytes) -> int:
    """MurmurHash2 of 32 bits with Kafka's seed, unsigned.

    Source: Austin Appleby's MurmurHash2; Kafka's Java client has it as `Utils.murmur2`. The same
    numbers come from aiokafka's, which takes about twice as long because it reads byte by byte.
    """
    length = len(data)
    words = length >> 2
    h = _SEED ^ length
    for k in struct.unpack_from(f"<{words}I", data):
        k = (k * _FACTOR) & _MASK
        h = ((h * _FACTOR) ^ ((k ^ (k >> 24)) * _FACTOR)) & _MASK
    if length & 3:
        h = ((h ^ int.from_bytes(data[words << 2 :], "little")) * _FACTOR) & _MASK
    h = ((h ^ (h >> 13)) * _FACTOR) & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=HASHES_CACHED_MAX)
def _positive_hash(customer_id: str) -> int:
    return murmur2(customer_id.encode()) & 0x7FFFFFFF


def shard_of(customer_id: str, shards: int) -> int:
    """The shard, 0 to `shards` - 1, that holds a customer: what Kafka's default partitioner says.

    Raises UnicodeEncodeError for a text that UTF-8 cannot hold (a lone surrogate).
    """
    return _positive_hash(customer_id) % shards


class ShardKeys:
    """The keys of one shard of one generation; all in one slot."""

    __slots__ = (
        "crossings", "customers", "head", "outbox", "profile_prefix", "repairs", "segment_prefix", "state_prefix",
        "timers", "urgent",
    )  # fmt: skip

    def __init__(self, prefix: str) -> None:
        self.head = prefix + "head"
        self.timers = prefix + "timers"
        self.urgent = prefix + "urgent"
        self.outbox = prefix + "outbox"
        self.repairs = prefix + "repairs"
        self.crossings = prefix + "crossings"
        self.customers = prefix + "customers"
        # Prefixes are public because a commit joins hundreds of them in its inner loop.
        self.profile_prefix = prefix + "profile:"
        self.state_prefix = prefix + "state:"
        self.segment_prefix = prefix + "segment:"

    def profile(self, customer_id: str) -> str:
        """The hash that readers see."""
        return self.profile_prefix + customer_id

    def state(self, customer_id: str) -> str:
        """The binary state from which the next fold goes on."""
        return self.state_prefix + customer_id

    def segment(self, name: str) -> str:
        """The sorted set of a segment's members in this shard, by time of entering."""
        return self.segment_prefix + name


class Keys:
    """All key names of one generation in one namespace.

    Raises UsageError when a name is not of lower-case letters, digits and `-`: other characters could
    move the hash tag.
    """

    __slots__ = ("generation", "meta", "namespace", "rate")

    def __init__(self, namespace: str, generation: str) -> None:
        self.namespace = _checked("namespace", namespace)
        self.generation = _checked("generation", generation)
        self.meta = f"{namespace}:{generation}:meta"
        self.rate = f"{namespace}:{generation}:rate"

    @property
    def live(self) -> str:
        """The key that names the live generation."""
        return live_key(self.namespace)

    def shard(self, number: int) -> ShardKeys:
        """The keys of shard `number`."""
        return ShardKeys(f"{self.namespace}:{self.generation}:{{{number}}}:")


def live_key(namespace: str) -> str:
    """The key that names the live generation of a namespace; raises UsageError as `Keys` does."""
    return _checked("namespace", namespace) + ":live"


def _checked(what: str, name: str) -> str:
    if not NAME.match(name):
        raise UsageError(f"{what} `{name}` must consist of lower-case letters, digits and -")
    return name
