"""From another system's values to a field's own: what a source's map asks for, one value at a time.

Both ways of the decoder use these, so that they cannot disagree. A conversion takes any JSON value. What
it does not know how to read it gives back as it is, for the field's own kind to refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final

from profilestream.core.events import ID_CHARACTERS_MAX, Field
from profilestream.core.sources import UNITS, Where
from profilestream.wire.dead_letters import Reason
from profilestream.wire.faults import CURRENCY, in_range, integer_bounds
from profilestream.wire.times import TIME_MS_MAX, TIME_MS_MIN

Convert = Callable[[Any], Any]

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,30}\Z")
_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{0,30})?\Z")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{0,30})?(?:[eE][+-]?[0-9]{1,3})?\Z")
_EXACT: Final = Context(prec=100, rounding=ROUND_HALF_EVEN)


class ConversionFault(ValueError):
    """A value that a source's map cannot turn into the field's; says why, never the value."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def conversion(field: Field, where: Where) -> Convert | None:
    """What turns a value found by the map into the field's own; None where it is taken as it is.

    What it gives back is a valid value of the field, or a value of a type that the field refuses. An amount with
    the decimals of its event's currency is a Decimal of whole units, for `minor_units`.
    """
    if where.plain:
        return None
    convert = _by_kind(field, where)
    return _translated(where.words, convert) if where.words else convert


def _by_kind(field: Field, where: Where) -> Convert | None:
    match field.kind:
        case "string":
            return _text(field)
        case "int" if isinstance(where.decimals, int):
            return _amount(field, where.decimals)
        case "int" if where.decimals is not None:
            return _exact
        case "int":
            return _integer(field)
        case "number":
            return _number(field)
        case "time" if where.unit is not None:
            return _time(where.unit)
        case "currency":
            return _currency
        case "boolean" if where.words:
            return _boolean
    return None


def _translated(words: Mapping[str, Any], convert: Convert | None) -> Convert:
    def translate(value: Any) -> Any:
        if value.__class__ is str and value in words:
            return words[value]
        return value if convert is None else convert(value)

    return translate


def _text(field: Field) -> Convert:
    """Integers as text: many systems number their orders and customers."""
    characters_max = ID_CHARACTERS_MAX if field.name in ("event_id", "customer_id") else 10 * ID_CHARACTERS_MAX
    low, high = -(10 ** (characters_max - 1)), 10**characters_max

    def convert(value: Any) -> Any:
        if value.__class__ is not int:
            return value
        if not low < value < high:  # before it is written: Python writes no integer of more than 4,300 digits
            raise ConversionFault("out_of_range")
        return str(value)

    return convert


def _integer(field: Field) -> Convert:
    low, high = integer_bounds(field)

    def convert(value: Any) -> Any:
        if value.__class__ is not str:
            return value
        if not _INTEGER.match(value):
            raise ConversionFault("wrong_type")
        return _within(low, high, int(value))

    return convert


def _amount(field: Field, decimals: int) -> Convert:
    """Whole units as a number or a text to minor units, half to even; a double stands for its shortest text."""
    scale = 10**decimals
    low, high = integer_bounds(field)

    def convert(value: Any) -> Any:
        kind = value.__class__
        if kind is int:
            return _within(low, high, value * scale)
        if kind is str:
            if not _DECIMAL.match(value):
                raise ConversionFault("wrong_type")
            whole, _, fraction = value.partition(".")
            if len(fraction) <= decimals:
                return _within(low, high, int(whole + fraction.ljust(decimals, "0")))
            exact = Decimal(value)
        elif kind is float:
            exact = Decimal(repr(value))
            if not exact.is_finite() or exact.adjusted() > 30:
                raise ConversionFault("out_of_range")
        else:
            return value
        return _within(low, high, int(exact.scaleb(decimals, _EXACT).to_integral_value(ROUND_HALF_EVEN, _EXACT)))

    return convert


def _exact(value: Any) -> Any:
    """Whole units as they are; nothing says yet how many minor units they are, nor whether the field takes so many."""
    kind = value.__class__
    if kind is int or (kind is str and _DECIMAL.match(value)):
        return Decimal(value)
    if kind is str:
        raise ConversionFault("wrong_type")
    return Decimal(repr(value)) if kind is float else value


def minor_units(exact: Decimal, digits: int, bounds: tuple[int, int]) -> int:
    """Whole units in minor units of so many digits, half to even.

    Raises ConversionFault for what is not within the bounds.
    """
    if not exact.is_finite() or exact.adjusted() > 30:
        raise ConversionFault("out_of_range")
    return _within(*bounds, int(exact.scaleb(digits, _EXACT).to_integral_value(ROUND_HALF_EVEN, _EXACT)))


def _number(field: Field) -> Convert:
    def convert(value: Any) -> Any:
        if value.__class__ is not str:
            return value
        if _INTEGER.match(value):
            return _checked(field, int(value))
        if not _NUMBER.match(value):
            raise ConversionFault("wrong_type")
        return _checked(field, float(value))

    return convert


def _within(low: int, high: int, value: int) -> int:
    if not low <= value <= high:
        raise ConversionFault("out_of_range")
    return value


def _checked(field: Field, value: int | float) -> int | float:
    if not in_range(field, value):
        raise ConversionFault("out_of_range")
    return value


def _time(unit: str) -> Convert:
    """A number, or a text of one, in the unit since 1970, to whole milliseconds before or at it."""
    microseconds = UNITS[unit]

    def convert(value: Any) -> Any:
        kind = value.__class__
        if kind is int:
            found = value * microseconds // 1000
        elif kind is float or (kind is str and _DECIMAL.match(value)):
            exact = Decimal(repr(value) if kind is float else value)
            if not exact.is_finite() or exact.adjusted() > 30:
                raise ConversionFault("bad_time")
            scaled = _EXACT.multiply(exact, Decimal(microseconds) / 1000)
            found = int(scaled.to_integral_value(ROUND_FLOOR, _EXACT))
        else:
            return value  # an RFC 3339 time, or none
        if not TIME_MS_MIN <= found <= TIME_MS_MAX:
            raise ConversionFault("bad_time")
        return found

    return convert


def _currency(value: Any) -> Any:
    if value.__class__ is not str:
        return value
    found = value.upper()
    if not value.isascii() or not CURRENCY.match(found):  # the capital of "ß" is "SS"
        raise ConversionFault("currency")
    return found


def _boolean(value: Any) -> Any:
    """A text that is none of the map's words: nothing after a conversion looks at a boolean's type again."""
    if value.__class__ is str:
        raise ConversionFault("wrong_type")
    return value
