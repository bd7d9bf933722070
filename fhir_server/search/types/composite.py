"""composite search parameters: values that belong together (R4/search.html#composite).

The components of one composite value come from the same element, and the index keeps them
together: where all are found by key (token$token), as keys of the joined texts; where one is
ordered (token$quantity), as one row of idx_composite for each group. Two searches with AND would
mix strangers: a systolic code here and a diastolic number there.

A row has room for one coded component, one text, one date and two numbers, the second of which
MolecularSequence's coordinates need; a composite that asks for more is refused by the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from fhir_server.fhirpath.extract import extractor
from fhir_server.outcome import Invalid
from fhir_server.schema.names import ROWS
from fhir_server.search import keys, values
from fhir_server.search.ast import Component, Parameter
from fhir_server.search.types.protocol import (
    Cell,
    Columns,
    Environment,
    Extractor,
    Match,
    Row,
    SearchType,
    Texts,
    Types,
)

ROW = ROWS["idx_composite"][1:]  # behind param
FIRST = {
    "string": Columns(value="value", long="long"),
    "date": Columns(low="date_low", high="date_high"),
    "number": Columns(low="low", high="high"),
    "quantity": Columns(low="low", high="high", unit="unit", unit_code="unit_code", unit_text="unit_text"),
}
CODED = Columns(code="code", system="system")
SECOND_NUMBER = Columns(low="low2", high="high2")


@dataclass(frozen=True, slots=True)
class CompositeValue:
    """One value for each component, each with the kind that reads it."""

    parts: tuple[tuple[str, Hashable], ...]


def layout(components: Sequence[Component], types: Types) -> tuple[Columns, ...] | None:
    """Return the columns of idx_composite for each component, () where keys do; None if it cannot be.

    Raises nothing: the registry decides what to do with a composite that has no layout.
    """
    kinds = [component.parameter.kind for component in components]
    if all(types[kind].table is None or kind == "uri" for kind in kinds):
        return ()
    placed: list[Columns] = []
    for kind in kinds:
        if types[kind].table is None:
            columns = CODED
        elif kind == "number" and FIRST["number"] in placed:
            columns = SECOND_NUMBER
        elif kind in FIRST:
            columns = FIRST[kind]
        else:
            return None
        if any(set(filter(None, columns)) & set(filter(None, other)) for other in placed):
            return None
        placed.append(columns)
    return tuple(placed)


def search_type(types: Types) -> SearchType:
    """Return the type; `types` are those that components may have."""

    def parse(
        text: str, modifier: str | None, parameter: Parameter, environment: Environment
    ) -> CompositeValue:
        parts = values.split(text, "$")
        if len(parts) != len(parameter.components):
            names = "$".join(component.parameter.code for component in parameter.components)
            raise Invalid(f"{text!r} has {len(parts)} parts; {parameter.code} asks for {names}")
        return CompositeValue(
            tuple(
                (
                    component.parameter.kind,
                    types[component.parameter.kind].parse(part, None, component.parameter, environment),
                )
                for component, part in zip(parameter.components, parts, strict=True)
            )
        )

    def where(value: CompositeValue, columns: Columns) -> Match:
        found: list[Match] = []
        numbers = 0
        for kind, part in value.parts:
            numbers += kind == "number"
            place = SECOND_NUMBER if numbers == 2 and kind == "number" else FIRST.get(kind, CODED)
            found.append(types[kind].where(part, place if _ordered(value, types) else Columns()))
        texts = [match.texts for match in found if isinstance(match, Texts)]
        if len(texts) == len(found):
            return Texts(tuple("$".join(group) for group in product(*texts)))
        rows = [_as_row(match) for match in found]
        return Row(
            " and ".join(f"({row.sql})" for row in rows),
            tuple(parameter for row in rows for parameter in row.parameters),
        )

    def extract(parameter: Parameter, environment: Environment) -> Extractor:
        """Return what gives the keys, or the rows of idx_composite, of one element with the components."""
        places = layout(parameter.components, types)
        if places is None:
            raise Invalid(f"{parameter.code} combines more than the index has room for")
        if not places:
            return _keyed(parameter, environment, types)
        return _rowed(parameter, environment, types, places)

    return SearchType(
        name="composite",
        extract=extract,
        parse=parse,
        where=where,
        table="idx_composite",
        columns=Columns(),
    )


def _ordered(value: CompositeValue, types: Types) -> bool:
    return any(types[kind].table is not None and kind != "uri" for kind, _ in value.parts)


def _as_row(match: Match) -> Row:
    """Return the condition of a component; a key text other than a token's is compared as code."""
    if isinstance(match, Row):
        return match
    assert isinstance(match, Texts)
    return Row("code = any(%s)", ([keys.short(text) for text in match.texts],))


def _component_cells(
    parameter: Parameter, environment: Environment, types: Types
) -> Callable[[str, Any, Any], list[list[tuple[str, Any, Extractor]]]]:
    """Return what gives, for each component, its typed values with their extractors."""
    known: dict[str, list[tuple[Any, Extractor]]] = {}

    def parts(element_type: str, element: Any, resource: Any) -> list[list[tuple[str, Any, Extractor]]]:
        compiled = known.get(element_type)
        if compiled is None:
            compiled = known[element_type] = [
                (
                    extractor(component.expression, element_type),
                    types[component.parameter.kind].extract(component.parameter, environment),
                )
                for component in parameter.components
            ]
        found = []
        for select, cells in compiled:
            typed = [(type_name, value, cells) for type_name, value in select(element, resource)]
            if not typed:
                return []
            found.append(typed)
        return found

    return parts


def _keyed(parameter: Parameter, environment: Environment, types: Types) -> Extractor:
    parts = _component_cells(parameter, environment, types)

    def cells(element_type: str, element: Any, resource: Any = None) -> Sequence[Cell]:
        texts = [
            [
                text
                for type_name, value, give in typed
                for text in give(type_name, value)
                if isinstance(text, str)
            ]
            for typed in parts(element_type, element, resource)
        ]
        return ["$".join(group) for group in product(*texts)] if texts else []

    return cells


def _rowed(
    parameter: Parameter, environment: Environment, types: Types, places: Sequence[Columns]
) -> Extractor:
    parts = _component_cells(parameter, environment, types)
    pairs = [types[component.parameter.kind].pairs for component in parameter.components]
    # Where each component's cells go in the row, in the order in which its type gives them.
    slots = [[ROW.index(name) for name in _named(place)] for place in places]

    def cells(element_type: str, element: Any, resource: Any = None) -> Sequence[Cell]:
        groups: list[list[tuple[Any, ...]]] = []
        for number, typed in enumerate(parts(element_type, element, resource)):
            found: list[tuple[Any, ...]] = []
            for type_name, value, give in typed:
                if places[number] is not CODED:
                    found += [cell for cell in give(type_name, value) if isinstance(cell, tuple)]
                elif (pair := pairs[number]) is not None:
                    found += [(keys.short(code), system) for system, code in pair(type_name, value)]
                else:
                    found += [
                        (keys.short(text), None) for text in give(type_name, value) if isinstance(text, str)
                    ]
            groups.append(found)
        rows: list[Cell] = []
        for group in product(*groups) if groups else ():
            row: list[Any] = [None] * len(ROW)
            for places_of_one, values_of_one in zip(slots, group, strict=True):
                for slot, value in zip(places_of_one, values_of_one, strict=True):
                    row[slot] = value
            rows.append(tuple(row))
        return rows

    return cells


def _named(place: Columns) -> list[str]:
    """Return the columns of a place in the order of a cell: code before system, low before high."""
    if place is CODED:
        return ["code", "system"]
    return [name for name in place if name]
