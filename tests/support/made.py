"""Resources made from the definitions: any type, as small as may be or with every element once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from fhir_server.definitions import structures, value_sets
from fhir_server.definitions.structures import Field
from fhir_server.validation import bindings

DIV = '<div xmlns="http://www.w3.org/1999/xhtml"><p>Text</p></div>'
PRIMITIVES: dict[str, Any] = {
    "base64Binary": "QUJD",
    "boolean": True,
    "canonical": "http://example.org/fhir/x",
    "code": "a-code",
    "date": "2020-02-29",
    "dateTime": "2020-02-29T10:00:00Z",
    "decimal": Decimal("1.50"),
    "id": "an-id",
    "instant": "2020-02-29T10:00:00Z",
    "integer": 1,
    "markdown": "some *text*",
    "oid": "urn:oid:1.2.3",
    "positiveInt": 1,
    "string": "Text",
    "time": "10:00:00",
    "unsignedInt": 1,
    "uri": "http://example.org/x",
    "url": "http://example.org/y",
    "uuid": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520",
    "xhtml": DIV,
}
OF_RULES = {  # value sets that are no list: a code of each
    "all-languages": "en", "mimetypes": "text/plain", "bcp13.txt": "text/plain", "currencies": "EUR",
    "ucum-units": "mg", "all-time-units": "h", "all-distance-units": "m",
}  # fmt: skip
# Left out of the resources with every element: either too much for a test or told apart by invariants.
LEFT_OUT = frozenset(("contained", "extension", "modifierExtension", "meta", "implicitRules", "id"))


def value(field: Field, depth: int) -> Any:
    """Return a right value of a field; `depth` says how many levels have every element."""
    if field.primitive:
        return _primitive(field)
    if field.type == "Resource":
        return {"resourceType": "Basic", "code": {"text": "Text"}}
    if field.type == "Reference":
        targets = [target for target in field.element.targets if target != "Resource"]
        return {"reference": f"{targets[0] if targets else 'Basic'}/1"}
    if field.type == "CodeableConcept":
        for value_set in bindings.limits(field.element.binding):
            return {"coding": [_coding(value_set)]}
        return {"text": "Text"}
    if field.type == "Quantity" and field.element.profiles:
        return {"value": Decimal("1.50")}
    if field.type in _PLAIN:
        return _PLAIN[field.type]
    return _object(field.type, depth)


def _primitive(field: Field) -> Any:
    if field.type == "code":
        for value_set in bindings.limits(field.element.binding):
            return _coding(value_set)["code"]
    return PRIMITIVES[field.type]


def _coding(value_set: str) -> dict[str, Any]:
    if value_set in bindings.RULES:
        return {
            "system": bindings.RULES[value_set][2],
            "code": OF_RULES[value_set.rpartition("/")[2]],
        }
    system, codes = next(iter(sorted((value_sets.enumeration(value_set) or {}).items())))
    return {"system": system, "code": min(codes)}


_PLAIN: dict[str, Any] = {
    "Age": {"value": 1, "system": bindings.UCUM, "code": "a"},
    "Duration": {"value": 1, "system": bindings.UCUM, "code": "h"},
    "Distance": {"value": 1, "system": bindings.UCUM, "code": "m"},
    "Count": {"value": 1, "system": bindings.UCUM, "code": "1"},
    "Money": {"value": Decimal("1.50"), "currency": "EUR"},
    "Quantity": {"value": Decimal("1.50"), "unit": "mg", "system": bindings.UCUM, "code": "mg"},
    "Period": {"start": "2020-01-01", "end": "2020-02"},
    "Range": {"low": {"value": 1}, "high": {"value": 2}},
    "Ratio": {"numerator": {"value": 1}, "denominator": {"value": 2}},
    "ContactPoint": {"system": "phone", "value": "1"},
    "Attachment": {"contentType": "text/plain", "data": "QUJD"},
    "Timing": {"event": ["2020-01-01"]},
    "Dosage": {"text": "Text"},
    "Narrative": {"status": "generated", "div": DIV},
    "Extension": {"url": "http://example.org/e", "valueString": "Text"},
    "TriggerDefinition": {"type": "named-event", "name": "Text"},
    "DataRequirement": {"type": "Patient"},
    "ElementDefinition": {"id": "Patient", "path": "Patient", "min": 0, "max": "*", "definition": "Text",
                          "base": {"path": "Patient", "min": 0, "max": "*"}},
}  # fmt: skip
# What invariants ask for beyond cardinalities: members that are set, or (...) left out.
NEEDED: dict[str, dict[str, Any]] = {}


def _object(path: str, depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    chosen: set[str] = set()
    for key, field in structures.fields(path).items():
        name = field.element.name
        if name in chosen or name in LEFT_OUT:
            continue
        if field.element.min == 0 and (depth <= 0 or field.type == path or len(field.element.path) > 60):
            continue
        if field.type.count(".") > 0 and path.startswith(field.type):
            continue  # an item in an item
        chosen.add(name)
        one = value(field, depth - 1)
        made[key] = [one] if field.many else one
    if not made:
        key, field = min(
            ((key, field) for key, field in structures.fields(path).items() if key not in LEFT_OUT),
            key=lambda found: not found[1].primitive,
        )
        made[key] = [value(field, 0)] if field.many else value(field, 0)
    for key, wanted in NEEDED.get(path, {}).items():
        if wanted is ...:
            made.pop(key, None)
        else:
            made[key] = wanted
    return made


def resource(type_name: str, depth: int = 0) -> dict[str, Any]:
    """Return a resource of a type; with `depth` every element of so many levels stands there once.

    >>> resource("Flag")["subject"]
    {'reference': 'Group/1'}
    """
    return {"resourceType": type_name, **_object(type_name, depth)}
