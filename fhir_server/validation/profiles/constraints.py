"""The constraints that a profile adds (R4/conformance-rules.html#constraints).

Those that the base type states as well are checked for every resource and left out here. A cheap
predicate sees most constraints kept; the engine has the last word.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fhir_server.definitions import structures
from fhir_server.fhirpath import api
from fhir_server.fhirpath.api import Element, FhirPathError
from fhir_server.fhirpath.extract import predicate
from fhir_server.validation.invariants import NOT_ASKED
from fhir_server.validation.profiles.run import Run
from fhir_server.validation.profiles.tree import Definition

BEST_PRACTICE = "http://hl7.org/fhir/StructureDefinition/elementdefinition-bestpractice"
_EVERYWHERE = frozenset({"ele-1", "ext-1"}) | NOT_ASKED


class Constraint:
    """One constraint at one element; a broken best practice is a warning."""

    def __init__(self, definition: Definition, constraint: dict[str, Any], context: str) -> None:
        self.key: str = constraint["key"]
        self.rule = f"{definition.profile.url}#{self.key}"
        self.human: str = constraint.get("human", "")
        self.text: str = constraint["expression"]
        best = any(one.get("url") == BEST_PRACTICE for one in constraint.get("extension", ()))
        self.severity = "error" if constraint.get("severity") == "error" and not best else "warning"
        self.outside = definition is not definition.profile.root
        self.fault = ""
        self.expression: api.Expression | None = None
        self.quick = None
        try:
            self.expression = api.compile(self.text, lenient=True)
            self.quick = predicate(self.text, context) if context else None
        except FhirPathError as error:
            self.fault = str(error)
        except KeyError:  # a context that the planner does not know
            pass

    def __call__(self, item: Element, run: Run) -> None:
        """Report the constraint if it is broken."""
        if self.quick is not None and type(item.value) is dict:
            try:
                if self.quick(item.value, _holder(item)) is not False:
                    return
            except (AttributeError, KeyError, TypeError, ValueError):
                pass
        fault = self.fault
        if self.expression is not None:
            try:
                around = _around(item) if self.outside else None
                if self.expression.holds(item, world=run, environment=around):
                    return
            except Exception as error:  # a flaw of ours or of the profile refuses nobody's resource
                fault = str(error) or type(error).__name__
        if not fault:
            run.report(self.severity, "invariant", f"{self.human} ({self.key})", item, self.rule)
        else:
            what = f"the constraint {self.key} ({self.text}) could not be evaluated: {fault}"
            run.report("warning", "not-supported", what, item, self.rule)


def constraints(
    definition: Definition, base: structures.Element | None, types: Iterable[str], context: str
) -> list[Constraint]:
    """Return the checks of the constraints that neither the base element nor its types state."""
    known = set(_EVERYWHERE)
    if base is not None:
        known.update(base.constraints)
    for name in types:
        known |= _of_type(name)
    return [
        Constraint(definition, one, context)
        for one in definition.element.get("constraint", ())
        if one.get("expression") and one["key"] not in known
    ]


def _of_type(name: str) -> set[str]:
    found: set[str] = set()
    while name in structures.type_names():
        structure = structures.structure(name)
        found.update(structure.elements[name].constraints)
        name = structure.base
    return found


def _around(item: Element) -> dict[str, Any] | None:
    """Return %resource and %rootResource for a resource that a profile of its container speaks of.

    A constraint at Bundle.entry.resource is one of the Bundle: it is evaluated in the Bundle.
    """
    if not _is_resource(item) or item.parent is None:
        return None
    place = item.parent
    while place.parent is not None and not _is_resource(place):
        place = place.parent
    inside = place.name == "contained" and place.parent is not None
    return {"resource": [place], "rootResource": [place.parent if inside else place]}


def _is_resource(item: Element) -> bool:
    return isinstance(item.value, dict) and "resourceType" in item.value


def _holder(item: Element) -> Any:
    place: Element | None = item
    found: Any = None
    while place is not None:
        if _is_resource(place):
            found = place.value
            if place.name != "contained":
                break
        place = place.parent
    return found
