"""StructureDefinition: a profile that only narrows what R4's type allows (R4/profiling.html).

Asked against R4's own types, as whatever a profile is based on narrows these too: paths, cardinalities,
types, bindings, fixed values, what slices are told apart by, and whether invariants are FHIRPath.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fhir_server.definitions import structures
from fhir_server.definitions.structures import Field
from fhir_server.outcome import Issue
from fhir_server.validation.conformance.paths import Place, below, locate
from fhir_server.validation.knowledge import Task
from fhir_server.validation.values import fhirpath_fault

Resource = Mapping[str, Any]

CORE = "http://hl7.org/fhir/StructureDefinition/"
STRENGTHS = ("example", "preferred", "extensible", "required")
_NUMBER = re.compile(r"[+-]?[0-9]+")
_STEP = re.compile(r"(?:[^.()']|\((?:[^()']|'[^']*')*\))+")


def check(definition: Resource, task: Task) -> Iterator[Issue]:
    """Yield what a StructureDefinition says that its type or its base does not allow.

    >>> from fhir_server.validation.knowledge import R4
    >>> profile = {"type": "Patient", "kind": "resource", "derivation": "constraint",
    ...            "differential": {"element": [{"id": "Patient.nam", "path": "Patient.nam"}]}}
    >>> [issue.diagnostics for issue in check(profile, R4)]
    ["'Patient.nam' is no element of R4's Patient"]
    """
    for view in ("differential", "snapshot"):
        for number, element in enumerate(definition.get(view, {}).get("element", ())):
            here = f"StructureDefinition.{view}.element[{number}]"
            yield from _constraints(element, here)
            yield from _most(element, here)
    yield from _contexts(definition)
    if definition.get("derivation") != "constraint" or definition.get("type") not in structures.type_names():
        return
    yield from _base(definition, task)
    elements = definition.get("differential", {}).get("element", ())
    for number, element in enumerate(elements):
        here = f"StructureDefinition.differential.element[{number}]"
        yield from _element(definition, element, here, task)
    yield from _slices(definition, elements)


def _base(definition: Resource, task: Task) -> Iterator[Issue]:
    name, kind = definition["type"], definition.get("kind")
    if kind != structures.structure(name).kind:
        # R4's own example profiles of Composition have it wrong, so it is advice.
        what = f"the kind is {kind}, but {name} is a {structures.structure(name).kind}"
        yield Issue("warning", "value", what, "StructureDefinition.kind", "profile-kind")
    canonical = definition.get("baseDefinition")
    if canonical is None:
        return
    found = task.knowledge.conformance.find("StructureDefinition", canonical)
    tail = canonical.partition("|")[0].removeprefix(CORE)
    based = found.get("type") if found is not None else tail if tail in structures.type_names() else None
    if based is not None and based != name:
        what = f"{canonical} is for {based}, but this constrains {name}"
        yield Issue("error", "value", what, "StructureDefinition.baseDefinition", "profile-base")


def _contexts(definition: Resource) -> Iterator[Issue]:
    """Yield the contexts of an extension that are no elements of R4 (#context)."""
    for number, context in enumerate(definition.get("context", ())):
        path = context.get("expression", "")
        known = path.partition(".")[0] in structures.type_names()
        if context.get("type") == "element" and known and locate(path) is None:
            what = f"{path!r} is no element of R4"
            yield Issue(
                "error", "value", what, f"StructureDefinition.context[{number}].expression", "profile-context"
            )


def _slices(definition: Resource, elements: Any) -> Iterator[Issue]:
    """Yield slices of what nobody says how to slice (R4/profiling.html#slicing).

    Extensions are sliced by their url; a base that is a profile may have said it. What does not repeat
    cannot be sliced but by type, and R4's own profiles give such elements names of slices.
    """
    tail = definition.get("baseDefinition", "").partition("|")[0].removeprefix(CORE)
    if tail not in structures.type_names():
        return
    sliced = {element.get("path") for element in elements if "slicing" in element}
    for number, element in enumerate(elements):
        path = element.get("path", "")
        last = path.rpartition(".")[2]
        place = locate(path)
        if "." not in path and "slicing" in element:
            here = f"StructureDefinition.differential.element[{number}].slicing"
            yield Issue(
                "error", "value", "the root of a profile is one, and not sliced", here, "profile-slicing"
            )
        if "sliceName" not in element or last in ("extension", "modifierExtension") or path in sliced:
            continue
        if place is not None and place.fields and place.fields[0].many:
            here = f"StructureDefinition.differential.element[{number}].sliceName"
            # R4's own family-member-history-genetic does so: advice.
            what = f"{path} is not sliced: no element before this one has slicing"
            yield Issue("warning", "value", what, here, "profile-slicing")


def _constraints(element: Resource, here: str) -> Iterator[Issue]:
    for number, constraint in enumerate(element.get("constraint", ())):
        text = constraint.get("expression")
        fault = None if text is None else fhirpath_fault(text)
        if fault is not None:
            place = f"{here}.constraint[{number}].expression"
            yield Issue(fault[0], "value", f"no FHIRPath: {fault[1]}", place, "profile-constraint")


def _most(element: Resource, here: str) -> Iterator[Issue]:
    """Yield a max that is no number: of it eld-3, as FHIRPath, is neither true nor false."""
    most = element.get("max")
    if most is not None and most != "*" and _NUMBER.fullmatch(most) is None:
        what = f"max is {most!r}; expected a number or '*'"
        yield Issue("error", "invariant", what, f"{here}.max", f"{CORE}ElementDefinition#eld-3")


def _element(definition: Resource, element: Resource, here: str, task: Task) -> Iterator[Issue]:
    path = element.get("path", "")
    if path.partition(".")[0] != definition["type"]:
        what = f"{path!r} does not begin with {definition['type']}, the type that this constrains"
        yield Issue("error", "value", what, f"{here}.path", "profile-path")
        return
    place = locate(path)
    if place is None:
        yield Issue(
            "error",
            "value",
            f"{path!r} is no element of R4's {definition['type']}",
            f"{here}.path",
            "profile-path",
        )
        return
    url = definition.get("url")
    if path == element.get("id", path) == "Extension.url" and element.get("fixedUri", url) != url:
        what = f"an extension is known by the url of its definition, {url!r}"
        yield Issue("error", "value", what, f"{here}.fixed", "profile-extension-url")
    for field in place.fields[:1]:
        yield from _cardinality(element, field, here)
        yield from _binding(element, field, here)
        yield from _types(element, place, here, task)
    yield from _fixed(element, place, here)
    for number, discriminator in enumerate(element.get("slicing", {}).get("discriminator", ())):
        way = discriminator.get("path")
        if way is not None and not leads(way, _allowed(element) or place.types):
            what = f"{way!r} leads to no element of {path}"
            at = f"{here}.slicing.discriminator[{number}].path"
            yield Issue("error", "value", what, at, "profile-discriminator")


def _cardinality(element: Resource, field: Field, here: str) -> Iterator[Issue]:
    least, most = element.get("min"), element.get("max")
    slicing = "sliceName" in element
    if least is not None and least < field.element.min and not slicing and ":" not in element.get("id", ""):
        what = f"min is {least}, but R4 wants at least {field.element.min}"
        yield Issue("error", "value", what, f"{here}.min", "profile-cardinality")
    limit = field.element.max
    if most is not None and limit is not None and (most == "*" or (most.isdecimal() and int(most) > limit)):
        yield Issue(
            "error", "value", f"max is {most}, but R4 allows {limit}", f"{here}.max", "profile-cardinality"
        )


def _binding(element: Resource, field: Field, here: str) -> Iterator[Issue]:
    strength = element.get("binding", {}).get("strength")
    base = field.element.binding
    if base is None or strength not in STRENGTHS or base.strength not in ("required", "extensible"):
        return
    if STRENGTHS.index(strength) < STRENGTHS.index(base.strength):
        what = f"the binding is {strength}, but R4's is {base.strength}, which a profile does not weaken"
        yield Issue("error", "value", what, f"{here}.binding.strength", "profile-binding")


def _allowed(element: Resource) -> tuple[str, ...]:
    return tuple(found["code"] for found in element.get("type", ()) if "code" in found)


def _types(element: Resource, place: Place, here: str, task: Task) -> Iterator[Issue]:
    for number, found in enumerate(element.get("type", ())):
        at = f"{here}.type[{number}]"
        code = found.get("code", "http:")
        if not code.startswith("http") and place.kinds and not _is_among(code, place.kinds):
            what = f"the type {code} is none of R4's here: {', '.join(place.kinds)}"
            yield Issue("error", "value", what, f"{at}.code", "profile-type")
            continue
        for which, canonical in enumerate(found.get("profile", ())):
            kind = _constrained(canonical, task)
            if kind is not None and code in structures.type_names() and not structures.is_subtype(kind, code):
                what = f"{canonical} is for {kind}, not for {code}"
                yield Issue("error", "value", what, f"{at}.profile[{which}]", "profile-type")
        targets = place.fields[0].element.targets
        for which, canonical in enumerate(found.get("targetProfile", ())):
            kind = _constrained(canonical, task)
            if kind is not None and targets not in ((), ("Resource",)) and kind not in (*targets, "Resource"):
                what = f"{canonical} is for {kind}; R4 allows {', '.join(targets)} here"
                yield Issue("error", "value", what, f"{at}.targetProfile[{which}]", "profile-type")


def _constrained(canonical: Any, task: Task) -> str | None:
    """Return the type that a profile constrains, None if it is not known."""
    if canonical is None:
        return None
    name: str = canonical.partition("|")[0].removeprefix(CORE)
    if name in structures.type_names():
        return name
    found = task.knowledge.conformance.find("StructureDefinition", canonical)
    kind = None if found is None else found.get("type")
    return kind if kind in structures.type_names() else None


def _is_among(code: str, kinds: tuple[str, ...]) -> bool:
    return code in kinds or (
        code in structures.type_names() and any(structures.is_subtype(code, kind) for kind in kinds)
    )


def _fixed(element: Resource, place: Place, here: str) -> Iterator[Issue]:
    kinds = _allowed(element) or place.kinds
    if not kinds or any(kind.startswith("http") or kind == "Resource" for kind in kinds):
        return
    for key in element:
        for stem in ("fixed", "pattern"):
            name = key.removeprefix(stem)
            if name == key or not name[:1].isupper():
                continue
            kind = name if name in structures.type_names() else name[:1].lower() + name[1:]
            if kind in structures.type_names() and not any(_alike(kind, other) for other in kinds):
                what = f"a {kind} is not what stands here: {', '.join(kinds)}"
                yield Issue("error", "value", what, f"{here}.{stem}", "profile-fixed")


def _alike(one: str, other: str) -> bool:
    if other not in structures.type_names():
        return True
    return structures.is_subtype(one, other) or structures.is_subtype(other, one)


def leads(way: str, types: tuple[str, ...]) -> bool:
    """Return whether a discriminator's path leads somewhere from elements of some types.

    >>> leads("coding.code", ("CodeableConcept",)), leads("type", ("Extension",)), leads("$this", ("code",))
    (True, False, True)
    >>> leads("value.ofType(Quantity).code", ("Observation",))
    True
    >>> leads("extension('http://x').value", ("Period",))
    True
    """
    place = Place(types=types)
    for step in _STEP.findall(way):
        name = step.partition("(")[0]
        if step == "$this":
            continue
        if name == "resolve":
            return True
        if name in ("ofType", "as"):
            place = Place(types=(step[len(name) + 1 : -1].rpartition(".")[2],))
        elif name == "extension":
            place = Place(types=("Extension",))
        else:
            found = below(place, name)
            if found is None:
                return False
            place = found
        if not place.types:
            return True
    return True
