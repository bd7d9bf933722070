"""What a collection holds: System values and FHIR elements.

System values are plain Python (bool, int, Decimal, str), a `Temporal` or a `Quantity`. A FHIR
element is an `Element`: its JSON with its type name, and where it was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, TypeAlias

from fhir_server.fhirpath import temporal, types
from fhir_server.fhirpath.temporal import Temporal
from terminology import ucum

CALENDAR_UCUM = {  # N1 §2.1.20: the calendar words and the UCUM codes that stand for about the same
    "year": "a", "month": "mo", "week": "wk", "day": "d", "hour": "h",
    "minute": "min", "second": "s", "millisecond": "ms",
}  # fmt: skip
_UCUM = "http://unitsofmeasure.org"


class Element:
    """A FHIR element or resource at its place.

    `value` is its JSON (None for a primitive that has only extensions), `type` its type name,
    `extra` what JSON keeps beside a primitive (`_birthDate`), `name` and `index` its place in
    `parent` (index None where the definition does not let it repeat).
    """

    __slots__ = ("extra", "index", "name", "parent", "type", "value")

    def __init__(
        self,
        value: Any,
        type_name: str,
        extra: dict[str, Any] | None = None,
        parent: Element | None = None,
        name: str = "",
        index: int | None = None,
    ) -> None:
        self.value, self.type, self.extra = value, type_name, extra
        self.parent, self.name, self.index = parent, name, index

    @property
    def path(self) -> str:
        """Where the element stands, as FHIRPath.

        >>> patient = Element({"resourceType": "Patient", "name": [{"family": "A"}]}, "Patient")
        >>> [child.path for name in members(patient, "name") for child in members(name, "family")]
        ['Patient.name[0].family']
        """
        steps = []
        place: Element | None = self
        while place is not None:
            step = place.name or place.type
            steps.append(step if place.index is None else f"{step}[{place.index}]")
            place = place.parent
        return ".".join(reversed(steps))

    def __repr__(self) -> str:
        return f"<{self.type} {self.path}: {self.value!r}>"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A System.Quantity: `unit` is a UCUM code, or a calendar word in the singular."""

    value: Decimal | int
    unit: str = "1"

    @property
    def is_calendar(self) -> bool:
        """Say whether the unit is a word of the calendar."""
        return self.unit in CALENDAR_UCUM

    def __str__(self) -> str:
        if self.is_calendar:
            return f"{number_text(self.value)} {self.unit}{'' if self.value == 1 else 's'}"
        return f"{number_text(self.value)} '{self.unit}'"


@dataclass(frozen=True, slots=True)
class TypeInfo:
    """What type() answers."""

    namespace: str
    name: str


Value: TypeAlias = bool | int | Decimal | str | Temporal | Quantity | TypeInfo | Element
Collection: TypeAlias = list[Any]


def number_text(value: Decimal | int) -> str:
    """Return a number with all its digits and no exponent."""
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def root(resource: dict[str, Any]) -> Element:
    """Return a resource as the element that an expression begins with."""
    return Element(resource, str(resource.get("resourceType", "")))


Reader: TypeAlias = Callable[[Element, dict[str, Any]], list[Element]]


@dataclass(frozen=True, slots=True)
class _Shape:
    """How the members of a type are read: by their names, and by their JSON keys (`_key` too)."""

    by_name: dict[str, Reader]
    by_key: dict[str, tuple[str, Reader]]


@cache
def _shape(type_name: str) -> _Shape:
    kind = types.find(type_name)
    by_name: dict[str, Reader] = {}
    by_key: dict[str, tuple[str, Reader]] = {}
    for name, member in kind.members.items() if kind is not None else ():
        readers = {key: _reader(key, inner, name, member.many) for key, inner in member.choices}
        for key, reader in readers.items():
            by_key[key] = by_key[f"_{key}"] = (key, reader)
        by_name[name] = next(iter(readers.values())) if len(readers) == 1 else _choice(readers)
    return _Shape(by_name, by_key)


def _choice(readers: dict[str, Reader]) -> Reader:
    keys = {key: reader for bare, reader in readers.items() for key in (bare, f"_{bare}")}

    def read(item: Element, source: dict[str, Any]) -> list[Element]:
        for key in source:
            if key in keys:
                return keys[key](item, source)
        return []

    return read


def _reader(key: str, type_name: str, name: str, many: bool) -> Reader:
    """Return a function from an element and its JSON to the elements under one key."""
    only = 0 if many else None
    if type_name in types.SYSTEM_OF:
        beside = f"_{key}"

        def read_primitive(item: Element, source: dict[str, Any]) -> list[Element]:
            value, extra = source.get(key), source.get(beside)
            if value is None and extra is None:
                return []
            if type(value) is list or type(extra) is list:
                return _primitives(item, value, extra, type_name, name)
            return [Element(value, type_name, extra, item, name, only)]

        return read_primitive

    names_itself = types.is_resource_base(type_name)

    def read(item: Element, source: dict[str, Any]) -> list[Element]:
        value = source.get(key)
        if value is None:
            return []
        if names_itself:
            found = value if type(value) is list else (value,)
            return [
                Element(one, one.get("resourceType", type_name), None, item, name, place if many else None)
                for place, one in enumerate(found)
            ]
        if type(value) is list:
            return [Element(one, type_name, None, item, name, place) for place, one in enumerate(value)]
        return [Element(value, type_name, None, item, name, only)]

    return read


def _primitives(item: Element, values: Any, extras: Any, type_name: str, name: str) -> list[Element]:
    listed = values if type(values) is list else []
    if not extras and None not in listed:
        return [Element(value, type_name, None, item, name, place) for place, value in enumerate(listed)]
    beside = extras if type(extras) is list else []
    found = []
    for place in range(max(len(listed), len(beside))):
        value = listed[place] if place < len(listed) else None
        extra = beside[place] if place < len(beside) else None
        if value is not None or extra is not None:
            found.append(Element(value, type_name, extra, item, name, place))
    return found


def members(item: Element, name: str) -> list[Element]:
    """Return the elements called `name` (a choice by its stem: "value") right below `item`."""
    reader = _shape(item.type).by_name.get(name)
    if reader is None:
        return []
    source = item.value if type(item.value) is dict else item.extra
    return reader(item, source) if source else []


def children(item: Element) -> Iterator[Element]:
    """Yield the elements right below `item`, in the order of its JSON."""
    source = item.value if type(item.value) is dict else item.extra
    if not source:
        return
    by_key = _shape(item.type).by_key
    for key in source:
        entry = by_key.get(key)
        # a primitive is met at its own key; at `_key` only when it has no value
        if entry is not None and (entry[0] == key or entry[0] not in source):
            yield from entry[1](item, source)


def system(item: Any) -> Any:
    """Return an element of a primitive type or a Quantity as System value, everything else as it is.

    None for a primitive without a value; text that is no date stays text.

    >>> str(system(Element("2015-02", "date")))
    '2015-02'
    """
    if type(item) is not Element:
        return item
    value = item.value
    kind = types.SYSTEM_OF.get(item.type)
    if kind is None:
        return _quantity(item) if types.is_a(item.type, "Quantity") else item
    if kind == "String" or value is None:
        return value
    if kind in ("Date", "DateTime", "Time"):
        return _PARSE[kind](value) or value if isinstance(value, str) else value
    if kind == "Decimal":
        return _decimal(value)
    return value


_PARSE = {"Date": temporal.parse_date, "DateTime": temporal.parse_date_time, "Time": temporal.parse_time}


def _decimal(value: Any) -> Any:
    if type(value) is int:
        return Decimal(value)
    return Decimal(repr(value)) if type(value) is float else value


def _quantity(item: Element) -> Any:
    source = item.value
    amount = _decimal(source.get("value")) if type(source) is dict else None
    if not isinstance(amount, Decimal) or source.get("comparator"):
        return item
    if source.get("system") == _UCUM and source.get("code"):
        return Quantity(amount, source["code"])
    unit = source.get("code") or source.get("unit")
    return Quantity(amount, unit if isinstance(unit, str) else "1")


def type_of(item: Any) -> TypeInfo:
    """Return the type of an item.

    >>> type_of(True), type_of(Element("a", "code"))
    (TypeInfo(namespace='System', name='Boolean'), TypeInfo(namespace='FHIR', name='code'))
    """
    if isinstance(item, Element):
        return TypeInfo("FHIR", item.type)
    return TypeInfo("System", system_type(item))


def system_type(item: Any) -> str:
    """Return the name of a System value's type."""
    if isinstance(item, bool):
        return "Boolean"
    if isinstance(item, Temporal):
        return item.name
    return _SYSTEM_NAMES.get(type(item), "Any")


_SYSTEM_NAMES: dict[type, str] = {
    int: "Integer", Decimal: "Decimal", str: "String", Quantity: "Quantity", TypeInfo: "TypeInfo",
}  # fmt: skip


def key(item: Any) -> Any:
    """Return something hashable that is equal for items that `=` calls equal.

    >>> key(Decimal("1.10")) == key(Decimal("1.1")), key(True) == key(1)
    (True, False)
    >>> key(Element("a", "code")) == key("a")
    True
    """
    value = system(item)
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return (bool, value)
    if isinstance(value, (int, Decimal)):
        return value
    if isinstance(value, Temporal):
        return value.key()
    if isinstance(value, Quantity):
        return quantity_key(value)
    if isinstance(value, Element):
        return (Element, _frozen(value.value), _frozen(value.extra) if value.value is None else None)
    return value


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return frozenset((name, _frozen(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return tuple(_frozen(inner) for inner in value)
    return (bool, value) if isinstance(value, bool) else value


def quantity_key(quantity: Quantity) -> Any:
    """Return what is equal for quantities of equal size: 7 days and 1 week, 4 'g' and 4000 'mg'."""
    unit = quantity.unit
    if unit in ("year", "month", "a", "mo"):  # a calendar year is no definite length of time
        count, base = (12, "month") if unit == "year" else (1, unit)
        return (Quantity, quantity.value * count, base)
    canonical = ucum.canonical(quantity.value, CALENDAR_UCUM.get(unit, unit))
    return (Quantity, quantity.value, unit) if canonical is None else (Quantity, *canonical)


def to_json(item: Any) -> Any:
    """Return an item as JSON would write it: dates and quantities as text, elements as they stand.

    >>> to_json(Quantity(4, "day")), to_json(temporal.parse_date("2020"))
    ('4 days', '2020')
    """
    if isinstance(item, Element):
        return item.value
    if isinstance(item, (Temporal, Quantity)):
        return str(item)
    if isinstance(item, TypeInfo):
        return {"namespace": item.namespace, "name": item.name}
    return item
