"""One currency for all amounts: conversion of minor units by fixed rates, half to even.

A rate is what one unit of the other currency is worth in the file's own: with `currency = "EUR"` and
`USD = "0.92"`, 1 dollar is 0.92 euros. Currencies differ in how many minor units make one unit (ISO 4217:
100 cents are a dollar, a yen has none), and conversion takes that in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

CURRENCY: Final = re.compile(r"[A-Z]{3}\Z")
RATE: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?\Z")
AMOUNT_SUFFIX: Final = "_minor"
"""Integer fields of this ending, beside a field `currency` of kind currency, are amounts."""

_DIGITS_DEFAULT: Final = 2
_DIGITS: Final[Mapping[str, int]] = {
    currency: digits
    for digits, currencies in (
        (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
        (3, "BHD IQD JOD KWD LYD OMR TND"),
        (4, "CLF UYW"),
    )
    for currency in currencies.split()
}
"""Digits of the minor unit where they are not 2. Source: ISO 4217:2015, table A.1."""


def minor_digits(currency: str) -> int:
    """How many decimal digits the minor unit of a currency has: 2 for EUR, 0 for JPY."""
    return _DIGITS.get(currency, _DIGITS_DEFAULT)


@dataclass(frozen=True, slots=True)
class Money:
    """The currency of all amounts, and what one unit of each other one is worth in it."""

    currency: str
    rates: Mapping[str, Decimal]
    _ratios: Mapping[str, tuple[int, int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        own = minor_digits(self.currency)
        ratios = {}
        for other, rate in self.rates.items():
            top, bottom = rate.as_integer_ratio()
            shift = own - minor_digits(other)
            ratios[other] = (top * 10 ** max(shift, 0), bottom * 10 ** max(-shift, 0))
        object.__setattr__(self, "_ratios", ratios)

    def knows(self, currency: str) -> bool:
        """Whether amounts in that currency can be taken."""
        return currency == self.currency or currency in self._ratios

    def convert(self, amount_minor: int, currency: str) -> int:
        """The amount in minor units of the own currency, half to even; KeyError for an unknown currency."""
        if currency == self.currency:
            return amount_minor
        top, bottom = self._ratios[currency]
        whole, rest = divmod(amount_minor * top, bottom)
        return whole + (2 * rest > bottom or (2 * rest == bottom and whole % 2))
