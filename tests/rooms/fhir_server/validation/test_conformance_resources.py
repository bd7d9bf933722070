"""Conformance resources: what each type says against itself, or against what it names."""

import pytest

from fhir_server.definitions.conformance import Conformance
from fhir_server.validation.conformance.rules import check
from fhir_server.validation.knowledge import Knowledge, NoTerminology, Task
from fhir_server.validation.validator import validate
from tests.support.clause import clause

SYSTEM = "http://here/cs"
CODES = {SYSTEM: {"a", "b", "c"}, "http://here/other": {"x"}}


class Here:
    """A Source of resources by type and url."""

    def __init__(self, *resources):
        self.resources = {(one["resourceType"], one["url"]): one for one in resources}

    def find(self, type_name, url, version):
        return self.resources.get((type_name, url))


SUPPLEMENT = {"resourceType": "CodeSystem", "url": "http://here/more", "content": "supplement"}


class Codes(NoTerminology):
    def known(self, system, code):
        return code in CODES[system] if system in CODES else None

    def member(self, value_set, system, code):
        return code == "a" if value_set == "http://here/vs" else None


def found(resource, *there):
    conformance = Conformance([Here(*there)])
    task = Task(knowledge=Knowledge(conformance=conformance, terminology=Codes()))
    return [(issue.severity, issue.expression) for issue in check(resource, task)]


def errors(resource, *there):
    return [place for severity, place in found(resource, *there) if severity == "error"]


def code_system(**members):
    return {"resourceType": "CodeSystem", "url": SYSTEM, "status": "active", "content": "complete", **members}


NOT_SELECTABLE = "http://hl7.org/fhir/concept-properties#notSelectable"


@clause("R4/codesystem.html", "properties are declared once, with the type that their concepts use")
@pytest.mark.parametrize(
    ("members", "wrong"),
    [
        ({"property": [{"code": "p", "type": "string"}, {"code": "q", "type": "string"}]}, []),
        ({"property": [{"code": "p", "type": "string"}, {"code": "p", "type": "code"}]}, ["property[1]"]),
        ({"property": [{"code": "notSelectable", "uri": NOT_SELECTABLE, "type": "boolean"}]}, []),
        ({"property": [{"code": "notSelectable", "uri": NOT_SELECTABLE, "type": "code"}]}, ["property[0]"]),
        ({"count": 1, "concept": [{"code": "a"}]}, []),
        ({"count": 2, "concept": [{"code": "a"}]}, ["count"]),
        ({"count": 2, "concept": [{"code": "a", "concept": [{"code": "b"}]}]}, []),
        ({"count": 5, "content": "fragment", "concept": [{"code": "a"}]}, []),
        ({"count": 5, "content": "not-present"}, []),
        ({"count": 5, "compositional": True, "concept": [{"code": "a"}]}, []),
        ({"content": "not-present", "concept": [{"code": "a"}]}, ["concept"]),
        ({"content": "supplement"}, ["supplements"]),
        ({"supplements": "http://here/x"}, ["content"]),
        ({"content": "supplement", "supplements": "http://here/other", "concept": [{"code": "x"}]}, []),
        (
            {"content": "supplement", "supplements": "http://here/other", "concept": [{"code": "y"}]},
            ["concept[0].code"],
        ),
        ({"valueSet": "http://here/unknown"}, []),
    ],
)
def test_code_system(members, wrong):
    assert errors(code_system(**members)) == [f"CodeSystem.{place}" for place in wrong]


@pytest.mark.parametrize(
    ("kind", "value", "good"),
    [
        ("integer", {"valueInteger": 1}, True),
        ("integer", {"valueString": "1"}, False),
        ("Coding", {"valueCoding": {"code": "x"}}, True),
        ("dateTime", {"valueDateTime": "2020"}, True),
        ("boolean", {"valueCode": "true"}, False),
    ],
)
def test_properties_of_concepts(kind, value, good):
    concept = {"code": "a", "concept": [{"code": "b", "property": [{"code": "p", **value}]}]}
    system = code_system(property=[{"code": "p", "type": kind}], concept=[concept])
    assert errors(system) == ([] if good else ["CodeSystem.concept[0].concept[0].property[0]"])


def test_a_parent_is_a_code_of_the_system():
    properties = [{"code": "parent", "type": "code"}]
    system = code_system(property=properties, concept=[{"code": "a"}, {"code": "b"}])
    system["concept"][1]["property"] = [{"code": "parent", "valueCode": "a"}]
    assert errors(system) == []
    system["concept"][1]["property"] = [{"code": "parent", "valueCode": "z"}]
    assert errors(system) == ["CodeSystem.concept[1].property[0]"]


@pytest.mark.parametrize(
    ("include", "good"),
    [
        ({"system": SYSTEM}, True),
        ({"system": SYSTEM, "concept": [{"code": "a"}]}, False),
        ({"system": "http://here/other"}, False),
    ],
)
def test_the_value_set_of_all_codes(include, good):
    value_set = {"resourceType": "ValueSet", "url": "http://here/all", "compose": {"include": [include]}}
    told = errors(code_system(valueSet="http://here/all"), value_set)
    assert told == ([] if good else ["CodeSystem.valueSet"])


def value_set(*includes, **members):
    compose = {"include": list(includes)}
    return {
        "resourceType": "ValueSet",
        "url": "http://here/vs",
        "status": "active",
        "compose": compose,
        **members,
    }


@clause("R4/valueset.html", "a system is the absolute URI of a code system")
@pytest.mark.parametrize(
    ("system", "good"),
    [
        ("http://loinc.org", True),
        ("#c1", False),
        ("http://hl7.org/fhir/ValueSet/administrative-gender", False),
    ],
)
def test_systems_of_a_value_set(system, good):
    told = errors(value_set({"system": system}))
    assert told == ([] if good else ["ValueSet.compose.include[0].system"])


def test_a_supplement_is_no_system():
    assert errors(value_set({"system": "http://here/more"})) == []
    told = errors(value_set({"system": "http://here/more"}), SUPPLEMENT)
    assert told == ["ValueSet.compose.include[0].system"]


def test_a_value_set_does_not_include_itself():
    assert errors(value_set({"valueSet": ["http://here/vs"]})) == ["ValueSet.compose.include[0].valueSet[0]"]
    assert errors(value_set({"valueSet": ["http://here/other-vs"]})) == []


FILTERED = code_system(
    property=[
        {"code": "number", "type": "integer"},
        {"code": "kind", "type": "Coding"},
        {"code": "flag", "type": "boolean"},
    ],
    filter=[{"code": "mine", "operator": ["="], "value": "x"}],
)


@clause("R4/valueset.html", "the value of a filter is what its operator and its property take")
@pytest.mark.parametrize(
    ("name", "op", "value", "wrong"),
    [
        ("number", "=", "5", None),
        ("number", "=", "five", "value"),
        ("flag", "=", "true", None),
        ("flag", "=", "yes", "value"),
        ("flag", "exists", "true", None),
        ("flag", "exists", "1", "value"),
        ("display", "regex", "[a-z]+", None),
        ("display", "regex", "[a-z", "value"),
        ("concept", "is-a", "a", None),
        ("concept", "is-a", "z", "value"),
        ("kind", "=", "http://here/other#x", None),
        ("kind", "=", "http://here/other|1#x", None),
        ("kind", "=", "http://here/other#z", "value"),
        ("kind", "=", "x", "value"),
        ("mine", "=", "whatever", None),
        ("mine", "is-a", "a", None),
        ("mine", "in", "a", "op"),
        ("number", "in", "1,2", None),
        ("number", "in", "1,b", "value"),
    ],
)
def test_filters(name, op, value, wrong):
    told = errors(
        value_set({"system": SYSTEM, "filter": [{"property": name, "op": op, "value": value}]}), FILTERED
    )
    assert told == ([] if wrong is None else [f"ValueSet.compose.include[0].filter[0].{wrong}"])


@pytest.mark.parametrize(
    ("code", "target", "wrong"),
    [
        ("a", "x", []),
        ("z", "x", ["element[0].code"]),
        ("b", "x", ["element[0].code"]),
        ("a", "z", ["element[0].target[0].code"]),
    ],
)
def test_concept_map(code, target, wrong):
    element = {"code": code, "target": [{"code": target, "equivalence": "equal"}]}
    group = {"source": SYSTEM, "target": "http://here/other", "element": [element]}
    concept_map = {"resourceType": "ConceptMap", "sourceCanonical": "http://here/vs", "group": [group]}
    assert errors(concept_map) == [f"ConceptMap.group[0].{place}" for place in wrong]


NAME = "http://hl7.org/fhir/SearchParameter/Organization-name"


@clause("R4/capabilitystatement.html", "the type of a search parameter is that of its definition")
@pytest.mark.parametrize(
    ("type_name", "kind", "good"),
    [("Organization", "string", True), ("Organization", "token", False), ("Patient", "string", False)],
)
def test_capability_statement(type_name, kind, good):
    parameter = {"name": "name", "definition": NAME, "type": kind}
    rest = [{"mode": "server", "resource": [{"type": type_name, "searchParam": [parameter]}]}]
    told = errors({"resourceType": "CapabilityStatement", "rest": rest})
    assert told == ([] if good else ["CapabilityStatement.rest[0].resource[0].searchParam[0]"])


def test_profiles_of_a_capability_statement():
    profile = {"resourceType": "StructureDefinition", "url": "http://here/p", "type": "Patient"}
    rest = [{"mode": "server", "resource": [{"type": "Group", "supportedProfile": ["http://here/p"]}]}]
    statement = {"resourceType": "CapabilityStatement", "rest": rest}
    assert errors(statement, profile) == ["CapabilityStatement.rest[0].resource[0].supportedProfile[0]"]
    rest[0]["resource"][0]["type"] = "Patient"
    assert errors(statement, profile) == []


def search_parameter(**members):
    base = {"resourceType": "SearchParameter", "url": "http://here/sp", "code": "name", "type": "string"}
    return {**base, "base": ["Organization"], **members}


@clause("R4/searchparameter.html", "what is derived is consistent with what it is derived from")
@pytest.mark.parametrize(
    ("members", "severities"),
    [
        ({"expression": "Organization.name | Organization.alias", "derivedFrom": NAME}, []),
        ({"expression": "Organization.name", "derivedFrom": NAME}, ["warning"]),
        ({"type": "token", "derivedFrom": NAME}, ["error"]),
        ({"base": ["Patient"], "derivedFrom": NAME}, ["error"]),
        ({"derivedFrom": "http://here/unknown"}, []),
        ({"expression": "Patient.name"}, ["warning"]),
        ({"expression": "Organization.name.where("}, ["error"]),
        ({"expression": "Organization.partOf.where(resolve() is Patient)"}, []),
        ({"base": ["Resource"], "expression": "Patient.name"}, []),
        ({"type": "composite", "component": [{"expression": "a b"}]}, ["error"]),
    ],
)
def test_search_parameter(members, severities):
    assert [severity for severity, _ in found(search_parameter(**members))] == severities


def profile(*elements, **members):
    definition = {
        "resourceType": "StructureDefinition",
        "url": "http://here/profile",
        "type": "Observation",
        "kind": "resource",
        "derivation": "constraint",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Observation",
        "differential": {"element": [{"id": element["path"], **element} for element in elements]},
    }
    return {**definition, **members}


CORE = "http://hl7.org/fhir/StructureDefinition/"


@clause("R4/profiling.html", "a profile narrows what its type allows, and nothing else")
@pytest.mark.parametrize(
    ("element", "wrong"),
    [
        ({"path": "Observation.value[x]"}, None),
        ({"path": "Observation.valueQuantity.code"}, None),
        ({"path": "Observation.component.referenceRange.low"}, None),
        ({"path": "Observation.contained.whatever"}, None),
        ({"path": "Observation.nonsense"}, "path"),
        ({"path": "Observation.code.text.nonsense"}, "path"),
        ({"path": "Patient.name"}, "path"),
        ({"path": "Observation.status", "min": 1}, None),
        ({"path": "Observation.status", "min": 0}, "min"),
        ({"path": "Observation.category", "max": "*"}, None),
        ({"path": "Observation.subject", "max": "*"}, "max"),
        ({"path": "Observation.subject", "max": "2"}, "max"),
        ({"path": "Observation.subject", "max": "0"}, None),
        ({"path": "Observation.value[x]", "type": [{"code": "Quantity"}]}, None),
        ({"path": "Observation.value[x]", "type": [{"code": "Age"}]}, None),
        ({"path": "Observation.value[x]", "type": [{"code": "Address"}]}, "type[0].code"),
        ({"path": "Observation.status", "binding": {"strength": "required"}}, None),
        ({"path": "Observation.status", "binding": {"strength": "preferred"}}, "binding.strength"),
        ({"path": "Observation.code", "binding": {"strength": "required"}}, None),
        ({"path": "Observation.status", "fixedCode": "final"}, None),
        ({"path": "Observation.code", "patternCodeableConcept": {"text": "x"}}, None),
        ({"path": "Observation.code", "fixedString": "x"}, "fixed"),
        ({"path": "Observation.valueQuantity", "patternString": "x"}, "pattern"),
        ({"path": "Observation", "constraint": [{"key": "x", "expression": "value.exists()"}]}, None),
        (
            {"path": "Observation", "constraint": [{"key": "x", "expression": "value."}]},
            "constraint[0].expression",
        ),
        (
            {
                "path": "Observation.subject",
                "type": [{"code": "Reference", "targetProfile": [CORE + "Group"]}],
            },
            None,
        ),
        (
            {
                "path": "Observation.subject",
                "type": [{"code": "Reference", "targetProfile": [CORE + "Slot"]}],
            },
            "type[0].targetProfile[0]",
        ),
        ({"path": "Observation.code", "type": [{"code": "CodeableConcept", "profile": ["http://x"]}]}, None),
    ],
)
def test_structure_definition(element, wrong):
    place = "StructureDefinition.differential.element[0]"
    assert errors(profile(element)) == ([] if wrong is None else [f"{place}.{wrong}"])


@pytest.mark.parametrize(
    ("path", "way", "good"),
    [
        ("Observation.component", "code", True),
        ("Observation.component", "code.coding.system", True),
        ("Observation.component", "value.ofType(Quantity).unit", True),
        ("Observation.component", "nonsense", False),
        ("Observation.extension", "url", True),
        ("Observation.extension", "type", False),
        ("Observation.value[x]", "$this", True),
        ("Observation.subject", "resolve().name", True),
        ("Observation.component", "extension('http://x').value", True),
        ("Observation.hasMember", "resolve()", True),
    ],
)
def test_discriminators(path, way, good):
    slicing = {"discriminator": [{"type": "value", "path": way}], "rules": "open"}
    place = "StructureDefinition.differential.element[0].slicing.discriminator[0].path"
    assert errors(profile({"path": path, "slicing": slicing})) == ([] if good else [place])


@clause("R4/profiling.html#slicing", "the first element says how the slices are told apart")
def test_slices_of_what_is_sliced():
    first = {"path": "Observation.category", "slicing": {"rules": "open"}}
    one = {"path": "Observation.category", "id": "Observation.category:a", "sliceName": "a"}
    place = "StructureDefinition.differential.element[0].sliceName"
    assert found(profile(first, one)) == []
    assert found(profile(one)) == [("warning", place)]
    assert errors(profile(one, baseDefinition="http://here/base")) == []
    assert errors(profile({"path": "Observation.extension", "sliceName": "a"})) == []
    assert errors(profile({"path": "Observation.value[x]", "sliceName": "valueQuantity"})) == []
    assert errors(profile({"path": "Observation", "slicing": {"rules": "open"}})) == [
        "StructureDefinition.differential.element[0].slicing"
    ]


@pytest.mark.parametrize(
    ("path", "good"),
    [("Patient", True), ("Patient.contact.name", True), ("Element", True), ("Patient.x", False)],
)
def test_contexts_of_an_extension(path, good):
    extension = profile(type="Extension", kind="complex-type", baseDefinition=CORE + "Extension")
    extension["context"] = [{"type": "element", "expression": path}]
    assert errors(extension) == ([] if good else ["StructureDefinition.context[0].expression"])


def test_the_base_of_a_profile_is_of_its_type():
    place = "StructureDefinition.baseDefinition"
    assert errors(profile(baseDefinition=CORE + "Patient")) == [place]
    other = {"resourceType": "StructureDefinition", "url": "http://here/base", "type": "Patient"}
    assert errors(profile(baseDefinition="http://here/base"), other) == [place]
    assert errors(profile(baseDefinition="http://here/unknown")) == []


def test_logical_models_have_elements_of_their_own():
    assert errors(profile({"path": "Mine.nonsense"}, type="http://here/Mine", kind="logical")) == []
    assert errors(profile({"path": "Observation.nonsense"}, derivation="specialization")) == []


@pytest.mark.parametrize(
    ("least", "most", "wrong"),
    [(0, "1", None), (1, "*", None), (2, "1", ""), (0, "many", ".max")],
)
def test_operation_definition(least, most, wrong):
    parameter = {"name": "a", "use": "in", "min": least, "max": most, "type": "string"}
    operation = {"resourceType": "OperationDefinition", "code": "x", "parameter": [parameter]}
    place = "OperationDefinition.parameter[0]"
    assert errors(operation) == ([] if wrong is None else [place + wrong])


def test_profiles_of_parameters():
    sliced = {
        "path": "Parameters.parameter",
        "id": "Parameters.parameter:a",
        "sliceName": "a",
        "min": 1,
        "max": "1",
    }
    parameters = profile(sliced, type="Parameters", url="http://here/in")
    parameter = {"name": "a", "use": "in", "min": 1, "max": "1", "type": "string"}
    operation = {
        "resourceType": "OperationDefinition",
        "inputProfile": "http://here/in",
        "parameter": [parameter],
    }
    assert errors(operation, parameters) == []
    parameter["max"] = "*"
    assert errors(operation, parameters) == ["OperationDefinition.parameter[0].max"]
    assert errors(operation, {**parameters, "type": "Patient"}) == ["OperationDefinition.inputProfile"]


def concept(code):
    return {"coding": [{"system": "http://here/population", "code": code}]}


@pytest.mark.parametrize(
    ("group", "wrong"),
    [
        ({"population": [{"code": concept("a")}, {"code": concept("b")}]}, []),
        ({"population": [{"code": concept("z")}]}, ["population[0].code"]),
        ({"population": [{"code": concept("a")}, {"code": concept("a")}]}, ["population[1].code"]),
        ({"measureScore": {"value": 1}}, ["measureScore"]),
    ],
)
def test_measure_report(group, wrong):
    asked = {"population": [{"code": concept("a")}, {"code": concept("b")}]}
    measure = {
        "resourceType": "Measure",
        "url": "http://here/measure",
        "scoring": {"coding": [{"code": "cohort"}]},
        "group": [asked],
    }
    report = {"resourceType": "MeasureReport", "measure": "http://here/measure", "group": [group]}
    assert errors(report, measure) == [f"MeasureReport.group[0].{place}" for place in wrong]
    assert errors(report) == []


def test_inside_of_bundles_and_contained():
    system = code_system(content="not-present", concept=[{"code": "a"}])
    bundle = {"resourceType": "Bundle", "entry": [{"resource": system}]}
    assert errors(bundle) == ["Bundle.entry[0].resource.concept"]
    assert errors({**value_set({"system": SYSTEM}), "contained": [system]}) == [
        "ValueSet.contained[0].concept"
    ]


NO_VALUE = {
    "extension": [
        {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}
    ]
}


@pytest.mark.parametrize(
    "resource",
    [
        {"resourceType": "Bundle", "_type": NO_VALUE, "entry": [{"fullUrl": "urn:oid:1.2.3"}]},
        code_system(content="example", property=[{"_code": NO_VALUE, "_type": NO_VALUE}]),
        search_parameter(base=[None], _base=[NO_VALUE], derivedFrom=NAME),
        profile({"path": "Observation.code", "_min": NO_VALUE, "type": [{"_code": NO_VALUE}]}),
        value_set({"system": SYSTEM, "filter": [{"property": "p", "op": "=", "_value": NO_VALUE}]}),
    ],
    ids=lambda resource: resource["resourceType"],
)
def test_extensions_in_the_place_of_values(resource):
    assert not [issue for issue in validate(resource) if issue.code == "exception"]


@clause("R4/elementdefinition.html", "eld-3: max SHALL be a number or *")
@pytest.mark.parametrize(
    ("most", "good"), [("*", True), ("0", True), ("12", True), ("x", False), ("1.5", False)]
)
def test_max_is_a_number(most, good):
    """As FHIRPath eld-3 is neither true nor false of a text that is no number."""
    place = "StructureDefinition.differential.element[0].max"
    extension = {**profile({"path": "Observation.note", "max": most}), "derivation": "specialization"}
    assert errors(extension) == ([] if good else [place])
