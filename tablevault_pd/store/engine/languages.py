"""Languages of texts: their words are stemmed here, by Snowball, before a tokeniser sees them.

Each stem ends in a character that stands for its language, so that no tokeniser stems it once more, and words of different
languages are different terms of one index: a question asks for each of its words in the languages that are searched.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import InvalidInput, MissingDependency, did_you_mean, short_repr
from tablevault_pd.imports import for_own_use

if TYPE_CHECKING:
    from collections.abc import Sequence

ENGLISH = "english"  #: the language of texts without another: FTS5 stems them itself
#: Numbered by their places: a stored index depends on the order.
LANGUAGES = (
    "arabic", "armenian", "basque", "catalan", "danish", "dutch", "esperanto", "estonian", "finnish", "french", "german", "greek",
    "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "portuguese", "romanian",
    "russian", "serbian", "spanish", "swedish", "tamil", "turkish", "yiddish", "czech", "persian", "polish", "sesotho",
)  # fmt: skip
#: Codes of ISO 639-1, as people write them by mistake.
_CODES = {
    "ar": "arabic", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish", "fa": "persian",
    "fi": "finnish", "fr": "french", "hi": "hindi", "hu": "hungarian", "id": "indonesian", "it": "italian", "nl": "dutch",
    "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sv": "swedish", "tr": "turkish",
}  # fmt: skip
_MARKS = {
    language: chr(0xE001 + number) for number, language in enumerate(LANGUAGES)
}  # of private use, as letters
REMEMBERED = 200_000  # words

_local = threading.local()  # a stemmer is for one thread at a time


def check_language(value: Any) -> str | None:
    """Return a language; None for English, and where none was given. Raises InvalidInput, MissingDependency."""
    if value is None or (isinstance(value, str) and value == ENGLISH):
        return None
    if not isinstance(value, str) or value not in LANGUAGES:
        hint = _meant(value) if isinstance(value, str) else ""
        raise InvalidInput(
            f"language= is one of {', '.join(sorted([ENGLISH, *LANGUAGES]))}, not {short_repr(value)}. {hint}".rstrip()
        )
    _stemmer(value)
    return value


def _meant(value: str) -> str:
    """Return a sentence with the languages that a code (``de``, ``de-DE``) or a slip may stand for."""
    code, _, _ = value.lower().replace("_", "-").partition("-")
    return did_you_mean(_CODES.get(code, value), (ENGLISH, *LANGUAGES))


def stems(text: str, language: str) -> str:
    """`text` as it goes into the index of stems; it was folded already."""
    return _word().sub(lambda match: _stem(language, match[0].lower()), text)


def stems_with_sources(text: str, sources: Sequence[int], language: str) -> tuple[str, list[int]]:
    """What :func:`stems` makes of `text`, and for each of its characters the source of the one that it comes from."""
    parts: list[str] = []
    origins: list[int] = []
    done = 0
    for match in _word().finditer(text):
        first, end = match.span()
        stem = _stem(language, match[0].lower())
        parts += [text[done:first], stem]
        origins += sources[done:first]
        origins += [sources[min(first + at, end - 1)] for at in range(len(stem) - 1)] + [sources[end - 1]]
        done = end
    return "".join([*parts, text[done:]]), [*origins, *sources[done:]]


@lru_cache(maxsize=REMEMBERED)
def _stem(language: str, word: str) -> str:
    return f"{_stemmer(language).stemWord(word)}{_MARKS[language]}"


def _stemmer(language: str) -> Any:
    stemmer = getattr(_local, language, None)
    if stemmer is None:
        try:
            with for_own_use():
                import snowballstemmer
        except ImportError as error:
            raise MissingDependency.for_extra(
                "snowballstemmer", "languages", f"language={language!r}"
            ) from error
        try:
            stemmer = snowballstemmer.stemmer(language)
        except KeyError as error:
            raise MissingDependency(
                f"language={language!r} needs a newer snowballstemmer: pip install -U snowballstemmer"
            ) from error
        setattr(_local, language, stemmer)
    return stemmer


@lru_cache(maxsize=1)
def _word() -> re.Pattern[str]:
    """Letters, digits and marks, as FTS5 makes words of them."""
    marks = "".join(chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M")
    return re.compile(f"(?:[^\\W_]|[{re.escape(marks)}])+")
