"""Which types an element may have, and which profiles these must meet (R4/elementdefinition.html: type)."""

from __future__ import annotations

from typing import Any

from fhir_server.definitions import structures
from fhir_server.fhirpath.api import Element
from fhir_server.validation.profiles.run import Run, type_name
from fhir_server.validation.profiles.tree import CORE, Definition, Library, core_type

SIMPLE_QUANTITY = f"{CORE}SimpleQuantity"


class Allowed:
    """The types of an element where a profile narrows them."""

    def __init__(self, definition: Definition) -> None:
        self.rule, self.codes = definition.rule, definition.codes

    def __call__(self, item: Element, run: Run) -> bool:
        """Return whether an element has one of the types, and report it if not."""
        name = type_name(item)
        if name in self.codes or any(structures.is_subtype(name, code) for code in self.codes):
            return True
        what = f"got {item.type}, expected {' or '.join(self.codes)}"
        run.report("error", "structure", what, item, self.rule)
        return False


class Profiled:
    """The profiles of an element's types: it must meet one of those that its type has."""

    def __init__(self, definition: Definition, types: tuple[dict[str, Any], ...]) -> None:
        self.rule, self.types = definition.rule, types

    def __call__(self, item: Element, run: Run) -> None:
        """Report an element that meets none of the profiles."""
        name = type_name(item)
        fitting = [entry for entry in self.types if structures.is_subtype(name, entry["code"])]
        profiles = [canonical for entry in fitting for canonical in entry.get("profile", ())]
        if not all(entry.get("profile") for entry in fitting):
            return
        failures = []
        for canonical in profiles:
            found = run.issues_against(item, canonical)
            if found is None:
                if canonical.partition("|")[0] == SIMPLE_QUANTITY and "comparator" not in item.value:
                    return
                run.untested(item, canonical, "this", self.rule)
                return
            errors = [issue for issue in found if issue.severity == "error"]
            if not errors or len(profiles) == 1:
                for issue in found:
                    run.add(issue)
                return
            failures.append((canonical, errors))
        nearest, errors = min(failures, key=lambda pair: len(pair[1]))
        what = f"it meets none of {', '.join(profiles)}; the nearest is {nearest}, but {reason(errors)}"
        run.report("error", "structure", what, item, self.rule)


def reason(errors: list[Any]) -> str:
    """Return the first of some issues as half a sentence."""
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{first.expression}: {first.diagnostics}{more}"


def allowed(definition: Definition, base: structures.Element | None) -> Allowed | None:
    """Return the test of an element's type, None where the profile leaves all that the base type has."""
    codes = definition.codes
    if not codes or base is None or not base.types or set(base.types) <= set(codes):
        return None
    return Allowed(definition)


def profiled(definition: Definition, base: structures.Element | None, library: Library) -> Profiled | None:
    """Return the check of the profiles of an element's types, None where nothing is to be checked."""
    known = {f"{CORE}{name}" for name in base.profiles} if base is not None else set()
    types = []
    for entry in definition.types:
        profiles = [
            canonical
            for canonical in entry.get("profile", ())
            if canonical.partition("|")[0] not in known and not _by_url(entry["code"], canonical, library)
        ]
        types.append({"code": entry["code"], "profile": profiles})
    if not any(entry["profile"] for entry in types):
        return None
    return Profiled(definition, tuple(types))


def _by_url(code: str, canonical: str, library: Library) -> bool:
    """Return whether an extension is found by its url, as `extensions` does for every extension."""
    if code != "Extension" or core_type(canonical) is not None:
        return False
    profile = library.find(canonical)
    if profile is None:
        return True
    child = profile.root.children.get("url")
    fixed = child.stated("fixed") if child is not None else None
    return fixed is None or fixed[1] == profile.url
