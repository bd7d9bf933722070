"""Extensions against their definitions, whether a profile is claimed or not (R4/extensibility.html)."""

import pytest

from fhir_server.validation.profiles.check import check
from tests.support.clause import clause

from .written import URL, at, broken, by, extension, profile

MARK = extension("mark", at("Extension.value[x]", 1, "1", type=[{"code": "code"}]), context="Patient")
MARKED = {"url": f"{URL}mark", "valueCode": "a"}


def found(resource, *definitions):
    return broken(resource, *definitions, profiles=())


def test_a_known_extension_in_its_place():
    assert found({"resourceType": "Patient", "extension": [MARKED]}, MARK) == []


def test_nothing_is_asked_without_definitions():
    assert list(check({"resourceType": "Patient", "extension": [MARKED]})) == []


@clause("R4/defining-extensions.html#cardinality", "an extension as often as its root element says")
def test_cardinality():
    assert found({"resourceType": "Patient", "extension": [MARKED, MARKED]}, MARK) == [
        ("error", "Patient.extension[1]", "Extension")
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"valueString": "a"}, [("error", "Patient.extension[0].value", "Extension.value[x]")]),
        ({}, [("error", "Patient.extension[0].value", "Extension.value[x]")]),
    ],
)
def test_value(value, expected):
    patient = {"resourceType": "Patient", "extension": [{"url": f"{URL}mark", **value}]}
    assert found(patient, MARK) == expected


@clause("R4/defining-extensions.html#context", "the context says where an extension may stand")
@pytest.mark.parametrize(
    ("kind", "expression", "right", "wrong"),
    [
        ("element", "Patient", "Patient", "HumanName"),
        ("element", "Resource", "Patient", "HumanName"),
        ("element", "DomainResource", "Patient", "Patient.birthDate"),
        ("element", "Element", "HumanName", None),
        ("element", "HumanName", "HumanName", "Patient"),
        ("element", "Patient.name", "HumanName", "Patient"),
        ("element", "Patient.contact", "Patient.contact", "Patient"),
        ("element", "Patient.birthDate", "Patient.birthDate", "Patient"),
        ("element", "date", "Patient.birthDate", "Patient"),
        ("element", "HumanName.given", "HumanName.given", "HumanName"),
        ("element", "Patient.deceased[x]", "deceased", "Patient"),
        ("fhirpath", "Patient.name.given", "HumanName.given", "HumanName"),
        ("fhirpath", "Patient.contact.where(gender = 'male')", "Patient.contact", "Patient"),
        ("extension", f"{URL}outer", "outer", "Patient"),
    ],
)
def test_context(kind, expression, right, wrong):
    mark = {**MARK, "context": [{"type": kind, "expression": expression}]}
    outer = extension("outer", at("Extension.extension"))
    assert found(holding(right), mark, outer) == []
    if wrong is not None:
        assert [one[0] for one in found(holding(wrong), mark, outer)] == ["error"]


def holding(place):
    inside = {"extension": [MARKED]}
    patient = {
        "Patient": inside,
        "HumanName": {"name": [{"text": "A", **inside}]},
        "HumanName.given": {"name": [{"given": ["A", "B"], "_given": [None, inside]}]},
        "Patient.birthDate": {"birthDate": "2020", "_birthDate": inside},
        "Patient.contact": {"contact": [{"gender": "male", **inside}]},
        "deceased": {"deceasedBoolean": True, "_deceasedBoolean": inside},
        "outer": {"extension": [{"url": f"{URL}outer", **inside}]},
    }[place]
    return {"resourceType": "Patient", **patient}


@clause("R4/defining-extensions.html#context", "context invariants")
def test_context_invariant():
    mark = {**MARK, "contextInvariant": ["name.exists()"]}
    assert found({"resourceType": "Patient", "name": [{"text": "A"}], "extension": [MARKED]}, mark) == []
    assert [one[0] for one in found({"resourceType": "Patient", "extension": [MARKED]}, mark)] == ["error"]


@clause("R4/extensibility.html#modifierExtension", "a modifier stands among the modifiers, no other does")
def test_modifiers():
    modifier = extension("mark", at("Extension", isModifier=True))
    among = {"resourceType": "Patient", "modifierExtension": [MARKED]}
    beside = {"resourceType": "Patient", "extension": [MARKED]}
    assert found(among, modifier) == []
    assert found(beside, modifier) == [("error", "Patient.extension[0]", "Extension")]
    assert found(among, MARK) == [("error", "Patient.modifierExtension[0]", "Extension")]


@clause("R4/extensibility.html#extension", "unknown extensions are no errors")
def test_unknown():
    unknown = {"url": "http://example.org/unknown", "valueCode": "a"}
    assert [one[0] for one in found({"resourceType": "Patient", "extension": [unknown, unknown]}, MARK)] == [
        "information"
    ]
    assert [one[0] for one in found({"resourceType": "Patient", "modifierExtension": [unknown]}, MARK)] == [
        "warning"
    ]


def test_unknown_ones_may_be_refused():
    strict = {"profiles": (), "strict": frozenset({"unknown extensions"})}
    unknown = {"resourceType": "Patient", "extension": [{"url": "http://example.org/unknown"}]}
    assert [one[0] for one in broken(unknown, MARK, **strict)] == ["error"]
    of_hl7 = {"url": "http://hl7.org/fhir/5.0/StructureDefinition/extension-Patient.x"}
    assert [one[0] for one in broken({**unknown, "extension": [of_hl7]}, MARK, **strict)] == ["information"]


@clause("R4/extensibility.html#Extension.url", "absolute, but for inner extensions")
def test_urls():
    relative = {"url": "mark", "valueCode": "a"}
    assert found({"resourceType": "Patient", "extension": [relative]}, MARK) == [
        ("error", "Patient.extension[0].url", "ext-url")
    ]


def outer(rules="open"):
    return extension(
        "outer",
        at("Extension.extension", 1, slicing=by("value", "url", rules)),
        at("Extension.extension:a", 1, "1"),
        at("Extension.extension:a.url", 1, "1", fixedUri="a"),
        at("Extension.extension:a.value[x]", 1, "1", type=[{"code": "code"}]),
        at("Extension.extension:b", 0, "1"),
        at("Extension.extension:b.url", 1, "1", fixedUri="b"),
        at("Extension.value[x]", 0, "0"),
    )


def patient_with(*inner, **more):
    return {
        "resourceType": "Patient",
        "extension": [{"url": f"{URL}outer", "extension": list(inner), **more}],
    }


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ([{"url": "a", "valueCode": "x"}], []),
        ([{"url": "a", "valueCode": "x"}, {"url": "b", "valueCode": "x"}], []),
        ([{"url": "b", "valueCode": "x"}], [("Patient.extension[0].extension", "Extension.extension:a")]),
        (
            [{"url": "a", "valueString": "x"}],
            [("Patient.extension[0].extension[0].value", "Extension.extension:a.value[x]")],
        ),
        (
            [{"url": "a", "valueCode": "x"}, {"url": "c", "valueCode": "x"}],
            [("Patient.extension[0].extension[1]", "Extension.extension")],
        ),
    ],
)
def test_inner_extensions(inner, expected):
    assert [one[1:] for one in found(patient_with(*inner), outer())] == expected


def test_an_extension_with_inner_ones_has_no_value():
    complex_ = patient_with({"url": "a", "valueCode": "x"}, valueCode="x")
    assert [one[1] for one in found(complex_, outer())] == ["Patient.extension[0].value"]


def test_extensions_everywhere():
    inside = {"extension": [{"url": f"{URL}mark", "valueString": "a"}]}
    mark = {**MARK, "context": [{"type": "element", "expression": "Element"}]}
    bundle = {
        "resourceType": "Bundle",
        "entry": [
            {"resource": {"resourceType": "Patient", "contained": [{"resourceType": "Device", **inside}]}},
            {"resource": {"resourceType": "Observation", "valueQuantity": {"value": 1, "_value": inside}}},
        ],
    }
    assert [one[1] for one in found(bundle, mark)] == [
        "Bundle.entry[0].resource.contained[0].extension[0].value",
        "Bundle.entry[1].resource.value.value.extension[0].value",
    ]


def test_an_extension_of_a_url_that_is_a_profile_of_something_else():
    patient = {"resourceType": "Patient", "extension": [{"url": f"{URL}p", "valueCode": "a"}]}
    assert [one[0] for one in found(patient, profile("p", "Patient"))] == ["error"]
