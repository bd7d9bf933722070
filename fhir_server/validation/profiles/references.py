"""Where references lead: Reference(Profile), aggregation and versioning (R4/references.html).

The type of a target is told by the reference itself where it can be; the target is looked up only
where a profile of it is asked for. What is found outside of the resource and its Bundle and breaks
its profile gives a warning: a write is not refused for the state of another resource.
"""

from __future__ import annotations

from typing import Any

from fhir_server.definitions import structures
from fhir_server.fhirpath.api import Element
from fhir_server.fhirpath.conditions import referred_type
from fhir_server.validation.profiles.run import Run
from fhir_server.validation.profiles.tree import Definition, Library, core_type
from fhir_server.validation.profiles.types import reason

KINDS = frozenset({"Reference", "canonical"})


class Targets:
    """The types and profiles that a reference may lead to; `profiles` are (canonical, type or None)."""

    def __init__(self, definition: Definition, targets: list[str], library: Library) -> None:
        self.rule = definition.rule
        self.core = {name for name in map(core_type, targets) if name is not None}
        self.profiles: list[tuple[str, str | None]] = []
        for canonical in targets:
            if core_type(canonical) is None:
                profile = library.find(canonical)
                self.profiles.append((canonical, None if profile is None else profile.type))
        self.names = sorted({*self.core, *(name or canonical for canonical, name in self.profiles)})

    def __call__(self, item: Element, run: Run) -> None:
        """Report a reference to something else."""
        value = item.value
        if value is None or item.type not in KINDS:
            return
        text = value.get("reference", "") if isinstance(value, dict) else value
        target = run.target(item, item) if text[:1] == "#" or ":" in text[:9] else None
        kind = target.type if target is not None else referred_type(value)
        if kind is None or not structures.is_resource_type(kind):
            return
        if any(structures.is_subtype(kind, name) for name in self.core):
            return
        fitting = [canonical for canonical, name in self.profiles if name in (kind, None)]
        if not fitting:
            what = f"{text or 'it'} leads to {kind}; expected {' or '.join(self.names)}"
            run.report("error", "structure", what, item, self.rule)
            return
        target = target or run.target(item, item)
        if target is not None:
            self._meets(item, target, text, fitting, run)

    def _meets(self, item: Element, target: Element, text: str, profiles: list[str], run: Run) -> None:
        failures = []
        for canonical in profiles:
            errors = run.errors(target, canonical)
            if errors is None:
                run.untested(item, canonical, "the target of this reference", self.rule)
                return
            if not errors:
                return
            failures.append((canonical, errors))
        nearest, errors = min(failures, key=lambda pair: len(pair[1]))
        severity = "error" if _inside(target, item) else "warning"
        what = f"{text} does not meet {nearest}: {reason(errors)}"
        run.report(severity, "structure", what, item, self.rule)


class Manner:
    """How a reference may be made: contained, bundled or referenced; with a version or without."""

    def __init__(self, definition: Definition, types: list[dict[str, Any]]) -> None:
        self.rule, self.types = definition.rule, types

    def __call__(self, item: Element, run: Run) -> None:
        """Report a reference of another kind."""
        text = item.value.get("reference") if isinstance(item.value, dict) else item.value
        if not isinstance(text, str) or item.type not in KINDS:
            return
        self._aggregation(item, text, run)
        versioning = {entry.get("versioning", "either") for entry in self.types}
        versioned = "/_history/" in text or (item.type == "canonical" and "|" in text)
        if versioning == {"specific"} and not versioned:
            what = f"{text} has no version, and a reference to a version (…/_history/…) is expected"
            run.report("error", "structure", what, item, self.rule)
        elif versioning == {"independent"} and versioned:
            run.report("error", "structure", f"{text} has a version, and none is expected", item, self.rule)

    def _aggregation(self, item: Element, text: str, run: Run) -> None:
        if not all(entry.get("aggregation") for entry in self.types):
            return
        allowed = {mode for entry in self.types for mode in entry["aggregation"]}
        if text.startswith("#"):
            modes = {"contained"}
        else:
            target = None
            if "bundled" in allowed or "referenced" not in allowed:
                target = run.target(item, item)
            bundled = target is not None and _inside(target, item)
            modes = {"bundled", "referenced"} if bundled else {"referenced"}
        if not modes & allowed:
            mode = "bundled" if "bundled" in modes else next(iter(modes))
            what = f"{text} is {mode}; expected {' or '.join(sorted(allowed))}"
            run.report("error", "structure", what, item, self.rule)


def references(
    definition: Definition, base: structures.Element | None, library: Library
) -> list[Targets | Manner]:
    """Return the checks of a reference, without what the base type asks for."""
    types = [entry for entry in definition.types if entry["code"] in KINDS]
    if not types:
        return []
    found: list[Targets | Manner] = []
    targets = [canonical for entry in types for canonical in entry.get("targetProfile", ())]
    names = [core_type(canonical) for canonical in targets]
    same = base is not None and None not in names and set(names) >= set(base.targets)
    if targets and not same and "Resource" not in names:
        found.append(Targets(definition, targets, library))
    if any(entry.get("aggregation") or entry.get("versioning", "either") != "either" for entry in types):
        found.append(Manner(definition, types))
    return found


def _inside(target: Element, item: Element) -> bool:
    """Return whether a target and a reference to it are of one document."""
    return _top(target) is _top(item)


def _top(item: Element) -> Any:
    while item.parent is not None:
        item = item.parent
    return item.value
