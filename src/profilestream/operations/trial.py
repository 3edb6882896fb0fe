"""A trial: a file of events folded in memory by the worker's own core, without a server.

One clock serves all customers, as in an installation with one shard. It follows the events; a record arrives
when it occurs, so none is too far ahead. Whatever falls due between two events happens in between.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from profilestream.core.definitions import Definitions
from profilestream.core.engine import Crossing, Engine
from profilestream.core.errors import UsageError
from profilestream.core.events import COMMAND, COMMON
from profilestream.core.explanation import Explanation, explain_segments
from profilestream.core.problems import suggestion
from profilestream.core.profile import Profile
from profilestream.core.words import NEVER
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.events import Event, EventDecoder

CUSTOMERS_MAX: Final = 200_000
LETTERS_KEPT: Final = 10_000
CHANGES_KEPT: Final = 1_000_000


class Change(NamedTuple):
    """A crossing: `crossing` is odd for `entered`; `line` is that of the event that caused it, None for time."""

    customer_id: str
    segment: str
    change: str
    crossing: int
    at_ms: int
    values: Mapping[str, Any]
    line: int | None


class Letter(NamedTuple):
    """A line that is no event: why, by the reasons of dead letters."""

    line: int
    type_name: str
    reason: str
    detail: str


@dataclass(slots=True)
class _Cause:
    line: int


class Trial:
    """Folds events one by one. `events`, `duplicates`, `letters`, `changes` and `clock` (ms) tell what came of it."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.events = 0
        self.duplicates = 0
        self.letters_count = 0
        self.letters: list[Letter] = []
        self.changes: list[Change] = []
        self.clock: int | None = None
        self._engine = Engine(definitions)
        self._decoder = EventDecoder.of(definitions)
        self._profiles: dict[str, Profile] = {}
        self._due: list[tuple[int, str]] = []

    @property
    def customers(self) -> list[str]:
        """Everyone with a profile, in order of their first event."""
        return list(self._profiles)

    def feed(self, type_name: str, value: bytes, line: int) -> None:
        """Folds an event of a type, in the type's own words; a bad one becomes a letter.

        Raises KeyError for an unknown type, UsageError for more customers than a trial holds.
        """
        self._fold(type_name, self._decoder.decode(type_name, value), line)

    def feed_topic(self, topic: str, value: bytes, line: int) -> None:
        """Folds a record of a topic, in the topic's words; as `feed`."""
        self._fold(self._decoder.type_of_topic[topic], self._decoder.decoder_for_topic(topic)(value), line)

    def _fold(self, type_name: str, event: Event | Rejection, line: int) -> None:
        if isinstance(event, Rejection):
            self.refuse(line, type_name, event.reason, event.detail)
            return
        customer_id = event.customer_id
        profile = self._profiles.get(customer_id)
        if profile is None:
            if len(self._profiles) >= CUSTOMERS_MAX:
                raise UsageError(f"more than {CUSTOMERS_MAX:,} customers; a trial is for fewer, a worker for more")
            profile = self._engine.new_profile(customer_id)
        clock = event.occurred_at if self.clock is None else max(self.clock, event.occurred_at)
        crossings: list[Crossing] = []
        handler = self._engine.handlers[type_name]
        if self._engine.had(profile, event, handler, event.occurred_at):
            self.duplicates += 1  # no time passes by an event that is not folded
            return
        self._pass_time(clock)
        self._engine.fold(profile, event, handler, clock, event.occurred_at, crossings, _Cause(line))
        self.events += 1
        self.clock = clock
        self._profiles[customer_id] = profile
        self._note(customer_id, profile, crossings)

    def refuse(self, line: int, type_name: str, reason: str, detail: str) -> None:
        """Counts a line that is no event, and keeps why."""
        self.letters_count += 1
        if len(self.letters) < LETTERS_KEPT:
            self.letters.append(Letter(line, type_name, reason, detail))

    def advance(self, clock: int) -> None:
        """Lets time pass to a moment (ms), for everyone; nothing happens where the clock is later already."""
        if self.clock is None or clock > self.clock:
            self._pass_time(clock)
            self.clock = clock

    def traits(self, customer_id: str) -> dict[str, Any]:
        """The traits of a customer as readers see them; {} for one without an event."""
        profile = self._profiles.get(customer_id)
        return {} if profile is None else self._engine.values(profile)

    def missed(self, customer_id: str) -> dict[str, int]:
        """For each trait whose bounded map was full: how many values did not fit."""
        profile = self._profiles.get(customer_id)
        return {} if profile is None else self._engine.missed(profile)

    def segments(self, customer_id: str) -> dict[str, int]:
        """The segments that a customer is in, in the file's order, with the time of entering (ms)."""
        profile = self._profiles.get(customer_id)
        kept = {} if profile is None else profile.members
        names = [s.name for s in self.definitions.segments]
        return {name: kept[name][1] for name in names if name in kept and kept[name][0] % 2}

    def explain(self, customer_id: str, segment: str | None = None) -> list[Explanation]:
        """Why a customer is in a segment or not; without one, for all. A stranger is explained as without events."""
        profile = self._profiles.get(customer_id) or self._engine.new_profile(customer_id)
        return explain_segments(self._engine, profile, self.clock or 0, None if segment is None else [segment])

    def _pass_time(self, clock: int) -> None:
        """Everything due at or before the clock, by customer, in order of time."""
        while self._due and self._due[0][0] <= clock:
            due, customer_id = heapq.heappop(self._due)
            profile = self._profiles[customer_id]
            if profile.due != due:
                continue  # an event has moved it meanwhile
            crossings: list[Crossing] = []
            self._engine.advance(profile, due, crossings)
            self._note(customer_id, profile, crossings)

    def _note(self, customer_id: str, profile: Profile, crossings: list[Crossing]) -> None:
        if profile.due != NEVER:
            heapq.heappush(self._due, (profile.due, customer_id))
        for c in crossings:
            if len(self.changes) >= CHANGES_KEPT:
                raise UsageError(f"more than {CHANGES_KEPT:,} segment changes; a trial is for fewer, a worker for more")
            line = None if c.event is None else c.event.line
            what = "entered" if c.crossing % 2 else "exited"
            self.changes.append(Change(customer_id, c.segment, what, c.crossing, c.at, c.values, line))


class Lines:
    """Decides of which type a line of a file is, and feeds it.

    `topic` (or type) counts for every line that does not say its `type` itself; without one, the file's name does
    where it is that of a topic or a type, and else the one type all of whose own required fields the line has.
    """

    def __init__(self, trial: Trial, topic: str | None, stem: str) -> None:
        definitions = trial.definitions
        self._trial = trial
        self._types = definitions.types
        topics = {s.topic: s for s in definitions.sources if s.type_name != COMMAND}
        if topic is not None and topic not in topics and topic not in self._types:
            raise UsageError(f"no topic and no event type `{topic}`{suggestion(topic, {**topics, **self._types})}")
        name = topic or stem
        source = topics.get(name)
        self._mapped = name if source is not None and source.mapping is not None else None
        self._type = source.type_name if source is not None else name if name in self._types else None

    def feed(self, line: int, text: bytes) -> None:
        """One line; a blank one is nothing."""
        if not text.strip():
            return
        if self._mapped is not None:  # in its own words: a `type` there is not ours
            self._trial.feed_topic(self._mapped, text, line)
            return
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            self._trial.refuse(line, self._type or "?", "not_json", "the line: expected one JSON object in UTF-8")
            return
        said = record.get("type") if isinstance(record, dict) else None
        type_name = said if isinstance(said, str) else self._type or self._guess(record)
        if type_name is None:
            self._trial.refuse(line, "?", "missing_field", "type: say of which type the line is, or give --topic")
        elif type_name not in self._types:
            self._trial.refuse(line, "?", "wrong_type", "type: expected an event type of the definitions")
        else:
            self._trial.feed(type_name, text, line)

    def _guess(self, record: Any) -> str | None:
        """The one type whose own required fields are there, and at least one field of its own."""
        if not isinstance(record, dict):
            return None
        common = {f.name for f in COMMON}
        fits = {}
        for event_type in self._types.values():
            own = [f for f in event_type.fields if f.name not in common]
            if all(f.name in record for f in own if f.required) and (count := sum(f.name in record for f in own)):
                fits[event_type.name] = count
        best = [name for name, count in fits.items() if count == max(fits.values())]
        return best[0] if len(best) == 1 else None
