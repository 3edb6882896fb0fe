"""What is wrong with a definitions file: problems with their places, reported all at once."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from profilestream.core.errors import ProfilestreamError


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong: 1-based line and column (0 where unknown), what, and what would be right."""

    line: int
    column: int
    message: str

    def text(self, file: str) -> str:
        place = f"{file}:{self.line}:{self.column}" if self.line else file
        return f"{place}: {self.message}"


class DefinitionsError(ProfilestreamError):
    """A definitions file that does not stand; `problems` holds every one that was found, in the file's order."""

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.file = file
        self.problems = sorted(set(problems))
        super().__init__("\n".join(p.text(file) for p in self.problems))


class ExpressionError(Exception):
    """A problem inside one expression: 0-based offset of the line and column within its text.

    `others` are those of parts beside it, each on its own.
    """

    def __init__(self, message: str, line: int = 0, column: int = 0, others: tuple[ExpressionError, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.others = others

    @property
    def all(self) -> tuple[ExpressionError, ...]:
        """This one and those beside it."""
        return self, *self.others


class TooLarge(ExpressionError):
    """A text that is beyond a limit: whatever part is read next would be so too, so it is said once."""


def fail(at: ast.AST, message: str) -> NoReturn:
    """Raises ExpressionError at a node of a parsed text."""
    raise ExpressionError(message, getattr(at, "lineno", 1) - 1, getattr(at, "col_offset", 0))


def short(tree: ast.AST) -> str:
    """The text of a parsed node, at most 60 characters."""
    text = ast.unparse(tree)
    return text if len(text) <= 60 else text[:57] + "..."


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` with the nearest known name, else the known names (at most twelve), else nothing."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean `{near[0]}`?"
    if not names:
        return ""
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"; known: {shown}"
