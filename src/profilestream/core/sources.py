"""Sources: which topics carry events of which type, and in what words.

Without a `map` or an `envelope` a topic speaks the type's own words, and stands for the type's own topic.
With one it is another system's topic, read besides. A map says for each field of the type where its value
is found::

    where  := PATH | { path = PATH, ... } | { value = CONSTANT } | { each = { field = where } } | false
    PATH   := key ("." key)*          a key with a dot in it stands in single quotes

Beside `path` may stand `unit` (of a time that is a number), `decimals` (of an amount in whole units: a number,
or "currency" for as many as the event's own currency has), `words` (this topic's words for ours) and `each` (the
fields of each element of a list). `false` says that the topic's own field of that name means something else.
Fields that a map does not name keep their name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from profilestream.core.events import EventType, Field
from profilestream.core.money import AMOUNT_SUFFIX
from profilestream.core.problems import suggestion

TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}\Z")
UNITS: Final[Mapping[str, int]] = {"s": 1_000_000, "ms": 1_000, "us": 1}
"""Microseconds in each unit of a time that is a number."""
DECIMALS_MAX: Final = 9
BY_CURRENCY: Final = "currency"
"""As `decimals`: as many as the minor unit of the event's currency has."""
DEPTH_MAX: Final = 16
WORDS_MAX: Final = 1_000
CLOUDEVENTS: Final = "cloudevents"

_KEY: Final = re.compile(r"'(?P<quoted>[^']+)'|(?P<plain>[^.'\s][^.']*)")
_UNUSABLE: Final = re.compile(r'[\x00-\x1f"\\]')
_ENVELOPE: Final[Mapping[str, tuple[str, ...]]] = {
    "event_id": ("id",),
    "customer_id": ("subject",),
    "occurred_at": ("time",),
    "source": ("source",),
}


@dataclass(frozen=True, slots=True)
class Where:
    """Where a field's value is found in a record, and what is done to it.

    `path` are the keys from the record's root (of an element: from the element). `named` says that the file
    names it, which lets a text hold a number and a number stand for a text. Without a path and without
    `each` it is the constant `value`, or nothing at all where that is None.
    """

    path: tuple[str, ...] = ()
    named: bool = False
    value: Any = None
    unit: str | None = None
    decimals: int | str | None = None
    words: Mapping[str, Any] = field(default_factory=dict)
    each: Mapping[str, Where] | None = None

    @property
    def plain(self) -> bool:
        """Whether the value is taken exactly as the field's own kind takes it."""
        return not (self.named or self.each or self.unit or self.words) and self.decimals is None

    @property
    def gives(self) -> bool:
        """Whether a record may give a value at all."""
        return bool(self.path) or self.value is not None or self.each is not None


@dataclass(frozen=True, slots=True)
class Source:
    """A topic that is consumed: the type of its events, and for each field of the type where it is found.

    `mapping` is None where the topic speaks the type's own words.
    """

    name: str
    topic: str
    type_name: str
    mapping: Mapping[str, Where] | None = None


class MapError(ValueError):
    """What is wrong with a map: a sentence for each field, which names it."""

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = tuple(messages)
        super().__init__("\n".join(self.messages))


def read_mapping(event_type: EventType, table: Mapping[str, Any], envelope: str | None) -> dict[str, Where]:
    """Where each field of a type is found, by the file's `map` and `envelope`.

    Raises MapError: which fields, what is wrong and what would be right.
    """
    found: dict[str, Where] = {}
    wrong: list[str] = []
    for name, said in table.items():
        if name not in event_type.by_name:
            wrong.append(
                f"`{name}` is no field of `{event_type.name}`; a map says which of the topic's fields each of ours is: "
                f'ours = "theirs"{suggestion(name, event_type.by_name)}'
            )
            continue
        try:
            found[name] = _where(event_type.by_name[name], said, name)
        except MapError as error:
            wrong += error.messages
        except ValueError as error:
            wrong.append(str(error))
    for name, declared in event_type.by_name.items():
        if name not in found:
            found[name] = Where(_ENVELOPE.get(name, ("data", name)) if envelope == CLOUDEVENTS else (name,))
        if declared.required and not found[name].gives:
            wrong.append(f"`{name}` is required: say where it is found, or give it a constant {{ value = ... }}")
    currency = event_type.by_name.get("currency")
    if currency is None or currency.kind != "currency":
        wrong += [
            f"`{label}`: `{event_type.name}` has no field `currency` of kind currency; give `decimals` a number"
            for label in by_currency(found)
        ]
    if wrong:
        raise MapError(wrong)
    return {name: found[name] for name in event_type.by_name}


def by_currency(mapping: Mapping[str, Where]) -> list[str]:
    """The fields, as `amount_minor` or `items.unit_price_minor`, that have the decimals of the event's currency."""
    found = []
    for name, where in mapping.items():
        if where.decimals == BY_CURRENCY:
            found.append(name)
        found += [f"{name}.{inner}" for inner in by_currency(where.each or {})]
    return found


def _where(declared: Field, said: Any, label: str) -> Where:
    if said is False:
        return Where(named=True)
    if isinstance(said, str):
        return Where(_path(said, label), named=True)
    if not isinstance(said, Mapping):
        raise ValueError(f'`{label}`: write a path such as "user.id", or {{ value = ... }} for a constant')
    known = ("path", "value", "unit", "decimals", "words", "each")
    for key in said:
        if key not in known:
            raise ValueError(f"`{label}`: unknown key `{key}`{suggestion(key, known)}")
    if "value" in said:
        if len(said) > 1:
            raise ValueError(f"`{label}`: a constant has `value` alone")
        return Where(named=True, value=_constant(declared, said["value"], label))
    each = _each(declared, said["each"], label) if "each" in said else None
    if "path" not in said and (each is None or declared.kind != "object"):
        raise ValueError(f'`{label}`: say where it is found: {{ path = "..." }}')
    return Where(
        path=_path(said["path"], label) if "path" in said else (),
        named=True,
        unit=_unit(declared, said.get("unit"), label),
        decimals=_decimals(declared, said.get("decimals"), label),
        words=_words(declared, said.get("words"), label),
        each=each,
    )


def _path(text: Any, label: str) -> tuple[str, ...]:
    if not isinstance(text, str) or not text:
        raise ValueError(f'`{label}`: a path is a text such as "user.id"')
    keys, at = [], 0
    while True:
        match = _KEY.match(text, at)
        if match is None:
            raise ValueError(f"`{label}`: `{text}` is no path; write keys with dots between them, such as user.id")
        keys.append(match["quoted"] or match["plain"].strip())
        at = match.end()
        if at == len(text):
            break
        if text[at] != ".":
            raise ValueError(f"`{label}`: `{text}` is no path; a dot stands between two keys")
        at += 1
    if len(keys) > DEPTH_MAX:
        raise ValueError(f"`{label}`: a path has at most {DEPTH_MAX} keys")
    if any(_UNUSABLE.search(key) for key in keys):
        raise ValueError(f"`{label}`: a key with quotes, backslashes or control characters cannot be mapped")
    return tuple(keys)


def _constant(declared: Field, value: Any, label: str) -> Any:
    if isinstance(value, str | int | float) and declared.kind not in ("object", "strings", "records"):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"`{label}`: infinities and nan are no JSON numbers")
        return value
    raise ValueError(f"`{label}`: a constant is a string, a number, true or false")


def _unit(declared: Field, unit: Any, label: str) -> str | None:
    if unit is None:
        return None
    if declared.kind != "time":
        raise ValueError(f"`{label}`: only a time has a `unit`")
    if not isinstance(unit, str) or unit not in UNITS:
        raise ValueError(f'`{label}`: `unit` is one of "s", "ms", "us" (since 1970)')
    return str(unit)


def _decimals(declared: Field, decimals: Any, label: str) -> int | str | None:
    if decimals is None:
        return None
    if declared.kind != "int":
        raise ValueError(f"`{label}`: only an int has `decimals`, which turn 12.34 into 1234")
    if decimals == BY_CURRENCY:
        if not declared.name.endswith(AMOUNT_SUFFIX):
            raise ValueError(f'`{label}`: only an amount, which ends in `{AMOUNT_SUFFIX}`, has `decimals = "currency"`')
        return BY_CURRENCY
    if type(decimals) is not int or not 0 <= decimals <= DECIMALS_MAX:
        raise ValueError(f'`{label}`: `decimals` is a number from 0 to {DECIMALS_MAX}, or "currency"')
    return decimals


def _words(declared: Field, words: Any, label: str) -> Mapping[str, Any]:
    if words is None:
        return {}
    if declared.kind not in ("string", "currency", "int", "number", "boolean"):
        raise ValueError(f"`{label}`: `words` translate texts, and this is {declared.kind}")
    if not isinstance(words, Mapping) or not all(isinstance(v, str | int | float | bool) for v in words.values()):
        raise ValueError(f'`{label}`: `words` is a table: {{ "order.created" = "order" }}')
    if len(words) > WORDS_MAX:
        raise ValueError(f"`{label}`: at most {WORDS_MAX:,} words")
    return dict(words)


def _each(declared: Field, table: Any, label: str) -> Mapping[str, Where]:
    if not isinstance(table, Mapping) or not table:
        raise ValueError(f'`{label}`: `each` is a table: {{ sku = "product.id" }}')
    if declared.kind == "object":
        typed = {f.name: f for f in declared.record}
        members = {name: typed.get(name, Field(name, "json", required=False)) for name in table}
    elif declared.kind == "records":
        members = {f.name: f for f in declared.record}
    else:
        raise ValueError(f"`{label}`: only a list of records, or an object, has `each`")
    found: dict[str, Where] = {}
    wrong: list[str] = []
    for name, said in table.items():
        if name not in members:
            wrong.append(f"`{label}`: `{name}` is none of its fields{suggestion(name, members)}")
            continue
        try:
            found[name] = _where(members[name], said, f"{label}.{name}")
        except ValueError as error:
            wrong.append(str(error))
            continue
        if declared.kind == "object" and (found[name].each or (not found[name].path and found[name].value is None)):
            wrong.append(f"`{label}.{name}`: give a path or a constant")
    if declared.kind == "records":
        found |= {name: Where((name,)) for name in members if name not in found}
        for name, member in members.items():
            if member.required and not found[name].gives:
                wrong.append(f"`{label}.{name}` is required: say where it is found, or give it a constant")
    if wrong:
        raise MapError(wrong)
    return {name: found[name] for name in (members if declared.kind == "records" else table)}
