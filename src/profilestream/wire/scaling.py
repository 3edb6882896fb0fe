"""Amounts that have as many decimals as their event's own currency: from whole units to its minor units.

A map with `decimals = "currency"` leaves an amount as an exact Decimal until all of its event is read, for the
currency may stand behind it. An event without a currency is in the file's own. Where the file has none either,
nobody knows what the amount is, and the event is a dead letter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from profilestream.core.events import EventType, Field
from profilestream.core.money import minor_digits
from profilestream.core.sources import BY_CURRENCY, Where
from profilestream.wire.conversions import ConversionFault, minor_units
from profilestream.wire.faults import integer_bounds

_Amounts = list[tuple[str, tuple[int, int]]]


def scaler(event_type: EventType, mapping: Mapping[str, Where], own: str | None) -> Callable[[Any], None] | None:
    """Turns an event's Decimals into minor units; `own` is the file's currency. None for a map without any.

    Raises ConversionFault for an amount that the field does not take, or that has no currency.
    """
    amounts = _amounts(event_type.by_name.values(), mapping)
    nested = [
        (field.attribute, found)
        for field in event_type.fields
        if field.kind == "records" and (found := _amounts(field.record, mapping[field.name].each or {}))
    ]
    if not (amounts or nested):
        return None

    def scale(event: Any) -> None:
        currency = event.currency or own
        digits = None if currency is None else minor_digits(currency)
        _scale(event, amounts, digits)
        for attribute, found in nested:
            for item in getattr(event, attribute) or ():
                _scale(item, found, digits)

    return scale


def _amounts(fields: Iterable[Field], mapping: Mapping[str, Where]) -> _Amounts:
    return [
        (field.attribute, integer_bounds(field))
        for field in fields
        if field.name in mapping and mapping[field.name].decimals == BY_CURRENCY
    ]


def _scale(record: Any, amounts: _Amounts, digits: int | None) -> None:
    for attribute, bounds in amounts:
        value = getattr(record, attribute)
        if value.__class__ is Decimal:  # a default and a word's amount are in minor units already
            if digits is None:
                raise ConversionFault("currency")
            setattr(record, attribute, minor_units(value, digits, bounds))
