"""Constraints of a profile, at all of its elements (R4/conformance-rules.html#constraints)."""

from tests.support.clause import clause

from .written import URL, Codes, at, broken, profile

VALUE_SET = "http://example.org/fhir/ValueSet/v"


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
