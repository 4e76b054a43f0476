"""Mask secrets in captured code, tracebacks and command lines.

It errs on the side of masking, and cannot know every secret: what has neither a telling shape nor a telling name, and is
in no environment variable with one, stays. Masked text cannot be brought back: the secret is never written.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MASK = "[masked]"
MIN_VALUE = 8  # shorter values of environment variables would mask half of the code
_FOLDERS = {"PWD", "OLDPWD"}  # variables of every shell, which name the working directory
_LOOK_BACK = 200  # characters before a string in which a name is searched

_WORDS = r"pass(?:word|wd|phrase|code)|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|secret[_-]?key|auth[_-]?key|credential"
# Lengths are bounded, so that no text makes a search slow.
_NAME = rf"(?P<name>(?<![\w])[\w.-]{{0,64}}?(?:{_WORDS})s?\d{{0,3}})"
_SECRET_NAME = re.compile(rf"(?i)(?:{_WORDS})s?\d{{0,3}}$")
#: Names of tokens of language models, which are no secrets.
_NO_SECRET = re.compile(
    r"(?i)(?:(?:pad|eos|bos|unk|mask|sep|cls|special|start|end|stop|begin|oov|next|image|num)s?_?tokens?|tokens)$"
)

_SHAPES = [
    re.compile(
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)",
        re.DOTALL,
    ),
    re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{16}(?![A-Za-z0-9])"),
    re.compile(r"(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{20,}"),
    re.compile(r"(?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{20,}"),
    re.compile(r"(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{16,}"),
    re.compile(r"(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{10,}"),
    re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{20,}"),
    re.compile(r"(?<![A-Za-z0-9])[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    re.compile(r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}"),
    re.compile(r"(?<![A-Za-z0-9])(?:hf|npm)_[A-Za-z0-9]{30,}"),
    re.compile(r"(?<![A-Za-z0-9])pypi-[A-Za-z0-9_-]{40,}"),
    re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
]
_BEARER = re.compile(r"(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}")
_URL = re.compile(r"(?P<start>[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s:/?#@'\"]{0,200}:)[^\s/@'\"]{1,400}@")
_QUERY = re.compile(rf"(?i)(?P<start>[?&][\w.-]{{0,64}}?(?:{_WORDS}|sig(?:nature)?)=)[^&\s'\"]+")
# A string of Python: with three quotes on several lines, else on one. An apostrophe within a word begins none.
_LITERAL = re.compile(
    r"(?<!\w)[rRbBuUfF]{0,2}(?:(?P<quote>\"\"\"|\'\'\')(?P<long>.{0,2000}?)(?P=quote)"
    r"|\"(?P<double>(?:[^\"\\\n]|\\.){0,2000})\"|'(?P<single>(?:[^'\\\n]|\\.){0,2000})')",
    re.DOTALL,
)
# What may stand between a name and the string that it is given: password = "x", password: str = "x", set_password("x")
_GIVEN = r"(?::\s{0,20}[\w.\[\]| ]{1,40}=|:=|[=:(]|==|!=)"
_NAMED = re.compile(rf"(?i:{_NAME})\s{{0,20}}{_GIVEN}\s{{0,20}}$")
# The same after a string that is a name: "password": "x", environ["PASSWORD"] = "x"
_KEY = re.compile(rf"(?i)[\w.-]{{0,64}}?(?:{_WORDS})s?\d{{0,3}}")
_KEYED = re.compile(r"\s{0,20}\]?\s{0,20}(?::|=|==|!=)\s{0,20}")
_CALL_OF_KEY = re.compile(r"(?i)(?:get|getenv|setdefault|set|setenv|putenv|pop)\(\s{0,20}$")
_AUTH = re.compile(
    r"(?P<start>\bauth\s{0,8}=\s{0,8}\(\s{0,8}[^,()\n]{1,200},\s{0,8})[rRbB]?(?P<quote>[\"'])[^\"'\n]{1,400}(?P=quote)"
)
# export TOKEN=x, %env TOKEN=x, !curl --token=x: without quotes, where no Python expression can stand
_BARE = re.compile(
    rf"(?m)(?P<start>^\s{{0,20}}(?:[%!]|export\b|set\b)[^\n]{{0,400}}?(?i:{_NAME})[= ]\s{{0,4}})(?P<value>[^\s'\"\[][^\s]{{0,400}})"
)
_OPTION = re.compile(rf"(?P<start>--?(?i:{_NAME})=)(?P<value>.+)", re.DOTALL)


class Redactor:
    """Masks secrets, those in environment variables included, which are read once.

    Examples
    --------
    >>> Redactor({}).text('db = connect(user="ann", password="hunter2")')
    'db = connect(user="ann", password="[masked]")'
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        variables = os.environ if environment is None else environment
        values = {
            value
            for name, value in variables.items()
            if is_secret_name(name)
            and name not in _FOLDERS
            and len(value) >= MIN_VALUE
            and not (os.path.isabs(value) and os.path.exists(value))
        }
        # Longest first, since one may be part of another.
        self._values = tuple(sorted(values, key=lambda value: (-len(value), value)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Redactor) and self._values == other._values

    def __hash__(self) -> int:
        return hash(self._values)

    def text(self, text: str) -> str:
        """Mask everything in `text` that looks like a secret."""
        for value in self._values:
            text = text.replace(value, MASK)
        text = masked_shapes(text)
        text = _AUTH.sub(rf"\g<start>\g<quote>{MASK}\g<quote>", text)
        return _BARE.sub(_bare, _masked_strings(text))

    def arguments(self, arguments: Sequence[str]) -> list[str]:
        """Mask the secrets of a command line, also those after an option: ``--token abc``."""
        masked: list[str] = []
        for before, argument in zip(["", *arguments], arguments, strict=False):
            option = before.startswith("-") and "=" not in before and is_secret_name(before)
            if option and not argument.startswith("-"):
                masked.append(MASK)
            else:
                masked.append(self.text(_OPTION.sub(_bare, argument)))
        return masked


@dataclass(frozen=True, slots=True)
class NullRedactor:
    """A :class:`Redactor` that masks nothing."""

    def text(self, text: str) -> str:
        """Return `text` as it is."""
        return text

    def arguments(self, arguments: Sequence[str]) -> list[str]:
        """Return the command line as it is."""
        return list(arguments)


def masked_shapes(text: str) -> str:
    """Mask what looks like a secret wherever it stands: keys of services, passwords in addresses, tokens of headers."""
    for shape in _SHAPES:
        text = shape.sub(MASK, text)
    text = _URL.sub(rf"\g<start>{MASK}@", text)
    text = _QUERY.sub(rf"\g<start>{MASK}", text)
    return _BEARER.sub(rf"\g<1>{MASK}", text)


def masked_url(address: str) -> str:
    """Mask the password and what signs or opens an address, such as ``?sig=…``."""
    return _QUERY.sub(rf"\g<start>{MASK}", _URL.sub(rf"\g<start>{MASK}@", address))


def is_secret_name(name: str) -> bool:
    """Return whether a name is that of a secret, as ``DB_PASSWORD`` is and ``pad_token`` is not."""
    return bool(_SECRET_NAME.search(name)) and not _NO_SECRET.search(name)


def _masked_strings(text: str) -> str:
    """Mask strings of a program that are given to a name of a secret."""
    pieces: list[str] = []
    done = 0
    previous: re.Match[str] | None = None
    for string in _LITERAL.finditer(text):
        kind = string.lastgroup or "single"
        if string[kind] and _is_given_to_secret(text, previous, string):
            pieces += text[done : string.start(kind)], MASK
            done = string.end(kind)
        previous = string
    return "".join(pieces) + text[done:]


def _is_given_to_secret(text: str, previous: re.Match[str] | None, string: re.Match[str]) -> bool:
    end = previous.end() if previous is not None else 0
    between = text[max(end, string.start() - _LOOK_BACK) : string.start()]
    named = _NAMED.search(between)
    if named is not None:
        return not _NO_SECRET.search(named["name"])
    if previous is None or string.start() - end > _LOOK_BACK:
        return False
    key = previous[previous.lastgroup or "single"]
    if not _KEY.fullmatch(key) or _NO_SECRET.search(key):
        return False
    called = between.strip() == "," and _CALL_OF_KEY.search(
        text[max(0, previous.start() - 40) : previous.start()]
    )
    return bool(_KEYED.fullmatch(between) or called)


def _bare(match: re.Match[str]) -> str:
    return match[0] if _NO_SECRET.search(match["name"]) else match["start"] + MASK
