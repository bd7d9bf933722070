"""Texts → the words that full text search knows (R4/search.html#text, #content).

The same for what is stored and for what is asked: case and accents aside as in string parameters, parted
at whatever is neither letter nor digit. No stemming and no stop words: a resource rarely says in which
language it is, a question never, and a stem of the wrong language finds the wrong patients; `metasta*` asks
for what begins so. Where a script puts no spaces between words (Chinese, Japanese, Thai, Khmer, Lao, Burmese)
each sign is a word, and signs that are written together must stand together.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from functools import lru_cache

from fhir_server.search.folding import folded

LONGEST = 64  # signs of a word that count

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
SIGNS = "\u0900-\u0dff"  # scripts of India, whose vowel signs are no letters to Python and part no word
WORD = re.compile(rf"[{UNSPACED}]|(?:[^\W_{UNSPACED}]|[{SIGNS}])+")
ALONE = re.compile(rf"[{UNSPACED}]")

TAG = re.compile(r"""<!--.*?-->|<(/?\w*)(?:[^<>"']|"[^"]*"|'[^']*')*>""", re.DOTALL)
INLINE = frozenset(
    {"a", "abbr", "acronym", "b", "bdo", "big", "cite", "code", "dfn", "em", "font", "i", "img", "kbd"}
    | {"q", "samp", "small", "span", "strong", "sub", "sup", "tt", "var"}
)
"""The elements of a narrative that part neither words nor phrases (R4/narrative.html#xhtml)."""


def words(text: str) -> list[str]:
    """Return the words of a text.

    >>> words("Müller-Weiß, 2.5 mg"), words("肝癌 T2")
    (['muller', 'weiss', '2', '5', 'mg'], ['肝', '癌', 't2'])
    """
    return [word[:LONGEST] for word in WORD.findall(folded(text))]


@lru_cache(maxsize=4096)
def short_words(text: str) -> tuple[str, ...]:
    """Return the same, remembered: displays and units come again and again."""
    return tuple(words(text))


def is_alone(word: str) -> bool:
    """Tell whether a word is one sign of a script without spaces."""
    return ALONE.fullmatch(word) is not None


def blocks(div: str) -> Iterator[str]:
    """Yield the texts of a narrative, one a paragraph, cell, heading or line; no phrase goes across.

    >>> list(blocks("<div><p>Stage <b>I</b>I</p><p>bone&amp;liver</p></div>"))
    ['Stage II', 'bone&liver']
    """
    parts: list[str] = []
    place = 0
    for tag in TAG.finditer(div):
        parts.append(div[place : tag.start()])
        place = tag.end()
        name = tag[1]
        if name is None or name.lstrip("/").lower() in INLINE:
            continue
        if text := html.unescape("".join(parts)).strip():
            yield text
        parts.clear()
    parts.append(div[place:])
    if text := html.unescape("".join(parts)).strip():
        yield text
