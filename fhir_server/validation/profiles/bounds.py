"""Least and greatest values, and lengths (R4/elementdefinition.html: minValue[x], maxValue[x], maxLength).

A Duration beside a date is relative to the current moment: subtracted for the least value, added for
the greatest. Quantities are compared in UCUM's base units.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from fhir_server.fhirpath import temporal
from fhir_server.fhirpath.api import Element
from fhir_server.fhirpath.comparison import Fault, order
from fhir_server.fhirpath.temporal import Temporal
from fhir_server.fhirpath.values import CALENDAR_UCUM, Quantity, system
from fhir_server.validation.explain import shown
from fhir_server.validation.profiles.run import Run
from fhir_server.validation.profiles.tree import Definition

_WORDS = {code: word for word, code in CALENDAR_UCUM.items()}


class Bound:
    """A least (sign -1) or greatest (sign 1) value."""

    def __init__(self, definition: Definition, key: str, limit: Any, sign: int) -> None:
        self.rule, self.limit, self.sign = definition.rule, limit, sign
        name = key[len("minValue") :]
        self.type = name if name in ("Quantity", "Duration", "Age") else name[:1].lower() + name[1:]
        self.value = system(Element(limit, self.type))
        self.plain = isinstance(limit, dict) and not {"code", "unit"}.intersection(limit)

    def __call__(self, item: Element, run: Run) -> None:
        """Report a value beyond the bound."""
        value = system(item)
        if value is None or isinstance(value, Element):
            return
        limit = self._limit(value)
        try:
            found = None if limit is None else order(value, limit)
        except Fault:
            found = None
        word = "at least" if self.sign < 0 else "at most"
        if limit is None or found is None:
            if isinstance(value, Quantity) and isinstance(self.value, Quantity):
                what = f"got {shown(item.value)}, which cannot be compared with {shown(self.limit)} ({word})"
                run.report("warning", "value", what, item, self.rule)
        elif found * self.sign > 0:
            what = f"got {shown(item.value)}, expected {word} {shown(self.limit)}"
            run.report("error", "value", what, item, self.rule)

    def _limit(self, value: Any) -> Any:
        if isinstance(value, Temporal) and isinstance(self.value, Quantity):
            now = temporal.of_instant(temporal.now())
            unit = _WORDS.get(self.value.unit, self.value.unit)
            amount = self.value.value * self.sign
            moment = temporal.add(now, Decimal(amount), unit)
            if moment is None or value.name != "Date":
                return moment
            return temporal.parse_date(str(moment)[:10])
        if self.plain and isinstance(value, Quantity) and isinstance(self.value, Quantity):
            return Quantity(self.value.value, value.unit)
        return self.value


class Length:
    """The greatest number of characters."""

    def __init__(self, definition: Definition, most: int) -> None:
        self.rule, self.most = definition.rule, most

    def __call__(self, item: Element, run: Run) -> None:
        """Report a text that is too long."""
        if isinstance(item.value, str) and len(item.value) > self.most:
            what = f"got {len(item.value)} characters, at most {self.most} may be"
            run.report("error", "too-long", what, item, self.rule)


def bounds(definition: Definition) -> list[Bound | Length]:
    """Return the checks of a definition's bounds."""
    found: list[Bound | Length] = []
    for stem, sign in (("minValue", -1), ("maxValue", 1)):
        stated = definition.stated(stem)
        if stated is not None:
            found.append(Bound(definition, *stated, sign))
    length = definition.element.get("maxLength")
    if length is not None:
        found.append(Length(definition, length))
    return found
