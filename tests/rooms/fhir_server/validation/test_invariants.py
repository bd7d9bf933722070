"""R4's invariants: each is caught where it is broken, and the quick tests agree with FHIRPath everywhere."""

import copy
import random
import tarfile
from functools import cache

import pytest

from fhir_server.definitions import structures
from fhir_server.fhirpath import api
from fhir_server.fhirpath.values import children
from fhir_server.interactions import drafts
from fhir_server.model import json_format
from fhir_server.outcome import Invalid
from fhir_server.validation import invariants
from fhir_server.validation.judge import Judge, Rule
from fhir_server.validation.structure import Structure
from fhir_server.validation.validator import MAX_ISSUES, validate

EXAMPLES = "data/r4-examples.tar.xz"
CODE = {"coding": [{"system": "http://loinc.org", "code": "85354-9"}]}
OBSERVATION = {"resourceType": "Observation", "status": "final", "code": CODE}
SUBJECT = {"reference": "Patient/1"}


def patient(**members):
    return {"resourceType": "Patient", **members}


def bundle(kind, *entries, **members):
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries), **members}


def extended(extension):
    return patient(birthDate="1970", _birthDate={"extension": [extension]})


ORPHAN = {"resourceType": "Organization", "id": "o", "name": "Ward"}
PERIOD = {"start": "2021-03-01T00:00:00+01:00", "end": "2021-02-28T22:59:59Z"}
ENTRY = {"fullUrl": "http://x/Patient/1", "resource": patient(active=True)}
UNKNOWN = {"url": "http://x/e", "valueCode": "unknown"}
IDENTIFIER = {"system": "urn:oid:1.2.3", "value": "1"}
REQUEST = {"request": {"method": "GET", "url": "Patient/1"}}

BROKEN = [
    ("pat-1", patient(contact=[{"name": {"text": "x"}}, {"gender": "male"}]), "Patient.contact[1]"),
    ("obs-6", {**OBSERVATION, "valueString": "x", "dataAbsentReason": {"text": "?"}}, "Observation"),
    ("obs-7", {**OBSERVATION, "valueString": "x", "component": [{"code": CODE}]}, "Observation"),
    ("obs-3", {**OBSERVATION, "referenceRange": [{"appliesTo": [CODE]}]}, "Observation.referenceRange[0]"),
    (
        "obs-3",
        {**OBSERVATION, "component": [{"code": CODE, "referenceRange": [{"appliesTo": [CODE]}]}]},
        "Observation.component[0].referenceRange[0]",
    ),
    ("ext-1", patient(extension=[{"url": "http://x/e"}]), "Patient.extension[0]"),
    ("ext-1", extended({"url": "http://x/e"}), "Patient.birthDate.extension[0]"),
    (
        "ext-1",
        patient(extension=[{"url": "http://x", "extension": [{"url": "a", "id": "b"}]}]),
        "Patient.extension[0].extension[0]",
    ),
    ("per-1", patient(name=[{"period": PERIOD}]), "Patient.name[0].period"),
    ("per-1", patient(name=[{"period": {"start": "2021-02", "end": "2021-01"}}]), "Patient.name[0].period"),
    ("cpt-2", patient(telecom=[{"value": "1"}]), "Patient.telecom[0]"),
    ("qty-3", {**OBSERVATION, "valueQuantity": {"value": 1, "code": "mg"}}, "Observation.value"),
    (
        "rng-2",
        {**OBSERVATION, "valueRange": {"low": {"value": 2}, "high": {"value": 1}}},
        "Observation.value",
    ),
    ("rat-1", {**OBSERVATION, "valueRatio": {"numerator": {"value": 2}}}, "Observation.value"),
    ("att-1", patient(photo=[{"data": "QUJD"}]), "Patient.photo[0]"),
    ("ref-1", patient(managingOrganization={"reference": "#o"}), "Patient.managingOrganization"),
    (
        "ref-1",
        extended({"url": "http://x/e", "valueReference": {"reference": "#o"}}),
        "Patient.birthDate.extension[0].value",
    ),
    (
        "ref-1",
        patient(
            contained=[{**ORPHAN, "partOf": {"reference": "#other"}}],
            managingOrganization={"reference": "#o"},
        ),
        "Patient.contained[0].partOf",
    ),
    ("dom-3", patient(contained=[ORPHAN]), "Patient"),
    (
        "dom-4",
        patient(contained=[{**ORPHAN, "meta": {"versionId": "1"}}], managingOrganization={"reference": "#o"}),
        "Patient",
    ),
    ("bdl-1", bundle("collection", ENTRY, total=1), "Bundle"),
    ("bdl-2", bundle("collection", {**ENTRY, "search": {"mode": "match"}}), "Bundle"),
    ("bdl-3", bundle("collection", {**ENTRY, **REQUEST}), "Bundle"),
    ("bdl-3", bundle("batch", ENTRY), "Bundle"),
    ("bdl-4", bundle("transaction-response", ENTRY), "Bundle"),
    ("bdl-5", bundle("collection", {"fullUrl": "http://x/Patient/1"}), "Bundle.entry[0]"),
    ("bdl-7", bundle("collection", ENTRY, ENTRY), "Bundle"),
    ("bdl-8", bundle("collection", {**ENTRY, "fullUrl": "http://x/Patient/1/_history/2"}), "Bundle.entry[0]"),
    (
        "bdl-11",
        bundle(
            "document", ENTRY, timestamp="2020-01-01T00:00:00Z", identifier={"system": "a:b", "value": "1"}
        ),
        "Bundle",
    ),
    (
        "pat-1",
        bundle("collection", {"resource": patient(contact=[{"gender": "male"}])}),
        "Bundle.entry[0].resource.contact[0]",
    ),
    ("org-1", {"resourceType": "Organization", "active": True}, "Organization"),
    (
        "org-3",
        {**ORPHAN, "telecom": [{"system": "phone", "value": "1"}, {"use": "home"}]},
        "Organization.telecom[1]",
    ),
    (
        "tim-1",
        {
            "resourceType": "ServiceRequest",
            "status": "active",
            "intent": "order",
            "subject": SUBJECT,
            "occurrenceTiming": {"repeat": {"duration": 5}},
        },
        "ServiceRequest.occurrence.repeat",
    ),
    (
        "con-4",
        {"resourceType": "Condition", "subject": SUBJECT, "abatementString": "x"},
        "Condition",
    ),
    (
        "inv-1",
        {
            "resourceType": "Task",
            "status": "draft",
            "intent": "order",
            "authoredOn": "2021",
            "lastModified": "2020",
        },
        "Task",
    ),
    (
        "que-2",
        {
            "resourceType": "Questionnaire",
            "status": "draft",
            "item": [{"linkId": "1", "type": "string"}, {"linkId": "1", "type": "string"}],
        },
        "Questionnaire",
    ),
]


@pytest.mark.parametrize(("key", "resource", "path"), BROKEN, ids=[f"{row[0]} {row[2]}" for row in BROKEN])
def test_a_broken_invariant_is_told_at_its_element(key, resource, path):
    found = [issue for issue in validate(resource) if issue.severity == "error"]
    assert [(issue.code, issue.expression) for issue in found if f"({key})" in issue.diagnostics] == [
        ("invariant", path)
    ]
    with pytest.raises(Invalid):
        drafts.check(resource)


@pytest.mark.parametrize(
    "resource",
    [
        patient(contained=[ORPHAN], managingOrganization={"reference": "#o"}),
        patient(
            contained=[{"resourceType": "Observation", "id": "x", "status": "final", "code": CODE}]
            + [{**ORPHAN, "id": f"o{n}"} for n in range(30)],
            extension=[{"url": "http://x", "valueReference": {"reference": f"#o{n}"}} for n in range(30)]
            + [{"url": "http://x", "valueUri": "#x"}],
        ),
        patient(contained=[{**ORPHAN, "partOf": {"reference": "#"}}]),
        patient(name=[{"period": {"start": "2021-02-03", "end": "2021-02"}}]),
        {  # an element, and no resource, though it says resourceType
            "resourceType": "ExampleScenario",
            "status": "draft",
            "contained": [ORPHAN],
            "instance": [
                {
                    "resourceId": "1",
                    "resourceType": "Patient",
                    "extension": [{"url": "http://x", "valueReference": {"reference": "#o"}}],
                }
            ],
        },
        patient(name=[{"period": {"start": "2016-12-31T23:59:60Z", "end": "2017-01-01T00:00:00Z"}}]),
        patient(
            telecom=[
                {"_value": {"extension": [{"url": "http://x", "valueCode": "unknown"}]}, "system": "sms"}
            ]
        ),
        bundle("collection", ENTRY, {"resource": patient(active=True)}),
    ],
)
def test_what_is_right_has_no_issue(resource):
    assert validate(resource) == []


def test_advice_refuses_nothing():
    """R4/conformance-rules.html#best-practice: a warning is told, and the resource is taken."""
    library = {"resourceType": "Library", "status": "draft", "name": "not a name", "type": {"text": "x"}}
    (issue,) = validate(library)
    assert (issue.severity, issue.code, issue.expression) == ("warning", "invariant", "Library")
    drafts.check(library)
    many = bundle("collection", *({"resource": library} for _ in range(MAX_ISSUES + 50)))
    assert {issue.severity for issue in validate(many)} == {"warning"}
    drafts.check(many)
    many["entry"].append({"resource": patient(contact=[{"gender": "male"}])})
    assert validate(many)[0].expression == f"Bundle.entry[{MAX_ISSUES + 50}].resource.contact[0]"


def test_the_narrative_is_not_asked_for():
    assert validate(patient(active=True)) == []


@pytest.mark.parametrize("expression", ["name.single().exists()", "name.(", "nothing() = 1", "name > 5"])
def test_what_the_engine_cannot_judge_is_kept(expression):
    resource = patient(name=[{"text": "x", "given": ["y"]}, {"text": "z"}])
    rule = Rule("x-1", structures.Invariant("error", expression, "…"), lambda node, container: False)
    with pytest.raises(api.FhirPathError):
        api.compile(expression, lenient=True).evaluate(resource)
    assert Judge(resource).keeps(api.root(resource), rule)


def test_many_contained_resources_and_components_take_no_long():
    """As FHIRPath these look at everything for each; 2,000 would take the engine minutes."""
    size = 2000
    codings = [{"system": "http://x", "code": f"c{number}"} for number in range(size)]
    panel = {
        **OBSERVATION,
        "code": {"coding": codings},
        "valueString": "x",
        "component": [{"code": {"coding": [coding]}, "valueString": "x"} for coding in codings],
        "contained": [{**ORPHAN, "id": f"o{number}"} for number in range(size)],
        "performer": [{"reference": f"#o{number}"} for number in range(1, size + 1)],
    }
    assert [issue.expression for issue in validate(panel)] == [
        "Observation",
        "Observation",
        f"Observation.performer[{size - 1}]",
    ]


def test_what_is_too_deep_to_follow_is_kept():
    item = {"linkId": "1", "type": "string"}
    for _ in range(100_000):
        item = {"linkId": "1", "type": "group", "item": [item]}
    assert list(invariants.check({"resourceType": "Questionnaire", "status": "draft", "item": [item]})) == []


@cache
def asked(type_name, parent, name):
    """Return what the slow reading asks of an element: (key, expression), from the facts alone."""
    elements = structures.structure(type_name.partition(".")[0]).elements
    places = [(type_name, elements[type_name])] if type_name in elements else []
    for field in structures.fields(parent).values() if parent else ():
        if field.element.name.removesuffix("[x]") == name:
            places.append((parent, field.element))
    found = set()
    for place, element in places:
        for key in element.constraints:
            text = structures.invariant(place.partition(".")[0], key).expression
            if text and key not in invariants.NOT_ASKED:
                found.add((key, text))
    return [(key, api.compile(text, lenient=True)) for key, text in sorted(found)]


def by_engine(resource):
    found, count = set(), 0
    todo = [(api.root(resource), None)]
    while todo:
        item, parent = todo.pop()
        for key, expression in asked(item.type, parent, item.name):
            count += 1
            try:
                if not expression.holds(item):
                    found.add((key, item.path))
            except api.FhirPathError:
                pass
        todo += [(child, item.type) for child in children(item)]
    return found, count


def quickly(resource):
    issues = list(invariants.check(resource))
    found = {(issue.diagnostics.rpartition("(")[2][:-1], issue.expression) for issue in issues}
    assert len(found) == len(issues)
    return found


def objects(value):
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            yield item
            todo += item.values()
        elif isinstance(item, list):
            todo += item


@pytest.mark.parametrize(("key", "resource", "path"), BROKEN, ids=[f"{row[0]} {row[2]}" for row in BROKEN])
def test_the_engine_says_the_same(key, resource, path):
    assert (key, path) in by_engine(resource)[0]
    assert quickly(resource) == by_engine(resource)[0]


def test_the_engine_says_the_same_of_official_examples_and_their_mutants(shared):
    """Members are left out; what is structurally right all the same is judged twice."""
    chance = random.Random(8)
    structure = Structure(in_transaction=False)
    examples = []
    with tarfile.open(shared(EXAMPLES)) as archive:
        for member in archive:
            if member.name.endswith(".json") and member.size < 30_000:
                try:
                    examples.append(json_format.parse(archive.extractfile(member).read()))
                except Invalid:
                    continue
    judged, broken, keys = 0, 0, set()
    for example in chance.sample(examples, 1200):
        for attempt in range(6):
            mutant = copy.deepcopy(example)
            for _ in range(attempt):
                some = chance.choice(list(objects(mutant)))
                if len(some) > 1:
                    del some[chance.choice(list(some))]
            if not structure.accepts(mutant):
                continue
            expected, count = by_engine(mutant)
            assert quickly(mutant) == expected
            judged += count
            broken += bool(attempt and expected)
            keys |= {key for key, _ in expected}
    assert judged > 100_000
    assert broken > 300
    assert len(keys) > 30


def told(resource):
    return {(issue.expression, (issue.rule or "").partition("#")[2]) for issue in validate(resource)}


def test_invariants_are_told_beside_what_is_wrong_elsewhere():
    contacts = [{"gender": "male"}, {"gender": "wrong"}, {"name": {"text": 5}}]
    assert told(patient(contact=contacts, telecom=[{"value": "1"}], active="x")) == {
        ("Patient.active", ""),
        ("Patient.contact[0]", "pat-1"),
        ("Patient.contact[1].gender", ""),  # and not pat-1: the element holds a fault
        ("Patient.contact[2].name.text", ""),
        ("Patient.telecom[0]", "cpt-2"),
    }


@pytest.mark.parametrize(
    "members",
    [
        {"contact": 5},
        {"contact": [5, None, [], {}]},
        {"contact": {"gender": "male"}},
        {"contained": [5, {"resourceType": "Foo"}, {"resourceType": 5}, {}]},
        {"contained": "x", "managingOrganization": {"reference": "#x"}},
        {"managingOrganization": {"reference": 5}},
        {"name": [{"period": {"start": 5, "end": []}}]},
        {"extension": [{"url": 5}, "x"]},
        {"_birthDate": {"extension": 5}},
    ],
)
def test_nothing_is_said_of_what_is_malformed(members):
    assert {rule for _, rule in told(patient(telecom=[{"value": "1"}], **members))} == {"", "cpt-2"}


def test_a_missing_element_hides_no_invariant_of_what_is_around_it():
    measure = {
        "resourceType": "Measure",
        "status": "draft",
        "group": [{"population": [{"criteria": {"description": "x"}}]}],
    }
    place = "Measure.group[0].population[0].criteria"
    assert told(measure) >= {(f"{place}.language", ""), (place, "exp-1")}
    measure["group"][0]["population"][0]["criteria"]["language"] = 5
    assert {where for where, _ in told(measure)} == {f"{place}.language"}


def test_rules_are_named_by_the_type_that_states_them():
    orphan = patient(contained=[{**ORPHAN, "contained": [ORPHAN]}], telecom=[{"value": "1"}])
    assert {issue.rule for issue in validate(orphan)} == {
        "http://hl7.org/fhir/StructureDefinition/DomainResource#dom-2",
        "http://hl7.org/fhir/StructureDefinition/DomainResource#dom-3",
        "http://hl7.org/fhir/StructureDefinition/ContactPoint#cpt-2",
    }
