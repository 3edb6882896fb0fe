"""Why bytes of a mapped source are no event: the slow way, by the map and the declarations.

As `faults` does for a type's own words: the first field at fault, in the order of the declarations, with
the path at which its value was looked for. It says nothing of values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from profilestream.core.events import EventType, Field
from profilestream.core.money import minor_digits
from profilestream.core.sources import BY_CURRENCY, Where, by_currency
from profilestream.wire.conversions import ConversionFault, conversion, minor_units
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.faults import Object, document_of, expected, field_faults, integer_bounds, surrogate_fault

_AT_FAULT: Final = ""
"""In place of a currency that is a fault itself, and is told as one at its own place."""


def find_mapped_fault(
    event_type: EventType, mapping: Mapping[str, Where], value: bytes | None, own_currency: str | None = None
) -> Rejection | None:
    """The first fault of a record of a mapped source; None where there is none.

    `own_currency` is that of a file's amounts without one.
    """
    document = document_of(value)
    if isinstance(document, Rejection):
        return document
    fields = event_type.by_name.values()
    currency = _currency(event_type.by_name["currency"], mapping, document) if by_currency(mapping) else None
    faults = _record_faults(fields, mapping, document, "", own_currency if currency is None else currency)
    return next(faults, None) or surrogate_fault(document)


def _currency(field: Field, mapping: Mapping[str, Where], document: Object) -> str | None:
    """The event's currency; None without one."""
    where = mapping[field.name]
    if next(_record_faults([field], mapping, document, "", None), None) is not None:
        return _AT_FAULT
    found: Any = document if where.path else where.value
    for key in where.path:
        found = None if found is None else dict(found).get(key)  # of a name that comes twice the last counts
    convert = conversion(field, where)
    if found is None:
        return None if field.default is None else str(field.default)
    return str(found if convert is None or not where.path else convert(found))


def _record_faults(
    fields: Iterable[Field], mapping: Mapping[str, Where], record: Object, prefix: str, currency: str | None
) -> Iterator[Rejection]:
    for field in fields:
        where = mapping[field.name]
        if field.kind == "object" and where.each:
            members = {f.name: f for f in field.record}
            for name, inner in where.each.items():
                if not inner.path:
                    continue  # a constant
                member = members.get(name, Field(name, "json", required=False))
                found = Where(where.path + inner.path, **_but_path(inner))
                yield from _place_faults(member, found, record, prefix, f"{field.name}.{name}", currency)
        elif where.path:
            yield from _place_faults(field, where, record, prefix, field.name, currency)


def _but_path(where: Where) -> dict[str, Any]:
    return {
        "named": where.named,
        "unit": where.unit,
        "decimals": where.decimals,
        "words": where.words,
        "each": where.each,
    }


def _place_faults(
    field: Field, where: Where, record: Object, prefix: str, ours: str, currency: str | None
) -> Iterator[Rejection]:
    path = prefix + ".".join(where.path)
    label = path if path == prefix + ours else f"{path} ({ours})"
    values: list[Any] = [record]
    for depth, key in enumerate(where.path):
        inner = []
        for value in values:
            if isinstance(value, Object):
                inner += [v for name, v in value if name == key] or [None]
            elif value is None:
                inner.append(None)
            else:
                yield Rejection("wrong_type", f"{prefix}{'.'.join(where.path[:depth])}: expected an object")
        values = inner
    for value in values:
        if value is not None:
            yield from _value_faults(field, where, value, label, currency)
        elif field.required:
            yield Rejection("missing_field", f"{label}: required, {_expected(field, where)}")


def _value_faults(field: Field, where: Where, value: Any, label: str, currency: str | None) -> Iterator[Rejection]:
    if field.kind == "records" and where.each and isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, Object):
                yield from _record_faults(field.record, where.each, item, f"{label}[{index}].", currency)
            else:
                yield Rejection("wrong_type", f"{label}[{index}]: expected an object")
        return
    convert = conversion(field, where)
    try:
        found = value if convert is None else convert(value)
        if isinstance(found, Decimal):
            if currency is None:
                yield Rejection("currency", f"{label}: expected a currency beside it, whose decimals it has")
                return
            if currency == _AT_FAULT:
                return
            found = minor_units(found, minor_digits(currency), integer_bounds(field))
    except ConversionFault as fault:
        yield Rejection(fault.reason, f"{label}: expected {_expected(field, where)}")
        return
    yield from field_faults(field, found, label)


def _expected(field: Field, where: Where) -> str:
    """What the value at the path must be: in their words where the map gives an amount in whole units."""
    if where.decimals is None:
        return expected(field)
    units = "minor units of its currency" if where.decimals == BY_CURRENCY else f"units of 1e-{where.decimals}"
    return f'an amount such as 12.5 or "12.50", which is {expected(field)} in {units}'
