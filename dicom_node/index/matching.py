"""The matching kinds of a query, and the forms in which dates, times and names are compared.

PS3.4 C.2.2.2: single value, list of UIDs, universal, wildcard, range; PS3.5 6.2 for DA and TM.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date, time, timedelta
from typing import Any

_DATE = re.compile(r"(\d{4})[.]?(\d{2})[.]?(\d{2})")  # the dots are of ACR-NEMA, still met
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?")


def read_date(value: Any) -> date | None:
    """Return a DA value as a date, or None when it is none.

    >>> read_date("20260102"), read_date("2026.01.02"), read_date("20261340")
    (datetime.date(2026, 1, 2), datetime.date(2026, 1, 2), None)
    """
    match = _DATE.fullmatch(value) if isinstance(value, str) else None
    try:
        return date(*map(int, match.groups())) if match else None
    except ValueError:
        return None


def read_time(value: Any, *, latest: bool = False) -> time | None:
    """Return a TM value as a time; what it leaves open is 0, or with `latest` as late as can be.

    >>> read_time("0930"), read_time("09", latest=True)
    (datetime.time(9, 30), datetime.time(9, 59, 59, 999999))
    """
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    hour, minute, second, fraction = match.groups()
    open_end = "59" if latest else "0"
    digits = (fraction or "").ljust(6, "9" if latest else "0")
    try:
        return time(int(hour), int(minute or open_end), min(int(second or open_end), 59), int(digits))
    except ValueError:
        return None


def fold(text: str) -> str:
    """Return a text as names are compared: without case, accents and doubled spaces (PS3.4 C.2.2.2.1).

    >>> fold("Müller^JÖRG")
    'muller^jorg'
    """
    decomposed = unicodedata.normalize("NFKD", text)
    bare = "".join(character for character in decomposed if not unicodedata.combining(character))
    return " ".join(bare.casefold().split())


def fold_name(name: Any) -> tuple[str, str]:
    """Return (alphabetic group, other groups) of a PN in JSON, folded; trailing ^ are dropped.

    >>> fold_name({"Alphabetic": "Yamada^Tarou^^", "Ideographic": "山田^太郎"})
    ('yamada^tarou', '=山田^太郎')
    """
    if not isinstance(name, dict):
        return "", ""
    alphabetic = fold(str(name.get("Alphabetic", ""))).rstrip("^ ")
    other = [fold(str(name[group])).rstrip("^ ") for group in ("Ideographic", "Phonetic") if group in name]
    return alphabetic, "".join(f"={group}" for group in other if group)


def words(name: str) -> str:
    """Return a folded name with ^ between all its words, as the index has it for their trigrams.

    >>> words("van der berg^jan-piet")
    'van^der^berg^jan^piet'
    """
    return name.translate(_SEPARATORS)


def grams(text: str) -> list[str]:
    """Return the trigrams of a text, each once.

    >>> grams("^ann^")
    ['^an', 'ann', 'nn^']
    """
    return sorted({text[at : at + 3] for at in range(len(text) - 2)})


def grams_of_pattern(pattern: str) -> list[str]:
    """Return the trigrams that a folded name has if it matches a wild card pattern.

    >>> grams_of_pattern("abb*"), grams_of_pattern("*ann?"), grams_of_pattern("?a*")
    (['^ab', 'abb'], ['ann'], [])
    """
    padded = f"^{words(pattern)}^"
    return sorted({gram for part in re.split(r"[*?]", padded) for gram in grams(part)})


_SEPARATORS = str.maketrans(dict.fromkeys(" ,.-'=", "^"))


def like(pattern: str) -> str:
    r"""Return a DICOM wild card pattern as SQL's LIKE has it (PS3.4 C.2.2.2.4).

    >>> like("AB*_?")
    'AB%\\__'
    """
    escaped = re.sub(r"([%_\\])", r"\\\1", pattern)
    return escaped.replace("*", "%").replace("?", "_")


def ends(value: str) -> tuple[str, str]:
    """Return the ends of a range; of a single value, both are that value (PS3.4 C.2.2.2.5).

    >>> ends("20260101-"), ends("20260101")
    (('20260101', ''), ('20260101', '20260101'))
    """
    low, dash, high = value.strip().partition("-")
    return (low.strip(), high.strip()) if dash else (low, low)


def parts(value: str) -> list[str]:
    """Return the values of a list, which stand between backslashes.

    >>> parts("1.2 \\\\1.3\\\\")
    ['1.2', '1.3']
    """
    return [part.strip() for part in value.split("\\") if part.strip()]


def offset(value: object) -> timedelta | None:
    """Return the distance to UTC that (0008,0201) tells, or None when it tells none.

    >>> offset("+0530"), offset("-0100") == -timedelta(hours=1), offset("MET")
    (datetime.timedelta(seconds=19800), True, None)
    """
    match = _OFFSET.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        return None
    found = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return -found if match[1] == "-" else found


_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")
