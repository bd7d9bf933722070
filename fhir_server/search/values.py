"""The lexer of parameter values: escapes, commas, dollars, bars, prefixes.

R4/search.html#escaping: `\\,` `\\$` `\\|` and `\\\\` stand for the sign itself; a plain `,` parts
alternatives (OR), `$` the components of a composite, `|` system from code. Parts stay escaped
until the last cut is made, then `unescape` gives what the client meant.
"""

from __future__ import annotations

PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")


def split(text: str, separator: str) -> list[str]:
    """Cut `text` at every separator that is not escaped; the parts keep their escapes.

    >>> split(r"Smith\\, John,Miller", ",")
    ['Smith\\\\, John', 'Miller']
    """
    if "\\" not in text:
        return text.split(separator)
    parts: list[str] = []
    start = position = 0
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] == separator:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    parts.append(text[start:])
    return parts


def unescape(text: str) -> str:
    """Return the text that the client meant; a backslash before any other sign stays.

    >>> unescape(r"a\\,b\\|c\\$d\\\\e\\n")
    'a,b|c$d\\\\e\\\\n'
    """
    if "\\" not in text:
        return text
    out: list[str] = []
    position = 0
    while position < len(text):
        if text[position] == "\\" and text[position + 1 : position + 2] in ("\\", ",", "$", "|"):
            position += 1
            if position == len(text):
                break
        out.append(text[position])
        position += 1
    return "".join(out)


def escape(text: str) -> str:
    """Write `text` so that it stands for itself inside a parameter value.

    >>> unescape(escape("a,b|c$d\\\\e")) == "a,b|c$d\\\\e"
    True
    """
    for sign in ("\\", ",", "$", "|"):
        text = text.replace(sign, "\\" + sign)
    return text


def prefixed(text: str) -> tuple[str, str]:
    """Part a value of an ordered type into its prefix (eq where none is written) and the rest.

    >>> prefixed("ge2020"), prefixed("5.4")
    (('ge', '2020'), ('eq', '5.4'))
    """
    return (text[:2], text[2:]) if text[:2] in PREFIXES else ("eq", text)
