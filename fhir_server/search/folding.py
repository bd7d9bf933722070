"""Texts without what a search does not tell apart: case, accents, white space (R4/search.html#string)."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

# Letters that Unicode does not take apart, as PostgreSQL's unaccent and a reader without the key do.
LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "ŧ": "t", "æ": "ae", "œ": "oe", "þ": "th"}
)


def folded(text: str) -> str:
    """Return the text without case, accents and surplus white space.

    >>> folded("  Łucja  MÜLLER-Weiß ")
    'lucja muller-weiss'
    """
    if not text.isascii():
        apart = unicodedata.normalize("NFKD", text.casefold())
        bare = "".join(sign for sign in apart if not unicodedata.combining(sign))
        text = unicodedata.normalize("NFC", bare.casefold().translate(LETTERS))
    return " ".join(text.lower().split())


@lru_cache(maxsize=2048)
def fold(text: str) -> str:
    """Return the same, remembered; not for long texts."""
    return folded(text)
