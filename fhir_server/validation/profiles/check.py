"""A resource against the profiles that are asked for and those that it claims (R4/profiling.html)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir_server.definitions.conformance import Conformance
from fhir_server.fhirpath.api import Element
from fhir_server.fhirpath.values import members
from fhir_server.outcome import Issue
from fhir_server.validation.knowledge import R4, Task
from fhir_server.validation.profiles import extensions, vital_signs
from fhir_server.validation.profiles.compile import compiled
from fhir_server.validation.profiles.run import Run
from fhir_server.validation.profiles.tree import Library, core_type


def library(conformance: Conformance) -> Library:
    """Return the compiled profiles of a Conformance; they are kept as long as it is."""
    found: Library | None = conformance.compiled.get("profiles")
    if found is None:
        found = conformance.compiled["profiles"] = Library(conformance, compiled)
    return found


def check(resource: Any, task: Task = R4) -> Iterator[Issue]:
    """Yield what a structurally right resource breaks of the profiles that it must meet.

    These are `task.profiles`; if `task.claims` those of `meta.profile`, also of contained resources
    and of the resources in Bundles and Parameters; if `task.vital_signs` those that R4 asks of
    vital signs; and always the definitions of the extensions that are there.
    """
    ways = extensions.holders(resource) if task.knowledge.conformance.sources else []
    if not (ways or task.profiles or task.claims or task.vital_signs):
        return
    root = Element(resource, resource["resourceType"])
    run = Run(task.knowledge, library(task.knowledge.conformance), task.strict)
    try:
        _visit(root, ways, task, run)
    except Exception:
        if not task.malformed:
            raise
    yield from run.issues


def _visit(root: Element, ways: list[extensions.Way | None], task: Task, run: Run) -> None:
    for canonical in task.profiles:
        _against(root, canonical, run, asked=True)
    if task.claims or task.vital_signs:
        for item in _resources(root):
            for canonical in item.value.get("meta", {}).get("profile", ()) if task.claims else ():
                if canonical is not None:
                    _against(item, canonical, run, asked=False)
            if task.vital_signs and item.type == "Observation":
                vital_signs.visit(item, run)
    extensions.visit(root, ways, run)


def _against(item: Element, canonical: str, run: Run, *, asked: bool) -> None:
    if core_type(canonical) is not None:
        for issue in run.errors(item, canonical) or ():
            run.add(issue)
        return
    profile = run.library.find(canonical)
    if profile is not None:
        run.visit(item, profile)
    elif asked:
        what = f"the profile {canonical} {run.library.missing(canonical)}"
        run.report("error", "not-found", what, item, f"{canonical}#{item.type}")
    else:
        what = f"this resource was not checked against {canonical}, which {run.library.missing(canonical)}"
        run.report("warning", "not-found", what, item, f"{canonical}#{item.type}", "meta.profile")


def _resources(item: Element) -> Iterator[Element]:
    """Yield a resource and those inside of it."""
    yield item
    for inner in members(item, "contained"):
        yield from _resources(inner)
    if item.type == "Bundle":
        for entry in members(item, "entry"):
            for inner in members(entry, "resource"):
                yield from _resources(inner)
    elif item.type == "Parameters":
        yield from _parameters(item)


def _parameters(item: Element) -> Iterator[Element]:
    for parameter in (*members(item, "parameter"), *members(item, "part")):
        for inner in members(parameter, "resource"):
            yield from _resources(inner)
        yield from _parameters(parameter)
