"""Small valid resources that between them have every kind of element, and what may be done to them."""

import copy
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from fhir_server.definitions import structures
from fhir_server.definitions.structures import Field
from fhir_server.model.json_scan import kind
from fhir_server.validation import bindings

DIV = '<div xmlns="http://www.w3.org/1999/xhtml"><p>Li</p></div>'
ABSENT = {
    "extension": [
        {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}
    ]
}

PATIENT = {
    "resourceType": "Patient",
    "id": "p-1",
    "meta": {"versionId": "1", "lastUpdated": "2020-02-29T10:00:00.000Z", "profile": ["http://x/p|1"]},
    "text": {"status": "generated", "div": DIV},
    "contained": [{"resourceType": "Organization", "id": "o1", "name": "Ward", "active": True}],
    "extension": [
        {"url": "http://x/e", "valueCode": "a"},
        {"url": "http://x/f", "valueDecimal": Decimal("1.50")},
    ],
    "identifier": [{"use": "official", "system": "urn:oid:1.2.3", "value": "7"}],
    "active": True,
    "name": [{"use": "official", "family": "Li", "given": ["Na", None], "_given": [None, ABSENT]}],
    "gender": "female",
    "birthDate": "1970-02-28",
    "_birthDate": {"extension": [{"url": "http://x/time", "valueDateTime": "1970-02-28T04:10:00+08:00"}]},
    "multipleBirthInteger": 2,
    "contact": [{"relationship": [{"text": "mother"}], "name": {"text": "Li"}, "gender": "female"}],
    "communication": [
        {"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "zh"}]}, "preferred": True}
    ],
    "photo": [{"contentType": "image/png", "data": "QUJD", "size": 3}],
    "managingOrganization": {"reference": "#o1", "display": "Ward"},
    "generalPractitioner": [{"reference": "Practitioner/7"}],
    "link": [{"other": {"reference": "http://there/fhir/Patient/1", "type": "Patient"}, "type": "seealso"}],
}
OBSERVATION = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9"}]},
    "subject": {"reference": "Patient/p-1"},
    "effectivePeriod": {"start": "2020", "end": "2020-03"},
    "issued": "2020-03-01T00:00:00Z",
    "valueQuantity": {"value": Decimal("120.0"), "comparator": "<", "unit": "mmHg"},
    "referenceRange": [{"low": {"value": 90}, "text": "normal"}],
    "component": [{"code": {"text": "x"}, "valueTime": "10:00:00", "referenceRange": [{"text": "y"}]}],
}
CONDITION = {
    "resourceType": "Condition",
    "clinicalStatus": {
        "coding": [
            {"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"},
        ]
    },
    "subject": {"reference": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"},
    "onsetAge": {"value": 40, "unit": "a", "system": "http://unitsofmeasure.org", "code": "a"},
    "note": [{"authorString": "me", "text": "# x"}],
}
QUESTIONNAIRE = {
    "resourceType": "Questionnaire",
    "url": "http://x/q",
    "status": "active",
    "date": "2020-01",
    "item": [{"linkId": "1", "type": "group", "item": [{"linkId": "1.1", "type": "string", "maxLength": 5}]}],
}
APPOINTMENT = {
    "resourceType": "Appointment",
    "status": "proposed",
    "priority": 0,
    "minutesDuration": 10,
    "participant": [{"actor": {"reference": "Patient/p-1"}, "status": "accepted"}],
}
CLAIM = {
    "resourceType": "MolecularSequence",
    "coordinateSystem": 0,
    "quality": [{"type": "snp", "score": {"value": 1}, "roc": {"score": [1, 2]}}],
    "pointer": [{"reference": "MolecularSequence/1"}],
}
BUNDLE = {
    "resourceType": "Bundle",
    "type": "collection",
    "entry": [
        {"fullUrl": "http://x/Observation/1", "resource": OBSERVATION},
        {"fullUrl": "http://x/Patient/p-1", "resource": PATIENT},
    ],
}
VALID = [PATIENT, OBSERVATION, CONDITION, QUESTIONNAIRE, APPOINTMENT, CLAIM, BUNDLE]

Step = str | int

TEXTS = ["", "  ", 5, True, None, {}, [], ["x"], {"id": "x"}]
MOMENTS = ["1970-02-30", "1970-13-45", "1970-1-1", "2021-02-29", "0000", 1970, ""]
WRONG: dict[str, list[Any]] = {
    "base64Binary": ["****", "AAA", "", 5],
    "boolean": ["true", 1, 0, Decimal("1.0"), [], {}, None],
    "canonical": ["http://x y", "", 5],
    "code": [" final", "final ", "a  b", "", 5],
    "date": [*MOMENTS, "1970-02-28T10:00:00Z"],
    "dateTime": [*MOMENTS, "2020-01-01T10:00:00", "2020-01-01T10:00Z", "2020-01-01T24:00:00Z"],
    "decimal": ["1.5", True, None, []],
    "id": ["bad id!", "a_b", "x" * 65, "", 5],
    "instant": [*MOMENTS, "2020", "2020-01-01", "2020-01-01T10:00:00"],
    "integer": [Decimal("1.5"), Decimal("1.0"), 2**31, -(2**31) - 1, "1", True],
    "markdown": TEXTS,
    "positiveInt": [0, -1, 2**31, Decimal("1.0"), "1"],
    "string": TEXTS,
    "time": ["24:00:00", "10:00", "10:00:00Z", 10],
    "unsignedInt": [-1, 2**31, Decimal("0.0"), "0"],
    "uri": ["http://x y", "", " ", 5, None],
    "url": ["http://x y", "", 5],
    "xhtml": [
        DIV.replace("<p>", "<script>x</script><p>"),
        DIV.replace("<p>", '<p onclick="x()">'),
        DIV.replace("<p>", '<a href="java&#x09;script:x()">y</a><p>'),
        DIV.replace("</p>", ""),
        "<div>Li</div>",
        "Li",
        "",
        5,
    ],
}


def mutants(resource: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield (what was done, the broken resource, the FHIRPath where it is broken)."""
    for steps, path, type_path, field in places(
        resource, [], resource["resourceType"], resource["resourceType"]
    ):
        for name, value in wrong_values(at(resource, steps), type_path, field):
            yield f"{name} at {path}", changed(resource, steps, value), path
        if field is None or not field.primitive:
            yield from broken_objects(resource, steps, path, type_path)


def wrong_values(value: Any, type_path: str, field: Field | None) -> Iterator[tuple[str, Any]]:
    """Yield values that may not stand in the place of `value`, each with a name."""
    if field is None:
        return
    if field.primitive:
        for wrong in WRONG[field.type]:
            yield f"{wrong!r} as {field.type}", wrong
        if field.type == "code":
            for value_set in bindings.limits(field.element.binding):
                if value_set not in bindings.RULES:
                    yield "a code outside the value set", "nonsense"
                    yield "a code in capitals", value.upper() + "X"
    else:
        for wrong in ("x", 5, True, None, [], {}, [value]):
            yield f"{kind(wrong)} as {type_path}", wrong
    if field.type == "Reference" and field.element.targets not in ((), ("Resource",)):
        for other in ("Slot", "Patient"):
            if other not in field.element.targets:
                # The problem is told at Reference.reference; `at_reference` adds that step.
                yield "another target", {"reference": f"{other}/1"}
                yield "another target elsewhere", {"reference": f"https://there/fhir/{other}/1"}
        yield "a condition", {"reference": f"{field.element.targets[0]}?identifier=1"}


def broken_objects(
    resource: dict[str, Any], steps: list[Step], path: str, type_path: str
) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield the resource with members of the object at `steps` added, taken away or bent."""
    value = at(resource, steps)
    fields = structures.fields(type_path)
    yield "an unknown element", changed(resource, [*steps, "nonsense"], 1), f"{path}.nonsense"
    yield "an unknown sibling", changed(resource, [*steps, "_nonsense"], {"id": "x"}), f"{path}._nonsense"
    for key, field in fields.items():
        stem = field.element.name.removesuffix("[x]")
        if key in value:
            present = f"{path}.{stem}"
            without = {name: member for name, member in value.items() if name not in (key, f"_{key}")}
            if field.element.min > 0 and without:
                yield f"no {key}", changed(resource, steps, without), present
            if field.many:
                yield "an empty array", changed(resource, [*steps, key], []), present
                yield "no array", changed(resource, [*steps, key], value[key][0]), present
                if f"_{key}" not in value:
                    null = changed(resource, [*steps, key], [*value[key], None])
                    yield "null in an array", null, f"{present}[{len(value[key])}]"
                    if field.primitive:
                        siblings = changed(resource, [*steps, f"_{key}"], [{"id": "x"}] * 9)
                        yield "siblings of another length", siblings, present
            if field.element.name.endswith("[x]"):
                other = next(
                    found for found in fields.values() if found.element is field.element and found.key != key
                )
                yield "two types of a choice", changed(resource, [*steps, other.key], value[key]), present
                wrong = {**without, f"{stem}Nonsense": value[key]}
                yield "a type that is no choice", changed(resource, steps, wrong), f"{path}.{stem}Nonsense"


def places(
    value: dict[str, Any], steps: list[Step], path: str, type_path: str, field: Field | None = None
) -> Iterator[tuple[list[Step], str, str, Field | None]]:
    """Yield every value that is there: the way to it in JSON, its FHIRPath, its type and its field."""
    yield steps, path, type_path, field
    fields = structures.fields(type_path)
    for key, member in value.items():
        if key in fields:
            child = fields[key]
            stem = f"{path}.{child.element.name.removesuffix('[x]')}"
            for number, item in enumerate(member if child.many else [member]):
                below = [*steps, key, number] if child.many else [*steps, key]
                place = f"{stem}[{number}]" if child.many else stem
                if isinstance(item, dict):
                    name = item["resourceType"] if child.type == "Resource" else child.type
                    if child.element.profiles and child.type == "Quantity":
                        name = child.element.profiles[0]
                    yield from places(item, below, place, name, child)
                elif item is not None:
                    yield below, place, child.type, child


def at(resource: dict[str, Any], steps: list[Step]) -> Any:
    value: Any = resource
    for step in steps:
        value = value[step]
    return value


def changed(resource: dict[str, Any], steps: list[Step], value: Any) -> dict[str, Any]:
    """Return a copy of the resource with `value` at `steps`."""
    if not steps:
        return value
    mutant = copy.deepcopy(resource)
    at(mutant, steps[:-1])[steps[-1]] = copy.deepcopy(value)
    return mutant
