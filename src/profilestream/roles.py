"""What a generation is to all others: the live one, or silent beside it.

The live one announces, in its turn. A silent one (in the making, or kept in step after it was live) folds the same log
with the same code, and tells nobody anything. It never passes the live one: in no topic that the live one reads does a
silent shard fold beyond the position of the live shard. So whatever lies below any generation's position was
forwarded, where it was a stray, and a promotion leaves no record between two generations that neither forwards.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from functools import lru_cache

from profilestream.settings import Settings
from profilestream.store.metadata import Generation
from profilestream.stream.generations import Generations, Live
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.events import EventDecoder


@dataclass(frozen=True, slots=True)
class Leader:
    """The live generation, as a silent one sees it: its name, and the topics that it reads."""

    name: str
    topics: Set[str]


@dataclass(frozen=True, slots=True)
class Role:
    """`live` says since which turn the generation is live, None for a silent one; `leader` whom a silent one follows,
    None where no generation is live."""

    live: Live | None
    leader: Leader | None = None

    @property
    def is_silent(self) -> bool:
        return self.live is None

    def forwards(self, topic: str) -> bool:
        """Whether strays of a topic are this generation's to forward: nobody else does who does not read it."""
        return self.live is not None or self.leader is None or topic not in self.leader.topics


def role_of(name: str, known: Generations, settings: Settings) -> Role:
    """The role of a generation, by what topic `generations` says."""
    if known.live_now is not None and known.live_now.name == name:
        return Role(known.live_now)
    live = known.live
    return Role(None, leader_of(live, settings) if live is not None else None)


def leader_of(live: Generation, settings: Settings) -> Leader:
    """The live generation as others see it."""
    return Leader(live.name, _topics_of(live.name, live.definitions) | {settings.rekeyed_topic})


@lru_cache(maxsize=8)
def _topics_of(name: str, definitions: str) -> frozenset[str]:
    """The topics of events that definitions read. Roles are asked for several times a second, and parsing thousands of
    segments takes a second."""
    decoder = EventDecoder.of(parse_definitions(definitions, f"generation {name}"))
    return frozenset(decoder.type_of_topic)
