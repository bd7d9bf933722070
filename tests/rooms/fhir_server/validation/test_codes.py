"""Codes beyond required enumerations: unknown ones, units, displays, extensible bindings."""

import bz2
import json
import random
import tarfile
import time
from collections import Counter

import pytest

from fhir_server.definitions.conformance import Conformance
from fhir_server.definitions.core import Core
from fhir_server.model import json_format
from fhir_server.validation.codes import check
from fhir_server.validation.knowledge import Knowledge, Task
from fhir_server.validation.validator import validate
from terminology.terms import Terms

LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
V2, V3 = "http://terminology.hl7.org/CodeSystem/v2-0203", "http://terminology.hl7.org/CodeSystem/v3-ActCode"
CATEGORY = "http://terminology.hl7.org/CodeSystem/condition-category"


def coded(**coding):
    return {"resourceType": "Basic", "code": {"coding": [coding]}}


def quantity(**members):
    code = {"text": "x"}
    return {"resourceType": "Observation", "status": "final", "code": code, "valueQuantity": members}


def condition(*codings, **concept):
    category = {"coding": list(codings), **concept} if codings else concept
    return {"resourceType": "Condition", "subject": {"reference": "Patient/1"}, "category": [category]}


def told(resource, task=None):
    return [
        (issue.severity, issue.expression) for issue in (check(resource, task) if task else check(resource))
    ]


def invoice(currency):
    return {"resourceType": "Invoice", "status": "issued", "totalNet": {"value": 1, "currency": currency}}


CODE, CODING = "Basic.code.coding[0].code", "Basic.code.coding[0]"


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (coded(system="http://hl7.org/fhir/task-status", code="draft"), []),
        (coded(system="http://hl7.org/fhir/task-status", code="drafted"), [("error", CODE)]),
        (coded(system=V2, code="MRN-NEW"), [("warning", CODE)]),  # HL7 goes on adding codes to these
        (coded(system=V2, code="MRN-NEW", version="2.9"), [("error", CODE)]),
        (coded(system=V2, code="MRN-NEW", version="9.9"), []),  # a version that is not here
        (coded(system=V3, code="amb"), [("error", CODE)]),  # the same code in small letters
        (coded(system=V2, code="mr"), []),  # a system that does not say whether case matters
        (coded(system=SNOMED, code="73211009"), []),
        (coded(system=SNOMED, code="276885007x"), [("error", CODE)]),
        (coded(system=LOINC, code="8867-5"), [("error", CODE)]),
        (coded(system=LOINC, code="8867-4", display="Whatever"), []),
        (coded(system="urn:oid:1.2.3", code="anything at all"), []),
        (coded(system="http://terminology.hl7.org/CodeSystem/service-type", code="x"), []),  # examples only
        (coded(code="73211009"), [("warning", CODING)]),
        (coded(display="Diabetes"), []),
        (coded(system=SNOMED), []),
        (coded(system="LOINC", code="8867-4"), [("error", f"{CODING}.system")]),
        (coded(system="2.16.840.1.113883.6.1", code="8867-4"), [("error", f"{CODING}.system")]),
        (coded(system="#mine", code="x"), [("error", f"{CODING}.system")]),
        (coded(system="http://hl7.org/fhir/ValueSet/task-status", code="draft"),
         [("error", f"{CODING}.system")]),
        (coded(system="http://hl7.org/fhir/task-status", code="draft", display="DRAFT "), []),
        (coded(system="http://hl7.org/fhir/task-status", code="draft", display="Done"),
         [("warning", f"{CODING}.display")]),
        (coded(system="urn:iso:std:iso:4217", code="EURO"), [("error", CODE)]),
        (coded(system="urn:ietf:bcp:47", code="de_CH"), [("error", CODE)]),
        (coded(system="urn:ietf:rfc:3986", code="1.2.3"), [("warning", CODE)]),
        (coded(system="http://hl7.org/fhir/resource-types", code="Patient", display="Paciente"), []),
    ],
)  # fmt: skip
def test_a_coding(resource, expected):
    assert told(resource) == expected
    assert told(resource) == expected, "also from memory"


UNIT = "Observation.value.code"


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"value": 1, "system": UCUM, "code": "mg/dL"}, []),
        ({"value": 1, "system": UCUM, "code": "mmHg"}, [("warning", UNIT)]),
        ({"value": 1, "system": UCUM, "code": "{wine glasses}/d"}, [("warning", UNIT)]),
        ({"value": 1, "system": "UCUM", "code": "mg"}, [("error", "Observation.value.system")]),
        ({"value": 1, "unit": "mmHg"}, []),
        ({"value": 1, "system": SNOMED, "code": "258684004"}, []),
        ({"value": 1, "system": SNOMED, "code": "258684005"}, [("warning", UNIT)]),
        ({"value": 1, "system": UCUM}, []),
    ],
)
def test_a_quantity(members, expected):
    assert told(quantity(**members)) == expected


def test_the_unit_of_an_age():
    history = {
        "resourceType": "Condition", "subject": {"reference": "Patient/1"},
        "onsetAge": {"value": 3, "system": UCUM, "code": "a"},
    }  # fmt: skip
    assert told(history) == []
    history["onsetAge"]["code"] = "s"  # a unit of time, but not one of those for ages
    assert told(history) == [("warning", "Condition.onset.code")]


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (condition({"system": CATEGORY, "code": "problem-list-item"}), []),
        (condition({"system": SNOMED, "code": "439401001"}), [("warning", "Condition.category[0]")]),
        (condition({"system": SNOMED, "code": "439401001"},
                   {"system": CATEGORY, "code": "problem-list-item"}), []),
        # R4/terminologies.html#extensible: text alone may stand where no code fits.
        (condition(text="a problem"), []),
        (condition({"display": "a problem"}), []),
        # What is wrong with the coding itself is told, and not twice.
        (condition({"system": CATEGORY, "code": "problem-list-ítem", "version": "4.0.1"}),
         [("error", "Condition.category[0].coding[0].code")]),
        (condition({"code": "problem-list-item"}), [("warning", "Condition.category[0].coding[0]")]),
    ],
)  # fmt: skip
def test_an_extensible_binding(resource, expected):
    assert told(resource) == expected


def test_a_coding_under_an_extensible_binding():
    encounter = {"resourceType": "Encounter", "status": "finished", "class": {"system": V3, "code": "AMB"}}
    assert told(encounter) == []
    encounter["class"] = {"system": V3, "code": "CASH"}
    assert told(encounter) == [("warning", "Encounter.class")]
    # R4's set of them has SNOMED CT's: nothing can be said.
    encounter["participant"] = [{"type": [{"coding": [{"system": SNOMED, "code": "73211009"}]}]}]
    assert told(encounter)[1:] == [("warning", "Encounter.participant[0].type[0]")]


def test_names_of_types_may_be_canonicals():
    basic = {"resourceType": "Basic", "code": {"text": "x"}, "subject": {"display": "x", "type": "Patient"}}
    for name in ("Patient", "http://hl7.org/fhir/StructureDefinition/Patient", "http://example.org/logical"):
        basic["subject"]["type"] = name
        assert told(basic) == []
    basic["subject"]["type"] = "patient"
    assert told(basic) == [("warning", "Basic.subject.type")]


def test_places_inside_and_beside():
    """Contained resources, Bundles, extensions of primitive values and of codings."""
    wrong = {"url": "urn:x", "valueCoding": {"system": "http://hl7.org/fhir/task-status", "code": "x"}}
    patient = {
        "resourceType": "Patient",
        "_birthDate": {"extension": [wrong]},
        "contained": [{**coded(system="LOINC", code="1"), "id": "b"}],
        "maritalStatus": {"coding": [{"system": SNOMED, "code": "73211009", "extension": [wrong]}]},
        "name": [{"family": "A"}, {"_given": [None, {"extension": [wrong]}], "given": ["B", "C"]}],
    }
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{}, {"resource": patient}]}
    place = "Bundle.entry[1].resource"
    assert sorted(path for _, path in told(bundle)) == [
        f"{place}.birthDate.extension[0].value.code",
        f"{place}.contained[0].code.coding[0].system",
        f"{place}.maritalStatus",
        f"{place}.maritalStatus.coding[0].extension[0].value.code",
        f"{place}.name[1].given[1].extension[0].value.code",
    ]


@pytest.mark.parametrize(
    ("resource", "hint"),
    [
        (coded(system="http://hl7.org/fhir/task-status", code="xyz"), None),
        (coded(system="http://hl7.org/fhir/task-status", code="complete"), "did you mean 'completed'?"),
        (coded(system=V3, code="amb"), "did you mean 'AMB'?"),
        (coded(system=V3, code="Ambulatory"), "did you mean 'AMB'?"),
        (quantity(value=1, system=UCUM, code="mmHg"), "did you mean 'mm[Hg]'?"),
        (quantity(value=1, system=UCUM, code="mg/(dL"), "expected ) before the end"),
        (coded(system="2.16.840.1.113883.6.1", code="1"), "expected urn:oid:2.16.840.1.113883.6.1"),
        (condition({"system": "urn:mine", "code": "problem-list-item"}),
         f"did you mean 'problem-list-item' of {CATEGORY}?"),
        (condition({"system": "urn:mine", "code": "x"}), "one of encounter-diagnosis, problem-list-item"),
        (coded(system="http://hl7.org/fhir/ValueSet/task-status", code="draft"), "hl7.org/fhir/task-status"),
    ],
)  # fmt: skip
def test_a_message_says_what_would_work(resource, hint):
    (issue,) = check(resource)
    assert hint is None or hint in issue.diagnostics
    assert hint is not None or "did you mean" not in issue.diagnostics


ADDED = [
    {
        "resourceType": "CodeSystem", "url": "urn:added", "content": "complete", "caseSensitive": True,
        "concept": [{"code": "a", "display": "A"}],
    },
    {"resourceType": "CodeSystem", "url": "urn:more", "content": "supplement", "supplements": "urn:added"},
    {
        "resourceType": "ValueSet", "url": "http://loinc.org/vs/LL379-9",
        "compose": {"include": [{"system": LOINC, "concept": [{"code": "LA6683-2"}]}]},
    },
]  # fmt: skip


class Added:
    """A source with a code system, a supplement and a value set that R4 does not have."""

    def find(self, type_name, url, version):
        for resource in ADDED:
            if (resource["resourceType"], resource["url"]) == (type_name, url):
                return resource
        return None


def test_an_installation_knows_more():
    conformance = Conformance([Added(), Core()])
    task = Task(Knowledge(conformance, Terms(conformance.find)))
    assert told(coded(system="urn:added", code="a"), task) == []
    assert told(coded(system="urn:added", code="b"), task) == [("error", CODE)]
    assert told(coded(system="urn:added", code="b")) == [], "R4 alone does not know it"
    assert told(coded(system="urn:more", code="a"), task) == [("error", f"{CODING}.system")]


def test_required_bindings_that_only_an_installation_can_judge():
    """MolecularSequence.structureVariant.variantType is bound to an answer list of LOINC."""
    conformance = Conformance([Added(), Core()])
    task = Task(Knowledge(conformance, Terms(conformance.find)))
    variant = {"variantType": {"coding": [{"system": LOINC, "code": "LA6684-0"}]}}
    sequence = {"resourceType": "MolecularSequence", "coordinateSystem": 1, "structureVariant": [variant]}
    assert told(sequence, task) == [("error", "MolecularSequence.structureVariant[0].variantType")]
    assert told(sequence) == []
    variant["variantType"]["coding"].append({"system": LOINC, "code": "LA6683-2"})
    assert told(sequence, task) == []


def test_faulty_structure_is_stepped_over():
    """The other codes of a resource that is refused anyway are looked at all the same."""
    right = {"system": "http://hl7.org/fhir/task-status", "code": "drafted"}
    faults = [
        "x", 5, None, [], [[]], {"coding": "x"}, {"coding": [5]}, {"coding": [{"system": []}]},
        {"coding": [{"system": "urn:x", "code": {}}]}, {"coding": [{"code": "x", "display": 5}]},
    ]  # fmt: skip
    for wrong in faults:
        basic = {
            "resourceType": "Basic",
            "code": wrong,
            "extension": [{"url": "urn:x", "valueCoding": right}],
        }
        assert ("error", "Basic.extension[0].value.code") in told(basic)
        assert ("error", "Basic.extension[0].value.code") in told({**basic, "contained": ["x", {"a": 1}, {}]})
        told(
            {**basic, "extension": [{"url": "urn:x", "valueQuantity": wrong}, {"valueCoding": wrong}, wrong]}
        )
    assert (
        told({"resourceType": "Bundle", "entry": [{"resource": wrong} for wrong in (5, [], {}, None)]}) == []
    )


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("fhir_server.validation.verdicts.REMEMBERED", 50)
    conformance = Conformance([Core()])
    task = Task(Knowledge(conformance, Terms(conformance.find)))
    for number in range(400):
        assert told(coded(system=f"urn:{number}", code="x"), task) == []


def test_a_write_full_of_different_codes_takes_no_long():
    chance = random.Random(1)
    codings = [{"system": V3, "code": f"X{chance.randrange(10**9)}"} for _ in range(300)]
    started = time.perf_counter()
    assert len(told({"resourceType": "Basic", "code": {"coding": codings}})) == 300
    assert time.perf_counter() - started < 5


def test_what_is_too_deep_to_follow_has_no_issue():
    extension = {"url": "urn:x", "valueString": "x"}
    for _ in range(3000):
        extension = {"url": "urn:x", "extension": [extension]}
    assert told({"resourceType": "Patient", "extension": [extension]}) == []


@pytest.mark.parametrize("code", [" a", "a ", "a  b", "a\tb\n"])
def test_spaces_in_codes_are_a_matter_of_structure(code):
    (issue, *_) = validate(coded(system="urn:x", code=code))
    assert (issue.severity, issue.expression) == ("error", CODE)


STATUS = "http://terminology.hl7.org/CodeSystem/condition-clinical"


@pytest.mark.parametrize(
    ("resource", "hint"),
    [
        ({"resourceType": "Patient", "language": "en_US"}, "did you mean 'en-US'?"),
        (invoice("eur"), "did you mean 'EUR'?"),
        (invoice("EURO"), "a currency of ISO 4217, such as EUR"),
        ({**condition(text="x"), "clinicalStatus": {"coding": [{"system": "urn:x", "code": "active"}]}},
         f"did you mean 'active' of {STATUS}?"),
        ({**condition(text="x"), "clinicalStatus": {"coding": [{"system": STATUS, "code": "activ"}]}},
         "did you mean 'active'?"),
        ({"resourceType": "Binary", "contentType": "PDF"}, "application/pdf"),
    ],
)  # fmt: skip
def test_structure_says_what_would_work_too(resource, hint):
    (issue,) = [issue for issue in validate(resource) if issue.severity == "error"]
    assert hint in issue.diagnostics


def test_official_examples_have_few_and_just_problems(shared):
    """Each error is looked at in test_examples; warnings by kind."""
    kinds = Counter()
    with tarfile.open(shared("data/r4-examples.tar.xz")) as archive:
        for member in archive:
            if member.name.endswith(".json") and not member.name.endswith("observation-decimal.json"):
                for issue in check(json_format.parse(archive.extractfile(member).read())):
                    kinds[issue.severity, issue.rule.partition("#")[2]] += 1
    assert sum(count for (severity, _), count in kinds.items() if severity == "error") == 17
    assert {kind for (severity, kind) in kinds if severity == "error"} == {"Coding.code"}
    assert kinds["warning", "Coding.system"] == 438
    assert kinds["warning", "Identifier.type"] == 306
    assert sum(kinds.values()) < 2200


def test_synthea_has_no_errors(shared):
    """And where it writes the code as the display, that is told."""
    kinds = Counter()
    for file in sorted(shared("data/synthea").glob("*.bz2"))[:12]:
        bundle = json.loads(bz2.decompress(file.read_bytes()))
        kinds.update((issue.severity, issue.rule.partition("#")[2]) for issue in check(bundle))
    assert {severity for severity, _ in kinds} == {"warning"}
    assert {kind for _, kind in kinds} <= {
        "Coding.display", "Coding.code", "Identifier.type", "Provenance.agent.type"
    }  # fmt: skip
