"""FHIR data types → the words and figures that a page shows (R4/datatypes.html).

Pure functions over resource JSON. Whatever is missing or oddly shaped gives "" and never an
error: a console must show a bad record, not hide it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

Json = Mapping[str, Any]

_SHOWN_DIGITS = 9  # a longer decimal is an artefact of arithmetic; the JSON page has it whole


def first(value: Any) -> Any:
    """Return the first member of a list, a single value as it is, {} for nothing."""
    if isinstance(value, list):
        return value[0] if value else {}
    return value if value is not None else {}


def mappings(value: Any) -> list[Json]:
    """Return the objects of a list; what is none is left out."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def human_name(names: Any) -> str:
    """Return the name to call a person by: the official one, then the usual one, then any.

    >>> human_name([{"use": "maiden", "family": "B"}, {"use": "official", "given": ["Ann"], "family": "A"}])
    'Ann A'
    >>> human_name([])
    ''
    """
    candidates = mappings(names)
    order = {"official": 0, "usual": 1}
    candidates.sort(key=lambda name: order.get(str(name.get("use")), 2))
    for name in candidates:
        parts = [*_texts(name.get("prefix")), *_texts(name.get("given"))]
        if isinstance(name.get("family"), str):
            parts.append(name["family"])
        parts += _texts(name.get("suffix"))
        text = " ".join(parts) or str(name.get("text") or "")
        if text:
            return text
    return ""


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def initials(names: Any) -> str:
    """Return up to two initials of the name that human_name shows, "?" without one.

    >>> initials([{"prefix": ["Dr."], "given": ["ann", "m"], "family": "Lee"}])
    'AL'
    """
    for name in mappings(names):
        parts = [*_texts(name.get("given"))[:1], *_nonempty(name.get("family"))]
        if parts:
            return "".join(part[0].upper() for part in parts)
    return "?"


def address_line(addresses: Any) -> str:
    """Return one line of the first address that has something to show.

    >>> address_line([{"line": ["1 Elm St"], "city": "Boston", "state": "MA", "postalCode": "02134"}])
    '1 Elm St, Boston, MA 02134'
    """
    for address in mappings(addresses):
        region = " ".join(_nonempty(address.get("state"), address.get("postalCode")))
        parts = [
            *_texts(address.get("line")),
            *_nonempty(address.get("city"), region, address.get("country")),
        ]
        line = ", ".join(parts) or str(address.get("text") or "")
        if line:
            return line
    return ""


def _nonempty(*values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str) and value]


def telecom(points: Any, system: str) -> str:
    """Return the first phone number, e-mail … of a list of contact points."""
    for point in mappings(points):
        if point.get("system") == system and isinstance(point.get("value"), str):
            return str(point["value"])
    return ""


def concept(value: Any) -> str:
    """Return the text of a CodeableConcept or Coding: what a person wrote, else a display, else the code.

    >>> concept({"coding": [{"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"}]})
    'Heart rate'
    """
    value = first(value)
    if not isinstance(value, Mapping):
        return ""
    if isinstance(value.get("text"), str):
        return _without_hierarchy(value["text"])
    codings = mappings(value.get("coding")) or [value]
    for member in ("display", "code"):
        for coding in codings:
            if isinstance(coding.get(member), str):
                return _without_hierarchy(coding[member])
    return ""


_HIERARCHY = re.compile(
    r" \((disorder|finding|procedure|situation|qualifier value|regime/therapy|event|"
    r"morphologic abnormality|observable entity|substance|product|person)\)\Z"
)


def _without_hierarchy(text: str) -> str:
    """Drop the hierarchy tag that a fully specified SNOMED CT name ends in; nobody says it.

    >>> _without_hierarchy("Viral sinusitis (disorder)")
    'Viral sinusitis'
    """
    return _HIERARCHY.sub("", text)


def marital_status(value: Any) -> str:
    """Return a marital status in words, also where only the letter of v3-MaritalStatus was kept."""
    text = concept(value)
    return _MARITAL.get(text, text)


_MARITAL = {
    "A": "annulled",
    "D": "divorced",
    "I": "interlocutory",
    "L": "legally separated",
    "M": "married",
    "P": "polygamous",
    "S": "never married",
    "T": "domestic partner",
    "U": "unmarried",
    "W": "widowed",
}


def code_of(value: Any) -> str:
    """Return the first code of a CodeableConcept or Coding, or ""."""
    value = first(value)
    if not isinstance(value, Mapping):
        return ""
    for coding in mappings(value.get("coding")) or [value]:
        if isinstance(coding.get("code"), str):
            return str(coding["code"])
    return ""


def number(value: Any) -> str:
    """Return a number as it was recorded; one with very many digits is rounded and says so.

    >>> number(Decimal("7.20")), number(Decimal("20.06212345678")), number(80)
    ('7.20', '≈ 20.062', '80')
    """
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return ""
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    if len(text) <= _SHOWN_DIGITS or "." not in text:
        return text
    return f"≈ {Decimal(value):.3f}"


def quantity(value: Any) -> str:
    """Return a Quantity with comparator and unit.

    >>> quantity({"comparator": "<", "value": Decimal("0.5"), "unit": "mg/dL"})
    '< 0.5 mg/dL'
    """
    if not isinstance(value, Mapping):
        return ""
    parts = _nonempty(value.get("comparator"), number(value.get("value")))
    return " ".join([*parts, *_nonempty(value.get("unit") or value.get("code"))])


def reference(value: Any) -> str:
    """Return what a Reference shows: its display, else its address."""
    if not isinstance(value, Mapping):
        return ""
    return str(value.get("display") or value.get("reference") or "")


def choice(resource: Json, name: str) -> tuple[str, Any]:
    """Return the (type suffix, value) of a choice element, ("", None) without one.

    >>> choice({"valueQuantity": {"value": 1}}, "value")
    ('Quantity', {'value': 1})
    """
    for key, value in resource.items():
        if key.startswith(name) and key[len(name) : len(name) + 1].isupper():
            return key[len(name) :], value
    return "", None


def value_text(resource: Json, name: str = "value") -> str:
    """Return the value of an Observation or component, whatever its type."""
    kind, value = choice(resource, name)
    match kind:
        case "Quantity" | "Age" | "Duration" | "Count":
            return quantity(value)
        case "CodeableConcept" | "Coding":
            return concept(value)
        case "Boolean":
            return "yes" if value else "no"
        case "Range":
            return f"{quantity(value.get('low')) or '…'} – {quantity(value.get('high')) or '…'}"
        case "Ratio":
            return f"{quantity(value.get('numerator'))} / {quantity(value.get('denominator'))}"
        case "Period":
            return period(value)
        case "SampledData":
            return "sampled data"
        case "Integer" | "Decimal":
            return number(value)
        case "Reference":
            return reference(value)
    return str(value) if isinstance(value, str) else ""


def period(value: Any) -> str:
    """Return a Period by its days.

    >>> period({"start": "2020-01-02T10:00:00Z"})
    '2020-01-02 – …'
    """
    if not isinstance(value, Mapping):
        return ""
    start, end = str(value.get("start") or "")[:10], str(value.get("end") or "")[:10]
    if not (start or end):
        return ""
    return start if start == end else f"{start or '…'} – {end or '…'}"


def age(birth_date: Any, on: date) -> int | None:
    """Return the age in completed years; of a partial birth date the least it can be.

    >>> age("1960-06-15", date(2020, 6, 14)), age("1960", date(2020, 6, 14)), age(None, date(2020, 1, 1))
    (59, 59, None)
    """
    if not isinstance(birth_date, str):
        return None
    parts = [int(part) for part in birth_date.split("-") if part.isdigit()]
    if not 1 <= len(parts) <= 3:
        return None
    year = parts[0]
    month = parts[1] if len(parts) > 1 else 12
    day = parts[2] if len(parts) > 2 else 31
    years = on.year - year - ((on.month, on.day) < (month, day))
    return years if years >= 0 else None


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def day_text(text: str) -> str:
    """Return a FHIR date by its own precision, as people write it.

    >>> day_text("2019-03-04T10:00:00Z"), day_text("2019-03"), day_text("2019")
    ('4 Mar 2019', 'Mar 2019', '2019')
    """
    parts = text[:10].split("-")
    try:
        if len(parts) == 3:
            return f"{int(parts[2])} {_MONTHS[int(parts[1]) - 1]} {parts[0]}"
        if len(parts) == 2:
            return f"{_MONTHS[int(parts[1]) - 1]} {parts[0]}"
    except (ValueError, IndexError):
        return text
    return parts[0]


def clock_text(text: str) -> str:
    """Return hours and minutes as they were recorded, "" for a date without a time."""
    return text[11:16] if len(text) > 15 and text[10] == "T" else ""
