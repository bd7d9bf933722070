"""The functions that R4 adds (R4/fhirpath.html#functions)."""

from __future__ import annotations

from typing import Any

from fhir_server.fhirpath import narrative, types
from fhir_server.fhirpath.comparison import Fault
from fhir_server.fhirpath.functions.strings import text
from fhir_server.fhirpath.functions.table import eager
from fhir_server.fhirpath.scope import Scope
from fhir_server.fhirpath.values import Collection, Element, members, root, system

_CORE = "http://hl7.org/fhir/StructureDefinition/"


def _extension(scope: Scope, items: Collection, url: Collection) -> Collection:
    wanted = text(url, "extension()")
    return [
        extension
        for item in items
        if isinstance(item, Element)
        for extension in members(item, "extension")
        if extension.value.get("url") == wanted
    ]


def _has_extension(scope: Scope, items: Collection, url: Collection) -> Collection:
    return [bool(_extension(scope, items, url))]


def _has_value(scope: Scope, items: Collection) -> Collection:
    return [len(items) == 1 and _is_valued(items[0])]


def _is_valued(item: Any) -> bool:
    return not isinstance(item, Element) or (item.value is not None and item.type in types.SYSTEM_OF)


def _get_value(scope: Scope, items: Collection) -> Collection:
    return [system(items[0])] if len(items) == 1 and _is_valued(items[0]) else []


def _resolve(scope: Scope, items: Collection) -> Collection:
    found: Collection = []
    for item in items:
        reference = _reference(item)
        target = None if reference is None else _find(scope, item, reference)
        if target is not None:
            found.append(target)
    return found


def _reference(item: Any) -> str | None:
    value = item.value if isinstance(item, Element) else item
    if isinstance(value, dict):
        value = value.get("reference")
    return value if isinstance(value, str) else None


def _find(scope: Scope, item: Any, reference: str) -> Element | None:
    place = item if isinstance(item, Element) else None
    if reference.startswith("#"):
        return _contained(scope, reference[1:], place)
    while place is not None:
        if place.type == "Bundle":
            entry = _entry(scope, place, reference)
            if entry is not None:
                return entry
        place = place.parent
    resource = None if scope.world is None else scope.world.resolve(reference)
    return None if resource is None else root(resource)


def _contained(scope: Scope, name: str, item: Element | None) -> Element | None:
    """Look into the resource that the reference stands in, which may be an entry of %resource."""
    for holder in (_container(item), scope.resource("rootResource"), scope.resource("resource")):
        if holder is None:
            continue
        if not name:
            return holder
        contained = members(holder, "contained")
        scope.spend(len(contained))
        for inner in contained:
            if inner.value.get("id") == name:
                return inner
    return None


def _container(place: Element | None) -> Element | None:
    while place is not None and (
        place.name == "contained" or not (isinstance(place.value, dict) and "resourceType" in place.value)
    ):
        place = place.parent
    return place


def _entry(scope: Scope, bundle: Element, reference: str) -> Element | None:
    entries = members(bundle, "entry")
    scope.spend(len(entries))
    for entry in entries:
        url = entry.value.get("fullUrl")
        if not isinstance(url, str) or not isinstance(entry.value.get("resource"), dict):
            continue
        if url == reference or (":" not in reference and url.endswith(f"/{reference}")):
            return members(entry, "resource")[0]
    return None


def _member_of(scope: Scope, items: Collection, value_set: Collection) -> Collection:
    url = text(value_set, "memberOf()")
    if not items or url is None:
        return []
    if len(items) > 1:
        raise Fault(f"memberOf() works on one code, got {len(items)}")
    if scope.world is None:
        raise Fault("memberOf() needs a terminology, and this evaluation has none")
    item = items[0]
    value, kind = (item.value, item.type) if isinstance(item, Element) else (item, "string")
    answer = scope.world.member_of(value, kind, url)
    return [] if answer is None else [answer]


def _codings(items: Collection, name: str) -> list[dict[str, Any]]:
    if len(items) != 1 or not isinstance(items[0], Element):
        raise Fault(f"{name} works on one Coding or CodeableConcept")
    value = items[0].value
    found = value.get("coding", []) if items[0].type == "CodeableConcept" else [value]
    return [coding for coding in found if isinstance(coding, dict)]


def _subsumption(scope: Scope, general: Collection, special: Collection, name: str) -> Collection:
    if not general or not special:
        return []
    if scope.world is None:
        raise Fault(f"{name} needs a terminology, and this evaluation has none")
    for one in _codings(general, name):
        for other in _codings(special, name):
            if one.get("system") != other.get("system") or "code" not in one or "code" not in other:
                continue
            if scope.world.subsumes(str(one.get("system", "")), one["code"], other["code"]):
                return [True]
    return [False]


def _subsumes(scope: Scope, items: Collection, other: Collection) -> Collection:
    return _subsumption(scope, items, other, "subsumes()")


def _subsumed_by(scope: Scope, items: Collection, other: Collection) -> Collection:
    return _subsumption(scope, other, items, "subsumedBy()")


def _conforms_to(scope: Scope, items: Collection, profile: Collection) -> Collection:
    url = text(profile, "conformsTo()")
    if not items or url is None:
        return []
    if len(items) > 1 or not isinstance(items[0], Element):
        raise Fault("conformsTo() works on one element")
    name = url.removeprefix(_CORE)
    if name != url and types.find(name) is not None:
        return [types.is_a(items[0].type, name)]
    answer = None if scope.world is None else scope.world.conforms_to(items[0].value, url)
    if answer is None:
        raise Fault(f"conformsTo(): {url!r} is not known here")
    return [answer]


def _html_checks(scope: Scope, items: Collection) -> Collection:
    return [all(isinstance(item, Element) and narrative.checked(item.value)[0] for item in items)]


def _html_content(scope: Scope, items: Collection) -> Collection:
    return [all(isinstance(item, Element) and narrative.checked(item.value)[1] for item in items)]


def _check_modifiers(scope: Scope, items: Collection, *known: Collection) -> Collection:
    urls = {text(url, "checkModifiers()") for url in known}
    for item in items:
        for extension in members(item, "modifierExtension") if isinstance(item, Element) else ():
            if extension.value.get("url") not in urls:
                raise Fault(f"the modifier extension {extension.value.get('url')!r} is not understood")
    return items


CHAPTER = (
    eager("extension", _extension, 1),
    eager("hasExtension", _has_extension, 1),
    eager("hasValue", _has_value),
    eager("getValue", _get_value),
    eager("resolve", _resolve),
    eager("memberOf", _member_of, 1),
    eager("subsumes", _subsumes, 1),
    eager("subsumedBy", _subsumed_by, 1),
    eager("conformsTo", _conforms_to, 1),
    eager("htmlChecks", _html_checks),
    eager("htmlChecks2", _html_content),  # R5's name for txt-2; in R4 both are htmlChecks()
    eager("checkModifiers", _check_modifiers, 0, 20),
)
