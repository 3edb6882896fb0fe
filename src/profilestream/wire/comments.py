"""The comments behind traits in a definitions file: what their author says that they mean."""

from __future__ import annotations

import re
from typing import Final

CHARACTERS_MAX: Final = 500

_TRAITS: Final = re.compile(r"\s*\[\s*traits\s*\]\s*(?:#.*)?$")
_TABLE: Final = re.compile(r"\s*\[")
_TRAIT: Final = re.compile(r"""\s*["']?([a-z][a-z0-9_]*)["']?\s*=\s*(?:"(?:[^"\\]|\\.)*"|'[^']*')\s*\#\s*(.*?)\s*$""")


def trait_comments(text: str) -> dict[str, str]:
    """Trait -> the comment on its line. Of texts over several lines, and of tables written otherwise, there is none."""
    found: dict[str, str] = {}
    inside = False
    for line in text.splitlines():
        if _TABLE.match(line):
            inside = _TRAITS.match(line) is not None
        elif inside and (match := _TRAIT.match(line)) and match[2]:
            found[match[1]] = match[2][:CHARACTERS_MAX]
    return found
