"""References: into Bundles by fullUrl, to contained resources, into narratives."""

import dataclasses

import pytest

from fhir_server.validation.knowledge import R4, Knowledge, Task
from fhir_server.validation.resolution import check, nested, pointers
from tests.support.clause import clause

UUID = "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"
OTHER = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"
BASE = "http://here/fhir/"


def observation(reference):
    return {"resourceType": "Observation", "id": "o", "subject": {"reference": reference}}


def bundle(kind, *entries):
    listed = [{"fullUrl": address, "resource": resource} for address, resource in entries]
    return {"resourceType": "Bundle", "type": kind, "entry": listed}


def found(resource, task=R4):
    return [(issue.severity, issue.expression) for issue in check(resource, task)]


PATIENT = {"resourceType": "Patient", "id": "1"}
GROUP = {"resourceType": "Medication", "id": "1"}
SUBJECT = "Bundle.entry[0].resource.subject.reference"


@clause("R4/bundle.html#references", "an absolute reference is a fullUrl, a relative one begins at its base")
@pytest.mark.parametrize(
    ("reference", "own", "others", "severity"),
    [
        (UUID, OTHER, [(UUID, PATIENT)], None),
        (UUID, OTHER, [], "warning"),
        (UUID, OTHER, [(UUID, GROUP)], "error"),
        ("Patient/1", BASE + "Observation/o", [(BASE + "Patient/1", PATIENT)], None),
        ("Patient/1", BASE + "Observation/o", [(BASE + "Patient/1", GROUP)], "error"),
        ("Patient/1", BASE + "Observation/o", [("http://there/fhir/Patient/1", PATIENT)], "warning"),
        ("Patient/1", UUID, [(OTHER, PATIENT)], "warning"),
        ("Patient/1", BASE + "Observation/o", [], None),
        (BASE + "Patient/1", UUID, [(BASE + "Patient/1", PATIENT)], None),
        (BASE + "Patient/1/_history/2", UUID, [(BASE + "Patient/1", PATIENT)], None),
        ("http://there/fhir/Patient/7", UUID, [(BASE + "Patient/1", PATIENT)], None),
    ],
)
def test_references_in_a_collection(reference, own, others, severity):
    told = found(bundle("collection", (own, observation(reference)), *others))
    assert told == ([] if severity is None else [(severity, SUBJECT)])


def test_a_version_leads_to_the_entry_of_that_version():
    old = {**PATIENT, "meta": {"versionId": "1"}}
    asked = bundle(
        "collection", (UUID, observation(BASE + "Patient/1/_history/2")), (BASE + "Patient/1", old)
    )
    assert found(asked) == [("warning", SUBJECT)]


def test_a_transaction_resolves_relative_references_itself():
    told = bundle("transaction", (OTHER, observation("Patient/1")), (UUID, PATIENT))
    assert found(told) == []


def composition(**members):
    return {"resourceType": "Composition", "id": "c", **members}


@clause("R4/documents.html", "what the Composition points to is in the document")
@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"subject": {"reference": OTHER}}, "subject"),
        ({"author": [{"reference": "Practitioner/1"}]}, "author[0]"),
        ({"section": [{"section": [{"entry": [{"reference": OTHER}]}]}]}, "section[0].section[0].entry[0]"),
        ({"custodian": {"reference": BASE + "Organization/9"}}, "custodian"),
    ],
)
def test_composition(members, place):
    document = bundle("document", (UUID, composition(**members)))
    assert found(document) == [("error", f"Bundle.entry[0].resource.{place}.reference")]
    assert found(bundle("collection", (UUID, composition(**members)))) in (
        [],
        [("warning", f"Bundle.entry[0].resource.{place}.reference")],
    )


def test_what_a_document_brings_is_reached_from_its_composition():
    parts = [(UUID, composition(subject={"reference": OTHER})), (OTHER, PATIENT)]
    assert found(bundle("document", *parts)) == []
    provenance = {"resourceType": "Provenance", "id": "p"}
    assert found(bundle("document", *parts, (BASE + "Provenance/p", provenance))) == []
    lonely = bundle("document", *parts, (BASE + "Medication/1", GROUP))
    assert found(lonely) == [("warning", "Bundle.entry[2]")]


def test_message():
    header = {"resourceType": "MessageHeader", "id": "m", "focus": [{"reference": OTHER}]}
    assert found(bundle("message", (UUID, header), (OTHER, PATIENT))) == []
    assert found(bundle("message", (UUID, header))) == [
        ("error", "Bundle.entry[0].resource.focus[0].reference")
    ]


def linked(text):
    url = "http://hl7.org/fhir/StructureDefinition/narrativeLink"
    return {"resourceType": "Patient", "id": "1", "extension": [{"url": url, "valueUrl": text}]}


@pytest.mark.parametrize(
    ("anchor", "good"), [("a", True), ("b", False), ("c", False)], ids=["there", "missing", "twice"]
)
def test_links_into_a_narrative(anchor, good):
    div = '<div xmlns="http://www.w3.org/1999/xhtml"><p id="a">x</p><p id="c">x</p><p id="c">x</p></div>'
    text = {"text": {"status": "generated", "div": div}, "subject": {"reference": OTHER}}
    document = bundle("document", (UUID, composition(**text)), (OTHER, linked(f"{UUID}#{anchor}")))
    place = "Bundle.entry[1].resource.extension[0].value"
    assert found(document) == ([] if good else [("error", place)])
    section = {"section": [{"section": [{"text": text["text"]}]}], "subject": text["subject"]}
    document = bundle("document", (UUID, composition(**section)), (OTHER, linked(f"{UUID}#{anchor}")))
    assert found(document) == ([] if good else [("error", place)])
    document = bundle(
        "document", (UUID, composition(**{**text, **section})), (OTHER, linked(f"{UUID}#{anchor}"))
    )
    assert found(document) == [("error", place)]


@clause("R4/references.html#contained", "a contained resource has a type that the element may point to")
def test_contained():
    inner = {"resourceType": "Organization", "id": "o"}
    patient = {**PATIENT, "contained": [inner], "managingOrganization": {"reference": "#o"}}
    assert found(patient) == []
    patient["contained"] = [{"resourceType": "Practitioner", "id": "o"}]
    assert found(patient) == [("error", "Patient.managingOrganization.reference")]
    assert found(bundle("collection", (BASE + "Patient/1", patient))) == [
        ("error", "Bundle.entry[0].resource.managingOrganization.reference")
    ]
    patient["contained"] = [inner, inner]
    assert found(patient) == [("error", "Patient.contained[1].id")]


@clause("R4/domainresource.html", "dom-3: a contained resource is referred to, or refers to its container")
def test_contained_without_an_id():
    inner = {"resourceType": "Provenance", "target": [{"reference": "#"}]}
    assert found({**PATIENT, "contained": [inner]}) == []
    inner["target"][0]["reference"] = "Patient/1"
    assert found({**PATIENT, "contained": [inner]}) == [("error", "Patient.contained[0]")]


def test_dangling_references_where_they_are_refused():
    strict = Task(strict=frozenset({"dangling references"}))
    holder = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "a", "resource": PATIENT},
            {"name": "b", "resource": observation("Patient/1")},
        ],
    }
    assert found(holder, strict) == []
    holder["parameter"][1]["resource"] = observation("Patient/2")
    place = "Parameters.parameter[1].resource.subject.reference"
    assert found(holder) == []
    assert found(holder, strict) == [("error", place)]
    known = Knowledge(resolve=lambda reference: PATIENT if reference == "Patient/2" else None)
    assert found(holder, dataclasses.replace(strict, knowledge=known)) == []


def test_nested_and_pointers():
    held = {
        "resourceType": "Parameters",
        "parameter": [{"name": "x", "part": [{"name": "y", "resource": PATIENT}]}],
    }
    assert [path for _, path in nested(held, "Patient")] == ["Parameters.parameter[0].part[0].resource"]
    extended = {**PATIENT, "extension": [{"url": "http://x", "valueReference": {"reference": "Group/1"}}]}
    assert pointers(extended)[0][0] == "Group/1"
