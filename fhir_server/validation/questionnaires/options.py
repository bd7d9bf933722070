"""What a question may be answered with: answerOption, and units (R4/questionnaire.html#item)."""

from __future__ import annotations

from typing import Any

from fhir_server.fhirpath import temporal
from fhir_server.validation.explain import shown
from fhir_server.validation.questionnaires.form import CORE, Item, extensions, typed_value

MAX_LISTED = 8


class Options:
    """The answerOptions of an item, read once so that each answer is looked up, not searched for."""

    def __init__(self, item: Item) -> None:
        self.keys: set[Any] = set()
        self.kinds: set[str] = set()
        self.exclusive: set[Any] = set()
        self.systems: dict[str, list[str | None]] = {}
        self.displays: dict[Any, list[str]] = {}
        self.labels: list[str] = []
        for option in item.source.get("answerOption", ()):
            found = typed_value(option)
            if found is None or found[1] is None:
                continue
            kind, value = found
            key = value_key(kind, value)
            self.keys.add(key)
            self.kinds.add(kind)
            if len(self.labels) <= MAX_LISTED:
                self.labels.append(label(kind, value))
            if kind == "Coding" and "code" in value:
                self.systems.setdefault(value["code"], []).append(value.get("system"))
                if isinstance(value.get("display"), str):
                    self.displays.setdefault(key, []).append(value["display"])
            if any(
                typed_value(one) == ("Boolean", True)
                for one in extensions(option).get(f"{CORE}questionnaire-optionExclusive", ())
            ):
                self.exclusive.add(key)

    def listed(self) -> str:
        """Return the options for a message, the first few."""
        more = ", …" if len(self.labels) > MAX_LISTED else ""
        return ", ".join(self.labels[:MAX_LISTED]) + more


def label(kind: str, value: Any) -> str:
    """Return a value for a message: `system#code` of a Coding, the address of a Reference.

    >>> label("Coding", {"system": "http://x", "code": "a"}), label("Time", "10:00:00")
    ('http://x#a', '"10:00:00"')
    """
    if isinstance(value, dict):
        if kind == "Coding":
            code = value.get("code")
            if code is None:
                return shown(value.get("display"))
            return f"{value['system']}#{code}" if "system" in value else f"{code} (no system)"
        if kind == "Reference":
            return shown(value.get("reference"))
        if kind == "Quantity":
            unit = value.get("unit") or value.get("code") or ""
            return f"{value.get('value')} {unit}".strip()
    return shown(value)


def value_key(kind: str, value: Any) -> Any:
    """Return something hashable that is the same for values that are the same answer.

    Codings are the same by system and code (R4/datatypes.html#Coding); one without code by its display.

    >>> value_key("Time", "10:00:00") == value_key("Time", "10:00:00.0")
    True
    >>> value_key("Coding", {"code": "a", "display": "A"}) == value_key("Coding", {"code": "a"})
    True
    """
    if kind == "Coding" and isinstance(value, dict):
        if "code" in value:
            return (kind, value.get("system"), value["code"])
        return (kind, "display", str(value.get("display", "")))
    if kind == "Reference" and isinstance(value, dict):
        return (kind, value.get("reference") or str(value.get("identifier") or value.get("display")))
    if kind in ("Date", "DateTime", "Time") and isinstance(value, str):
        parse = {"Date": temporal.parse_date, "Time": temporal.parse_time}.get(kind, temporal.parse_date_time)
        read = parse(value)
        return (kind, value if read is None else read.key())
    if isinstance(value, dict):
        return (kind, repr(sorted(value.items(), key=lambda entry: entry[0])))
    return (kind, value)
