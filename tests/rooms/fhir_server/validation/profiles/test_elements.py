"""What a profile asks of one element (R4/elementdefinition.html): each rule kept and broken."""

from decimal import Decimal

import pytest

from fhir_server.fhirpath import temporal
from tests.support.clause import clause

from .written import UCUM, URL, Codes, at, broken, issues, profile

VALUE_SET = "http://example.org/fhir/ValueSet/v"


@clause("R4/elementdefinition.html#ElementDefinition.min", "fewer elements than min are refused")
@pytest.mark.parametrize(
    ("patient", "expected"),
    [
        ({"name": [{"text": "A"}]}, []),
        ({}, [("error", "Patient.name", "Patient.name")]),
    ],
)
def test_min(patient, expected):
    definition = profile("p", "Patient", at("Patient.name", 1))
    assert broken({"resourceType": "Patient", **patient}, definition) == expected


@clause("R4/elementdefinition.html#ElementDefinition.max", "more elements than max are refused")
@pytest.mark.parametrize(
    ("most", "count", "right"), [("1", 1, True), ("1", 2, False), ("0", 0, True), ("0", 1, False)]
)
def test_max(most, count, right):
    definition = profile("p", "Patient", at("Patient.name", 0, most))
    patient = {"resourceType": "Patient"} | ({"name": [{"text": "A"}] * count} if count else {})
    assert broken(patient, definition) == ([] if right else [("error", "Patient.name", "Patient.name")])


def test_cardinality_below_a_repeating_element():
    definition = profile("p", "Patient", at("Patient.contact"), at("Patient.contact.name", 1, "1"))
    patient = {"resourceType": "Patient", "contact": [{"name": {"text": "A"}}, {"gender": "male"}]}
    assert broken(patient, definition) == [("error", "Patient.contact[1].name", "Patient.contact.name")]
    assert broken({"resourceType": "Patient"}, definition) == []


def test_an_extension_alone_is_there():
    definition = profile("p", "Patient", at("Patient.birthDate", 1, "1"))
    patient = {
        "resourceType": "Patient",
        "_birthDate": {"extension": [{"url": "http://x", "valueCode": "a"}]},
    }
    assert [one for one in broken(patient, definition) if one[0] == "error"] == []


@clause("R4/elementdefinition.html#ElementDefinition.fixed_x_", "fixed[x] is exact")
@pytest.mark.parametrize(
    ("concept", "right"),
    [
        ({"coding": [{"system": "s", "code": "a"}]}, True),
        ({"coding": [{"system": "s", "code": "a", "display": "A"}]}, False),
        ({"coding": [{"system": "s", "code": "a"}], "text": "A"}, False),
        ({"coding": [{"system": "s", "code": "b"}]}, False),
    ],
)
def test_fixed(concept, right):
    fixed = {"coding": [{"system": "s", "code": "a"}]}
    definition = profile("p", "Observation", at("Observation.code", 1, "1", fixedCodeableConcept=fixed))
    observation = {"resourceType": "Observation", "status": "final", "code": concept}
    assert broken(observation, definition) == (
        [] if right else [("error", "Observation.code", "Observation.code")]
    )


@clause("R4/elementdefinition.html#ElementDefinition.pattern_x_", "pattern[x]: at least what it names")
@pytest.mark.parametrize(
    ("concept", "right"),
    [
        ({"coding": [{"system": "s", "code": "a", "display": "A"}], "text": "A"}, True),
        ({"coding": [{"system": "s", "code": "b"}, {"system": "s", "code": "a"}]}, True),
        ({"coding": [{"system": "t", "code": "a"}, {"system": "s", "code": "b"}]}, False),
        ({"text": "a"}, False),
    ],
)
def test_pattern(concept, right):
    pattern = {"coding": [{"system": "s", "code": "a"}]}
    definition = profile("p", "Observation", at("Observation.code", 1, "1", patternCodeableConcept=pattern))
    observation = {"resourceType": "Observation", "status": "final", "code": concept}
    assert (broken(observation, definition) == []) is right


@pytest.mark.parametrize(
    ("key", "fixed", "value", "right"),
    [
        ("fixedBoolean", True, True, True),
        ("fixedBoolean", True, False, False),
        ("fixedInteger", 1, 1, True),
        ("patternInteger", 1, 2, False),
        ("fixedString", "a", "a", True),
        ("patternString", "a", "A", False),
    ],
)
def test_fixed_and_pattern_of_primitives(key, fixed, value, right):
    definition = profile("p", "Observation", at("Observation.value[x]", 0, "1", **{key: fixed}))
    name = {bool: "valueBoolean", int: "valueInteger", str: "valueString"}[type(value)]
    found = broken({"resourceType": "Observation", name: value}, definition)
    assert found == ([] if right else [("error", "Observation.value", "Observation.value[x]")])


def quantity(value, code):
    return {"value": Decimal(value), "unit": code, "system": UCUM, "code": code}


@clause("R4/elementdefinition.html#ElementDefinition.minValue_x_", "inclusive; a Quantity in any unit")
@pytest.mark.parametrize(
    ("found", "right"),
    [
        (quantity("2", "kg"), True),
        (quantity("1", "kg"), True),
        (quantity("1000", "g"), True),
        (quantity("999", "g"), False),
        (quantity("5000", "kg"), True),
        (quantity("5001", "kg"), False),
    ],
)
def test_bounds_of_quantities(found, right):
    definition = profile(
        "p",
        "Observation",
        at(
            "Observation.value[x]",
            minValueQuantity=quantity("1", "kg"),
            maxValueQuantity=quantity("5", "t"),
            type=[{"code": "Quantity"}],
        ),
    )
    result = broken({"resourceType": "Observation", "valueQuantity": found}, definition)
    assert result == ([] if right else [("error", "Observation.value", "Observation.value[x]")])


def test_a_quantity_of_another_kind_cannot_be_compared():
    definition = profile("p", "Observation", at("Observation.value[x]", minValueQuantity=quantity("1", "kg")))
    found = broken({"resourceType": "Observation", "valueQuantity": quantity("1", "m")}, definition)
    assert found == [("warning", "Observation.value", "Observation.value[x]")]


@pytest.mark.parametrize(
    ("key", "limit", "name", "value", "right"),
    [
        ("minValueDate", "2020-01-01", "birthDate", "2020-01-01", True),
        ("minValueDate", "2020-01-01", "birthDate", "2019-12-31", False),
        ("maxValueDate", "2020-01-01", "birthDate", "2020-01-02", False),
        ("maxValueInteger", 2, "multipleBirthInteger", 2, True),
        ("maxValueInteger", 2, "multipleBirthInteger", 3, False),
    ],
)
def test_bounds_of_other_types(key, limit, name, value, right):
    path = "Patient.multipleBirth[x]" if name.startswith("multiple") else f"Patient.{name}"
    definition = profile("p", "Patient", at(path, 0, "1", **{key: limit}))
    assert (broken({"resourceType": "Patient", name: value}, definition) == []) is right


@clause("R4/elementdefinition.html#ElementDefinition.minValue_x_", "a duration is relative to the clock")
@pytest.mark.parametrize(("years", "right"), [(1, True), (17, True), (19, False)])
def test_a_bound_relative_to_now(years, right):
    eighteen = {"value": 18, "system": UCUM, "code": "a"}
    definition = profile("p", "Patient", at("Patient.birthDate", 0, "1", minValueQuantity=eighteen))
    birth = f"{temporal.now().year - years}-06-15"
    assert (broken({"resourceType": "Patient", "birthDate": birth}, definition) == []) is right


@clause("R4/elementdefinition.html#ElementDefinition.maxLength", "longer texts are refused")
@pytest.mark.parametrize(("text", "right"), [("äöü", True), ("äöüß", False)])
def test_max_length(text, right):
    definition = profile("p", "Patient", at("Patient.name"), at("Patient.name.family", 0, "1", maxLength=3))
    assert (broken({"resourceType": "Patient", "name": [{"family": text}]}, definition) == []) is right


@clause("R4/elementdefinition.html#ElementDefinition.type", "a profile may leave some of the types")
def test_types_of_a_choice():
    definition = profile("p", "Observation", at("Observation.value[x]", type=[{"code": "Quantity"}]))
    assert broken({"resourceType": "Observation", "valueQuantity": {"value": 1}}, definition) == []
    assert broken({"resourceType": "Observation", "valueString": "1"}, definition) == [
        ("error", "Observation.value", "Observation.value[x]")
    ]


def test_children_of_a_choice():
    definition = profile(
        "p",
        "Observation",
        at("Observation.value[x]", type=[{"code": "Quantity"}]),
        at("Observation.value[x].code", 1, "1"),
    )
    assert broken({"resourceType": "Observation", "valueQuantity": {"code": "a"}}, definition) == []
    assert broken({"resourceType": "Observation", "valueQuantity": {"value": 1}}, definition) == [
        ("error", "Observation.value.code", "Observation.value[x].code")
    ]


@clause("R4/elementdefinition.html#ElementDefinition.type.profile", "an element meets one of the profiles")
def test_profiles_of_a_datatype():
    official = profile("official", "HumanName", at("HumanName.family", 1, "1"))
    spoken = profile("spoken", "HumanName", at("HumanName.text", 1, "1"))
    names = [{"code": "HumanName", "profile": [official["url"], spoken["url"]]}]
    definition = profile("p", "Patient", at("Patient.name", type=names))
    rest = (official, spoken)
    assert (
        broken({"resourceType": "Patient", "name": [{"family": "A"}, {"text": "B"}]}, definition, *rest) == []
    )
    found = issues({"resourceType": "Patient", "name": [{"given": ["A"]}]}, definition, *rest)
    assert [one.expression for one in found] == ["Patient.name[0]"]
    assert "meets none of" in found[0].diagnostics


def test_the_one_profile_of_a_datatype_says_what_is_wrong_itself():
    official = profile("official", "HumanName", at("HumanName.family", 1, "1"))
    types = [{"code": "HumanName", "profile": [official["url"]]}]
    definition = profile("p", "Patient", at("Patient.name", type=types))
    found = issues({"resourceType": "Patient", "name": [{"given": ["A"]}]}, definition, official)
    assert [(one.expression, one.rule) for one in found] == [
        ("Patient.name[0].family", f"{URL}official#HumanName.family")
    ]


def test_a_profile_of_a_type_that_is_not_known():
    types = [{"code": "HumanName", "profile": [f"{URL}nowhere"]}]
    definition = profile("p", "Patient", at("Patient.name", type=types))
    patient = {"resourceType": "Patient", "name": [{"given": ["A"]}, {"given": ["B"]}]}
    assert broken(patient, definition) == [("warning", "Patient.name[0]", "Patient.name")]


@clause("R4/terminologies.html#strength", "required, extensible, a maximum; preferred asks for nothing")
@pytest.mark.parametrize(
    ("strength", "severity"),
    [("required", "error"), ("extensible", "warning"), ("preferred", None), ("example", None)],
)
def test_strength_of_bindings(strength, severity):
    binding = {"strength": strength, "valueSet": VALUE_SET}
    definition = profile("p", "Observation", at("Observation.code", 1, "1", binding=binding))
    terminology = Codes({VALUE_SET: {("s", "a")}})
    inside = {"resourceType": "Observation", "code": {"coding": [{"system": "s", "code": "a"}]}}
    outside = {"resourceType": "Observation", "code": {"coding": [{"system": "s", "code": "b"}]}}
    assert broken(inside, definition, terminology=terminology) == []
    expected = [] if severity is None else [(severity, "Observation.code", "Observation.code")]
    assert broken(outside, definition, terminology=terminology) == expected


def test_a_maximum_value_set():
    url = "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet"
    binding = {"strength": "preferred", "extension": [{"url": url, "valueCanonical": VALUE_SET}]}
    definition = profile("p", "Observation", at("Observation.code", 1, "1", binding=binding))
    outside = {"resourceType": "Observation", "code": {"coding": [{"system": "s", "code": "b"}]}}
    assert broken(outside, definition, terminology=Codes({VALUE_SET: {("s", "a")}})) == [
        ("error", "Observation.code", "Observation.code")
    ]
    only_text = {"resourceType": "Observation", "code": {"text": "b"}}
    assert broken(only_text, definition, terminology=Codes({VALUE_SET: {("s", "a")}})) == []


def test_a_required_code_cannot_be_a_text():
    binding = {"strength": "required", "valueSet": VALUE_SET}
    definition = profile("p", "Observation", at("Observation.code", 1, "1", binding=binding))
    observation = {"resourceType": "Observation", "code": {"text": "a"}}
    assert broken(observation, definition, terminology=Codes({VALUE_SET: {("s", "a")}})) == [
        ("error", "Observation.code", "Observation.code")
    ]


@pytest.mark.parametrize(
    ("path", "member", "right"),
    [
        ("Observation.value[x]", {"valueQuantity": {"value": 1, "system": "s", "code": "a"}}, True),
        ("Observation.value[x]", {"valueQuantity": {"value": 1, "system": "s", "code": "b"}}, False),
        ("Observation.status", {"status": "a"}, True),
        ("Observation.status", {"status": "b"}, False),
        ("Observation.meta.tag", {"meta": {"tag": [{"system": "s", "code": "b"}]}}, False),
        ("Observation.meta.source", {"meta": {"source": "a"}}, True),
        ("Observation.meta.source", {"meta": {"source": "b"}}, False),
    ],
)
def test_what_is_bound(path, member, right):
    binding = {"strength": "required", "valueSet": VALUE_SET}
    kind = [{"code": "uri"}] if path.endswith("source") else []
    elements = [at(path, binding=binding, type=kind)]
    if ".meta." in path:
        elements.insert(0, at("Observation.meta"))
    definition = profile("p", "Observation", *elements)
    terminology = Codes({VALUE_SET: {("s", "a")}})
    found = broken({"resourceType": "Observation", **member}, definition, terminology=terminology)
    assert (found == []) is right


def test_a_value_set_that_is_not_known_is_told_once():
    binding = {"strength": "required", "valueSet": VALUE_SET}
    definition = profile("p", "Observation", at("Observation.category", binding=binding))
    concept = {"coding": [{"system": "s", "code": "a"}]}
    assert broken({"resourceType": "Observation", "category": [concept, concept]}, definition) == [
        ("information", "Observation.category[0]", "Observation.category")
    ]


def constraint(key, expression, severity="error", **more):
    return {"key": key, "severity": severity, "human": "a rule", "expression": expression, **more}


@clause("R4/conformance-rules.html#constraints", "constraints of a profile hold at their elements")
def test_constraints():
    definition = profile(
        "p",
        "Patient",
        at("Patient", constraint=[constraint("p-1", "name.exists() or identifier.exists()")]),
        at("Patient.contact", constraint=[constraint("p-2", "name.exists()", "warning")]),
        at("Patient.birthDate", constraint=[constraint("p-3", "$this.toString().length() = 10")]),
    )
    right = {"resourceType": "Patient", "name": [{"text": "A"}], "birthDate": "2020-01-01"}
    assert broken(right, definition) == []
    wrong = {"resourceType": "Patient", "contact": [{"gender": "male"}], "birthDate": "2020"}
    assert broken(wrong, definition) == [
        ("error", "Patient", "p-1"),
        ("warning", "Patient.contact[0]", "p-2"),
        ("error", "Patient.birthDate", "p-3"),
    ]


def test_a_best_practice_is_a_warning():
    url = "http://hl7.org/fhir/StructureDefinition/elementdefinition-bestpractice"
    rule = constraint("p-1", "name.exists()", extension=[{"url": url, "valueBoolean": True}])
    definition = profile("p", "Patient", at("Patient", constraint=[rule]))
    assert broken({"resourceType": "Patient"}, definition) == [("warning", "Patient", "p-1")]


def test_what_the_base_type_states_is_not_asked_twice():
    rule = constraint("pat-1", "false")
    definition = profile("p", "Patient", at("Patient"), at("Patient.contact", constraint=[rule]))
    assert broken({"resourceType": "Patient", "contact": [{"name": {"text": "A"}}]}, definition) == []


def test_a_constraint_that_we_cannot_evaluate_is_a_warning():
    definition = profile("p", "Patient", at("Patient", constraint=[constraint("p-1", "name.nonsense(")]))
    assert broken({"resourceType": "Patient"}, definition) == [("warning", "Patient", "p-1")]


def test_functions_that_ask_around():
    other = profile("other", "Patient", at("Patient.name", 1))
    rules = [
        constraint("p-1", f"code.memberOf('{VALUE_SET}')"),
        constraint("p-2", f"subject.resolve().conformsTo('{URL}other')"),
    ]
    definition = profile("p", "Observation", at("Observation", constraint=rules))
    observation = {
        "resourceType": "Observation",
        "code": {"coding": [{"system": "s", "code": "a"}]},
        "subject": {"reference": "Patient/1"},
    }
    terminology = Codes({VALUE_SET: {("s", "a")}})
    named = {"resourceType": "Patient", "name": [{"text": "A"}]}
    right = {"terminology": terminology, "resolve": {"Patient/1": named}.get}
    assert broken(observation, definition, other, **right) == []
    wrong = {
        "terminology": Codes({VALUE_SET: set()}),
        "resolve": {"Patient/1": {"resourceType": "Patient"}}.get,
    }
    assert broken(observation, definition, other, **wrong) == [
        ("error", "Observation", "p-1"),
        ("error", "Observation", "p-2"),
    ]


def test_content_references_have_the_rules_of_their_element():
    definition = profile(
        "p",
        "Questionnaire",
        at("Questionnaire.item"),
        at("Questionnaire.item.text", 1, "1"),
        at("Questionnaire.item.item", contentReference="#Questionnaire.item"),
    )
    inner = {"linkId": "2", "type": "display"}
    questionnaire = {"resourceType": "Questionnaire", "item": [{"linkId": "1", "text": "A", "item": [inner]}]}
    assert broken(questionnaire, definition) == [
        ("error", "Questionnaire.item[0].item[0].text", "Questionnaire.item.text")
    ]


def test_the_profile_of_another_type():
    definition = profile("p", "Patient")
    assert broken({"resourceType": "Device"}, definition) == [("error", "Device", "Patient")]


@clause("R4/resource.html#Meta.profile", "claims are checked, also of contained resources and entries")
def test_claims():
    definition = profile("p", "Patient", at("Patient.name", 1))
    patient = {"resourceType": "Patient", "meta": {"profile": [definition["url"]]}}
    expected = [("error", "Bundle.entry[0].resource.name", "Patient.name")]
    bundle = {"resourceType": "Bundle", "entry": [{"resource": patient}]}
    assert broken(bundle, definition, profiles=(), claims=True) == expected
    assert broken(bundle, definition, profiles=(), claims=False) == []
    parameters = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "a", "part": [{"name": "b", "resource": {**patient, "contained": [patient]}}]}
        ],
    }
    assert [one[1] for one in broken(parameters, definition, profiles=(), claims=True)] == [
        "Parameters.parameter[0].part[0].resource.name",
        "Parameters.parameter[0].part[0].resource.contained[0].name",
    ]


def test_profiles_that_are_not_known():
    patient = {"resourceType": "Patient", "meta": {"profile": [f"{URL}nowhere"]}}
    assert broken(patient, claims=True) == [("warning", "Patient.meta.profile", "Patient")]
    assert broken(patient, profiles=(f"{URL}nowhere",)) == [("error", "Patient", "Patient")]


def test_r4s_own_types_may_be_claimed():
    core = "http://hl7.org/fhir/StructureDefinition/"
    patient = {"resourceType": "Patient", "meta": {"profile": [f"{core}Patient", f"{core}DomainResource"]}}
    assert broken(patient, claims=True) == []
    assert broken(patient, profiles=(f"{core}Device",))[0][0] == "error"


def test_equal_issues_are_told_once():
    definition = profile("p", "Patient", at("Patient.name", 1))
    patient = {"resourceType": "Patient", "meta": {"profile": [definition["url"]]}}
    assert len(broken(patient, definition, claims=True)) == 1


@clause("R4/fhirpath.html#variables", "%resource of a constraint on an inner resource is its container")
def test_constraints_on_inner_resources():
    inside = constraint("p-1", "%resource is Bundle and %rootResource is Bundle and %context is Patient")
    definition = profile("p", "Bundle", at("Bundle.entry"), at("Bundle.entry.resource", constraint=[inside]))
    bundle = {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient"}}]}
    assert broken(bundle, definition) == []
    name = constraint("p-3", "%resource is Practitioner and %rootResource is Patient")
    definition = profile(
        "p",
        "Patient",
        at("Patient.contained", constraint=[constraint("p-2", "%resource is Patient")]),
        at("Patient.contained.name", constraint=[name]),
    )
    definition["snapshot"]["element"][1]["type"] = [{"code": "Practitioner"}]
    practitioner = {"resourceType": "Practitioner", "name": [{"text": "A"}]}
    assert broken({"resourceType": "Patient", "contained": [practitioner]}, definition) == []


def test_a_content_reference_is_for_elements_of_no_slice():
    slicing = {"discriminator": [{"type": "value", "path": "name"}], "rules": "open"}
    definition = profile(
        "p",
        "Parameters",
        at("Parameters.parameter"),
        at("Parameters.parameter.name", 1, "1", patternString="a"),
        at("Parameters.parameter.part", contentReference="#Parameters.parameter", slicing=slicing),
        at("Parameters.parameter.part:b", 0, "1"),
    )
    definition["snapshot"]["element"][-1] |= {"path": "Parameters.parameter.part", "sliceName": "b"}
    definition["snapshot"]["element"].append(
        {
            "id": "Parameters.parameter.part:b.name",
            "path": "Parameters.parameter.part.name",
            "min": 1,
            "max": "1",
            "patternString": "b",
        }
    )
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "a", "part": [{"name": "b"}]}]}
    assert broken(parameters, definition) == []


def test_imposed_profiles():
    url = "http://hl7.org/fhir/StructureDefinition/structuredefinition-imposeProfile"
    other = profile("other", "Patient", at("Patient.name", 1))
    definition = profile("p", "Patient", extension=[{"url": url, "valueCanonical": other["url"]}])
    assert broken({"resourceType": "Patient"}, definition, other) == [
        ("error", "Patient.name", "Patient.name")
    ]


def test_additional_bindings():
    additional = {
        "url": "http://hl7.org/fhir/tools/StructureDefinition/additional-binding",
        "extension": [
            {"url": "purpose", "valueCode": "required"},
            {"url": "valueSet", "valueCanonical": VALUE_SET},
        ],
    }
    binding = {"strength": "preferred", "valueSet": "http://example.org/other", "extension": [additional]}
    definition = profile("p", "Observation", at("Observation.code", 1, "1", binding=binding))
    outside = {"resourceType": "Observation", "code": {"coding": [{"system": "s", "code": "b"}]}}
    assert broken(outside, definition, terminology=Codes({VALUE_SET: {("s", "a")}})) == [
        ("error", "Observation.code", "Observation.code")
    ]


def test_a_document_profile():
    """A slice of entries by their type, whose resources have a profile."""
    named = profile("named", "Patient", at("Patient.name", 1))
    definition = profile(
        "p",
        "Bundle",
        at(
            "Bundle.entry", slicing={"discriminator": [{"type": "type", "path": "resource"}], "rules": "open"}
        ),
        at("Bundle.entry:patient", 1, "1"),
        at("Bundle.entry:patient.resource", 1, "1", type=[{"code": "Patient", "profile": [named["url"]]}]),
    )
    bundle = {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient"}}]}
    assert broken(bundle, definition, named) == [("error", "Bundle.entry[0].resource.name", "Patient.name")]


@pytest.mark.parametrize(
    "elements",
    [[{"path": "Patient"}, {"path": 5}], [{"path": "Patient"}, {"path": "Patient.name", "max": {}}]],
)
def test_a_profile_that_is_none_refuses_nobody(elements):
    definition = profile("p", "Patient")
    definition["snapshot"]["element"] = elements
    patient = {"resourceType": "Patient", "meta": {"profile": [definition["url"]]}, "name": [{"text": "A"}]}
    assert [one[0] for one in broken(patient, definition, profiles=(), claims=True)] == ["warning"]
