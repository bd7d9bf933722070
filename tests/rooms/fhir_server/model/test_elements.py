"""Walking a resource: paths, types, siblings and contained resources."""

from fhir_server.model.elements import walk
from fhir_server.model.references import named_type, parse


def test_primitives_are_walked_with_their_siblings():
    patient = {
        "resourceType": "Patient",
        "_birthDate": {"extension": [{"url": "http://x", "valueDateTime": "2020"}]},
        "name": [{"given": ["a", None], "_given": [None, {"id": "g"}]}],
        "contact": [{"name": {"family": "Li"}}],
        "nonsense": 1,
    }
    assert [
        (node.path, node.type, node.value) for node in walk(patient) if not isinstance(node.value, dict)
    ] == [
        ("Patient.birthDate", "date", None),
        ("Patient.birthDate.extension[0].url", "uri", "http://x"),
        ("Patient.birthDate.extension[0].value", "dateTime", "2020"),
        ("Patient.name[0].given[0]", "string", "a"),
        ("Patient.name[0].given[1]", "string", None),
        ("Patient.name[0].given[1].id", "string", "g"),
        ("Patient.contact[0].name.family", "string", "Li"),
    ]


def test_content_references_lead_back():
    questionnaire = {"resourceType": "Questionnaire", "item": [{"item": [{"linkId": "1"}]}]}
    assert ("Questionnaire.item[0].item[0].linkId", "string") in [node[:2] for node in walk(questionnaire)]


def test_references_of_every_form():
    here = ["http://here/fhir"]
    forms = {
        "Patient/1": "local",
        "http://here/fhir/Patient/1": "local",
        "http://here/fhir/Patient/1/_history/3": "local",
        "http://there/Patient/1": "absolute",
        "http://there/dicom": "absolute",
        "urn:oid:1.2.3": "urn",
        "#": "fragment",
        "Patient?identifier=1": "conditional",
        "Nonsense/1": "other",
        "Patient/a b": "other",
        "Patient/" + "x" * 65: "other",
        "patient/1": "other",
    }
    assert {text: parse(text, here).kind for text in forms} == forms
    assert parse("Library/1#frag").fragment == "frag"
    assert named_type("http://there/fhir/Patient/1") == "Patient"
    assert named_type("http://there/fhir/Nonsense/1") is None
