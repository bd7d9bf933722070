"""Code systems that are a grammar or a list of another body: units, languages, countries, media types.

R4/terminologies-systems.html. They have no CodeSystem resource with all of their codes, and yet it
can be said whether a code is one of theirs, or at least that it is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from terminology import iso, ucum
from terminology.languages import is_tag
from terminology.logic import Answer

UCUM = "http://unitsofmeasure.org"
SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
URI = "urn:ietf:rfc:3986"
M49 = "http://unstats.un.org/unsd/methods/m49/m49.htm"

# RFC 6838, restricted names, with parameters behind a semicolon.
_MIME = re.compile(r"[A-Za-z0-9][\w!#$&^.+\-]*/[A-Za-z0-9*][\w!#$&^.+\-]*(?:\s*;.*)?|\*/\*", re.ASCII)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[^\s]+", re.ASCII)
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9]\d*))+", re.ASCII)
_SUBDIVISION = re.compile(r"([A-Z]{2})-[A-Z0-9]{1,3}", re.ASCII)
_LOINC = re.compile(r"\d{1,7}-\d|(?:LP|LA|LG)\d+-\d|LL\d+-\d|MTHU\d+", re.ASCII)

# UN M49: the world, continents and regions; countries are those of ISO 3166, by number.
REGIONS = frozenset((
    "001", "002", "003", "005", "009", "011", "013", "014", "015", "017", "018", "019", "021", "029", "030",
    "034", "035", "039", "053", "054", "057", "061", "142", "143", "145", "150", "151", "154", "155", "202",
    "419",
))  # fmt: skip


def media_type(code: str) -> bool:
    """Return whether a code is a media type (BCP 13).

    >>> [media_type(code) for code in ("text/html; charset=utf-8", "application/fhir+json", "pdf")]
    [True, True, False]
    """
    return _MIME.fullmatch(code) is not None


def _unit(code: str) -> Answer:
    return ucum.problem(code) is None


def _currency(code: str) -> Answer:
    return code in iso.currencies()


def _country(code: str) -> Answer:
    return code in iso.countries()


def _subdivision(code: str) -> Answer:
    """Say that a code is none of ISO 3166-2; that it is one, only the list could tell."""
    match = _SUBDIVISION.fullmatch(code)
    return None if match is not None and match.group(1) in iso.countries() else False


def _area(code: str) -> Answer:
    if code in REGIONS or (code.isdecimal() and code in iso.countries()):
        return True
    return None if len(code) == 3 and code.isdecimal() else False


def _uri(code: str) -> Answer:
    return _URI.fullmatch(code) is not None


# Verhoeff's scheme: the multiplication of the group of the pentagon, and its permutations.
_TIMES = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_TURNED = (
    "0123456789", "1576283094", "5803796142", "8916043527",
    "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def snomed(code: str) -> Answer:
    """Say that a code is none of SNOMED CT: no identifier with the right check digit, no expression.

    >>> snomed("73211009"), snomed("73211008"), snomed("276885007x"), snomed("64572001:246112005=24484000")
    (None, False, False, None)
    """
    if not code.isdecimal():
        return None if any(sign in code for sign in "|:+={") else False
    check = 0
    for place, digit in enumerate(reversed(code)):
        check = int(_TIMES[check][int(_TURNED[place % 8][int(digit)])])
    return None if check == 0 and 6 <= len(code) <= 18 else False


def loinc(code: str) -> Answer:
    """Say that a code is none of LOINC: another form, or a wrong check digit.

    >>> loinc("8867-4"), loinc("8867-5"), loinc("LA6576-8"), loinc("weight")
    (None, False, None, False)
    """
    if _LOINC.fullmatch(code) is None:
        return False
    if not code[0].isdecimal():
        return None
    number, _, check = code.partition("-")
    total = 0
    for place, digit in enumerate(reversed(number)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return None if -total % 10 == int(check) else False


# How units are written by hand, and what UCUM calls them.
_MEANT: Mapping[str, str] = {
    "mcg": "ug", "gm": "g", "gram": "g", "lb": "[lb_av]", "lbs": "[lb_av]", "oz": "[oz_av]", "cc": "mL",
    "inch": "[in_i]", "inches": "[in_i]", "ft": "[ft_i]", "feet": "[ft_i]", "mmHg": "mm[Hg]",
    "mEq": "meq", "IU": "[iU]", "mIU": "m[iU]", "uIU": "u[iU]", "sec": "s", "second": "s",
    "seconds": "s", "minute": "min", "minutes": "min", "mins": "min", "hr": "h", "hrs": "h",
    "hour": "h", "hours": "h", "day": "d", "days": "d", "week": "wk", "weeks": "wk", "month": "mo",
    "months": "mo", "year": "a", "years": "a", "yr": "a", "yrs": "a", "degC": "Cel", "degF": "[degF]",
    "drop": "[drp]", "drops": "[drp]", "ea": "{each}", "each": "{each}", "tab": "{tbl}", "TAB": "{tbl}",
    "tbl": "{tbl}", "tablet": "{tbl}", "bpm": "/min", "10^3": "10*3", "10^6": "10*6", "10^9": "10*9",
    "10^12": "10*12", "percent": "%",
}  # fmt: skip
_PARTS = re.compile(r"([./])")


@dataclass(frozen=True, slots=True)
class Grammar:
    """A code system by rule; the answers are those of `code_systems.CodeSystem`.

    >>> GRAMMARS[UCUM].has("mg/dL"), GRAMMARS["urn:iso:std:iso:4217"].has("EURO")
    (True, False)
    """

    url: str
    test: Callable[[str], Answer]
    listing: Callable[[], frozenset[str]] | None = None
    version: str | None = None

    def has(self, code: str) -> Answer:
        """Say whether the code exists; None if the rule alone does not tell."""
        return self.test(code)

    def codes(self) -> Iterable[str] | None:
        """Return all codes where there is a list."""
        return self.listing() if self.listing is not None else None

    def display(self, code: str) -> str | None:
        """Return None: names are not ours to give, or anybody's who writes one."""
        return None

    def names(self, code: str) -> tuple[str, ...]:
        """Return no names."""
        return ()

    def near(self, code: str) -> str | None:
        """Return the code as the rule wants it written, if only its spelling was wrong.

        >>> GRAMMARS[UCUM].near("mcg/hr"), GRAMMARS["urn:iso:std:iso:4217"].near("eur")
        ('ug/h', 'EUR')
        """
        if self.url == URI and _OID.fullmatch(code) is not None:
            return f"urn:oid:{code}"
        if self.url == UCUM:
            meant = "".join(_MEANT.get(part, part) for part in _PARTS.split(code.strip()))
            if meant != code and self.test(meant):
                return meant
        for other in (code.strip(), code.upper(), code.lower(), code.capitalize()):
            if other != code and self.test(other):
                return other
        return None

    def subsumes(self, code: str, other: str) -> Answer:
        """Say whether the codes are the same; nothing is more general than another here."""
        if self.test(code) is not True or self.test(other) is not True:
            return True if code == other and self.test(code) is not False else None
        return code == other


GRAMMARS: Mapping[str, Grammar] = {
    grammar.url: grammar
    for grammar in (
        Grammar(UCUM, _unit),
        Grammar("urn:ietf:bcp:47", is_tag),
        Grammar("urn:ietf:bcp:13", media_type),
        Grammar(URI, _uri),
        Grammar("urn:iso:std:iso:4217", _currency, iso.currencies),
        Grammar("urn:iso:std:iso:3166", _country, iso.countries),
        Grammar("urn:iso:std:iso:3166:-2", _subdivision),
        Grammar(M49, _area),
        Grammar(SNOMED, snomed),
        Grammar(LOINC, loinc),
    )
}
"""Code system → its rule."""
