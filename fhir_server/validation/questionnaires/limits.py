"""Limits of an answer: lengths, ranges, formats, sizes, units (R4/questionnaire-profiles.html)."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from time import thread_time
from typing import Any, NamedTuple

from fhir_server.definitions.primitives import fits
from fhir_server.fhirpath import temporal
from fhir_server.fhirpath.comparison import Fault
from fhir_server.fhirpath.functions.strings import Pattern, pattern
from fhir_server.fhirpath.temporal import Temporal
from fhir_server.model import references
from fhir_server.validation.explain import shown
from fhir_server.validation.questionnaires.form import CORE, SDC, Item
from fhir_server.validation.questionnaires.options import label
from fhir_server.validation.questionnaires.surroundings import Surroundings
from terminology import ucum

UCUM = "http://unitsofmeasure.org"
MATCHING_CPU_S = 2.0
"""How long the regular expressions of one Questionnaire may take for one response."""


class Finding(NamedTuple):
    """What is wrong with a value: severity, IssueType, and the text."""

    severity: str
    code: str
    what: str


class Limits:
    """The limits that the items of one Questionnaire put on values."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.matching_cpu_s = 0.0

    def problems(self, item: Item, kind: str, value: Any) -> Iterator[Finding]:
        """Yield which limits of its item a value of the right type breaks."""
        if kind in ("String", "Uri"):
            yield from self._text(item, value)
        elif kind in ("Integer", "Decimal", "Boolean"):
            yield from _length(item, _lexical(value))
        if kind in ("Integer", "Decimal", "Date", "DateTime", "Time", "Quantity"):
            yield from _range(item, kind, value)
        if kind in ("Decimal", "Quantity"):
            yield from _decimals(item, value.get("value") if kind == "Quantity" else value)
        if kind not in ("String", "Uri", "Attachment", "Coding", "Quantity", "Reference"):
            yield from self._format(item, _lexical(value))
        if kind == "Quantity":
            yield from self._unit(item, value)
        elif kind == "Attachment":
            yield from _attachment(item, value)
        elif kind == "Reference":
            yield from self._target(item, value)

    def _text(self, item: Item, value: str) -> Iterator[Finding]:
        yield from _length(item, value)
        at_least = item.value(f"{CORE}minLength", int)
        if at_least is not None and len(value) < at_least:
            yield Finding("error", "value", f"got {len(value)} characters, expected at least {at_least}")
        if item.kind == "string" and ("\n" in value or "\r" in value):
            yield Finding("warning", "value", "got several lines, expected one; only a text item has lines")
        if item.kind == "url":
            yield from _url(value)
        yield from self._format(item, value)

    def _format(self, item: Item, text: str) -> Iterator[Finding]:
        for expression in item.values(f"{CORE}regex"):
            compiled = _compiled(expression)
            if compiled is None or self.matching_cpu_s > MATCHING_CPU_S:
                yield Finding(
                    "warning", "not-supported", f"the regular expression {shown(expression)} was not checked"
                )
                continue
            start = thread_time()
            try:
                fits: bool | None = compiled.found_in(text, whole=True)
            except Fault:
                fits = None
            self.matching_cpu_s += thread_time() - start
            if fits is None:
                yield Finding(
                    "warning",
                    "too-costly",
                    f"the regular expression {shown(expression)} takes too long; not checked",
                )
            elif not fits:
                form = item.value(f"{CORE}entryFormat", str)
                like = f", such as {form!r}" if form else ""
                yield Finding(
                    "error", "value", f"got {shown(text)}, expected the form {shown(expression)}{like}"
                )

    def _unit(self, item: Item, value: dict[str, Any]) -> Iterator[Finding]:
        system, code, unit = value.get("system"), value.get("code"), value.get("unit")
        options = [one for one in item.values(f"{CORE}questionnaire-unitOption") if isinstance(one, dict)]
        is_open = any(
            one != "optionsOnly"
            for url in (f"{CORE}questionnaire-unitOpen", f"{SDC}unitOpen")
            for one in item.values(url)
        )
        severity = "warning" if is_open else "error"
        got = f"got the unit {_unit_text(value)}"
        if options and not any((one.get("system"), one.get("code")) == (system, code) for one in options):
            names = ", ".join(_unit_text({**one, "unit": one.get("display")}) for one in options[:8])
            if code is None and unit is not None and any(unit == one.get("display") for one in options):
                yield Finding("warning", "value", f"{got} by name only, expected system and code of {names}")
            else:
                yield Finding(severity, "value", f"{got}, expected one of {names}")
        for value_set in item.values(f"{CORE}questionnaire-unitValueSet")[:1]:
            if not isinstance(value_set, str):
                continue
            there = False if code is None else self.around.member(value_set, system, code)
            if there is None:
                yield Finding("warning", "not-supported", f"{got}; whether {value_set} has it is not known")
            elif not there:
                yield Finding(severity, "code-invalid", f"{got}, expected one of {value_set}")
        fixed = item.value(f"{CORE}questionnaire-unit", dict)
        if (
            fixed is not None
            and not options
            and code is not None
            and fixed.get("code") is not None
            and (fixed.get("system"), fixed["code"]) != (system, code)
        ):
            expected = _unit_text({**fixed, "unit": fixed.get("display")})
            yield Finding("warning", "value", f"{got}, expected {expected}")

    def _target(self, item: Item, value: dict[str, Any]) -> Iterator[Finding]:
        allowed = [one for one in item.values(f"{CORE}questionnaire-referenceResource") if one != "Resource"]
        if not allowed:
            return
        text = value.get("reference")
        named = references.named_type(text) if isinstance(text, str) else None
        if named is None and isinstance(text, str) and text.startswith("#"):
            named = self.around.own.get(text, {}).get("resourceType")
        named = named or value.get("type")
        if named is not None and named not in allowed:
            yield Finding(
                "error", "value", f"got a reference to a {named}, expected {' or '.join(map(str, allowed))}"
            )


def _compiled(expression: Any) -> Pattern | None:
    if isinstance(expression, str) and expression.startswith("matches('") and expression.endswith("')"):
        expression = expression[len("matches('") : -len("')")]  # FHIRPath, as many forms have it
    try:
        return pattern(expression) if isinstance(expression, str) else None
    except Fault:
        return None


def is_readable(expression: Any) -> bool:
    """Say whether a regular expression can be read."""
    return _compiled(expression) is not None


def _length(item: Item, text: str) -> Iterator[Finding]:
    at_most = item.source.get("maxLength")
    if isinstance(at_most, int) and len(text) > at_most:
        yield Finding("error", "too-long", f"got {len(text)} characters, expected at most {at_most}")


def _lexical(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _url(value: str) -> Iterator[Finding]:
    if value.startswith("urn:uuid:"):
        digits = value.removeprefix("urn:uuid:")
        shape = [len(part) for part in digits.split("-")]
        if shape != [8, 4, 4, 4, 12] or not set(digits) <= set("0123456789abcdef-"):
            yield Finding("error", "value", f"got {shown(value)}, expected a UUID in lower case")
    elif value.startswith("urn:oid:"):
        parts = value.removeprefix("urn:oid:").split(".")
        good = len(parts) > 1 and parts[0] in ("0", "1", "2")
        if not good or any(not (p.isascii() and p.isdecimal()) or (p[0] == "0" and p != "0") for p in parts):
            yield Finding("error", "value", f"got {shown(value)}, expected an OID such as urn:oid:1.2.3")


def decimal(value: Any) -> Decimal | None:
    """Return a JSON number as a Decimal, None for anything else, and for what is no decimal of R4.

    >>> decimal(1.5), decimal(True), decimal(Decimal("1E999999999"))
    (Decimal('1.5'), None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if isinstance(value, Decimal) and not fits("decimal", value):
        return None  # exact arithmetic would write all its digits
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def _decimals(item: Item, value: Any) -> Iterator[Finding]:
    at_most, number = item.value(f"{CORE}maxDecimalPlaces", int), decimal(value)
    if at_most is None or number is None:
        return
    exponent = number.as_tuple().exponent
    places = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    if places > at_most:
        yield Finding("error", "value", f"got {places} decimal places, expected at most {at_most}")


BOUNDS = (
    ("at least", 1, (f"{CORE}minValue", f"{SDC}minQuantity")),
    ("at most", -1, (f"{CORE}maxValue", f"{SDC}maxQuantity")),
)


def _range(item: Item, kind: str, value: Any) -> Iterator[Finding]:
    for words, sign, urls in BOUNDS:
        for bound in (bound for url in urls for bound in item.values(url)[:1]):
            bounds = isinstance(bound, dict)
            if (kind == "Quantity") is not bounds:
                continue
            got = label(kind, value)
            expected = f"{words} {label(kind, bound)}"
            if bounds:
                order, reason = quantity_order(value, bound)
                if order is None and reason is None:
                    continue
                if reason is not None:
                    yield Finding("error", "value", f"got {got}, expected {expected}; {reason}")
                    continue
            else:
                order = plain_order(value, bound)
                if order is None:
                    what = f"got {got}, expected {expected}; its precision leaves open whether it is"
                    yield Finding("warning", "value", what)
                    continue
            if order is not None and order * sign < 0:
                yield Finding("error", "value", f"got {got}, expected {expected}")


def _temporal(text: Any) -> Temporal | None:
    if not isinstance(text, str):
        return None
    if ":" in text[:3]:
        return temporal.parse_time(text)
    return temporal.parse_date_time(text) if "T" in text else temporal.parse_date(text)


def plain_order(one: Any, other: Any) -> int | None:
    """Return -1, 0 or 1 for two numbers, dates or times; None where it is open or cannot be said.

    >>> plain_order(5, 5.5), plain_order("2022-06", "2022-07-01"), plain_order("2022-06", "2022-06-30")
    (-1, -1, None)
    """
    left, right = decimal(one), decimal(other)
    if left is not None and right is not None:
        return (left > right) - (left < right)
    first, second = _temporal(one), _temporal(other)
    if first is None or second is None or first.start != second.start:
        return None
    return temporal.compare(first, second)


def quantity_order(value: dict[str, Any], bound: dict[str, Any]) -> tuple[int | None, str | None]:
    """Return the order of two quantities; or None and why they cannot be compared.

    Without system and code a unit is words for people (R4/datatypes.html#Quantity).
    """
    left, right = decimal(value.get("value")), decimal(bound.get("value"))
    if left is None or right is None:
        return None, None
    one, other = (value.get("system"), value.get("code")), (bound.get("system"), bound.get("code"))
    names = (value.get("unit"), bound.get("unit"))
    plain = (left > right) - (left < right)
    if one == other and (None not in one or (one == (None, None) and names == (None, None))):
        return plain, None
    if None in one or None in other:
        return None, "without system and code of both units they cannot be compared"
    if one[0] == other[0] == UCUM:
        here, there = ucum.canonical(left, str(one[1])), ucum.canonical(right, str(other[1]))
        if here is not None and there is not None and here[1] == there[1]:
            return (here[0] > there[0]) - (here[0] < there[0]), None
    return None, "these units do not measure the same"


def _unit_text(value: dict[str, Any]) -> str:
    code, unit = value.get("code"), value.get("unit")
    if code is None:
        return shown(unit) if unit is not None else "none"
    where = "" if value.get("system") == UCUM else f" of {value.get('system', 'no system')}"
    return f"{code}{where}"


def _attachment(item: Item, value: dict[str, Any]) -> Iterator[Finding]:
    kinds = [one for one in item.values(f"{CORE}mimeType") if isinstance(one, str)]
    given = value.get("contentType")
    if kinds and isinstance(given, str):
        bare = given.partition(";")[0].strip().lower()
        if not any(_is_kind(bare, kind.partition(";")[0].strip().lower()) for kind in kinds):
            yield Finding("error", "value", f"got the content type {given}, expected {' or '.join(kinds)}")
    elif kinds:
        yield Finding("error", "required", f"got no content type, expected {' or '.join(kinds)}")
    at_most = decimal(item.value(f"{CORE}maxSize", (int, float, Decimal)))
    if at_most is None:
        return
    size = decimal(value.get("size"))
    data = value.get("data")
    if isinstance(data, str):
        digits = len(data) - sum(map(data.count, " \r\n\t"))
        held = Decimal(digits * 3 // 4 - data.rstrip()[-2:].count("="))
        size = held if size is None else max(size, held)
    if size is not None and size > at_most:
        yield Finding("error", "too-long", f"got {size} bytes, expected at most {at_most}")


def _is_kind(given: str, allowed: str) -> bool:
    return allowed in (given, "*/*", "*") or (allowed.endswith("/*") and given.startswith(allowed[:-1]))
