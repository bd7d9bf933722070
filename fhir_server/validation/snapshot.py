"""Snapshots: all elements of a profile, made from the few that it states (R4/profiling.html#snapshot).

A profile states a differential: what it changes in its base definition. The snapshot is the base's with
these changes, with the children of a datatype wherever the differential speaks of them.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from fhir_server.definitions.conformance import Conformance
from fhir_server.validation.differential import Differential
from fhir_server.validation.element_tree import Node, NoSnapshot, flat, tree

LONGEST_CHAIN = 40
"""Definitions built on each other, at most: two or three are usual, and each costs stack."""

_trees: WeakKeyDictionary[Conformance, dict[str, Node]] = WeakKeyDictionary()


def snapshot(definition: dict[str, Any], conformance: Conformance) -> list[dict[str, Any]]:
    """Return the ElementDefinitions of a StructureDefinition's snapshot, made from its differential.

    A definition that states no differential has its own snapshot returned. Nothing given is changed;
    what is returned shares parts with the definitions and is not to be changed either.

    >>> from fhir_server.definitions.core import Core
    >>> conformance = Conformance([Core()])
    >>> bmi = conformance.find("StructureDefinition", "http://hl7.org/fhir/StructureDefinition/bmi")
    >>> [e["id"] for e in snapshot(bmi, conformance) if e.get("fixedCode") == "39156-5"]
    ['Observation.code.coding:BMICode.code']

    Raises NoSnapshot (422) when a base definition is unknown or its own base, and when the differential
    speaks of what the base does not have.
    """
    return flat(_tree(definition, conformance, ()), definition.get("type", "").rpartition("/")[2])


def elements(definition: dict[str, Any], conformance: Conformance) -> list[dict[str, Any]]:
    """Return the snapshot that a definition carries, or else make it."""
    carried: list[dict[str, Any]] = definition.get("snapshot", {}).get("element", [])
    return carried or snapshot(definition, conformance)


def _tree(definition: dict[str, Any], conformance: Conformance, making: tuple[str, ...]) -> Node:
    url = definition.get("url", "")
    if url in making:
        circle = " → ".join([*making[making.index(url) :], url])
        raise NoSnapshot(f"{url} is built on itself: {circle}; one of them must have another base")
    if len(making) >= LONGEST_CHAIN:
        raise NoSnapshot(f"{url} and {making[0]} are {LONGEST_CHAIN} definitions apart; no more are followed")
    making = (*making, url)
    stated = definition.get("differential", {}).get("element")
    if not stated:
        carried = definition.get("snapshot", {}).get("element")
        if carried:
            return tree(carried)
    base = definition.get("baseDefinition")
    if not base:
        raise NoSnapshot(f"{url} has neither a snapshot nor a baseDefinition; it needs one of them")

    def look_up(canonical: str) -> Node:
        return _known(canonical, conformance, making, url)

    start = look_up(base)
    return Differential(definition, start, look_up).applied(tree(stated)) if stated else start


def _known(canonical: str, conformance: Conformance, making: tuple[str, ...], asked_by: str) -> Node:
    """Return the tree of a definition that another one builds on, made once for each conformance."""
    known = _trees.setdefault(conformance, {})
    if canonical not in known:
        found = conformance.find("StructureDefinition", canonical)
        if found is None:
            raise NoSnapshot(
                f"{asked_by} builds on {canonical}, which is not known here; "
                f"install the package that has it, or store it as a StructureDefinition"
            )
        carried = found.get("snapshot", {}).get("element")
        known[canonical] = tree(carried) if carried else _tree(found, conformance, making)
    return known[canonical]
