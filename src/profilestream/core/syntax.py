"""From a text to Python's tree of it: what cannot be parsed is told in the language's words, each mistake at its place.

The text is parsed with `ast` and never run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Final, TypeVar

from profilestream.core.problems import ExpressionError
from profilestream.core.vocabulary import TEXT_CHARACTERS_MAX

_FOREIGN: Final = {
    re.compile(r"&&|\|\||!(?!=)"): "write `and`, `or`, `not` for `&&`, `||`, `!`",
    re.compile(r"(?<![=!<>])=(?!=)"): "`=` gives a value, `==` compares",
}
"""What other languages write, with what is written here; looked for only in a text that cannot be read."""

T = TypeVar("T")


def read_text(text: str, read: Callable[[ast.expr], T]) -> T:
    """What `read` makes of the text's tree.

    Raises ExpressionError, with places in the text: for one that is no expression, and for what `read` raises.
    """
    if len(text) > TEXT_CHARACTERS_MAX:
        raise ExpressionError(f"longer than {TEXT_CHARACTERS_MAX:,} characters; use traits for its parts")
    try:
        return read(ast.parse(text.strip(), mode="eval").body)
    except ExpressionError as error:
        first, *others = [_placed(text, e.message, e.line, _characters(text, e.line, e.column)) for e in error.all]
        first.others = tuple(others)
        raise first from None
    except SyntaxError as error:
        line, column = (error.lineno or 1) - 1, (error.offset or 1) - 1
        what = next((hint for form, hint in _FOREIGN.items() if form.search(text)), error.msg)
        if "\n" in text.strip() and _is_expression(f"(\n{text}\n)"):
            what = "on several lines it stands in brackets, ( before the first and ) after the last"
        raise _placed(text, f"not an expression: {what}", line, max(column, 0)) from None
    except (RecursionError, MemoryError):
        raise ExpressionError("nested too deeply; use traits for its parts") from None
    except (ValueError, UnicodeError):
        raise ExpressionError("not an expression: it has a character or a number that cannot be read") from None


def _characters(text: str, line: int, column_bytes: int) -> int:
    """The column of a parsed node in characters; `ast` counts bytes of UTF-8."""
    lines = text.strip().split("\n")
    start = lines[line].encode()[:column_bytes] if line < len(lines) else b""
    return len(start.decode(errors="ignore"))


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _placed(text: str, message: str, line: int, column: int) -> ExpressionError:
    """An error whose place counts the blanks before the expression too."""
    blank = text[: len(text) - len(text.lstrip())]
    if line == 0:
        column += len(blank) - (blank.rfind("\n") + 1)
    return ExpressionError(message, line + blank.count("\n"), column)
