"""The `[[tests]]` of a definitions file, read: every mistake in them is named, beside those of the file's other tables.

A test is about one customer: `given` are events, `at` is the moment that is looked at (the last event's if it is left
out), `expect` says what must be then. Of an event everything may be left out that does not matter: ids are filled in.
`repeat = { times = 20, every = "1d" }` stands for so many events; `{ topic = "...", value = { ... } }` for a record in
a source's own words.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from profilestream.core.definitions import Definitions
from profilestream.core.events import COMMON
from profilestream.core.problems import DefinitionsError, Problem, suggestion
from profilestream.core.vocabulary import span_ms
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.definitions import read_definitions, text_of
from profilestream.wire.events import EventDecoder
from profilestream.wire.times import format_time, parse_time

TESTS_MAX: Final = 10_000
EVENTS_MAX: Final = 100_000
CUSTOMER: Final = "customer"

_KEYS: Final = ("name", "customer", "given", "at", "expect")
_EXPECTED: Final = ("traits", "absent", "segments", "changes")
_HEADER: Final = re.compile(r"\s*\[\[\s*tests\s*\]\]")
_CHANGE: Final = re.compile(r"(entered|exited) (\S+)\Z")


@dataclass(frozen=True, slots=True)
class Given:
    """A record to fold: of a type, or of a topic in that topic's words."""

    name: str
    is_topic: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class DefinitionTest:
    """One test; `at_ms` None stands for the moment of the last event. What is None in `expect` is not looked at."""

    name: str
    line: int
    customer: str
    given: Sequence[Given]
    at_ms: int | None
    traits: Mapping[str, Any]
    absent: Sequence[str]
    segments: Sequence[str] | None
    changes: Sequence[str] | None


def read_with_tests(path: Path) -> tuple[Definitions, list[DefinitionTest]]:
    """The definitions in a file and its tests.

    Raises UsageError when it cannot be read, DefinitionsError with every mistake of both.
    """
    try:
        found = read_definitions(path)
    except DefinitionsError as error:
        raise DefinitionsError(error.file, [*error.problems, *problems_of_tests(text_of(path))]) from None
    return found, read_tests(found, str(path))


def read_tests(definitions: Definitions, file: str) -> list[DefinitionTest]:
    """The tests of a file, in its order. Raises DefinitionsError with every mistake in them."""
    reader = _Reader(definitions.by_trait, definitions.by_segment, definitions)
    found = reader.read_all(tomllib.loads(definitions.text).get("tests"), definitions.text)
    if reader.problems:
        raise DefinitionsError(file, reader.problems)
    return found


def problems_of_tests(text: str) -> list[Problem]:
    """The mistakes in the tests of a file whose other tables have mistakes of their own.

    Events are not looked at, since what they are held to is not known; names are known from the tables' keys.
    """
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError):
        return []

    def keys(name: str) -> Iterable[str]:
        return tables[name] if isinstance(tables.get(name), dict) else ()

    reader = _Reader(keys("traits"), keys("segments"), None)
    reader.read_all(tables.get("tests"), text)
    return reader.problems


class _Reader:
    """Reads tests against the names of traits and segments; without `definitions` it passes over what is given."""

    def __init__(self, traits: Iterable[str], segments: Iterable[str], definitions: Definitions | None) -> None:
        self.problems: list[Problem] = []
        self._traits = frozenset(traits)
        self._segments = frozenset(segments)
        self._decoder = None if definitions is None else EventDecoder.of(definitions)
        self._types = {} if definitions is None else definitions.types
        self._line = 0
        self._name = ""

    def read_all(self, tables: Any, text: str) -> list[DefinitionTest]:
        if not isinstance(tables, list):
            return []  # none, or told with the other tables' shapes
        if len(tables) > TESTS_MAX:
            self.problems.append(Problem(0, 0, f"{len(tables):,} tests; at most {TESTS_MAX:,}"))
            return []
        lines = [number for number, line in enumerate(text.splitlines(), 1) if _HEADER.match(line)]
        return [
            self.read(number, table, lines[number] if number < len(lines) else 0)
            for number, table in enumerate(tables)
            if isinstance(table, dict)
        ]

    def problem(self, message: str) -> None:
        self.problems.append(Problem(self._line, 1 if self._line else 0, f"{self._name}: {message}"))

    def read(self, number: int, table: Mapping[str, Any], line: int) -> DefinitionTest:
        self._line, self._name = line, f"test {number + 1}"
        name = table.get("name")
        if isinstance(name, str) and name:
            self._name = f"test `{name}`"
        else:
            self.problem('a test needs a name: name = "two orders make a big spender"')
        for key in table:
            if key not in _KEYS:
                self.problem(f"unknown key `{key}`{suggestion(key, _KEYS)}")
        customer = table.get("customer", CUSTOMER)
        if not isinstance(customer, str) or not customer:
            self.problem("`customer` is a text")
            customer = CUSTOMER
        given, latest = self._given(table.get("given"), customer)
        at_ms = self._time(table["at"], "`at`") if "at" in table else None
        if at_ms is not None and latest is not None and at_ms < latest:
            self.problem(f"`at` lies before the last event ({format_time(latest)})")
        expect = table.get("expect")
        if not isinstance(expect, dict) or not expect:
            self.problem("a test needs `expect = { traits = { ... }, segments = [ ... ] }`")
            expect = {}
        return DefinitionTest(self._name, line, customer, given, at_ms, **self._expected(expect))

    # What is given

    def _given(self, events: Any, customer: str) -> tuple[list[Given], int | None]:
        if not isinstance(events, list):
            self.problem('a test needs `given = [ { type = "purchase", ... } ]`; `[]` is no event at all')
            return [], None
        found: list[Given] = []
        latest: int | None = None
        for number, event in enumerate(events):
            label = f"given[{number}]"
            if not isinstance(event, dict):
                self.problem(f"{label} is a table: {{ type = ... }}")
                continue
            times, every_ms = self._repeat(event.get("repeat"), label)
            if self._decoder is None:
                continue
            for copy in range(times):
                read = self._event(self._decoder, event, customer, f"{number + 1}-{copy + 1}", copy * every_ms, label)
                if read is None:
                    break
                found.append(read[0])
                latest = max(read[1], latest) if latest is not None else read[1]
                if len(found) > EVENTS_MAX:
                    self.problem(f"more than {EVENTS_MAX:,} events")
                    return [], None
        return found, latest

    def _repeat(self, repeat: Any, label: str) -> tuple[int, int]:
        if repeat is None:
            return 1, 0
        if isinstance(repeat, dict) and repeat.keys() == {"times", "every"}:
            times, every_ms = repeat["times"], span_ms(str(repeat["every"]))
            if type(times) is int and 1 <= times <= EVENTS_MAX and every_ms is not None:
                return times, every_ms
        self.problem(f'{label}: `repeat` is written {{ times = 20, every = "1d" }}, with m, h, d or y')
        return 0, 0

    def _event(
        self,
        decoder: EventDecoder,
        event: Mapping[str, Any],
        customer: str,
        event_id: str,
        later_ms: int,
        label: str,
    ) -> tuple[Given, int] | None:
        """A record and its time; None, with a problem told, for one that would be a dead letter."""
        if "topic" in event:
            return self._record(decoder, event, label)
        name = event.get("type")
        types = self._types
        if not isinstance(name, str) or name not in types:
            hint = suggestion(name, types) if isinstance(name, str) else f"; there are {', '.join(sorted(types))}"
            self.problem(f"{label}: `type` names an event type{hint}")
            return None
        fields = {key: _plain(value) for key, value in event.items() if key not in ("type", "repeat")}
        known = {*types[name].by_name, *(f.name for f in COMMON)}
        for key in fields:
            if key not in known:
                self.problem(f"{label}: `{name}` has no field `{key}`{suggestion(key, known)}")
                return None
        if "occurred_at" not in fields:
            self.problem(f'{label} needs its time: occurred_at = "2026-01-31T09:30:00Z"')
            return None
        if later_ms:
            at_ms = self._time(fields["occurred_at"], f"{label}: `occurred_at`")
            fields["occurred_at"] = 0 if at_ms is None else at_ms + later_ms
            if "event_id" in fields:
                fields["event_id"] = f"{fields['event_id']}-{event_id}"
        value = json.dumps({"event_id": event_id, "customer_id": customer, **fields}).encode()
        decoded = decoder.decode(name, value)
        if isinstance(decoded, Rejection):
            self.problem(f"{label}: {decoded.reason}: {decoded.detail}")
            return None
        return Given(name, False, value), decoded.occurred_at

    def _record(self, decoder: EventDecoder, event: Mapping[str, Any], label: str) -> tuple[Given, int] | None:
        topics = decoder.type_of_topic
        topic, value = event["topic"], event.get("value")
        if topic not in topics or event.keys() != {"topic", "value"}:
            self.problem(
                f"{label}: a record is written {{ topic = ..., value = {{ ... }} }}; topics: {', '.join(topics)}"
            )
            return None
        text = value if isinstance(value, str) else json.dumps(_plain(value))
        decoded = decoder.decoder_for_topic(topic)(text.encode())
        if isinstance(decoded, Rejection):
            self.problem(f"{label}: {decoded.reason}: {decoded.detail}")
            return None
        return Given(topic, True, text.encode()), decoded.occurred_at

    def _time(self, value: Any, label: str) -> int | None:
        try:
            return parse_time(_plain(value))
        except (ValueError, TypeError):
            self.problem(f'{label} is a time with offset, such as "2026-01-31T09:30:00Z"')
            return None

    # What is expected

    def _expected(self, expect: Mapping[str, Any]) -> dict[str, Any]:
        for key in expect:
            if key not in _EXPECTED:
                self.problem(f"unknown key `{key}` in `expect`{suggestion(key, _EXPECTED)}")
        traits = expect.get("traits") or {}
        if not isinstance(traits, dict):
            self.problem("`expect.traits` is a table: { orders = 2 }")
            traits = {}
        absent = self._names(expect, "absent") or []
        for name in (*traits, *absent):
            if name not in self._traits:
                self.problem(f"no trait `{name}`{suggestion(name, self._traits)}")
        segments = self._names(expect, "segments")
        changes = self._names(expect, "changes")
        named = list(segments or [])
        for change in changes or []:
            match = _CHANGE.match(change)
            if match is None:
                self.problem(f'`{change}`: a change is written "entered big_spender" or "exited big_spender"')
            else:
                named.append(match[2])
        for name in dict.fromkeys(named):
            if name not in self._segments:
                self.problem(f"no segment `{name}`{suggestion(name, self._segments)}")
        return {"traits": _plain(traits), "absent": absent, "segments": segments, "changes": changes}

    def _names(self, expect: Mapping[str, Any], key: str) -> list[str] | None:
        found = expect.get(key)
        if found is None:
            return None
        if isinstance(found, list) and all(isinstance(name, str) for name in found):
            return found
        self.problem(f"`expect.{key}` is a list of texts")
        return None


def _plain(value: Any) -> Any:
    """TOML's values as JSON's: a date with a time becomes its text, UTC where it has no offset."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
