"""The door to FHIRPath: compile a text, evaluate it on a resource.

>>> names = compile("Patient.name.given.first()")
>>> names.evaluate({"resourceType": "Patient", "name": [{"given": ["Ann", "Eve"]}]})
[<string Patient.name[0].given[0]: 'Ann'>]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import DecimalException
from functools import lru_cache
from typing import Any

from fhir_server.fhirpath import nodes
from fhir_server.fhirpath.comparison import truth
from fhir_server.fhirpath.errors import (
    FhirPathError,
    FhirPathSyntaxError,
    FhirPathTooCostly,
    FhirPathTypeError,
)
from fhir_server.fhirpath.evaluate import compiled, watched
from fhir_server.fhirpath.parser import parse
from fhir_server.fhirpath.scope import MAX_ITEMS, Compiled, Exhausted, Scope, World
from fhir_server.fhirpath.values import (
    Collection,
    Element,
    Quantity,
    TypeInfo,
    root,
    system,
    to_json,
    type_of,
)
from fhir_server.fhirpath.watch import Watch

__all__ = [
    "Element",
    "Expression",
    "FhirPathError",
    "FhirPathSyntaxError",
    "FhirPathTooCostly",
    "FhirPathTypeError",
    "Quantity",
    "Result",
    "TypeInfo",
    "Watch",
    "World",
    "compile",
    "compile_watched",
    "root",
    "system",
    "to_json",
    "truth",
    "type_of",
]


@dataclass(frozen=True, slots=True)
class Result:
    """What an expression found, and what its trace() calls saw: (name, items) in their order.

    `spent` counts the items that passed through the evaluation; equal for equal resources.
    """

    items: Collection
    traces: list[tuple[str, Collection]]
    spent: int = 0


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression; it keeps no state and may be shared between threads."""

    text: str
    tree: nodes.Expression
    run: Compiled
    looks_around: bool = True  # asks for %resource and its like, or resolves references

    def evaluate(
        self,
        resource: dict[str, Any] | Element | None,
        *,
        environment: Mapping[str, Any] | None = None,
        world: World | None = None,
    ) -> Collection:
        """Return the items that the expression selects from a resource, or from an element of one.

        Items are Elements (FHIR), or System values: bool, int, Decimal, str, Temporal, Quantity.
        `environment` holds variables by name, single values or lists; %resource, %rootResource
        and %context are the resource and the element given, unless `environment` says otherwise.
        """
        return self.result(resource, environment=environment, world=world).items

    def result(
        self,
        resource: dict[str, Any] | Element | None,
        *,
        environment: Mapping[str, Any] | None = None,
        world: World | None = None,
        now: datetime | None = None,
        budget: int = MAX_ITEMS,
    ) -> Result:
        """Return the items together with the trace.

        Raises FhirPathTooCostly when more than `budget` items pass through the evaluation.
        """
        item = root(resource) if isinstance(resource, dict) else resource
        focus: Collection = [] if item is None else [item]
        variables = _variables(item, focus) if self.looks_around else {}
        if environment:
            for name, value in environment.items():
                variables[name] = value if isinstance(value, list) else [_typed(value)]
        scope = Scope(focus, variables, world, now, budget)
        try:
            items = self.run(scope, focus)
        except Exhausted:
            what = f"the expression passes through more than {budget} items; narrow it"
            raise FhirPathTooCostly(what, self.text, 0) from None
        except RecursionError:
            raise FhirPathTypeError("the evaluation goes too deep", self.text, 0) from None
        except (DecimalException, OverflowError, ValueError) as error:
            raise FhirPathTypeError(f"a number is out of range ({error})", self.text, 0) from None
        return Result(items, scope.traces, budget - scope.budget)

    def holds(
        self,
        resource: dict[str, Any] | Element,
        *,
        environment: Mapping[str, Any] | None = None,
        world: World | None = None,
    ) -> bool:
        """Say whether an invariant is kept: it is broken only where the answer is false.

        R4's own invariants count on empty being no violation (ref-1 on a Reference that has only a
        display).

        >>> compile("name.matches('[A-Z].*')").holds({"resourceType": "Library"})
        True
        """
        return truth(self.evaluate(resource, environment=environment, world=world)) is not False


def _typed(value: Any) -> Any:
    return root(value) if isinstance(value, dict) and "resourceType" in value else value


def _variables(item: Element | None, focus: Collection) -> dict[str, Collection]:
    """Return %context, %resource (the nearest resource around) and %rootResource (its container)."""
    resource: Collection = focus
    container: Collection = focus
    place = item if isinstance(item, Element) else None
    while place is not None:
        # ExampleScenario.instance has an element of the name resourceType, too.
        if isinstance(place.value, dict) and place.value.get("resourceType") == place.type:
            resource = container = [place]
            if place.name == "contained" and place.parent is not None:
                container = [place.parent]
            break
        place = place.parent
    return {"context": focus, "resource": resource, "rootResource": container}


@lru_cache(maxsize=4096)
def compile(text: str, *, lenient: bool = False) -> Expression:
    """Return the expression that `text` writes; the last few thousand are remembered.

    `lenient` reads it as R4's own definitions are written: `as` filters, and Boolean also means
    boolean. Raises FhirPathSyntaxError or FhirPathTypeError, with the position.
    """
    tree = parse(text)
    try:
        run = compiled(text, tree, lenient=lenient)
        return Expression(text, tree, run, "%" in text or "resolve" in text)
    except RecursionError:
        raise FhirPathSyntaxError("the expression is nested too deeply", text, 0) from None


def compile_watched(text: str, watch: Watch) -> Expression:
    """Return the expression that `text` writes, to be evaluated only as long as `watch` lets it.

    For expressions of strangers: it is not remembered, and costs a look for every node. Raises what
    `compile` raises.
    """
    try:
        return Expression(text, tree := parse(text), watched(text, tree, watch))
    except RecursionError:
        raise FhirPathSyntaxError("the expression is nested too deeply", text, 0) from None
