"""One customer's profile in Redis against what the log says it must be. Pure.

Values are compared at the profile's own clock (`_as_of`), so that nothing depends on how far a shard's clock has come.
Of memberships the conditions at that clock decide, where they do: whoever is between `enter` and `exit` may be in or
out, which only the way there tells. The places where Redis has the same thing more than once are held to each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from profilestream.operations.verification.recomputing import Recomputed
from profilestream.oracle.aggregates import ProfileScope
from profilestream.oracle.definitions import Definitions, Segment, is_call
from profilestream.oracle.doubts import Doubt, Doubts, Gaps
from profilestream.oracle.memberships import must_be_in
from profilestream.oracle.values import format_time, parse_time, readable
from profilestream.store.snapshots import StoredProfile
from profilestream.wire.states import Summary, summary_of

About = Literal["profile", "field", "trait", "segment"]
Kind = Literal["mismatched", "missing", "extra"]
Reason = Doubt | Literal["either", "order"]
"""Why something was not compared: a doubt of the oracle; conditions between which a customer may be in or out; ids that
came again and were forgotten meanwhile, or not."""

ESTIMATE_OFF_MAX: Final = 0.1
"""How far an estimated `distinct` may be from the exact count: six times its standard error."""
AHEAD_MS: Final = 3 * 365 * 86_400_000
"""How far ahead a profile without `_valid_until` is looked at."""
_KNOWN: Final = {"_segments", "_revision", "_as_of", "_event_time", "_valid_until", "_missed"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be; `stored` and `recomputed` as JSON has them, None where absent."""

    about: About
    name: str
    kind: Kind
    customer_id: str
    stored: Any
    recomputed: Any
    note: str = ""


@dataclass(slots=True)
class Checked:
    """What was found of one customer; `unknown` has what could not be compared and why."""

    findings: list[Finding] = field(default_factory=list)
    unknown: list[tuple[About, str, Reason]] = field(default_factory=list)
    due: bool = False
    """Whether time has something to change in the profile that the worker has not come to write."""


def check(own: Recomputed, stored: StoredProfile, head_clock: int | None, gaps: Gaps, keys_max: int) -> Checked:
    """Compares a customer's profile, which is there, with the customer's events up to the same positions."""
    if not own.events:
        return _of_nobody(own, gaps)
    if own.order_decides:
        return Checked(unknown=[("profile", "", "order")])
    summary = None if stored.state is None else summary_of(stored.state)
    clocks = dict.fromkeys(c for c in (summary and summary.as_of, _time(stored.fields.get("_as_of"))) if c is not None)
    if not clocks:
        return Checked([Finding("profile", "", "mismatched", own.customer_id, None, None, "no state, no `_as_of`")])
    # Where the two differ one of them is wrong: the other is the clock to which the values fit.
    tries = [_Customer(own, stored, summary, clock, head_clock, gaps, keys_max).check() for clock in clocks]
    return min(tries, key=lambda tried: len(tried.findings))


def _of_nobody(own: Recomputed, gaps: Gaps) -> Checked:
    if gaps.types:
        return Checked(unknown=[("profile", "", "not_in_log")])
    note = "the log has no event of this customer"
    return Checked([Finding("profile", "", "extra", own.customer_id, None, None, note)])


class _Customer:
    """One comparison, at one clock."""

    def __init__(
        self,
        own: Recomputed,
        stored: StoredProfile,
        summary: Summary | None,
        clock: int,
        head_clock: int | None,
        gaps: Gaps,
        keys_max: int,
    ) -> None:
        self._own = own
        self._stored = stored
        self._fields = stored.fields
        self._summary = summary
        self._clock = clock
        self._head_clock = clock if head_clock is None else max(clock, head_clock)
        self._definitions: Definitions = own.history.definitions
        told = {_whole(self._fields.get("_revision")), summary.revision if summary else None}
        self._gaps = gaps
        self._whole = not gaps.types or own.events in told
        self._scope = ProfileScope(self._definitions, own.history, clock)
        self._doubts = Doubts(self._scope, gaps, self._whole, keys_max)
        self._certain: list[str] = []
        self._must: dict[str, bool | None] = {}
        self._found = Checked()

    def check(self) -> Checked:
        self._traits()
        self._segments()
        self._about_the_profile()
        self._until()
        return self._found

    def _say(self, about: About, name: str, kind: Kind, stored: Any, recomputed: Any, note: str = "") -> None:
        self._found.findings.append(Finding(about, name, kind, self._own.customer_id, stored, recomputed, note))

    # Traits

    def _traits(self) -> None:
        texts = {name: text for name, text in self._fields.items() if not name.startswith("_")}
        for name, node in self._definitions.traits.items():
            doubt = self._doubts.of_trait(name)
            value = self._scope.name(name)
            if doubt == "estimated" and is_call(node, "distinct") and isinstance(value, int):
                if _is_near(texts.get(name), value):
                    continue
            elif doubt is not None:
                self._found.unknown.append(("trait", name, doubt))
                continue
            else:
                self._certain.append(name)
            self._trait(name, texts.get(name), readable(value))
        for name in sorted(texts.keys() - self._definitions.traits.keys()):
            self._say("trait", name, "extra", _shown(texts[name]), None, "the definitions have no such trait")

    def _trait(self, name: str, text: bytes | None, wanted: Any) -> None:
        if text is None:
            if wanted is not None:
                self._say("trait", name, "missing", None, wanted)
            return
        try:
            actual = json.loads(text)
        except ValueError:
            self._say("trait", name, "mismatched", _shown(text), wanted, "this is no JSON")
            return
        if wanted is None:
            self._say("trait", name, "extra", actual, None)
        elif not identical(wanted, actual):
            self._say("trait", name, "mismatched", actual, wanted)

    # Segments

    def _segments(self) -> None:
        text = self._fields.get("_segments")
        memberships = _memberships(text)
        if memberships is None:
            self._say("field", "_segments", "missing" if text is None else "mismatched", _shown(text), None)
            return
        in_state = {n: m for n, m in self._summary.members.items() if m[0] % 2} if self._summary else {}
        places = {"`_segments`": memberships, "the sorted set": self._stored.entered}
        if self._summary:
            places["the state"] = in_state
        names = [s.name for s in self._definitions.segments]
        by_most = {n for n in names if 2 * sum(n in place for place in places.values()) > len(places)}
        self._must = must_be_in(self._scope, self._own.customer_id, by_most, self._is_doubtful)
        for segment in self._definitions.segments:
            name, must = segment.name, self._must[segment.name]
            if must is None:
                self._found.unknown.append(("segment", name, self._doubt(segment) or "either"))
            wanted = name in by_most if must is None else must
            wrong = [where for where, place in places.items() if (name in place) is not wanted]
            if wrong:
                kind: Kind = "missing" if wanted else "extra"
                self._say("segment", name, kind, not wanted, wanted, f"in {', '.join(wrong)}")
            elif wanted:
                self._same_entry(name, memberships[name], in_state.get(name))
        for name in sorted(memberships.keys() - set(names)):
            self._say("segment", name, "extra", True, False, "the definitions have no such segment")

    def _doubt(self, segment: Segment) -> Doubt | None:
        doubts = (self._doubts.of(condition) for condition in segment.conditions())
        return next((doubt for doubt in doubts if doubt is not None), None)

    def _is_doubtful(self, segment: Segment) -> bool:
        return self._doubt(segment) is not None

    def _same_entry(self, name: str, said: Mapping[str, Any], in_state: Any) -> None:
        """Of a member: since when, and the number of the crossing, wherever they stand."""
        since, crossing = _time(said.get("since")), said.get("crossing")
        entered = self._stored.entered[name]
        wanted = [crossing, since] if in_state is None else list(in_state)
        if [crossing, since] != wanted or since != entered or type(crossing) is not int or crossing % 2 != 1:
            stored = {"_segments": dict(said), "sorted set": format_time(entered)}
            kept = None if in_state is None else {"since": _text(in_state[1]), "crossing": in_state[0]}
            self._say("segment", name, "mismatched", stored, kept, "the time of entering, or the crossing's number")
        elif since > self._head_clock:
            # Not the profile's: what a promotion or a repair announces happens now, and leaves values as they are.
            self._say("segment", name, "mismatched", dict(said), None, "entered after the shard's clock")

    # What the profile says of itself

    def _about_the_profile(self) -> None:
        events = self._own.history.events
        summary = self._summary
        if summary is None:
            self._say("field", "state", "missing", None, None, "no state from which to fold on")
        if not self._stored.named:
            self._say("field", "customers", "missing", None, None, "the shard's set of customers lacks the name")
        revision = _whole(self._fields.get("_revision"))
        if not self._whole and revision is not None and (revision > self._own.events or self._gaps.more_in_log):
            self._found.unknown.append(("field", "_revision", "not_in_log"))
            self._same("_revision", str(revision), None if summary is None else str(summary.revision))
        else:
            self._same("_revision", str(self._own.events), None if summary is None else str(summary.revision))
        newest: int | None = max(event.occurred_ms for event in events)
        if not self._whole:
            known = None if summary is None else summary.event_time
            newest = known if self._gaps.more_in_log else _latest(newest, known)
        if newest is not None:
            self._same("_event_time", format_time(newest), None if summary is None else _text(summary.event_time))
        self._same("_as_of", format_time(self._clock), None if summary is None else _text(summary.as_of))
        self._missed()
        for name in sorted(n for n in self._fields if n.startswith("_") and n not in _KNOWN):
            self._say("field", name, "extra", _shown(self._fields[name]), None, "no field of a profile")

    def _same(self, name: str, wanted: str, in_state: str | None) -> None:
        text = _shown(self._fields.get(name))
        if text != wanted:
            self._say("field", name, "missing" if text is None else "mismatched", text, wanted)
        elif in_state is not None and in_state != wanted:
            self._say("field", name, "mismatched", in_state, wanted, "in the state")

    def _missed(self) -> None:
        """A trait of which the map was never full cannot have missed anything."""
        text = self._fields.get("_missed")
        if text is None:
            return
        try:
            missed = json.loads(text)
            wrong = [name for name in missed if name in self._certain or name not in self._definitions.traits]
        except (ValueError, TypeError):
            wrong, missed = [""], _shown(text)
        if wrong:
            self._say("field", "_missed", "extra", missed, None)

    def _until(self) -> None:
        """The timer is that of the profile, and no value and no certain membership changes before it."""
        text, timer = _shown(self._fields.get("_valid_until")), self._stored.timer
        until = _time(text)
        if (until is None) != (text is None) or until != timer:
            self._say("field", "_valid_until", "mismatched", text, None, f"the timer is {_text(timer)}")
            return
        if until is not None and until <= self._clock:
            self._say("field", "_valid_until", "mismatched", text, None, "not after `_as_of`")
            return
        self._found.due = until is not None and until <= self._head_clock
        last = self._clock + AHEAD_MS if until is None else until - 1
        if last == self._clock:
            return
        later = ProfileScope(self._definitions, self._own.history, last)
        for name in self._certain:
            if not identical(readable(self._scope.name(name)), readable(later.name(name))):
                self._say("field", "_valid_until", "mismatched", text, None, f"trait `{name}` changes before")
                return
        then = must_be_in(later, self._own.customer_id, self._scope.members, self._is_doubtful)
        for name, must in self._must.items():
            if None not in (must, then[name]) and must is not then[name]:
                self._say("field", "_valid_until", "mismatched", text, None, f"segment `{name}` changes before")
                return


def identical(one: Any, other: Any) -> bool:
    """Equal as JSON: an integer is not a float, true is not 1, the order of an object's keys is nothing."""
    if type(one) is type(other) and isinstance(one, int | str | None):
        return bool(one == other)
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _is_near(text: bytes | None, exact: int) -> bool:
    count = _whole(text)
    return count is not None and abs(count - exact) <= ESTIMATE_OFF_MAX * exact


def _memberships(text: bytes | None) -> dict[str, Mapping[str, Any]] | None:
    """What `_segments` says; None where it cannot be read."""
    try:
        found = json.loads(text or b"")
    except ValueError:
        return None
    return found if isinstance(found, dict) and all(isinstance(one, dict) for one in found.values()) else None


def _whole(text: bytes | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _time(text: Any) -> int | None:
    """The time that a text says exactly as a profile has it; None where it says none."""
    plain = _shown(text) if isinstance(text, bytes) else text
    try:
        at_ms = parse_time(plain) if isinstance(plain, str) else None
    except (ValueError, OverflowError):
        return None
    return at_ms if at_ms is not None and format_time(at_ms) == plain else None


def _latest(one: int | None, other: int | None) -> int | None:
    return max((at_ms for at_ms in (one, other) if at_ms is not None), default=None)


def _text(at_ms: int | None) -> str | None:
    return None if at_ms is None else format_time(at_ms)


def _shown(text: bytes | None) -> str | None:
    return None if text is None else text.decode("utf-8", "replace")
