"""Strategies for event types, maps of other systems' topics, and records of these: mostly valid, then damaged."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from profilestream.oracle.declarations import Declared, fields_of
from profilestream.oracle.sources import CLOUDEVENTS

MARK = "§"
"""Stands in every text of a record, and nowhere in a definitions file: what shows it tells of a record's values."""
KEYS = ("a", "b", "user", "id", "data", "~kind", "~~", "_0", "_1", "x.y", "größe", "kind", "class", "amount_minor")
NAMES = ("a", "b", "kind", "class", "id", "amount_minor", "currency", "due_at", "tags", "lines", "from")
DECLARED: Mapping[str, tuple[str, ...]] = {
    "string": ("string", "string?", "string = word"),
    "int": ("int", "int?", "int 0..130", "int -5..?", "int 1.. = 3"),
    "number": ("number", "number?", "number -1..1", "number 0..?", "number ..9 = 0.5"),
    "boolean": ("boolean", "boolean?", "boolean = true"),
    "time": ("time", "time?", "time = 2026-01-01T00:00:00Z"),
    "currency": ("currency", "currency?", "currency = EUR"),
    "object": ("object", "object?"),
    "strings": ("strings?",),
    "json": ("json", "json?", "json = 7"),
}
FACTS = {"age": "int 0..130", "since_when": "time", "vip": "boolean", "city": "string", "share": "number 0..1"}
MONEY = {"currency": "EUR", "rates": {"USD": "0.92", "JPY": "0.00625", "KWD": 3}}
JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 2.0, -0.0, 1e300, 10**25, 2**63, MARK, MARK * 201, "12", "+5", "12.345", "0.5",
    "1e5", "", "\ud800", "a\u0007", "eur", "EUR", "eß", "\u0663", "9" * 25, "2026-01-31T09:30:00.5Z",
    "2026-02-30T00:00:00Z", [], {}, [MARK], [1], [{}], {"a": 1}, {"age": "41"},
)  # fmt: skip
NEARLY: Mapping[str, tuple[Any, ...]] = {
    "string": (10**199, 10**200, 10**2000, "", 1.0),
    "int": ("12.5", "1e3", 1.0, True, 0.125, "0.125", "\u0663", 2**63, " 1"),
    "number": ("1e999", "-0", "1.", ".5", True, 2**63, "9" * 25),
    "boolean": (MARK, "true", 1),
    "time": ("soon", "1e9", 1e300, True, 10**17, "9" * 30),
    "currency": ("eß", "euro", "eu", "\u017fek", 978),
    "object": (None, [], MARK),
    "records": ([None], {}, [MARK]),
}
"""What a kind of field takes only nearly, or only under a map."""
junk = st.sampled_from(JUNK).map(copy.deepcopy)


@dataclass(frozen=True)
class Case:
    """A definitions file with one mapped source on topic `theirs`, and a record of it."""

    tables: Mapping[str, Any]
    type_name: str
    record: dict[str, Any]

    @property
    def text(self) -> str:
        return toml(self.tables)

    @property
    def source(self) -> dict[str, Any]:
        return dict(self.tables["sources"]["theirs"])


def toml(tables: Mapping[str, Any]) -> str:
    """A definitions file of plain data, on a line for each table."""
    return "".join(f"{name} = {_inline(table)}\n" for name, table in tables.items())


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k, ensure_ascii=False)} = {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def one_in(n: int) -> st.SearchStrategy[bool]:
    """True once in so many draws (at 0 alone, which is drawn more often than others, it would be many more)."""
    return st.sampled_from((*[False] * (n - 1), True))


@st.composite
def declarations(draw: st.DrawFn, names: tuple[str, ...], records: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=6, unique=True)):
        kind = draw(st.sampled_from((*DECLARED, "records") if records else tuple(DECLARED)))
        if kind == "records":
            found[name] = [draw(declarations(names, records=False))]
        else:
            found[name] = draw(st.sampled_from(DECLARED[kind]))
    return found


@st.composite
def types(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """Tables that declare types, facts and money, and the type that the source has."""
    tables: dict[str, Any] = {"settings": MONEY} if draw(st.booleans()) else {}
    type_name = draw(st.sampled_from(("thing", "thing", "thing", "purchase", "support", "attributes", "attributes")))
    if type_name == "thing":
        tables["types"] = {"thing": {"fields": draw(declarations(NAMES))}}
    if type_name == "attributes" and not draw(one_in(4)):
        tables["attributes"] = FACTS
    return tables, type_name


@st.composite
def paths(draw: st.DrawFn) -> str:
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3))
    return ".".join(f"'{key}'" if "." in key or draw(one_in(10)) else key for key in keys)


@st.composite
def _new_paths(draw: st.DrawFn, used: list[str]) -> str:
    """A path that is mostly apart from those used so far, but may be one of them or lead through one."""
    path = draw(paths())
    if used and draw(one_in(8)):
        path = draw(st.sampled_from(used)) + draw(st.sampled_from(("", "", "." + path)))
    elif any((path + ".").startswith(other + ".") or (other + ".").startswith(path + ".") for other in used):
        path = f"apart{len(used)}.{path}" if draw(st.booleans()) else f"_{len(used)}apart"
    used.append(path)
    return path


def _word(field: Declared) -> Any:
    """A value of ours that a field takes, for constants and words; None where there is none."""
    bound = field.low if field.low is not None else field.high if field.high is not None else 3
    words = {"string": "ours", "int": bound, "number": bound, "boolean": False, "currency": "USD", "json": 1.5}
    return words.get(field.kind)


@st.composite
def said(draw: st.DrawFn, field: Declared, used: list[str], deep: bool = True, priced: bool = False) -> Any:
    """What a map says of a field; `used` are the paths so far, for some to be shared or led through. `priced`: the
    type has a currency, so that its amounts may have that one's decimals."""
    constant = "2026-01-01T00:00:00Z" if field.kind == "time" else _word(field)
    choice = draw(st.integers(0, 9))
    if choice == 0 and not field.required and deep:
        return False
    if choice == 1 and constant is not None:
        return {"value": constant}
    path = draw(_new_paths(used))
    if path.count(".") > 9 or choice < (2 if field.kind in ("object", "records", "boolean") else 5):
        return path
    table: dict[str, Any] = {"path": path}
    if field.kind == "time" and draw(st.booleans()):
        table["unit"] = draw(st.sampled_from(("s", "ms", "us")))
    if field.kind == "int" and priced and field.name.endswith("_minor"):
        table["decimals"] = draw(st.sampled_from(("currency", "currency", 2)))
    elif field.kind == "int" and draw(st.booleans()):
        table["decimals"] = draw(st.integers(0, 3))
    if field.kind in ("string", "int", "number", "boolean", "currency") and draw(st.booleans()):
        table["words"] = {"order.created": _word(field), "12": _word(field)}
    if deep and field.kind == "object" and not draw(one_in(4)):
        if draw(st.booleans()):
            table.pop("path")
        names = draw(st.lists(st.sampled_from((*FACTS, "else", "~kind")), min_size=1, max_size=4, unique=True))
        members = {m.name: m for m in field.members}
        inner: list[str] = []
        table["each"] = {n: draw(said(members.get(n, Declared(n, "json")), inner, deep=False)) for n in names}
    if deep and field.kind == "records":
        some = draw(st.lists(st.sampled_from(field.members), min_size=1, unique=True))
        inner = []
        table["each"] = {m.name: draw(said(m, inner, priced=priced)) for m in some}
    return table


# Records


@st.composite
def values(draw: st.DrawFn, field: Declared, table: Any) -> Any:
    """A value in the source's words that mostly stands."""
    given = table if isinstance(table, Mapping) else {}
    if draw(one_in(40)):
        return draw(st.sampled_from(NEARLY[field.kind]) if field.kind in NEARLY else junk)
    if "words" in given and draw(st.booleans()):
        return "order.created"
    named = table is not None
    low = field.low if field.low is not None else -3 if field.high is None else field.high - 3
    high = field.high if field.high is not None else low + 200
    match field.kind:
        case "string":
            return draw(st.sampled_from((MARK, f"{MARK}c1", *((17, 10**19) if named else ()))))
        case "int" if "decimals" in given:
            digits = draw(st.sampled_from((0, 2, 3))) if given["decimals"] == "currency" else given["decimals"]
            scale = 10**digits
            cents = draw(st.integers(low, high))
            tie = str(Decimal(10 * cents + 5).scaleb(-digits - 1))
            return draw(st.sampled_from((cents // scale, cents / scale, str(cents / scale), tie, f"{tie}1")))
        case "int" | "number":
            number = draw(st.integers(low, high))
            floats = (0.5, float(number)) if field.kind == "number" else ()
            return draw(st.sampled_from((number, *floats, *((str(number),) if named else ()))))
        case "boolean":
            return draw(st.booleans())
        case "time":
            numbers = (1_700_000_000, 1.7e9, "1700000000.5", -1.5) if "unit" in given else (1_700_000_000_000,)
            return draw(st.sampled_from(("2026-01-31T09:30:00Z", "2026-01-31 09:30:00.0019+02:00", *numbers)))
        case "currency":
            return draw(st.sampled_from(("EUR", "USD", "JPY", "USD", "GBP", *(("usd", "eß") if named else ()))))
        case "strings":
            return draw(st.lists(st.just(MARK), max_size=2))
        case "object":
            facts = {m.name: draw(values(m, None)) for m in field.members if draw(st.booleans())}
            return {"z": MARK, **facts}
        case "records":
            each = given.get("each", {})
            return draw(st.lists(_filled(field.members, each, False), max_size=3))
    return draw(junk.filter(lambda value: value != "\ud800"))


@st.composite
def _filled(draw: st.DrawFn, fields: tuple[Declared, ...], mapping: Mapping[str, Any], envelope: bool) -> Any:
    record: dict[str, Any] = {}
    for field in fields:
        table = mapping.get(field.name)
        if table is False or (not field.required and draw(one_in(5))):
            continue
        outer = keys_of(table, field.name, envelope)
        if isinstance(table, Mapping) and "each" in table and field.kind == "object":
            members = {m.name: m for m in field.members}
            for name, inner in table["each"].items():
                member = members.get(name, Declared(name, "json"))
                _put(record, [*outer, *keys_of(inner, "", False)], draw(values(member, inner)))
        elif outer:
            _put(record, outer, draw(values(field, table)))
    return record


def keys_of(table: Any, name: str, envelope: bool) -> list[str]:
    """The keys of the path at which a map says that a field stands."""
    if table is None:
        return [CLOUDEVENTS[name]] if envelope and name in CLOUDEVENTS else ["data", name] if envelope else [name]
    path = table if isinstance(table, str) else table.get("path", "")
    return [part.replace("\0", ".") for part in path.replace("'x.y'", "x\0y").replace("'", "").split(".") if part]


def _put(record: dict[str, Any], keys: list[str], value: Any) -> None:
    """Puts a value at its place, unless something is there or in between."""
    for key in keys[:-1]:
        record = record.setdefault(key, {})
        if not isinstance(record, dict):
            return
    if keys:
        record.setdefault(keys[-1], value)


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list) and value:
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _containers(inner)


@st.composite
def damaged(draw: st.DrawFn, record: dict[str, Any]) -> dict[str, Any]:
    """A record with one thing gone, another, or too much in it."""
    record = copy.deepcopy(record)
    holder = draw(st.sampled_from(list(_containers(record)) or [record]))
    key = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else range(len(holder)))) if holder else "a"
    match draw(st.sampled_from(("gone", "null", "junk", "junk", "more"))):
        case "gone" if isinstance(holder, dict):
            holder.pop(key, None)
        case "null":
            holder[key] = None
        case "more" if isinstance(holder, dict):
            holder[draw(st.sampled_from(KEYS))] = draw(junk)
        case _:
            holder[key] = draw(junk)
    return record


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A source in other words, and a record of it."""
    tables, type_name = draw(types())
    fields = fields_of(tables, type_name)
    envelope = draw(one_in(5))
    named = [f for f in fields if not draw(one_in(3))]
    used = [".".join(keys_of(None, f.name, envelope)) for f in fields if f not in named]
    priced = any(f.name == "currency" and f.kind == "currency" for f in fields)
    mapping = {f.name: draw(said(f, used, priced=priced)) for f in named}
    source = {"topic": "theirs", "type": type_name, "map": mapping} | ({"envelope": "cloudevents"} if envelope else {})
    record = draw(_filled(fields, mapping, envelope))
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 1, 2)))):
        record = draw(damaged(record))
    return Case({**tables, "sources": {"theirs": source}}, type_name, record)


@st.composite
def own_cases(draw: st.DrawFn) -> Case:
    """A source whose map names each field by itself, and a record of it."""
    tables, type_name = draw(types())
    fields = fields_of(tables, type_name)
    record = draw(_filled(fields, {}, False))
    for _ in range(draw(st.sampled_from((0, 0, 1, 2)))):
        record = draw(damaged(record))
    source = {"topic": "theirs", "type": type_name, "map": {f.name: f.name for f in fields}}
    return Case({**tables, "sources": {"theirs": source}}, type_name, record)
