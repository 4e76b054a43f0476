"""Convert a query string to a Python expression, and positions in it to positions in the text.

Names in backticks and ``@names`` become identifiers, and ``&`` and ``|`` the words "and" and "or", as in pandas.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from tablevault_pd.capture.parsing import parse
from tablevault_pd.errors import InvalidFilter, short_repr

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator

_TOKEN = re.compile(
    r"""
    (?P<text> \"{3}(?:[^\\]|\\.)*?\"{3} | '{3}(?:[^\\]|\\.)*?'{3} | "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*')
    | (?P<quoted> `(?:[^`]|``)+`(?!`))
    | (?P<variable> @[^\W\d]\w*)
    | (?P<word> \w+)
    | (?P<space> \s+)
    | (?P<other> .)
    """,
    re.VERBOSE | re.DOTALL,
)
#: A number that runs into a word, as in ``1or``: Python reads it, with a warning of its own.
_GLUED = re.compile(
    r"(?<![\w.])(?>0[xX][\da-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|\d[\d_]*\.?(?:\d[\d_]*)?(?:[eE][+-]?\d+)?[jJ]?)[^\W\d]\w*"
)
#: A backslash that escapes nothing: it stays one, and Python warns of it.
_NO_ESCAPE = re.compile(r"\\(?:([\n\\'\"abfnrtvxNuU0-7])|)", re.DOTALL)
_WORDS = {"&": " and ", "|": " or "}


@dataclass
class FilterText:
    """A filter text, and the Python expression of it."""

    text: str
    python: str = ""
    quoted: dict[str, str] = field(default_factory=dict)  #: identifiers that stand for names in backticks
    variables: dict[str, str] = field(default_factory=dict)  #: identifiers that stand for @names
    _starts: list[int] = field(default_factory=list)
    _origins: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        used = set(self.text)
        # Identifiers begin with a letter that the text does not have, so that none is a name in the text.
        mark = next((letter for letter in map(chr, range(0x4E00, 0x9FFF)) if letter not in used), None)
        if mark is None:
            raise self.error("holds too many different characters")
        fresh = (f"{mark}{number}" for number in count())
        parts: list[str] = []
        length = 0
        for token in _TOKEN.finditer(self.text):
            part = self._python_of(token, fresh)
            if not parts and not part.strip():
                continue
            self._starts.append(length)
            self._origins.append(token.start())
            parts.append(part)
            length += len(part)
        self.python = "".join(parts)

    def _python_of(self, token: re.Match[str], fresh: Iterator[str]) -> str:
        piece = token[0]
        match token.lastgroup:
            case "text" if self.text[token.start() - 1 : token.start()] not in ("r", "R"):
                return _NO_ESCAPE.sub(lambda escape: escape[0] if escape[1] else "\\\\", piece)
            case "quoted":
                name = next(fresh)
                self.quoted[name] = piece[1:-1].replace("``", "`")
                return name
            case "variable":
                name = next(fresh)
                self.variables[name] = piece[1:]
                return name
            case "space":
                return " " * len(piece)
            case "other" if piece in "\"'`":
                raise self.error(f"has a {piece} that is not closed", token.start())
            case "other" if piece == "#":
                raise self.error(
                    "has a '#' outside of a text: put names that hold one in `backticks`", token.start()
                )
            case "other" if piece in "\\@;":
                raise self.error(f"has a {piece!r} that means nothing there", token.start())
        return _WORDS.get(piece, piece)

    def written(self, identifier: str) -> str:
        """Return an identifier as the text spells it."""
        if identifier in self.variables:
            return f"@{self.variables[identifier]}"
        return self.quoted.get(identifier, identifier)

    def error(self, why: str, position: int | None = None, hint: str = "") -> InvalidFilter:
        """Return an error with the position in the text."""
        where = "" if position is None else f", at character {position + 1}"
        return InvalidFilter(f"The filter {short_repr(self.text)} {why}{where}. {hint}".rstrip())

    def origin(self, position: int) -> int:
        """Return the position in the text of the character `position` of the Python expression."""
        token = max(0, bisect_right(self._starts, position) - 1)
        return (
            min(self._origins[token] + position - self._starts[token], len(self.text)) if self._starts else 0
        )

    def origin_of(self, node: ast.AST) -> int | None:
        """Return the position in the text where a node begins, if known; Python counts bytes."""
        column = getattr(node, "col_offset", None)
        if column is None:
            return None
        return self.origin(len(self.python.encode("utf-8", "replace")[:column].decode("utf-8", "ignore")))

    def parse(self) -> ast.expr:
        """Return the expression. Raises InvalidFilter."""
        glued = _GLUED.search(_TOKEN.sub(_blank, self.text))
        if glued:
            raise self.error(f"has a number that runs into a word, {short_repr(glued[0])}", glued.start())
        try:
            expression: ast.Expression = parse(self.python, mode="eval")
            return expression.body
        except (RecursionError, MemoryError) as error:
            raise self.error("is nested too deeply") from error
        except SyntaxError as error:
            raise self._syntax_error(error) from error
        except ValueError as error:  # zero bytes, half surrogate pairs
            raise self.error(f"cannot be read ({error})") from error

    def _syntax_error(self, error: SyntaxError) -> InvalidFilter:
        if "too many nested" in str(error.msg):
            return self.error("is nested too deeply")
        single = re.search(r"(?<![=!<>:])=(?!=)", _TOKEN.sub(_blank, self.text))
        if single:
            return self.error("has a single =: write == to compare", single.start())
        position = self.origin(error.offset - 1) if error.offset else len(self.text)
        sql = re.search(
            r"\b(AND|OR|NOT|IN|LIKE|like|BETWEEN|between|IS|NULL)\b(?!\()", _TOKEN.sub(_blank, self.text)
        )
        spaced = _SPACED if re.search(r"\w\s+\w", self.text) else ""
        hint = _HERE.get(sql[1].upper(), "") if sql else spaced
        return self.error(f"is no expression ({error.msg})", position, hint)


#: What words of SQL are here.
_HERE = {
    "LIKE": "In place of LIKE: name.str.contains('part') or name.str.startswith('start').",
    "BETWEEN": "In place of BETWEEN: 1 <= n <= 3, or n.between(1, 3).",
    "IS": "In place of IS NULL: name.isna(), and name.notna().",
    "NULL": "In place of IS NULL: name.isna(), and name.notna().",
} | {word: f"Write {word.lower()} in small letters." for word in ("AND", "OR", "NOT", "IN")}
_SPACED = "A name that is no word stands in backticks: `my column` > 1."


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0]) if match.lastgroup in ("text", "quoted") else match[0]
