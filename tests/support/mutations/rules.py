"""Mistakes against invariants, in whatever resource has a place for them; and twins that are right.

`RULES` and `TWINS` are like `classes.CLASSES`; a twin has no path, as nothing is wrong with it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from fhir_server.definitions import structures
from fhir_server.validation.structure import has_sibling
from tests.support.made import DIV
from tests.support.mutations.classes import Mutants, Mutate, members, objects
from tests.support.mutations.places import changed, places

RULES: dict[str, Mutate] = {}
TWINS: dict[str, Callable[[dict[str, Any]], Iterator[Any]]] = {}
ABSENT = {"extension": [{"url": "http://x/absent", "valueCode": "unknown"}]}
WARD = {"resourceType": "Organization", "id": "w", "name": "Ward"}
AT_WARD = {"url": "http://x/at", "valueReference": {"reference": "#w"}}


def rule(key: str) -> Callable[[Mutate], Mutate]:
    def register(mutate: Mutate) -> Mutate:
        RULES[key] = mutate
        return mutate

    return register


def twin(name: str) -> Callable[[Callable[[dict[str, Any]], Iterator[Any]]], None]:
    def register(make: Callable[[dict[str, Any]], Iterator[Any]]) -> None:
        TWINS[name] = make

    return register


def is_domain(resource: dict[str, Any]) -> bool:
    return structures.is_subtype(resource["resourceType"], "DomainResource")


def valued(key: str, suffix: str, wrong: Any) -> None:
    """Make a rule broken by a value: in the place of every value of its type, and in an extension."""

    @rule(key)
    def mutate(resource: dict[str, Any]) -> Mutants:
        for place in objects(resource):
            if place.type == suffix and place.field is not None and not place.field.element.profiles:
                yield changed(resource, place.steps, wrong), place.path
        if is_domain(resource):
            mutant, number = _extended(resource, {"url": "http://x/e", f"value{suffix}": wrong})
            yield mutant, f"{resource['resourceType']}.extension[{number}].value"


def _extended(resource: dict[str, Any], extension: Any) -> tuple[dict[str, Any], int]:
    extensions = resource.get("extension", [])
    return {**resource, "extension": [*extensions, extension]}, len(extensions)


valued("per-1", "Period", {"start": "2021-02-02", "end": "2021-02-01"})
valued("cpt-2", "ContactPoint", {"value": "1"})
valued("qty-3", "Quantity", {"value": 1, "code": "mg"})
valued("rng-2", "Range", {"low": {"value": 2}, "high": {"value": 1}})
valued("rat-1", "Ratio", {"numerator": {"value": 1}})
valued("att-1", "Attachment", {"data": "QUJD"})
valued("tim-1", "Timing", {"repeat": {"duration": 1}})
RULES["tim-1"] = lambda resource, made=RULES["tim-1"]: ((m, f"{path}.repeat") for m, path in made(resource))
valued("drt-1", "Duration", {"value": 1, "system": "http://x", "code": "h"})
valued("exp-1", "Expression", {"language": "text/fhirpath"})


@rule("ref-1")
def _(resource: dict[str, Any]) -> Mutants:
    for place in objects(resource):
        if place.type == "Reference":
            yield changed(resource, place.steps, {"reference": "#nowhere"}), place.path


@rule("ext-1")
def _(resource: dict[str, Any]) -> Mutants:
    for place in objects(resource):
        if place.type == "Extension":
            yield changed(resource, place.steps, {"url": "http://x/e"}), place.path
            both = {"url": "http://x/e", "valueCode": "a", "extension": [{"url": "b", "valueCode": "c"}]}
            yield changed(resource, place.steps, both), place.path


def contained(key: str, inner: dict[str, Any], *, referred: bool = True) -> None:
    @rule(key)
    def mutate(resource: dict[str, Any]) -> Mutants:
        if is_domain(resource):
            name = resource["resourceType"]
            added = {**resource, "contained": [*resource.get("contained", []), inner]}
            yield _extended(added, AT_WARD)[0] if referred else added, name


contained("dom-2", {**WARD, "contained": [{"resourceType": "Basic", "id": "i", "code": {"text": "x"}}]})
contained("dom-3", WARD, referred=False)
contained("dom-4", {**WARD, "meta": {"versionId": "1"}})
contained("dom-5", {**WARD, "meta": {"security": [{"system": "http://x", "code": "R"}]}})
RULES["dom-4, lastUpdated"] = lambda resource: (
    (mutant, path)
    for mutant, path in RULES["dom-4"](resource)
    if mutant["contained"][-1].update(meta={"lastUpdated": "2020-01-01T00:00:00Z"}) is None
)


def of_type(key: str, type_name: str, path: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Make a rule of one type: broken in such resources, and in those of Bundles around the others."""

    @rule(key)
    def mutate(resource: dict[str, Any]) -> Mutants:
        if resource["resourceType"] == type_name:
            mutant = copy.deepcopy(resource)
            change(mutant)
            yield mutant, path
            whole = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": mutant}]}
            yield whole, f"Bundle.entry[0].resource{path.removeprefix(type_name)}"


of_type("pat-1", "Patient", "Patient.contact[0]", lambda r: r.update(contact=[{"gender": "male"}]))
of_type(
    "obs-6",
    "Observation",
    "Observation",
    lambda r: ([r.pop(key) for key in list(r) if key.startswith("value")],
               r.update(valueString="x", dataAbsentReason={"text": "?"})),
)  # fmt: skip
of_type("org-1", "Organization", "Organization", lambda r: [r.pop(k, 0) for k in ("name", "identifier")])
of_type(
    "con-4",
    "Condition",
    "Condition",
    lambda r: (
        [r.pop(key) for key in list(r) if key.startswith(("abatement", "clinicalStatus"))],
        r.update(abatementString="x"),
    ),
)
of_type(
    "lst-1", "List", "List", lambda r: r.update(emptyReason={"text": "?"}, entry=[{"item": {"display": "x"}}])
)


def bundled(key: str, path: str, **change: Any) -> None:
    @rule(key)
    def mutate(resource: dict[str, Any]) -> Mutants:
        entry = {"fullUrl": "http://x/fhir/Basic/1", "resource": resource}
        whole = {"resourceType": "Bundle", "type": "collection", "entry": [entry]}
        for name, value in change.items():
            if name == "entry":
                whole["entry"] = [{**entry, **one} for one in value]
            else:
                whole[name] = value
        yield whole, path


bundled("bdl-1", "Bundle", total=1)
bundled("bdl-2", "Bundle", entry=[{"search": {"mode": "match"}}])
bundled("bdl-3", "Bundle", entry=[{"request": {"method": "GET", "url": "x"}}])
bundled("bdl-4", "Bundle", entry=[{"response": {"status": "200"}}])
bundled("bdl-7", "Bundle", entry=[{}, {}])
bundled("bdl-8", "Bundle.entry[0]", entry=[{"fullUrl": "http://x/fhir/Basic/1/_history/2"}])
bundled("bdl-9", "Bundle", type="document", timestamp="2020-01-01T00:00:00Z")
bundled("bdl-10", "Bundle", type="document", identifier={"system": "urn:x", "value": "1"})


@twin("extensions in the place of a value")
def _(resource: dict[str, Any]) -> Iterator[Any]:
    for place in places(resource):
        if place.field is None or not has_sibling(place.field) or place.field.many:
            continue
        # Elsewhere an invariant may ask for the value.
        if place.field.element.path.count(".") == 1 and place.field.key in (
            "status",
            "language",
            "description",
        ):
            *before, key = place.steps
            yield changed(changed(resource, place.steps, ...), (*before, f"_{key}"), ABSENT)


@twin("ids and extensions beside values")
def _(resource: dict[str, Any]) -> Iterator[Any]:
    for place in places(resource):
        if place.field is not None and has_sibling(place.field) and not place.field.many:
            *before, key = place.steps
            yield changed(resource, (*before, f"_{key}"), {"id": "a-1", **ABSENT})


@twin("null in an array with extensions for it")
def _(resource: dict[str, Any]) -> Iterator[Any]:
    for place, key, member, _ in members(resource, many=True):
        field = structures.fields(place.type)[key]
        if has_sibling(field) and field.type in ("string", "date") and f"_{key}" not in place.value:
            more = changed(resource, (*place.steps, key), [*member, None])
            yield changed(more, (*place.steps, f"_{key}"), [*([None] * len(member)), ABSENT])


def other_value(name: str, value: Any, *types: str) -> None:
    @twin(name)
    def make(resource: dict[str, Any]) -> Iterator[Any]:
        if is_domain(resource):
            for type_name in types:
                key = f"value{type_name[0].upper()}{type_name[1:]}"
                yield _extended(resource, {"url": "http://x/e", key: value})[0]


other_value("id of 64 characters", "A-z.0" + "9" * 59, "id")
other_value("a leap second", "2016-12-31T23:59:60Z", "dateTime", "instant")
other_value("29 February", "2020-02-29", "date", "dateTime")
other_value("a year", "0001", "date", "dateTime")
other_value("a moment to the nanosecond", "2020-01-01T00:00:00.123456789-14:00", "dateTime", "instant")
other_value("a whole number as decimal", 5, "decimal")
other_value("a decimal of forty digits", Decimal("0." + "1" * 40), "decimal")
other_value("the largest integer", 2**31 - 1, "integer", "positiveInt", "unsignedInt")
other_value("nothing at all", 0, "integer", "unsignedInt")
other_value("a text of 1 MB", "ü" * 1_048_576, "string", "markdown")
other_value("white space around a text", " x\n", "string", "markdown")
other_value("a blank in a code", "a b", "code")
other_value("base64 in lines", "QUJD\nQUJD\n", "base64Binary")
other_value("a reference by words", {"display": "x"}, "Reference")
other_value("a reference by identifier", {"identifier": {"value": "1"}, "type": "Patient"}, "Reference")
other_value(
    "a reference to a urn", {"reference": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"}, "Reference"
)
other_value("a reference to the container", {"reference": "#"}, "Reference")
other_value("a period without end", {"start": "2020"}, "Period")
other_value("a period of less precision", {"start": "2020-02-03", "end": "2020-02"}, "Period")
other_value("a quantity without code", {"value": Decimal("1.0"), "unit": "mg", "comparator": "<"}, "Quantity")


@twin("a contained resource that is referred to")
def _(resource: dict[str, Any]) -> Iterator[Any]:
    if is_domain(resource):
        yield _extended({**resource, "contained": [*resource.get("contained", []), WARD]}, AT_WARD)[0]


@twin("a contained resource that refers to its container")
def _(resource: dict[str, Any]) -> Iterator[Any]:
    if is_domain(resource):
        inner = {"resourceType": "Basic", "id": "i", "code": {"text": "x"}, "subject": {"reference": "#"}}
        yield {**resource, "contained": [*resource.get("contained", []), inner]}


@twin("an extension of extensions")
def _(resource: dict[str, Any]) -> Iterator[Any]:
    if is_domain(resource):
        yield _extended(resource, {"url": "http://x/e", "extension": [{"url": "a", "valueCode": "b"}]})[0]


@twin("a narrative with an image, entities and languages")
def _(resource: dict[str, Any]) -> Iterator[Any]:
    if is_domain(resource):
        rich = DIV.replace(
            "Text", '&nbsp;<img src="#a" alt="b"/><span xml:lang="de" style="color: red">ä</span>'
        )
        yield {**resource, "text": {"status": "additional", "div": rich}}
