"""Values of data types: URNs, systems, canonicals, attachments, narratives; and what a task may refuse."""

import pytest

from fhir_server.validation.knowledge import R4, Task
from fhir_server.validation.validator import validate
from fhir_server.validation.values import check
from tests.support.clause import clause


def found(resource, *strict):
    task = Task(strict=frozenset(strict)) if strict else R4
    return [(issue.severity, issue.expression) for issue in check(resource, task)]


@clause("R4/datatypes.html#uri", "a UUID is 8-4-4-4-12 in lower case, an OID numbers with dots")
@pytest.mark.parametrize(
    ("system", "severity"),
    [
        ("urn:uuid:c757873d-ec9a-4326-a141-556f43239520", None),
        ("urn:uuid:C757873D-EC9A-4326-A141-556F43239520", "warning"),
        ("urn:uuid:c757873d-ec9a-4326-a141-556f4323952", "error"),
        ("urn:uuid:patient-1", "error"),
        ("urn:oid:1.2.840.113549", None),
        ("urn:oid:1.02.3", "error"),
        ("urn:oid:X.Y", "error"),
        ("urn:oid:1", "error"),
        ("http://here/ids", None),
        ("mrn", "warning"),
        ("10:00:00", "warning"),
    ],
)
def test_urns(system, severity):
    patient = {"resourceType": "Patient", "identifier": [{"system": system, "value": "1"}]}
    assert found(patient) == ([] if severity is None else [(severity, "Patient.identifier[0].system")])


def test_a_canonical_that_is_malformed_is_doubtful_only():
    library = {"resourceType": "PlanDefinition", "library": ["urn:oid:X.Y.Z", "http://x", "Library/1"]}
    assert found(library) == [
        ("warning", "PlanDefinition.library[0]"),
        ("warning", "PlanDefinition.library[2]"),
    ]


def test_a_canonical_of_another_type():
    response = {"resourceType": "QuestionnaireResponse", "status": "completed", "questionnaire": "Patient/1"}
    assert found(response) == [("error", "QuestionnaireResponse.questionnaire")]


@clause("R4/datatypes.html#Identifier", "values of urn:ietf:rfc:3986 are URIs, OIDs and UUIDs as URNs")
@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("urn:oid:1.2.3", True),
        ("http://here/1", True),
        ("2.16.840.1.113883.19.5", False),
        ("http://here and there", False),
        ("5", False),
    ],
)
def test_identifiers_that_are_uris(value, good):
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:ietf:rfc:3986", "value": value}]}
    assert found(patient) == ([] if good else [("warning", "Patient.identifier[0].value")])
    patient["identifier"][0]["system"] = "http://here/ids"
    assert found(patient) == []


def test_urns_are_looked_at_wherever_an_address_stands():
    """Also in what names a code system or an extension."""
    patient = {
        "resourceType": "Patient",
        "maritalStatus": {"coding": [{"system": "urn:uuid:1", "code": "M"}]},
    }
    assert found(patient) == [("error", "Patient.maritalStatus.coding[0].system")]
    patient = {"resourceType": "Patient", "extension": [{"url": "urn:uuid:1", "valueCode": "x"}]}
    assert found(patient) == [("error", "Patient.extension[0].url")]


@clause("R4/references.html#canonical", "it names a resource by its url, which is absolute")
@pytest.mark.parametrize(
    ("canonical", "severity"),
    [
        ("http://here/p", None),
        ("urn:oid:1.2.3|4", None),
        ("Library/1", "warning"),
        ("final", "warning"),
        ("10:00:00", "warning"),
    ],
)
def test_canonicals(canonical, severity):
    plan = {"resourceType": "PlanDefinition", "status": "draft", "library": [canonical]}
    assert found(plan) == ([] if severity is None else [(severity, "PlanDefinition.library[0]")])


@clause("R4/references.html#canonical", "#id names a contained resource")
def test_canonicals_of_contained_resources():
    plan = {
        "resourceType": "PlanDefinition", "status": "draft", "library": ["#a"],
        "contained": [{"resourceType": "Library", "id": "a", "relatedArtifact": [{"resource": "#b"}]},
                      {"resourceType": "Library", "id": "b"}],
    }  # fmt: skip
    assert found(plan) == []
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": plan}]}
    bundle["entry"].append({"resource": {"resourceType": "PlanDefinition", "library": ["#a", "#"]}})
    assert found(bundle) == [("warning", "Bundle.entry[1].resource.library[0]")]
    del plan["contained"][1]
    assert found(plan) == [("warning", "PlanDefinition.contained[0].relatedArtifact[0].resource")]


@clause("R4/references.html#literal", "a reference is an address; RFC 3986 has no white space in one")
@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("http://x/Patient/y", True),
        ("urn:oid:1.2.3", True),
        ("Patient?identifier=a|b", True),
        ("http://x y", False),
        ("http://x/\u00a0y", False),
        ("a b", False),
        ("Patient/1 ", False),
    ],
)
def test_references_are_addresses(text, good):
    observation = {"resourceType": "Observation", "status": "final", "subject": {"reference": text}}
    assert found(observation) == ([] if good else [("error", "Observation.subject")])


@clause("R4/datatypes.html#code", "no white space other than single spaces; in a uri none at all")
@pytest.mark.parametrize("text", ["é\u00a0", "a\u00a0b", "a\u2003b"])
def test_white_space_beyond_ascii(text):
    coding = {"system": "http://here/s", "code": text}
    (issue,) = validate({"resourceType": "Basic", "code": {"coding": [coding]}})
    assert (issue.severity, issue.expression) == ("error", "Basic.code.coding[0].code")
    coding = {"system": f"http://here/{text}", "code": "é"}
    (issue,) = validate({"resourceType": "Basic", "code": {"coding": [coding]}})
    assert (issue.severity, issue.expression) == ("error", "Basic.code.coding[0].system")


@clause("R4/datatypes.html#attachment", "size counts the bytes before base64, hash is their SHA-1")
@pytest.mark.parametrize(
    ("members", "severity"),
    [
        ({"size": 3}, None),
        ({"size": 4}, "error"),
        ({"hash": "PAG9uybzWLqyfyZ5JKosmgP8/bg="}, None),
        ({"hash": "PAG9uybzWLqyfyZ5JKosmgP8/bA="}, "warning"),
    ],
)
def test_attachments(members, severity):
    content = {"contentType": "text/plain", "data": "QUJD", **members}
    media = {"resourceType": "Media", "status": "completed", "content": content}
    assert found(media) == ([] if severity is None else [(severity, "Media.content")])


V2 = "http://terminology.hl7.org/CodeSystem/v2-0203"
DIV = '<div xmlns="http://www.w3.org/1999/xhtml">{}</div>'


@clause("R4/narrative.html", "a link into the narrative leads to an anchor of it")
@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ('<a href="#x">x</a><p id="x">y</p>', None),
        ('<a href="#x">x</a><a name="x">y</a>', None),
        ('<a href="#a%20b">x</a><p id="a b">y</p>', None),
        ('<a href="#">top</a>', None),
        ('<a href="http://here/x#y">x</a>', None),
        ('<a href="#x">x</a><p id="y">y</p>', "error"),
        ('<a href="#x">x</a><p id="x">y</p><p id="x">y</p>', "warning"),
    ],
)
def test_links_in_a_narrative(text, severity):
    patient = {"resourceType": "Patient", "text": {"status": "generated", "div": DIV.format(text)}}
    assert found(patient) == ([] if severity is None else [(severity, "Patient.text.div")])


def test_expressions():
    measure = {"resourceType": "Measure", "group": [{"population": [{"criteria": {"language": "text/cql"}}]}]}
    criteria = measure["group"][0]["population"][0]["criteria"]
    criteria["expression"] = "$ and"
    assert found(measure) == []
    criteria["language"] = "text/fhirpath"
    assert found(measure) == [("error", "Measure.group[0].population[0].criteria")]


@pytest.mark.parametrize(
    ("text", "markup"),
    [("a < b and c > d", False), ("<b>Li</b>", True), ("x <script>y", True), ("1 <2", False)],
)
def test_markup_where_it_is_refused(text, markup):
    patient = {"resourceType": "Patient", "name": [{"text": text}]}
    assert found(patient) == []
    assert found(patient, "markup") == ([("error", "Patient.name[0].text")] if markup else [])


@pytest.mark.parametrize(
    ("text", "markup"),
    [("see <http://x.org/y>", False), ("a <b>c</b>", True), ("1 < 2", False), ("<mail@x.org>", False)],
)
def test_markup_in_markdown_where_it_is_refused(text, markup):
    communication = {"resourceType": "Communication", "note": [{"text": text}]}
    assert found(communication) == []
    told = found(communication, "markup in markdown")
    assert told == ([("error", "Communication.note[0].text")] if markup else [])


def test_example_addresses_where_they_are_refused():
    attachment = {"url": "http://repository.example.org/x"}
    reference = {"resourceType": "DocumentReference", "content": [{"attachment": attachment}]}
    assert found(reference) == []
    assert found(reference, "example addresses") == [("error", "DocumentReference.content[0].attachment.url")]


def test_a_resource_in_order_has_no_issues():
    patient = {
        "resourceType": "Patient",
        "meta": {"profile": ["http://here/p"], "tag": [{"system": "http://here/tags", "code": "x"}]},
        "extension": [{"url": "http://here/e", "valueUri": "urn:oid:1.2.3"}],
        "_birthDate": {
            "extension": [{"url": "http://here/f", "valueCoding": {"system": "http://s", "code": "x"}}]
        },
        "identifier": [{"type": {"coding": [{"system": V2, "code": "MR"}]}, "value": "1"}],
    }
    assert validate(patient) == []
    patient["_birthDate"]["extension"][0]["valueCoding"]["system"] = "s"
    (issue,) = validate(patient)
    assert (issue.severity, issue.expression) == ("error", "Patient.birthDate.extension[0].value.system")
