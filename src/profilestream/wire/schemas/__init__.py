"""JSON Schemas (draft 2020-12) of everything that other programs write or read as JSON.

files         all of them by the name of their file
events        events, derived from the declarations by the same table as the decoder
messages      segment changes and dead letters
profiles      a profile, the segments, a segment's members
explanations  what `explain` says
descriptions  what `describe` and `quantiles` tell of many customers
histories     the lines of `history`
verifications what `verify`, `compare` and `generations` tell
plans         what `plan` finds and saves
parts         what the others are put together from

Where JSON Schema cannot say what the decoder does, the schema is the laxer of the two: it takes 1.0 for an integer, an
integer beyond 64 bits for a number without a range, a day that does not exist, two values for one name, text with a
lone surrogate, and any length of bytes. `python -m profilestream.wire.schemas DIR` writes them.
"""

from profilestream.wire.schemas.files import render, schemas, write

__all__ = ["render", "schemas", "write"]
