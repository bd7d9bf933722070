"""Links inside a narrative lead to an anchor there, and an anchor is there once (R4/narrative.html)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from html import unescape
from urllib.parse import unquote

_LINK = re.compile(r"<a\b[^>]*?\shref\s*=\s*(?:\"#([^\"]*)\"|'#([^']*)')", re.IGNORECASE)
_ID = re.compile(r"\sid\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
_NAME = re.compile(r"<a\b[^>]*?\sname\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)


def problems(div: str, elsewhere: Collection[str] = ()) -> Iterator[tuple[str, str, str]]:
    """Yield (severity, rule, what is wrong) for the links of a narrative that lead to its own page.

    `elsewhere` are further anchors that a link may lead to, such as those of a whole document.

    >>> list(problems('<div xmlns="http://www.w3.org/1999/xhtml"><a href="#x">x</a></div>'))
    [('error', 'narrative-link', "the link '#x' leads to no anchor of this narrative")]
    >>> list(problems('<div xmlns="http://www.w3.org/1999/xhtml"><a href="#x">x</a><p id="x">y</p></div>'))
    []
    """
    marks = ids(div)
    known = marks.keys() | {_text(found) for found in _NAME.findall(div)}
    for link in dict.fromkeys(_text(found) for found in _LINK.findall(div)):
        if link and not {link, unquote(link)} & known and link not in elsewhere:
            yield "error", "narrative-link", f"the link {'#' + link!r} leads to no anchor of this narrative"
    for mark, times in marks.items():
        if times > 1:
            yield "warning", "narrative-id", f"the id {mark!r} stands {times} times in this narrative"


def ids(div: str) -> Counter[str]:
    """Return the ids of a narrative's elements, and how often each is there.

    >>> ids('<div><p id="a">x</p></div>')
    Counter({'a': 1})
    """
    return Counter(_text(found) for found in _ID.findall(div))


def _text(found: tuple[str, str]) -> str:
    return unescape(found[0] or found[1])
