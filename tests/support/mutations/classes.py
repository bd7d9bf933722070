"""The classes of mistakes: each a function from a right resource to (mutant, FHIRPath of the mistake).

`CLASSES` holds them by name. A class yields as many mutants as the resource has places for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from fhir_server.definitions import structures
from fhir_server.validation import bindings
from fhir_server.validation.structure import has_sibling
from tests.support.made import DIV
from tests.support.mutations.places import Place, changed, places

Mutants = Iterator[tuple[Any, str]]
Mutate = Callable[[dict[str, Any]], Mutants]
CLASSES: dict[str, Mutate] = {}


def named(name: str) -> Callable[[Mutate], Mutate]:
    def register(mutate: Mutate) -> Mutate:
        CLASSES[name] = mutate
        return mutate

    return register


def instead(name: str, value: Any, *types: str, only: Callable[[Place], bool] = lambda place: True) -> None:
    """Make a class: `value` in the place of primitives of some types."""

    @named(name)
    def mutate(resource: dict[str, Any]) -> Mutants:
        for place in places(resource):
            if place.field is not None and place.type in types and place.field.primitive and only(place):
                yield changed(resource, place.steps, value), place.path


def is_unbound(place: Place) -> bool:
    assert place.field is not None
    return not bindings.limits(place.field.element.binding)


def is_bound(place: Place) -> bool:
    return not is_unbound(place)


def is_text(place: Place) -> bool:
    return place.field is not None and place.field.key not in ("id", "div")


def at_top(place: Place) -> bool:
    return place.path.count(".") == 1


def repeats(place: Place) -> bool:
    return place.field is not None and place.field.many


INTEGERS = ("integer", "positiveInt", "unsignedInt")
TEXTS = ("string", "markdown", "code", "uri", "canonical", "url")
DATES = ("date", "dateTime")
MOMENTS = ("dateTime", "instant")

instead("boolean as text", "true", "boolean")
instead("boolean as number", 1, "boolean")
instead("decimal as text", "1.5", "decimal")
instead("text as number", 5, *TEXTS)
instead("text as boolean", True, *TEXTS)
instead("integer with a point", Decimal("1.5"), *INTEGERS)
instead("integer as text", "1", *INTEGERS)
instead("integer beyond 32 bits", 2**31, *INTEGERS)
instead("positiveInt of 0", 0, "positiveInt")
instead("unsignedInt below 0", -1, "unsignedInt", "positiveInt")
instead("object in the place of a primitive", {"value": "x"}, "string", "code", "date", "boolean", "decimal")
instead("no such month and day", "1970-13-45", *DATES)
instead("date without leading zeros", "1970-1-1", *DATES)
instead("30 February", "1970-02-30", *DATES)
instead("29 February of no leap year", "2021-02-29", *DATES)
instead("year 0000", "0000", *DATES)
instead("date with a time", "1970-01-01T00:00:00Z", "date")
instead("dateTime without zone", "2020-01-01T10:00:00", *MOMENTS)
instead("dateTime without seconds", "2020-01-01T10:00Z", *MOMENTS)
instead("hour 24", "2020-01-01T24:00:00Z", *MOMENTS)
instead("instant without time", "2020-01-01", "instant")
instead("time with a zone", "10:00:00Z", "time")
instead(
    "code outside a required binding, at the top",
    "nonsense-x",
    "code",
    only=lambda p: is_bound(p) and at_top(p),
)
instead(
    "code outside a required binding, nested",
    "nonsense-x",
    "code",
    only=lambda p: is_bound(p) and not at_top(p),
)
instead("code with a leading blank", " final", "code")
instead("code with two blanks", "a  b", "code", only=is_unbound)
instead("id with a blank", "bad id!", "id")
instead("id with an underscore", "a_b", "id")
instead("id of 65 characters", "x" * 65, "id")
instead("white space only", "  ", "string", "markdown", "code", only=is_text)
instead("a no-break space in a word", "http://x/\u00a0y", "uri", "url", "canonical")
instead("empty text", "", *TEXTS, "id", "date", "base64Binary")
instead("text of more than 1 MB", "x" * 1_048_577, "string", "markdown", only=is_text)
instead("uri with a blank", "http://x y", "uri", "url", "canonical")
instead("no base64", "****", "base64Binary")
instead("base64 without padding", "QQ", "base64Binary")
instead("no oid", "urn:oid:1.02", "oid")
instead("no uuid", "urn:uuid:1", "uuid")
instead("null for a primitive", None, *TEXTS, "boolean", "decimal", "date", only=lambda p: not repeats(p))
instead("narrative with a script", DIV.replace("<p>", "<script>x()</script><p>"), "xhtml")
instead("narrative that is no XML", DIV.replace("</p>", ""), "xhtml")
instead("narrative that handles events", DIV.replace("<p>", '<p onclick="x()">'), "xhtml")
instead(
    "narrative with an address that runs", DIV.replace("<p>", '<a href="javascript:x()">y</a><p>'), "xhtml"
)
instead("narrative that is empty", DIV.replace("Text", " "), "xhtml")
instead("narrative without its namespace", "<div>Text</div>", "xhtml")


def objects(resource: dict[str, Any]) -> Iterator[Place]:
    for place in places(resource):
        if isinstance(place.value, dict):
            yield place


def elements(resource: dict[str, Any]) -> Iterator[Place]:
    """Yield the objects that are no resources."""
    for place in objects(resource):
        if place.field is not None and place.field.type != "Resource":
            yield place


def in_place_of_objects(name: str, value: Callable[[Any], Any], *, only: Callable[[Place], bool]) -> None:
    @named(name)
    def mutate(resource: dict[str, Any]) -> Mutants:
        for place in elements(resource):
            if only(place):
                yield changed(resource, place.steps, value(place.value)), place.path


in_place_of_objects("text for an object", lambda value: "x", only=lambda p: not repeats(p))
in_place_of_objects("text for an object in a list", lambda value: "x", only=repeats)
in_place_of_objects("null for an object", lambda value: None, only=lambda p: not repeats(p))
in_place_of_objects("null in a list of objects", lambda value: None, only=repeats)
in_place_of_objects("empty object", lambda value: {}, only=lambda p: True)
in_place_of_objects("an id alone", lambda value: {"id": "a"}, only=lambda p: True)
in_place_of_objects("array for one object", lambda value: [value], only=lambda p: not repeats(p))


@named("unknown element at the top")
def _(resource: dict[str, Any]) -> Mutants:
    yield {**resource, "foo": 1}, f"{resource['resourceType']}.foo"


@named("unknown element, nested")
def _(resource: dict[str, Any]) -> Mutants:
    for place in objects(resource):
        if place.field is not None:
            yield changed(resource, (*place.steps, "foo"), 1), f"{place.path}.foo"


@named("unknown sibling")
def _(resource: dict[str, Any]) -> Mutants:
    for place in objects(resource):
        yield changed(resource, (*place.steps, "_foo"), {"id": "a"}), f"{place.path}._foo"


@named("sibling of an object")
def _(resource: dict[str, Any]) -> Mutants:
    for place in elements(resource):
        assert place.field is not None
        holder = place.steps[:-2] if place.field.many else place.steps[:-1]
        key = f"_{place.field.key}"
        yield changed(resource, (*holder, key), {"id": "a"}), f"{_outside(place.path)}.{key}"


def members(resource: dict[str, Any], *, many: bool) -> Iterator[tuple[Place, str, Any, str]]:
    """Yield (holder, key, member, path of the member) for members that may repeat, or may not."""
    for place in objects(resource):
        for key, field in structures.fields(place.type).items():
            if key in place.value and field.many is many:
                stem = field.element.name.removesuffix("[x]")
                yield place, key, place.value[key], f"{place.path}.{stem}"


@named("one for an array")
def _(resource: dict[str, Any]) -> Mutants:
    for place, key, member, path in members(resource, many=True):
        yield changed(resource, (*place.steps, key), member[0]), path


@named("array for one primitive")
def _(resource: dict[str, Any]) -> Mutants:
    for place, key, member, path in members(resource, many=False):
        if not isinstance(member, dict):
            yield changed(resource, (*place.steps, key), [member]), path


@named("empty array")
def _(resource: dict[str, Any]) -> Mutants:
    for place, key, _, path in members(resource, many=True):
        yield changed(resource, (*place.steps, key), []), path


@named("null in an array of primitives")
def _(resource: dict[str, Any]) -> Mutants:
    for place, key, member, path in members(resource, many=True):
        if not isinstance(member[0], dict) and f"_{key}" not in place.value:
            yield changed(resource, (*place.steps, key), [*member, None]), f"{path}[{len(member)}]"


def siblings(resource: dict[str, Any], make: Callable[[int], Any], at: Callable[[int], str]) -> Mutants:
    for place, key, member, path in members(resource, many=True):
        if has_sibling(structures.fields(place.type)[key]) and f"_{key}" not in place.value:
            count = len(member)
            yield changed(resource, (*place.steps, f"_{key}"), make(count)), path + at(count)


@named("siblings of another length")
def _(resource: dict[str, Any]) -> Mutants:
    yield from siblings(resource, lambda count: [{"id": "a"}] * (count + 1), lambda count: "")


@named("no array of siblings")
def _(resource: dict[str, Any]) -> Mutants:
    yield from siblings(resource, lambda count: {"id": "a"}, lambda count: "")


@named("siblings of nothing")
def _(resource: dict[str, Any]) -> Mutants:
    yield from siblings(resource, lambda count: [None] * count, lambda count: "")


@named("an id in the place of a value")
def _(resource: dict[str, Any]) -> Mutants:
    for place in places(resource):
        if place.field is None or not has_sibling(place.field) or place.field.many:
            continue
        *before, key = place.steps
        if "[x]" not in place.field.element.name:
            without = changed(resource, place.steps, ...)
            yield changed(without, (*before, f"_{key}"), {"id": "a"}), place.path


@named("sibling with a value")
def _(resource: dict[str, Any]) -> Mutants:
    for place in places(resource):
        if place.field is not None and has_sibling(place.field) and not place.field.many:
            *before, key = place.steps
            yield changed(resource, (*before, f"_{key}"), {"value": 1}), f"{place.path}.value"


@named("two types of a choice")
def _(resource: dict[str, Any]) -> Mutants:
    for place in places(resource):
        if place.field is not None and place.field.element.name.endswith("[x]"):
            fields = structures.fields(place.field.element.path.rpartition(".")[0]).values()
            others = [f for f in fields if f.element is place.field.element and f.key != place.field.key]
            if others:
                yield changed(resource, (*place.steps[:-1], others[0].key), place.value), place.path


@named("a type that is no choice")
def _(resource: dict[str, Any]) -> Mutants:
    for place in places(resource):
        if place.field is not None and place.field.element.name.endswith("[x]"):
            wrong = f"{place.stem}Nonsense"
            mutant = changed(resource, (*place.steps[:-1], wrong), place.value)
            yield mutant, f"{_outside(place.path)}.{wrong}"


def _outside(path: str) -> str:
    return path.rpartition(".")[0]


def missing(name: str, wanted: Callable[[Place, structures.Field], bool]) -> None:
    @named(name)
    def mutate(resource: dict[str, Any]) -> Mutants:
        for place in objects(resource):
            for key, field in structures.fields(place.type).items():
                if key in place.value and field.element.min > 0 and wanted(place, field):
                    without = {k: v for k, v in place.value.items() if k not in (key, f"_{key}")}
                    if without and without.keys() != {"id"}:
                        stem = field.element.name.removesuffix("[x]")
                        yield changed(resource, place.steps, without), f"{place.path}.{stem}"


def _is_choice(field: structures.Field) -> bool:
    return field.element.name.endswith("[x]")


missing("missing object, at the top", lambda p, f: p.field is None and not f.primitive and not _is_choice(f))
missing("missing primitive, at the top", lambda p, f: p.field is None and f.primitive and not _is_choice(f))
missing(
    "missing, nested",
    lambda p, f: p.field is not None and p.type != "Extension" and not _is_choice(f),
)
missing("missing Extension.url", lambda p, f: p.type == "Extension")
missing("missing choice", lambda p, f: _is_choice(f))


@named("concept outside a required binding")
def _(resource: dict[str, Any]) -> Mutants:
    for place in elements(resource):
        assert place.field is not None
        strength = place.field.element.binding and place.field.element.binding.strength
        if place.type == "CodeableConcept" and is_bound(place) and strength == "required":
            wrong = {"coding": [{"system": "http://x", "code": "nonsense"}]}
            yield changed(resource, place.steps, wrong), place.path


def references(name: str, wrong: Callable[[str], Any]) -> None:
    @named(name)
    def mutate(resource: dict[str, Any]) -> Mutants:
        for place in elements(resource):
            assert place.field is not None
            targets = place.field.element.targets
            if place.type == "Reference" and targets not in ((), ("Resource",)):
                other = "Slot" if "Slot" not in targets else "Basic"
                yield changed(resource, place.steps, wrong(other)), f"{place.path}.reference"


references("reference to another type", lambda other: {"reference": f"{other}/1"})
references("reference to another type elsewhere", lambda other: {"reference": f"https://x/fhir/{other}/1"})
references("reference that says another type", lambda other: {"type": other, "identifier": {"value": "1"}})


@named("comparator of a SimpleQuantity")
def _(resource: dict[str, Any]) -> Mutants:
    for place in elements(resource):
        if place.type == "SimpleQuantity":
            yield changed(resource, (*place.steps, "comparator"), "<"), f"{place.path}.comparator"


@named("no resourceType")
def _(resource: dict[str, Any]) -> Mutants:
    for place in objects(resource):
        if place.field is not None and place.field.type == "Resource":
            yield changed(resource, (*place.steps, "resourceType"), ...), place.path


@named("unknown resourceType")
def _(resource: dict[str, Any]) -> Mutants:
    for place in objects(resource):
        if place.field is not None and place.field.type == "Resource":
            yield changed(resource, (*place.steps, "resourceType"), "Foo"), place.path


@named("abstract resourceType")
def _(resource: dict[str, Any]) -> Mutants:
    for place in objects(resource):
        if place.field is not None and place.field.type == "Resource":
            yield changed(resource, (*place.steps, "resourceType"), "DomainResource"), place.path


@named("bad content in a contained resource or entry")
def _(resource: dict[str, Any]) -> Mutants:
    for place in objects(resource):
        if place.field is not None and place.field.type == "Resource":
            yield changed(resource, (*place.steps, "language"), 5), f"{place.path}.language"
            if structures.is_subtype(place.value["resourceType"], "DomainResource"):
                yield changed(resource, (*place.steps, "text"), "x"), f"{place.path}.text"
